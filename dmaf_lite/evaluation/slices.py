"""Scores slice by slice, for stacks of few thick slices.

In 3-D the distance to the next slice, 12 to 23 mm, decides an HD95; and published work on hearts counts slices, not
patients, and pixels, not mm.  Both are conventions here (`by` and `unit` of `Dice` and `HD95`).

Taught in the lesson on hearts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dmaf_lite.evaluation.metrics import HD95, Dice, TruthSurface

WHOLE = -1  # in the column `slice`: not a slice but the whole case

# metric, convention, slice, unit, value
Score = tuple[str, str, int, str, float]


class SliceTruth:
    """One region of one case, slice by slice; surfaces are found once and serve every subset's prediction.

    Args:
        truth: bool[D, H, W]; slices lie along the last axis.
        spacing: mm per axis.
    """

    def __init__(self, truth: np.ndarray, spacing: Sequence[float]) -> None:
        self.truth, self.spacing = truth, tuple(spacing)

    @cached_property
    def _surfaces(self) -> dict[str, list[TruthSurface]]:
        from dmaf_lite.evaluation.metrics import TruthSurface

        planes = np.moveaxis(self.truth, -1, 0)
        return {unit: [TruthSurface(plane, spacing) for plane in planes]
                for unit, spacing in (("mm", self.spacing[:2]), ("px", (1.0, 1.0)))}

    def dice(self, predicted: np.ndarray, setting: Dice) -> list[float]:
        """Dice of every slice."""
        both, ours, true = (mask.sum((0, 1)).tolist() for mask in (predicted & self.truth, predicted, self.truth))
        return [setting.combine(*found) for found in zip(both, ours, true, strict=True)]

    def hd95(self, predicted: np.ndarray, setting: HD95, *, both_only: bool = False) -> list[float]:
        """HD95 of every slice, or only of those in which prediction and truth are both there.

        The diagonal, where a convention asks for it, is that of the slice.
        """
        sides = self.spacing[:2] if setting.unit == "mm" else (1.0, 1.0)
        diagonal = float(np.linalg.norm(np.multiply(self.truth.shape[:2], sides)))
        found = []
        for k, surface in enumerate(self._surfaces[setting.unit]):
            both = predicted[..., k].any() and self.truth[..., k].any()
            if both or not both_only:
                found.append(setting.combine(*surface.distances(predicted[..., k]), diagonal=diagonal))
        return found


def slice_scores(predicted: np.ndarray, truth: SliceTruth, dice: Sequence[Dice], hd95: Sequence[HD95], *,
                 diagonal: float) -> Iterator[Score]:
    """Scores of one region under the conventions that look at slices; those that look at volumes are left out.

    Args:
        predicted: bool[D, H, W].
        truth: The region's truth.
        dice, hd95: All conventions.
        diagonal: mm, of the original volume; what a mean over slices counts for where a whole side is empty.
    """
    for setting in dice:
        if setting.by == "slice":
            for k, value in enumerate(truth.dice(predicted, setting)):
                yield "dice", setting.name, k, "", value
    for setting in hd95:
        if setting.by == "slice":
            for k, value in enumerate(truth.hd95(predicted, setting)):
                yield "hd95", setting.name, k, setting.unit, value
        elif setting.by == "slice_mean":
            values = truth.hd95(predicted, setting, both_only=True)
            if values:
                value = float(np.mean(values))
            else:  # never both in one slice: by the convention for an empty side
                ours, true = (np.full(int(mask.any()), np.inf) for mask in (predicted, truth.truth))
                apart = len(ours) and len(true)
                value = diagonal if apart else setting.combine(ours, true, diagonal=diagonal)
            yield "hd95", setting.name, WHOLE, setting.unit, value
