"""Checks of lesson 01: regions, normalisation, dropping scans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from dmaf_lite.lessons.exercises import exercise
from dmaf_lite.spec import BRATS


@exercise("1.1")
def check_1_1(regions: Callable) -> None:
    """Every region is the union of its classes, and the regions are nested."""
    label = np.arange(8, dtype=np.uint8).reshape(2, 2, 2) % 4
    before = label.copy()
    found = regions(label)
    assert set(found) == set(BRATS.regions), "return a dictionary with the keys WT, TC and ET"
    for region, mask in found.items():
        assert np.asarray(mask).dtype == bool, f"{region}: a mask is bool"
        assert np.shape(mask) == label.shape, f"{region}: a mask has the label's shape"
        assert np.array_equal(mask, BRATS.region_mask(label, region)), \
            f"{region} is the union of the classes {sorted(BRATS.regions[region])}"
    assert np.array_equal(label, before), "leave the label map as it was"


@exercise("1.2")
def check_1_2(normalise: Callable) -> None:
    """Mean 0, deviation 1 inside, exactly 0 outside, whatever the background and the unit."""
    rng = np.random.default_rng(0)
    inside = np.zeros((6, 7, 8), bool)
    inside[1:5, 2:6, 1:7] = True
    brain = rng.normal(300, 40, inside.shape)
    expected = (brain - brain[inside].mean()) / brain[inside].std()
    for background, gain in ((0.0, 1.0), (-3.0, 0.01), (1000.0, 2.0)):
        found = np.asarray(normalise(np.where(inside, gain * brain, background)))
        assert (found[~inside] == 0).all(), f"the background, {background:g} here, must become exactly 0"
        assert np.allclose(found[inside], expected[inside], atol=1e-4), \
            "mean and deviation are those of the foreground alone, and the scanner's unit must not matter"


@exercise("1.3")
def check_1_3(drop: Callable) -> None:
    """Non-empty, a part of what is there, and every part equally likely."""
    rng = np.random.default_rng(0)
    available = np.array([True, False, True, True])
    drawn = Counter(tuple(bool(x) for x in drop(available.copy(), rng)) for _ in range(1400))
    assert all(any(subset) for subset in drawn), "at least one scan must stay"
    assert not any(subset[1] for subset in drawn), "a scan that is not there cannot be kept"
    assert len(drawn) == 7, f"three scans have 7 non-empty subsets, {len(drawn)} of them were drawn"
    # 200 expected; five standard deviations are 65
    assert max(drawn.values()) < 265 and min(drawn.values()) > 135, "every subset must have the same chance"
