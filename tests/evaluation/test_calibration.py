"""Promises that are kept: lines, intervals that cover, and a file that belongs to one set of weights."""

import json

import numpy as np
import pytest

from dmaf_lite.evaluation.calibration import (
    Calibration,
    CalibrationError,
    RegionLine,
    SubsetCalibration,
    beside,
    fit_line,
    read_calibration,
    write_calibration,
)
from dmaf_lite.evaluation.confidence import confidence, gains
from dmaf_lite.evaluation.expected import Doubt
from dmaf_lite.evaluation.reliability import Scaling
from dmaf_lite.methods.weights import PRETRAINED, load_weights, read_card, shipped, weights_digest
from dmaf_lite.spec import BRATS

VOXEL_ML = 0.027


def studies(n: int, seed: int) -> tuple[list[Doubt], np.ndarray, np.ndarray]:
    """Answers that promise too much: true Dice is the promised one squared, volumes vary by a tenth."""
    rng = np.random.default_rng(seed)
    everywhere = rng.uniform(500, 3000, n)
    promised = rng.uniform(0.5, 0.98, n)
    found = [Doubt(mask=v, inside=p * v, everywhere=v) for v, p in zip(everywhere, promised, strict=True)]
    dice = np.clip(promised**2 + rng.normal(0, 0.03, n), 0, 1)
    return found, dice, everywhere * VOXEL_ML * np.exp(rng.normal(0.1, 0.1, n))


def line_of(n=200, seed=0) -> RegionLine:
    found, dice, ml = studies(n, seed)
    return fit_line(found, dice, ml, [VOXEL_ML] * n)


def test_the_line_takes_back_what_is_promised_too_much():
    line = line_of()
    found, dice, _ = studies(200, 1)
    error = np.mean([abs(line.dice(doubt) - true) for doubt, true in zip(found, dice, strict=True)])
    naive = np.mean([abs(doubt.dice - true) for doubt, true in zip(found, dice, strict=True)])
    assert error < 0.04 < 0.1 < naive


def test_intervals_hold_nine_of_ten_new_studies():
    line = line_of()
    found, dice, ml = studies(2000, 2)
    dice_in = [low <= true <= high
               for (low, high), true in zip(map(line.dice_interval, found), dice, strict=True)]
    volume_in = [low <= true <= high
                 for (low, _, high), true in zip((line.volume(d, VOXEL_ML) for d in found), ml, strict=True)]
    assert 0.85 < np.mean(dice_in) < 0.97 and 0.85 < np.mean(volume_in) < 0.97
    low, middle, high = line.volume(found[0], VOXEL_ML)
    assert low < middle < high and middle == pytest.approx(found[0].everywhere * VOXEL_ML * np.exp(0.1), rel=0.1)


def test_an_empty_answer_is_right_as_often_as_it_was():
    found, dice, ml = studies(30, 0)
    nothing = [Doubt(0, 0, 5)] * 10
    line = fit_line(found + nothing, [*dice, *[1.0] * 8, 0, 0], [*ml, *[0.0] * 8, 1, 1], [VOXEL_ML] * 40)
    assert line.dice(nothing[0]) == pytest.approx(9 / 12) and line.dice_interval(nothing[0]) == (0, 1)
    assert line.slope == pytest.approx(line_of(30).slope), "empty answers do not bend the line of the others"
    sober = fit_line(nothing[:1], [1.0], [0.0], [VOXEL_ML])
    assert sober.dice(nothing[0]) == pytest.approx(2 / 3) and np.isfinite(sober.volume(nothing[0], VOXEL_ML)).all()


def test_confidence_of_an_answer():
    p = np.full((4, 6, 6, 6), 0.001, np.float32)
    p[0] = 0.997
    p[:, 2:4, 2:4, 2:4] = np.array([0.1, 0.1, 0.1, 0.7]).reshape(4, 1, 1, 1)
    calibration = SubsetCalibration(Scaling(2.0, (0.0,) * 4), dict.fromkeys(BRATS.regions, RegionLine()),
                                    recovered={"T1": {"WT": 0.1, "TC": 0.1, "ET": 0.1},
                                               "T1ce": {"WT": 0.0, "TC": 0.5, "ET": 0.4}})
    found = confidence(p, calibration, BRATS, (3, 3, 3))
    inside, outside = found.map[2, 2, 2], found.map[0, 0, 0]
    assert inside == pytest.approx(0.49 / 0.52, abs=1e-3) and outside > 0.999
    wt = found.regions["WT"]
    assert wt.low_ml < wt.volume_ml < wt.high_ml
    assert wt.volume_ml == pytest.approx(8 * 0.027 * (1 - 0.01 / 0.52), rel=0.01)
    assert wt.dice > found.regions["ET"].dice and wt.dice_low <= wt.dice <= wt.dice_high
    assert list(found.gains) == ["T1ce", "T1"]


def test_gains_shrink_where_little_is_missing():
    calibration = SubsetCalibration(recovered={"T2": {"WT": 0.5, "ET": 0.3}})
    assert gains({"WT": 0.6, "ET": 0.0}, calibration) == pytest.approx({"T2": (0.5 * 0.4 + 0.3) / 2})
    assert gains({"WT": 1.0, "ET": 1.0}, calibration) == {"T2": 0}


@pytest.fixture
def calibration() -> Calibration:
    subset = SubsetCalibration(Scaling(1.234567, (0.0, 0.1, 0.2, 0.3)), {"WT": RegionLine(residual=(-0.25, 0.125))},
                               {"WT": 0.75}, {"T1": {"WT": 0.5}})
    return Calibration("a" * 64, {"window": (32, 32, 32)}, "synthetic", 12, {"FLAIR": subset},
                       {"FLAIR": {"quantile 0.5": (-1.0, 1.0)}}, {"regions": {"WT": {"correlation": 0.5}}})


def test_the_file_comes_back(tmp_path, calibration):
    path = write_calibration(beside(tmp_path / "w.safetensors"), calibration)
    assert path.name == "w.confidence.json" and list(tmp_path.iterdir()) == [path]
    found = read_calibration(path, "a" * 64)
    assert found.subsets["FLAIR"].regions == calibration.subsets["FLAIR"].regions
    assert found.subsets["FLAIR"].scaling.slope == pytest.approx(1.234567, rel=1e-4)
    assert found.experience == calibration.experience and found.studies == 12


def test_a_file_of_other_weights_or_a_damaged_one_is_refused(tmp_path, calibration):
    path = write_calibration(tmp_path / "w.confidence.json", calibration)
    with pytest.raises(CalibrationError, match="calibrate --weights"):
        read_calibration(path, "b" * 64)
    with pytest.raises(CalibrationError, match="nobody knows"):
        read_calibration(tmp_path / "nowhere.json")
    for change in ({"format": 99}, {"studies": "many"}, {"unknown": 1}):
        path.write_text(json.dumps(json.loads((tmp_path / "w.confidence.json").read_text()) | change))
        with pytest.raises(CalibrationError, match="calibrate"):
            read_calibration(path)
        write_calibration(path, calibration)
    for text in ("[]", "{", ""):
        path.write_text(text)
        with pytest.raises(CalibrationError, match="calibrate"):
            read_calibration(path)


def test_the_shipped_calibrations_belong_to_their_weights():
    found = set(PRETRAINED.glob("*.confidence.json"))
    assert beside(shipped("dmaf_net_phantom")) in found
    for path in found:
        weights = path.with_name(path.name.replace(".confidence.json", ".safetensors"))
        known = read_calibration(path, weights_digest(load_weights(weights)[0]))
        assert "synthetic" in known.data and len(known.subsets) == 15
        assert list(known.windows["window"]) == list(read_card(weights)["window"])
        # Judged with fits on half of the studies: ten of them hold 9 of 11 new ones at most.
        for numbers in known.quality["regions"].values():
            assert numbers["correlation"] > 0.5 and 0.75 < numbers["volume_within"] <= 1
        choice = known.quality["next_scan"]
        assert choice["random"] < choice["ours"] <= choice["oracle"]
