"""Checks of lesson 10: a window by centre and width, the scan that is missed most, what a scan adds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from dmaf_lite.lessons.exercises import exercise


@exercise("10.1")
def check_10_1(windowed: Callable) -> None:
    """Linear inside, clipped outside, for any centre and width."""
    assert np.allclose(windowed(np.array([100.0]), 100, 40), 127.5), "the centre of the window is the middle grey"
    assert np.allclose(windowed(np.array([80.0, 120.0]), 100, 40), [0, 255]), \
        "black half a width below the centre, white half a width above"
    found = windowed(np.array([-1000.0, 1000.0]), 100, 40)
    assert np.allclose(found, [0, 255]), "outside the window a grey is never below 0 or above 255"
    assert np.allclose(windowed(np.array([90.0]), 100, 40), 63.75), "in between it rises evenly"


@exercise("10.2")
def check_10_2(most_missed: Callable) -> None:
    """The mean over all companies, not one of them."""
    names = ("FLAIR", "T1ce", "T1", "T2")

    def table(worth: Callable) -> dict:
        return {frozenset(s): worth(frozenset(s)) for n in range(1, 5) for s in combinations(names, n)}

    plain = dict(zip(names, (0.1, 0.4, 0.05, 0.2), strict=True))
    assert most_missed(table(lambda s: sum(plain[m] for m in s))) == "T1ce", \
        "where every scan adds its own, it is the one that adds most"
    # T2 alone is best, but beside other scans it adds little; FLAIR alone is nothing, and adds to all others.
    tricky = table(lambda s: 0.6 if s == {"T2"} else 0.3 * ("FLAIR" in s) + 0.1 * len(s))
    assert most_missed(tricky) == "FLAIR", "compare each subset with itself less the scan, not the scans alone"
    # From the full set only T1 is missed; among fewer scans it is FLAIR, every time.
    odd = {frozenset({"T1ce", "T1", "T2"}): 0.35, frozenset(names): 0.35, frozenset({"FLAIR", "T1ce", "T2"}): 0.1}
    full = table(lambda s: odd.get(s, 0.3 * ("FLAIR" in s)))
    assert most_missed(full) == "FLAIR", "all subsets count, not the full one only"


@exercise("10.3")
def check_10_3(shares: Callable) -> None:
    """Norms of products, whatever the shape, summing to 1."""
    weights, features = np.full((2, 3, 4), 0.5), np.ones((2, 3, 4))
    features[1] *= -10  # large and negative
    found = np.asarray(shares(weights, features))
    assert found.shape == (2,), "one share per scan"
    assert abs(found.sum() - 1) < 1e-6, "the shares sum to 1"
    assert np.allclose(found, [1 / 11, 10 / 11]), "equal weights, but the second scan's features are ten times as large"
    weights[0] = 0
    assert np.allclose(shares(weights, features), [0, 1]), "a weight of 0 adds nothing"
    uneven = np.array([[0.0, 5.0], [3.0, 4.0]])
    assert np.allclose(shares(np.ones((2, 2)), uneven), [0.5, 0.5]), "the norm of the product, not its mean"
