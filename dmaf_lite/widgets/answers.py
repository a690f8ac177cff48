"""What a network answers to one subset of a study's scans, kept small enough to keep all fifteen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from dmaf_lite.evaluation.inference import probabilities_and_weights
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.evaluation.predict import windows_of
from dmaf_lite.figures.planes import to_lps
from dmaf_lite.spec import DatasetSpec
from dmaf_lite.widgets.sources import Study

Mask = tuple[bool, ...]
FULL = 255  # confidences and weights from 0 to 1 are kept in one byte a voxel: finer than any colour scale


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to one subset, in LPS order.

    Attributes:
        label: uint8 [X, Y, Z], internal labels.
        confidence: uint8 [X, Y, Z], probability of the class that is given, 255 for 1.
        weights: uint8 [M, X, Y, Z], modality weights of the full-size level, 255 for 1; None where there are none.
        mean_weights: float [levels, M], their means over the brain; None where there are none.
        dice: Region -> Dice against the reference; empty without one.
        seconds: What the network took.
    """

    label: np.ndarray
    confidence: np.ndarray
    weights: np.ndarray | None = None
    mean_weights: np.ndarray | None = None
    dice: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def predictor(study: Study, net: nn.Module, card: Mapping[str, Any], *, overlap: float = 0.25
              ) -> Callable[[Mask], Answer]:
    """A function from a subset to the network's answer.

    Args:
        study: On the grid of the weights (`on_grid_of`).
        net: The network.
        card: Its card: the window.
        overlap: Of neighbouring windows; half of what evaluations use, for a quicker answer.

    Returns:
        ``answer(mask)``, mask bool[M] in the order of the study's spec.
    """
    import monai.inferers  # noqa: F401 seconds to import: now, and not as a part of the first answer

    windows = replace(windows_of(card), overlap=overlap)
    spec = study.spec
    empty = np.zeros(next(iter(study.images.values())).shape, np.float32)
    images = np.stack([study.images.get(name, empty) for name in spec.modalities])
    brain = (images != 0).any(axis=0)

    def answer(mask: Mask) -> Answer:
        start = time.perf_counter()
        probabilities, weights = probabilities_and_weights(net, images, np.asarray(mask), settings=windows,
                                                           every_level=True)
        best, label = (part.cpu().numpy() for part in probabilities.max(dim=0))
        label = label.astype(np.uint8)
        maps = means = None
        if weights is not None:
            weights = weights.cpu().numpy()
            maps = np.stack([_turned(_in_bytes(one), study) for one in weights[0]])
            means = weights[..., brain].mean(axis=-1)
        return Answer(_turned(label, study), _turned(_in_bytes(best), study), maps, means,
                      dice_of(label, study.label, spec), time.perf_counter() - start)

    return answer


def dice_of(label: np.ndarray, truth: np.ndarray | None, spec: DatasetSpec) -> dict[str, float]:
    """Region -> Dice; empty without a reference."""
    if truth is None:
        return {}
    return {region: float(dice(spec.region_mask(label, region), spec.region_mask(truth, region)))
            for region in spec.regions}


def subsets_of(study: Study) -> list[Mask]:
    """All non-empty subsets of the scans that the study has, by size."""
    there = [name in study.images for name in study.spec.modalities]
    return [mask for mask in study.spec.subsets() if not any(m and not t for m, t in zip(mask, there, strict=True))]


def _in_bytes(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * FULL).round().astype(np.uint8)


def _turned(array: np.ndarray, study: Study) -> np.ndarray:
    return np.ascontiguousarray(to_lps(array, study.affine))


def name_of(mask: Sequence[bool], spec: DatasetSpec) -> str:
    """A subset in words."""
    return spec.subset_name(mask).replace("+", " + ")
