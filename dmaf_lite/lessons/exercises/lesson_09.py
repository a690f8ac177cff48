"""Checks of lesson 09: empty sides, the mean by size, Holm's correction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dmaf_lite.evaluation.statistics import holm
from dmaf_lite.lessons.exercises import exercise


@exercise("9.1")
def check_9_1(pooled_hd95: Callable) -> None:
    """Three kinds of empty, and one percentile over both directions."""
    none, some = np.array([]), np.array([1.0, 2.0, 3.0])
    assert pooled_hd95(none, none, 100.0) == 0, "nothing predicted where nothing is: 0, that is right and not a failure"
    assert pooled_hd95(none, some, 100.0) == 100 and pooled_hd95(some, none, 100.0) == 100, \
        "one side empty, whichever: the penalty"
    near, far = np.zeros(99), np.full(1, 50.0)
    assert pooled_hd95(near, far, 100.0) == 0, "pooled: one percentile over the distances of both directions together"
    assert abs(pooled_hd95(np.arange(101.0), np.arange(101.0), 1.0) - 95) < 1e-6, "the 95th percentile, not the largest"


@exercise("9.2")
def check_9_2(mean_by_size: Callable) -> None:
    """Grouped by the number of scans, whatever they are."""
    table = {"FLAIR": 0.2, "T1ce": 0.4, "T1": 0.0, "FLAIR+T1ce": 0.5, "T1+T2": 0.7, "FLAIR+T1ce+T1+T2": 0.9}
    found = mean_by_size(dict(table))
    assert set(found) == {1, 2, 4}, "the keys are the numbers of scans that occur"
    for size, mean in {1: 0.2, 2: 0.6, 4: 0.9}.items():
        assert abs(found[size] - mean) < 1e-9, f"the mean over the subsets of {size} scans is {mean} here"


@exercise("9.3")
def check_9_3(holm_correction: Callable) -> None:
    """Holm's step-down, in the order of the input."""
    assert np.allclose(holm_correction([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]), \
        "for 0.01, 0.04, 0.03: 3 x 0.01, then 2 x 0.03, and 0.04 may not fall below that; in the order given"
    assert np.max(holm_correction([0.5, 0.9])) <= 1, "a p value is never above 1"
    rng = np.random.default_rng(0)
    for n in (1, 4, 9):
        p = rng.random(n) ** 3
        assert np.allclose(holm_correction(p.tolist()), holm(p)), "smallest x n, next x (n - 1), ..., never falling"
