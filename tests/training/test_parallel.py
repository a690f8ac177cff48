"""Two processes are one process with the double batch."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from dmaf_lite.base.processes import rank, world_size
from dmaf_lite.base.settings import to_plain
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.training.loop import TrainSettings, train
from dmaf_lite.training.parallel import data_parallel, process_group

TINY = TrainSettings(
    network_options={"width": 4, "levels": 2}, crop=(8, 8, 8), batch=1, steps=2, log_every=1, condition="imbalanced",
    missing_rates={"FLAIR": 0.5, "T1ce": 0.25, "T1": 0.25, "T2": 0.5}, objective_options={"warmup": 0.0},
    precision="float32",
)


def test_one_process_needs_nothing():
    module = torch.nn.Linear(1, 1)
    with process_group("cpu"):
        assert rank() == 0 and world_size() == 1 and data_parallel(module) is module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_equal_one_with_the_double_batch(tiny_cohort, tmp_path, accumulate):
    """Gradients and the monitor's state, with scans missing at random."""
    settings = replace(TINY, accumulate=accumulate)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(to_plain(settings)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dmaf_lite",
         "train", "--cohort", tiny_cohort.folder, "--out", tmp_path / "two", "--profile", tmp_path / "settings.yaml",
         "--device", "cpu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("weights written") == 1, "said once, not by every process"
    train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "one", replace(settings, batch=2), progress=False)
    one, two = (torch.load(tmp_path / run / "checkpoint" / "last.pt", weights_only=True) for run in ("one", "two"))
    # Adam's running mean of the gradient.  Where a gradient is 0 (a bias before a softmax) it is rounding, and Adam
    # turns rounding into steps, so that weights drift apart: few steps, and only what has a gradient.
    means = {key: state["exp_avg"] for key, state in one["optimizer"]["state"].items()}
    assert means.keys() == two["optimizer"]["state"].keys()
    largest = max(mean.norm() for mean in means.values())
    compared = [key for key, mean in means.items() if mean.norm() > 1e-3 * largest]
    assert len(compared) > 20
    for key in compared:
        gap = (two["optimizer"]["state"][key]["exp_avg"] - means[key]).norm() / means[key].norm()
        assert gap < 1e-2, (key, gap)
    if accumulate == 1:  # else the monitor sees the batches of a step one after another
        for name, value in one["objective"].items():
            if name.startswith("monitor"):
                torch.testing.assert_close(two["objective"][name], value, rtol=1e-3, atol=1e-5)
