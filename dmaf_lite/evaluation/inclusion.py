"""Does a scan more make the answer surer?  Set-inclusive uncertainty, and how often it is violated.

Whoever learns more should not become less certain on average: for S a part of S + m, the entropy H(S + m) should not
be above H(S).  Networks are not built to keep this; here is how often they do not.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Mask = tuple[bool, ...]
# nats: a rise below is rounding, not a change of mind
RISE = 0.01


def steps(masks: Iterable[Mask]) -> list[tuple[Mask, Mask, int]]:
    """Pairs (subset, subset with one scan more, number of that scan) among some subsets; 28 of all 15."""
    masks = list(masks)
    return [(small, large, int(np.flatnonzero(np.array(large) & ~np.array(small))[0]))
            for small in masks for large in masks
            if sum(large) == sum(small) + 1 and not (np.array(small) & ~np.array(large)).any()]


@dataclass(frozen=True)
class Violations:
    """Shares in which entropy rose though a scan was added.

    Attributes:
        steps: Of the steps (subset, scan): the mean over the zone rose.
        voxels: Of all voxels of the zone in all steps: its entropy rose by more than `RISE`.
        by_scan: Number of the scan that was added -> share of its steps.
    """

    steps: float
    voxels: float
    by_scan: Mapping[int, float]


def violations(entropies: Mapping[Mask, np.ndarray]) -> Violations:
    """How often a scan more made one study's answer less sure.

    Args:
        entropies: Subset -> entropy [N] of the same voxels.
    """
    rose: dict[int, list[bool]] = {}
    voxels = []
    for small, large, scan in steps(entropies):
        rise = entropies[large] - entropies[small]
        rose.setdefault(scan, []).append(bool(rise.mean() > 0))
        voxels.append(float((rise > RISE).mean()))
    every = [one for many in rose.values() for one in many]
    return Violations(float(np.mean(every)), float(np.mean(voxels)),
                      {scan: float(np.mean(many)) for scan, many in sorted(rose.items())})
