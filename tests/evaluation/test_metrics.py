"""Metrics against independent libraries, brute force and cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from dmaf_lite.evaluation.metrics import (
    EMPTY,
    HD95,
    TruthSurface,
    diagonal_mm,
    dice,
    hd95,
    overlap,
    surface_points,
    volume_ml,
)

SPACING = (1.0, 1.0, 1.0)


def blob(seed: int, shape=(18, 15, 12), level: float = 0.3) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return noise > level * noise.std()


def ball(shape, centre, radius) -> np.ndarray:
    grid = np.indices(shape)
    return sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) <= radius**2


def brute_force(prediction, truth, spacing, percentile=95):
    """HD95 both ways from all pairwise distances of voxels that have an outside face neighbour."""
    def points(mask):
        padded = np.pad(mask, 1)
        inside = np.ones_like(padded)
        for axis in range(mask.ndim):
            inside &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
        return (np.argwhere(padded & ~inside) - 1) * np.asarray(spacing)

    table = cdist(points(prediction), points(truth))
    rows, columns = table.min(axis=1), table.min(axis=0)
    pooled = np.percentile(np.concatenate([rows, columns]), percentile)
    return pooled, max(np.percentile(rows, percentile), np.percentile(columns, percentile))


@pytest.mark.parametrize("spacing", [SPACING, (0.8, 1.3, 5.0)])
@pytest.mark.parametrize("seed", range(6))
def test_hd95_equals_brute_force_in_both_definitions(seed, spacing):
    prediction, truth = blob(seed), blob(seed + 100, level=0.6)
    pooled, max_directed = brute_force(prediction, truth, spacing)
    assert hd95(prediction, truth, spacing, setting=HD95("pooled")) == pytest.approx(pooled, abs=1e-9)
    assert hd95(prediction, truth, spacing, setting=HD95("max_directed")) == pytest.approx(max_directed, abs=1e-9)
    assert pooled != pytest.approx(max_directed)


@pytest.mark.parametrize("spacing", [SPACING, (0.8, 1.3, 5.0)])
def test_dice_and_max_directed_equal_monai(spacing):
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    for seed in range(4):
        prediction, truth = blob(seed), blob(seed + 50, level=0.8)
        p, t = (torch.from_numpy(mask)[None, None] for mask in (prediction, truth))
        theirs = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=spacing)
        assert hd95(prediction, truth, spacing, setting=HD95("max_directed")) == pytest.approx(float(theirs), rel=1e-6)
        assert dice(prediction, truth) == pytest.approx(float(compute_dice(p, t)), rel=1e-6)


def test_one_false_positive_ball_separates_the_definitions():
    """evaluation.md: the same error is 0 mm under one definition and many under the other."""
    shape = (60, 40, 40)
    truth, false_positive = ball(shape, (20, 20, 20), 14), ball(shape, (50, 20, 20), 4)
    prediction = truth | false_positive
    share = len(surface_points(false_positive)) / len(surface_points(prediction))
    assert 0.05 < share < 0.10  # over 5 % of one side's surface, under 5 % of both together
    assert hd95(prediction, truth, SPACING, setting=HD95("pooled")) == 0.0
    assert hd95(prediction, truth, SPACING, setting=HD95("max_directed")) > 10.0


def test_shift_and_anisotropic_spacing_by_hand():
    truth = np.zeros((9, 9, 9), bool)
    truth[4, 4, 4] = True
    for axis, spacing in enumerate((2.0, 3.0, 0.5)):
        prediction = np.roll(truth, 2, axis=axis)
        assert hd95(prediction, truth, (2.0, 3.0, 0.5)) == pytest.approx(2 * spacing)
    assert volume_ml(truth, (2.0, 3.0, 0.5)) == pytest.approx(0.003)


def test_diagonal_of_the_brats_volume():
    assert diagonal_mm((240, 240, 155), SPACING) == pytest.approx(373.13, abs=0.005)
    assert diagonal_mm((120, 120, 155), (2, 2, 1)) == pytest.approx(373.13, abs=0.005)


@pytest.mark.parametrize("definition", ["pooled", "max_directed"])
def test_empty_conventions(definition):
    full, empty = ball((9, 9, 9), (4, 4, 4), 2), np.zeros((9, 9, 9), bool)
    missed = {"diagonal": 373.13, "one": 1.0, "zero": 0.0, "gt_empty_penalty": 0.0}
    invented = {"diagonal": 373.13, "one": 1.0, "zero": 0.0, "gt_empty_penalty": 373.13}
    for name in EMPTY:
        setting = HD95(definition, name)
        assert hd95(empty, empty, SPACING, setting=setting, diagonal=373.13) == 0.0
        if name == "exclude":
            assert math.isnan(hd95(empty, full, SPACING, setting=setting))
            assert math.isnan(hd95(full, empty, SPACING, setting=setting))
        else:
            assert hd95(empty, full, SPACING, setting=setting, diagonal=373.13) == missed[name]
            assert hd95(full, empty, SPACING, setting=setting, diagonal=373.13) == invented[name]
    assert hd95(full, empty, SPACING, setting=HD95(definition)) == pytest.approx(9 * math.sqrt(3))
    assert dice(empty, empty) == 1.0 and dice(full, empty) == 0.0 and dice(empty, full) == 0.0


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="max_directed"):
        HD95("average")
    with pytest.raises(ValueError, match="gt_empty_penalty"):
        HD95("pooled", "nothing")
    with pytest.raises(ValueError, match="positive"):
        hd95(blob(0), blob(1), (1, 0, 1))
    with pytest.raises(ValueError, match="shape"):
        TruthSurface(blob(0), SPACING).distances(blob(1)[1:])


def test_sensitivity_and_precision_are_not_swapped():
    truth = np.zeros((10, 10, 10), bool)
    truth[:, :, :5] = True
    prediction = np.zeros_like(truth)
    prediction[:, :, :1] = True  # a fifth of the truth, and nothing else
    result = overlap(prediction, truth)
    assert result["sensitivity"] == pytest.approx(0.2) and result["precision"] == 1.0
    empty = np.zeros_like(truth)
    assert math.isnan(overlap(prediction, empty)["sensitivity"]) and overlap(prediction, empty)["precision"] == 0.0
    assert math.isnan(overlap(empty, truth)["precision"]) and overlap(empty, truth)["sensitivity"] == 0.0


def test_the_truth_map_is_computed_at_most_twice_and_changes_no_digit(monkeypatch):
    calls = []
    original = ndimage.distance_transform_edt
    monkeypatch.setattr(ndimage, "distance_transform_edt", lambda *a, **k: calls.append(1) or original(*a, **k))
    shape = (60, 50, 40)
    truth = TruthSurface(ball(shape, (30, 25, 20), 6), (1.0, 1.2, 2.0))
    near = [ball(shape, (30 + k, 25, 20), 5) for k in range(4)]
    predictions = near + [ball(shape, (5, 5, 5), 4 + k) for k in range(3)] + [ball(shape, (54, 44, 34), 4)]
    kept = [HD95().combine(*truth.distances(p), diagonal=1.0) for p in predictions]
    assert len(calls) == 2
    assert kept == [hd95(p, ball(shape, (30, 25, 20), 6), (1.0, 1.2, 2.0)) for p in predictions]
    assert len(set(kept)) == len(kept)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0.5, 4.0))
def test_symmetry_scale_and_crop(seed, other, scale):
    prediction, truth = blob(seed, (10, 9, 8)), blob(other, (10, 9, 8))
    both_ways = hd95(prediction, truth, SPACING), hd95(truth, prediction, SPACING)
    assert both_ways[0] == pytest.approx(both_ways[1])
    assert hd95(prediction, truth, (scale,) * 3) == pytest.approx(scale * both_ways[0])
    padded = [np.pad(mask, ((3, 1), (0, 2), (5, 5))) for mask in (prediction, truth)]
    assert hd95(*padded, SPACING) == both_ways[0]
    assert hd95(prediction, prediction, SPACING) == 0.0
