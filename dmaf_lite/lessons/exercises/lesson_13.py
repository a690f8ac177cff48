"""Checks of lesson 13: what a scan is worth, and the mean over slices."""

from __future__ import annotations

from collections.abc import Callable

from dmaf_lite.lessons.exercises import exercise


@exercise("13.1")
def check_13_1(worth: Callable) -> None:
    """Gains over the subsets that lack the scan, the empty one left out."""
    table = {"C0": 0.3, "LGE": 0.5, "T2": 0.4, "C0+LGE": 0.6, "C0+T2": 0.45, "LGE+T2": 0.7, "C0+LGE+T2": 0.75}
    for scan, gains in {"LGE": (0.3, 0.3, 0.3), "C0": (0.1, 0.05, 0.05), "T2": (0.15, 0.2, 0.15)}.items():
        found = worth(dict(table), scan)
        assert abs(found - sum(gains) / 3) < 1e-9, \
            f"{scan} adds {gains} to the three subsets that lack it, {sum(gains) / 3:.4f} on average; found {found}"
    brains = {"T1": 0.1, "T1ce": 0.5, "T1+T1ce": 0.6}
    assert abs(worth(brains, "T1") - 0.1) < 1e-9, "T1 is a scan by itself, and not the beginning of T1ce"


@exercise("13.2")
def check_13_2(mean_over_slices: Callable) -> None:
    """A mean of ratios; two empty sides count 1, one empty side 0."""
    assert abs(mean_over_slices([5, 1], [10, 1], [10, 3]) - 0.5) < 1e-9, "0.5 and 0.5: a mean over slices of their Dice"
    assert mean_over_slices([0, 4], [0, 4], [0, 4]) == 1, "a slice in which both are empty counts 1"
    assert mean_over_slices([0, 0], [3, 0], [0, 0]) == 0.5, "a slice with something invented counts 0"
    assert abs(mean_over_slices([50, 0], [50, 1], [50, 1]) - 0.5) < 1e-9, \
        "every slice counts alike, however large the region in it"
