"""Workers need shared memory; where there is too little, a sentence and no workers."""

import shutil
import types

import pytest

from dmaf_lite.data import batches as batches_module
from dmaf_lite.data.batches import BatchSettings, TrainingBatches, batch_loader
from dmaf_lite.data.read_ahead import workers_that_fit
from dmaf_lite.data.training_set import TrainingSet


def test_small_shared_memory_is_said_and_the_workers_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=64 * 2**20))
    assert workers_that_fit(2, 2**20, tmp_path) == 2
    with pytest.warns(UserWarning, match=r"67 MB of shared memory, 2 workers need 84 MB .*--shm-size"):
        assert workers_that_fit(2, 10 * 2**20, tmp_path) == 0
    assert workers_that_fit(2, 10 * 2**20, tmp_path / "nowhere") == 2, "a system without such a folder"
    assert workers_that_fit(0, 10**12, tmp_path) == 0


def test_the_loader_asks_for_what_its_batches_need(tiny_cohort, monkeypatch):
    asked = []
    monkeypatch.setattr(batches_module, "workers_that_fit", lambda workers, size: asked.append(size) or 0)
    settings = BatchSettings(crop=(16, 16, 16), batch=2, seed=0)
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), settings)
    loader = batch_loader(batches, [0], workers=4, pin=False)
    (batch,) = list(loader)
    assert loader.num_workers == 0
    assert asked == [batch.images.nbytes + batch.label.nbytes]
