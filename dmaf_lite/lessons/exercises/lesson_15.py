"""Checks of lesson 15: a bin of a reliability diagram, the threshold that promises most, a scan left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dmaf_lite.lessons.exercises import exercise


@exercise("15.1")
def check_15_1(one_bin: Callable) -> None:
    """Half-open bins, means of what lies inside, nan for nothing."""
    promised, came = np.array([0.1, 0.6, 0.7, 0.65, 0.7]), np.array([False, True, False, True, True])
    found = one_bin(promised, came, 0.6, 0.7)
    assert abs(found[0] - 0.625) < 1e-9, "0.6 lies in [0.6, 0.7), 0.7 does not"
    assert abs(found[1] - 1.0) < 1e-9, "the share that came true is counted among the voxels of the bin alone"
    both = one_bin(promised, came, 0.0, 1.0)
    assert np.allclose(both, (0.55, 0.6)), "first the mean promise, then the share that came true"
    assert np.isnan(one_bin(promised, came, 0.2, 0.5)).all(), "an empty bin has no mean: nan twice"


@exercise("15.2")
def check_15_2(best_threshold: Callable) -> None:
    """The threshold that promises most, by trying them."""
    thresholds = [0.1, 0.3, 0.5, 0.7, 0.9]
    assert best_threshold(np.array([1.0, 1.0, 0.0]), thresholds) in thresholds, "one of those that were given"
    doubtful = np.full(100, 0.4)
    assert best_threshold(doubtful, thresholds) <= 0.3, \
        "where every voxel is 0.4 likely, an empty mask scores 0: the best mask takes them all"
    mixed = np.r_[np.full(50, 0.95), np.full(400, 0.2)]
    assert best_threshold(mixed, thresholds) in (0.3, 0.5, 0.7, 0.9), "voxels of 0.2 add more size than truth here"
    rng = np.random.default_rng(0)
    q = rng.beta(0.5, 1.0, 500)
    scores = [2 * q[q >= t].sum() / ((q >= t).sum() + q.sum()) for t in thresholds]
    assert best_threshold(q, thresholds) == thresholds[int(np.argmax(scores))], \
        "2 x the sum of q in the mask, over the size of the mask plus the sum of all q"


@exercise("15.3")
def check_15_3(leave_out: Callable) -> None:
    """The best promise, if it is worth it."""
    promised = {"nothing": 0.80, "FLAIR": 0.86, "T1ce": 0.40, "T1": 0.81, "T2": 0.79}
    assert leave_out(dict(promised), 0.01) == "FLAIR", "the scan without which most is promised"
    assert leave_out(dict(promised), 0.10) == "nothing", "0.06 more is not worth it where 0.10 is asked for"
    assert leave_out({"nothing": 0.9, "T1": 0.9, "T2": 0.5}, 0.01) == "nothing", "a draw is no reason to leave one out"
    assert leave_out({"nothing": 0.5, "T1": 0.75}, 0.25) == "T1", "at least `worth_it` includes `worth_it`"
