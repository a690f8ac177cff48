"""How good is this segmentation probably?  Expected Dice and volume from probabilities alone, without a truth.

If a voxel belongs to the region with probability q, and voxels are taken as independent, then a mask P overlaps the
unknown truth G by sum_P q voxels on average, and G has sum q voxels:

    expected Dice = 2 sum_P q / (|P| + sum q)        (ratio of the means; regions have many voxels)

Taught in lesson 15.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmaf_lite.evaluation.reliability import zone
from dmaf_lite.spec import DatasetSpec


@dataclass(frozen=True)
class Doubt:
    """One region of one prediction, in numbers.

    Attributes:
        mask: |P|, voxels of the mask.
        inside: sum of q over the mask.
        everywhere: sum of q over the zone.
    """

    mask: float
    inside: float
    everywhere: float

    @property
    def dice(self) -> float:
        """Expected Dice; where mask and probability are both nothing, 1: nothing is found where nothing is."""
        size = self.mask + self.everywhere
        return 2 * self.inside / size if size > 0 else 1.0


def doubts(label: np.ndarray, q: np.ndarray, spec: DatasetSpec, weight: float = 1.0) -> dict[str, Doubt]:
    """Region -> `Doubt`.

    Args:
        label: int[...], the internal labels that are shown.
        q: float[K, ...], class probabilities of the same voxels.
        spec: Names the regions.
        weight: Voxels that each of these stands for.
    """
    found = {}
    for region, labels in spec.regions.items():
        mask, of_region = np.isin(label, sorted(labels)), q[sorted(labels)].sum(axis=0, dtype=np.float64)
        found[region] = Doubt(weight * float(mask.sum()), weight * float(of_region[mask].sum()),
                              weight * float(of_region.sum()))
    return found


def expected_dice(probabilities: np.ndarray, spec: DatasetSpec) -> dict[str, float]:
    """Region -> expected Dice of the label map of the largest probability; not calibrated.

    Args:
        probabilities: float[K, ...], of a whole study.
        spec: Names the regions.
    """
    inside = zone(probabilities)
    p = probabilities[:, inside]
    return {region: doubt.dice for region, doubt in doubts(p.argmax(axis=0), p, spec).items()}
