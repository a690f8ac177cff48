"""The yardstick of hearts: are the volumes those of MyoPS 2020, and does each scan show what it should show?

A threshold inside the *true* wall is generous, as it knows the anatomy; only its order between scans is judged: scar
is seen on LGE, the oedema zone on T2, and C0 shows neither much better than calling the whole wall injured.

Taught in the lesson on hearts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dmaf_lite.phantom.brain.realism import threshold_dice
from dmaf_lite.phantom.heart.hearts import LABELS, MODALITIES

# Label -> cm3 of the 25 training cases of MyoPS 2020: smallest, median, largest (spec myops, section 1.1).
REAL_VOLUMES = {"myocardium": (52, 88, 142), "LV": (44, 87, 144), "RV": (52, 94, 201), "oedema": (3.7, 19, 68),
                "scar": (3.3, 26, 64)}
WALL = ("myocardium", "oedema", "scar")
ZONES = {"scar": ("scar",), "oedema": ("oedema", "scar")}
# (region, better scan, other scan): the median of the best-threshold Dice must be higher on the better one.
ORDER = (("scar", "LGE", "T2"), ("scar", "T2", "C0"), ("oedema", "T2", "LGE"), ("oedema", "LGE", "C0"))


def volumes(cases: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Label -> float[cases], cm3, of cases such as `make_heart` gives."""
    found: dict[str, list[float]] = {name: [] for name in LABELS}
    for case in cases:
        voxel = abs(float(np.linalg.det(case["affine"][:3, :3]))) / 1000
        for name, value in LABELS.items():
            found[name].append(float(np.count_nonzero(case["gd"] == value)) * voxel)
    return {name: np.array(values) for name, values in found.items()}


def thresholds(cases: Iterable[Mapping[str, np.ndarray]]) -> dict[tuple[str, str], np.ndarray]:
    """(region, modality) -> float[cases], the best-threshold Dice inside the true wall; modality "wall": all of it."""
    found: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        wall = _mask(case, WALL)
        for region, parts in ZONES.items():
            mask = _mask(case, parts)
            for modality in MODALITIES:
                found.setdefault((region, modality), []).append(threshold_dice(case[modality], mask, wall))
            found.setdefault((region, "wall"), []).append(2 * mask.sum() / (mask.sum() + wall.sum()))
    return {key: np.array(values) for key, values in found.items()}


def _mask(case: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.isin(case["gd"], [LABELS[name] for name in names])


def faults(cases: Sequence[Mapping[str, np.ndarray]]) -> list[str]:
    """What is not as it should be in a cohort, one sentence each; empty where all is well.

    The cohort's quartiles must lie inside the real range and its median within a third of the real one; its range
    must cover at least half of the real one (from 25 cases on).
    """
    wrong = []
    for name, values in volumes(cases).items():
        low, middle, high = REAL_VOLUMES[name]
        first, median, third = np.percentile(values, [25, 50, 75])
        if first < low or third > high or not middle * 2 / 3 < median < middle * 4 / 3:
            wrong.append(f"{name}: quartiles {first:.0f}, {median:.0f}, {third:.0f} cm3; real {low}, {middle}, {high}")
        if len(values) >= 25 and np.ptp(values) < 0.5 * (high - low):
            wrong.append(f"{name}: {values.min():.0f} to {values.max():.0f} cm3; real {low} to {high}")
    dice = {key: float(np.nanmedian(values)) for key, values in thresholds(cases).items()}
    for region, better, other in ORDER:
        if not dice[region, better] > dice[region, other]:
            wrong.append(f"{region}: threshold Dice {dice[region, better]:.2f} on {better}, {dice[region, other]:.2f} "
                         f"on {other}; expected more on {better}")
    return wrong
