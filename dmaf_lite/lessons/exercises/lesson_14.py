"""Checks of lesson 14: the role of T2, a tumour that hardly shows, the width of a low-pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dmaf_lite.lessons.exercises import exercise


@exercise("14.1")
def check_14_1(t2_values: Callable) -> None:
    """Order and ranges, each factor drawn anew."""
    drawn = [t2_values(np.random.default_rng(seed)) for seed in range(200)]
    assert all(set(values) == {"white", "grey", "csf", "oedema"} for values in drawn), "four tissues, by these names"
    ranges = {("white", None): (0.45, 0.7), ("grey", "white"): (1.1, 1.5), ("csf", "grey"): (1.6, 3.0),
              ("oedema", "grey"): (1.2, 1.7)}
    for (tissue, of), (low, high) in ranges.items():
        found = np.array([values[tissue] / (values[of] if of else 1) for values in drawn])
        words = f"{tissue} relative to {of}" if of else tissue
        assert found.min() >= low - 1e-9 and found.max() <= high + 1e-9, f"{words} lies between {low} and {high}"
        assert np.ptp(found) > 0.7 * (high - low), f"{words} uses its whole range"
    again = t2_values(np.random.default_rng(7))
    assert again == t2_values(np.random.default_rng(7)), "all chance comes from the generator"


@exercise("14.2")
def check_14_2(mixed_signal: Callable) -> None:
    """Limits of share and conspicuity, and a partial volume between."""
    h, s, a = np.array([0.6, 0.6, 0.6]), np.array([1.0, 1.0, 1.0]), np.array([0.0, 0.5, 1.0])
    assert np.allclose(mixed_signal(h, s, a, 0.0), h), "with k = 0 the tumour looks like the tissue that was there"
    assert np.allclose(mixed_signal(h, s, a, 1.0), [0.6, 0.8, 1.0]), "with k = 1 the shares a and 1 - a mix s and h"
    assert np.allclose(mixed_signal(h, s, a, 0.5), [0.6, 0.7, 0.8]), "k takes a part of the difference s - h, not of s"


@exercise("14.3")
def check_14_3(filter_deviation: Callable) -> None:
    """No filter on the same or a finer grid, variances that add up."""
    assert filter_deviation(1.0) == 0 and filter_deviation(0.5) == 0, "a grid that is not coarser needs no filter"
    assert abs(filter_deviation(3.0) - np.sqrt(8 / 12)) < 1e-9, "for zoom 3 the variance is (9 - 1) / 12"
    box = np.ones(101) / 101  # a wide box has the variance (n^2 - 1) / 12
    place = np.arange(101) - 50
    assert abs(filter_deviation(101.0) ** 2 - (box * place**2).sum()) < 1e-6, "the variance of a box of `zoom` voxels"
