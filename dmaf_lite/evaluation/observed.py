"""What a calibration keeps of a study: probabilities of all subsets where it matters, and the truth there.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.evaluation.metrics import Dice
from dmaf_lite.evaluation.reliability import zone
from dmaf_lite.spec import DatasetSpec

Mask = tuple[bool, ...]
MOST_VOXELS = 20_000  # of one study that are kept: 15 subsets x 4 classes x 2 bytes each are 2.4 MB


@dataclass(frozen=True, eq=False)
class Observed:
    """One study with its truth, in all of its subsets, where any subset sees a chance of a class other than background.

    Attributes:
        masks: The S subsets.
        probabilities: float16[S, K, N].
        truth: uint8[N].
        weight: Voxels that each of the N stands for.
        true_voxels: Region -> voxels of the whole truth.
        voxel_ml: Millilitres of a voxel.
    """

    masks: tuple[Mask, ...]
    probabilities: np.ndarray
    truth: np.ndarray
    weight: float
    true_voxels: Mapping[str, int]
    voxel_ml: float

    def of(self, mask: Mask) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float32[K, n] and truth [n] in the zone of one subset."""
        p = self.probabilities[self.masks.index(mask)].astype(np.float32)
        inside = zone(p)
        return p[:, inside], self.truth[inside]

    def dice(self, mask: Mask, spec: DatasetSpec) -> dict[str, float]:
        """Region -> true Dice."""
        p, truth = self.of(mask)
        label, found = p.argmax(axis=0), {}
        for region, true in self.true_voxels.items():
            shown = spec.region_mask(label, region)
            both = self.weight * np.count_nonzero(shown & spec.region_mask(truth, region))
            predicted = self.weight * np.count_nonzero(shown)
            found[region] = Dice().combine(both, predicted, true)
        return found


def observe(net: nn.Module, images: np.ndarray, truth: np.ndarray, available: Mask, spacing: Sequence[float], *,
            spec: DatasetSpec, settings: WindowSettings) -> Observed:
    """Predict a study from all of its subsets and keep what a calibration needs.

    Args:
        net: A network of the kit.
        images: float32[M, D, H, W], prepared.
        truth: uint8[D, H, W], internal labels.
        available: bool[M].
        spacing: mm per axis.
        spec: Names scans and regions.
        settings: Windows.
    """
    masks = tuple(mask for mask in spec.subsets() if not (np.array(mask) & ~np.array(available)).any())
    maps = subset_probabilities(net, images, np.array(masks), settings=settings).cpu().numpy()
    chance = np.logical_or.reduce([zone(one) for one in maps])
    where = np.flatnonzero(chance)
    kept = where[:: -(-len(where) // MOST_VOXELS)] if len(where) else where
    return Observed(masks, maps.reshape(*maps.shape[:2], -1)[:, :, kept].astype(np.float16), truth.ravel()[kept],
                    len(where) / max(len(kept), 1), {r: int(spec.region_mask(truth, r).sum()) for r in spec.regions},
                    float(np.prod(spacing)) / 1000)


def save(path: str | Path, study: Observed) -> None:
    """Keep a study on disk, whole or not at all."""
    with atomic_path(path) as partial:
        np.savez_compressed(partial, masks=np.array(study.masks), probabilities=study.probabilities, truth=study.truth,
                            weight=study.weight, voxel_ml=study.voxel_ml, regions=np.array(list(study.true_voxels)),
                            true_voxels=np.array(list(study.true_voxels.values())))


def load(path: str | Path) -> Observed:
    """A study that `save` kept."""
    with np.load(path, allow_pickle=False) as stored:
        return Observed(tuple(tuple(map(bool, mask)) for mask in stored["masks"]), stored["probabilities"],
                        stored["truth"], float(stored["weight"]),
                        dict(zip(map(str, stored["regions"]), map(int, stored["true_voxels"]), strict=True)),
                        float(stored["voxel_ml"]))
