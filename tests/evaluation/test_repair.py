"""A scan that spoils the answer is left out; a good one, or the last one, never."""

import numpy as np
import pytest
import torch

from dmaf_lite.evaluation.calibration import Calibration, RegionLine, SubsetCalibration
from dmaf_lite.evaluation.inference import WindowSettings, probabilities_and_weights
from dmaf_lite.evaluation.repair import calibrated, one_left_out, repair
from dmaf_lite.nn.contract import Pairs, Prediction
from dmaf_lite.spec import BRATS

SETTINGS = WindowSettings(window=(16, 16, 16), precision="float32")


class MeanOfScans(torch.nn.Module):
    """Tumour (class 3) where the mean of the scans is above 1, with odds that grow with the distance from 1."""

    encode_depends_on_availability = True  # there is nothing to encode

    def __init__(self):
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images, available):
        mask = available[..., None, None, None].to(images)
        mean = (images * mask).sum(1) / mask.sum(1)
        logits = torch.full((len(images), 4, *images.shape[2:]), -9.0)
        logits[:, 0], logits[:, 3] = 8, 8 * mean
        return Prediction(logits=logits, pairs=Pairs.of(available))


@pytest.fixture
def study() -> np.ndarray:
    """Four scans, 0 with a cube of 2."""
    images = np.zeros((4, 16, 16, 16), np.float32)
    images[:, 4:10, 4:10, 4:10] = 2
    return images


def run(images, available=(True,) * 4, **options):
    return repair(MeanOfScans(), images, available, spec=BRATS, settings=SETTINGS, **options)


def test_good_scans_are_kept(study):
    found = run(study)
    assert found.kept == (True,) * 4 and found.left_out is None
    assert len(found.expected) == 5 and found.mean(found.kept) > 0.9


@pytest.mark.parametrize("bad", range(4))
def test_the_bad_scan_is_the_one_that_goes(study, bad):
    study[bad] = np.random.default_rng(0).normal(0.5, 3, study[bad].shape)
    found = run(study)
    assert found.left_out == BRATS.modalities[bad]
    alone, _ = probabilities_and_weights(MeanOfScans(), study, np.array(found.kept), settings=SETTINGS)
    assert np.allclose(found.probabilities, alone.numpy(), atol=1e-6), "what is kept is the prediction of that subset"
    assert found.mean(found.kept) == max(found.mean(mask) for mask in found.expected)


def test_a_gain_below_the_threshold_is_not_worth_a_scan(study):
    study[1] = np.random.default_rng(0).normal(0.5, 3, study[1].shape)
    assert run(study, worth_it=1.0).left_out is None


def test_the_last_scan_stays(study):
    study[2] = 0.5
    assert run(study, (False, False, True, False)).kept == (False, False, True, False)
    assert one_left_out((True, False, True, False)) == [
        (True, False, True, False), (False, False, True, False), (True, False, False, False)]


def test_another_promise_decides(study):
    """`expect` is asked with the subset: a calibration per subset has its say."""
    found = run(study, expect=lambda p, mask: {"WT": 0.5 + 0.4 * (mask == (True, True, False, True))})
    assert found.left_out == "T1"


def test_a_calibration_keeps_a_good_scan_that_lowers_the_promise(study):
    """Without T1 the answer is a little surer, but that subset was worth less on other studies."""
    study[2, 4:7, 4:10, 4:10] = -1
    assert run(study, worth_it=0.001).left_out == "T1"
    lines = {BRATS.subset_name(mask): SubsetCalibration(regions=dict.fromkeys(
        BRATS.regions, RegionLine(offset=0.0 if mask[2] else -6.0))) for mask in BRATS.subsets()}
    expect = calibrated(Calibration("", {}, "", 10, lines), BRATS)
    assert run(study, worth_it=0.001, expect=expect).left_out is None
