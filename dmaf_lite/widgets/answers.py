"""What a network answers to one subset of a study's scans, kept small enough to keep all fifteen."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from dmaf_lite.data.damage import damage
from dmaf_lite.evaluation.expected import expected_dice
from dmaf_lite.evaluation.inference import subsets_and_weights, windows_of
from dmaf_lite.evaluation.metrics import dice
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
        expected: Region -> Dice that the network itself expects (`expected_dice`).
    """

    label: np.ndarray
    confidence: np.ndarray
    weights: np.ndarray | None = None
    mean_weights: np.ndarray | None = None
    dice: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    expected: Mapping[str, float] = field(default_factory=dict)


class Predictor:
    """A network on one study: subsets in, answers out.

    Args:
        study: On the grid of the weights (`on_grid_of`).
        net: The network.
        card: Its card: the window.
        overlap: Of neighbouring windows; half of what evaluations use, for a quicker answer.
    """

    def __init__(self, study: Study, net: nn.Module, card: Mapping[str, Any], *, overlap: float = 0.25) -> None:
        import monai.inferers  # noqa: F401 seconds to import: now, and not as a part of the first answer

        self.study, self.net = study, net
        self.windows = replace(windows_of(card), overlap=overlap, mirror=False)  # half the wait
        empty = np.zeros(next(iter(study.images.values())).shape, np.float32)
        self.images = np.stack([study.images.get(name, empty) for name in study.spec.modalities])
        self.brain = (self.images != 0).any(axis=0)
        self._busy = threading.Lock()  # one pass at a time: two at once are slower than one after the other

    def __call__(self, mask: Mask) -> Answer:
        """The answer to one subset."""
        return self.many([mask])[mask]

    def many(self, masks: Sequence[Mask], images: np.ndarray | None = None) -> dict[Mask, Answer]:
        """Answers to several subsets; each scan is encoded once.

        Args:
            masks: bool[M] each, in the order of the study's spec.
            images: float32[M, X, Y, Z] in place of the study's own.
        """
        with self._busy:
            start = time.perf_counter()
            found = subsets_and_weights(self.net, self.images if images is None else images, np.asarray(masks),
                                        settings=self.windows, every_level=True)
        seconds = (time.perf_counter() - start) / len(masks)
        return {mask: self._answer(*one, seconds) for mask, one in zip(masks, found, strict=True)}

    def degraded(self, mask: Mask, scan: str, kind: str, level: float) -> tuple[Answer, np.ndarray]:
        """The answer to a subset of which one scan is made worse (`damage`), and that scan in LPS order."""
        images = self.images.copy()
        index = self.study.spec.modalities.index(scan)
        images[index] = damage(images[index], kind, level)
        return self.many([mask], images)[mask], _turned(images[index], self.study)

    def _answer(self, probabilities: Tensor, weights: Tensor | None, seconds: float) -> Answer:
        spec, truth = self.study.spec, self.study.label
        best, label = (part.cpu().numpy() for part in probabilities.max(dim=0))
        label = label.astype(np.uint8)
        maps = means = None
        if weights is not None:
            values = weights.cpu().numpy()
            maps = np.stack([_turned(_in_bytes(one), self.study) for one in values[0]])
            means = values[..., self.brain].mean(axis=-1)
        return Answer(_turned(label, self.study), _turned(_in_bytes(best), self.study), maps, means,
                      dice_of(label, truth, spec), seconds, expected_dice(probabilities.float().cpu().numpy(), spec))


def predictor(study: Study, net: nn.Module, card: Mapping[str, Any], *, overlap: float = 0.25) -> Predictor:
    """A function from a subset to the network's answer, see `Predictor`."""
    return Predictor(study, net, card, overlap=overlap)


def dice_of(label: np.ndarray, truth: np.ndarray | None, spec: DatasetSpec) -> dict[str, float]:
    """Region -> Dice; empty without a reference."""
    if truth is None:
        return {}
    return {region: float(dice(spec.region_mask(label, region), spec.region_mask(truth, region)))
            for region in spec.regions}


def subsets_of(study: Study) -> list[Mask]:
    """All non-empty subsets of the scans that the study has, by size."""
    available = [name in study.images for name in study.spec.modalities]
    return [mask for mask in study.spec.subsets() if not any(m and not t for m, t in zip(mask, available, strict=True))]


def _in_bytes(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * FULL).round().astype(np.uint8)


def _turned(array: np.ndarray, study: Study) -> np.ndarray:
    return np.ascontiguousarray(to_lps(array, study.affine))


def name_of(mask: Sequence[bool], spec: DatasetSpec) -> str:
    """A subset in words."""
    return spec.subset_name(mask).replace("+", " + ")
