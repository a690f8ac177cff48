"""Windows that fit the study: never more work, and laid as MONAI lays them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities, windows_of
from dmaf_lite.evaluation.window_size import count, fitted_window
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import read_card, shipped
from dmaf_lite.spec import BRATS

SIDES = st.tuples(*[st.integers(8, 100)] * 3)


def voxels(shape, window, overlap):
    return math.prod(side * count(length, side, overlap) for length, side in zip(shape, window, strict=True))


@given(SIDES, st.sampled_from([0.0, 0.2, 0.25, 0.5]), st.sampled_from([16, 32, 40]), st.sampled_from([1.0, 1.5, 2.0]))
def test_a_fitted_window_is_allowed_and_never_more_work(shape, overlap, side, growth):
    window, largest = (side,) * 3, (int(side * growth),) * 3
    found = fitted_window(shape, window, largest, overlap=overlap, stride=(8, 8, 8))
    assert all(side <= s <= int(side * growth) and s % 8 == 0 for s in found)
    assert voxels(shape, found, overlap) <= voxels(shape, window, overlap)
    if growth == 1:
        assert found == window


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize(("length", "side"), [(20, 32), (32, 32), (33, 32), (47, 16), (64, 32), (97, 40)])
def test_windows_are_counted_as_monai_lays_them(length, side, overlap):
    seen = 0

    def look(part):
        nonlocal seen
        seen += len(part)
        return part

    sliding_window_inference(torch.zeros(1, 1, length, 8, 8), (side, 8, 8), 1, look, overlap=(overlap, 0, 0))
    assert seen == count(length, side, overlap)


def test_an_example_by_hand():
    """45 and 48 voxels: one window of 48 for two of 32; 57: two of 40 (80 voxels) for three of 32 (96)."""
    assert fitted_window((45, 57, 48), (32,) * 3, (48,) * 3, overlap=0.25, stride=(8,) * 3) == (48, 40, 48)


def test_windows_grow_in_use_and_only_then():
    """One window in place of eight changes what an instance norm sees, so the answer tells which were laid."""
    torch.manual_seed(0)
    net = build_network("baseline", BRATS, width=2, levels=2)
    images = np.random.default_rng(0).normal(size=(4, 12, 12, 12)).astype(np.float32)
    masks = np.array(BRATS.subsets())[-1:]

    def answer(**settings):
        return subset_probabilities(net, images, masks, settings=WindowSettings(precision="float32", **settings))

    small, one = answer(window=(8, 8, 8)), answer(window=(12, 12, 12))
    assert torch.equal(answer(window=(8, 8, 8), largest=(12, 12, 12)), one)
    assert torch.equal(answer(window=(8, 8, 8), largest=(8, 8, 8)), small) and not torch.equal(small, one)


def test_a_largest_window_below_the_window_is_refused():
    with pytest.raises(ValueError, match="no side below that of the window"):
        WindowSettings(window=(32, 32, 32), largest=(32, 24, 32))


def test_weights_say_how_they_predict():
    assert windows_of(read_card(shipped("dmaf_net_randomised"))) == WindowSettings(largest=(40, 40, 40), mirror=True)
    assert windows_of(read_card(shipped("dmaf_net_phantom"))) == WindowSettings()
    assert windows_of({"window": [16, 16, 8]}) == WindowSettings(window=(16, 16, 8))
    with pytest.raises(ValueError, match="larges is not known"):
        windows_of({"prediction": {"larges": [40, 40, 40]}})
