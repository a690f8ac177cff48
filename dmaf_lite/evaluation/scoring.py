"""Score one case: every region of every predicted subset, as rows of the long table.

Metrics of a region: dice and hd95 under each convention asked for, sensitivity, precision, volume_ml and truth_ml,
and missed / invented (1 where only the prediction / only the truth is empty: the cases on which HD95 conventions
differ).

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from dmaf_lite.evaluation.metrics import HD95, Dice, TruthSurface, counts, rates, volume_ml
from dmaf_lite.evaluation.slices import WHOLE, SliceTruth, slice_scores
from dmaf_lite.spec import DatasetSpec

# What the rows without a choice of convention say about themselves.
FIXED = {"sensitivity": "undefined_nan", "precision": "undefined_nan", "volume_ml": "-", "truth_ml": "-",
         "missed": "-", "invented": "-"}
UNITS = {"hd95": "mm", "volume_ml": "ml", "truth_ml": "ml"}


@dataclass(frozen=True)
class SmallRegion:
    """Post-processing of published work, reported as the extra region ``ET_post``, never silently.

    Attributes:
        region: Region whose prediction is emptied where it is small.
        below_mm3: Threshold on its whole volume; 500 voxels at 1 mm (RFNet, mmFormer, PASSION).
        becomes: Internal label it is set to; 1 is necrosis, so WT and TC keep their voxels.
    """

    region: str = "ET"
    below_mm3: float = 500.0
    becomes: int = 1

    def apply(self, label: np.ndarray, spec: DatasetSpec, spacing: Sequence[float]) -> np.ndarray:
        """The label map [D, H, W] with a small region set to `becomes`."""
        region = spec.region_mask(label, self.region)
        if np.count_nonzero(region) * float(np.prod(spacing)) >= self.below_mm3:
            return label
        return np.where(region, np.asarray(self.becomes, label.dtype), label)


def score_case(labels: np.ndarray, truth: np.ndarray, *, subsets: Sequence[Sequence[bool]], spec: DatasetSpec,
               spacing: Sequence[float], diagonal: float, dice: Sequence[Dice] = (Dice(),),
               hd95: Sequence[HD95] = (HD95(),), small_region: SmallRegion | None = None,
               outside: Mapping[int, int] = MappingProxyType({})) -> Iterator[dict[str, Any]]:
    """Rows (without run and case) of one case.

    Args:
        labels: uint8[S, D, H, W], internal labels predicted from each subset.
        truth: uint8[D, H, W], internal labels.
        subsets: bool[S, M].
        spec: Names regions and subsets.
        spacing: mm per axis of these arrays.
        diagonal: mm, of the original volume.
        dice, hd95: Conventions.
        small_region: Post-processing to report as an extra region; skipped where the data set has no such region.
        outside: Internal label -> truth voxels outside these arrays.
    """
    names = [spec.subset_name(mask) for mask in subsets]
    for region in spec.regions:
        true = spec.region_mask(truth, region)
        true_outside = sum(outside.get(label, 0) for label in spec.regions[region])
        surface = TruthSurface(true, spacing)  # serves every subset, and the post-processed prediction
        planes = SliceTruth(true, spacing)
        for name, label in zip(names, labels, strict=True):
            variants = {region: label}
            if small_region and region == small_region.region:
                variants[f"{region}_post"] = small_region.apply(label, spec, spacing)
            for shown, variant in variants.items():
                predicted = spec.region_mask(variant, region)
                values = _score(predicted, true, true_outside, surface, diagonal, dice, hd95)
                scores = [(metric, convention, WHOLE, UNITS.get(metric, ""), value)
                          for (metric, convention), value in values.items()]
                scores += slice_scores(predicted, planes, dice, hd95, diagonal=diagonal)
                for metric, convention, number, unit, value in scores:
                    yield {"subset": name, "region": shown, "slice": number, "metric": metric,
                           "convention": convention, "unit": unit, "value": float(value)}


def _score(predicted: np.ndarray, true: np.ndarray, true_outside: int, surface: TruthSurface, diagonal: float,
           dice: Sequence[Dice], hd95: Sequence[HD95]) -> dict[tuple[str, str], float]:
    """(metric, convention) -> value of one region as a volume."""
    distances = surface.distances(predicted)
    is_predicted, is_true = bool(predicted.any()), bool(true.any()) or true_outside > 0
    voxel_ml = volume_ml(np.ones(1, bool), surface.spacing)
    found = counts(predicted, true, truth_outside=true_outside)
    values = {**rates(*found),
              "volume_ml": volume_ml(predicted, surface.spacing),
              "truth_ml": volume_ml(true, surface.spacing) + true_outside * voxel_ml,
              "missed": is_true and not is_predicted, "invented": is_predicted and not is_true}
    rows = {("dice", setting.name): setting.combine(*found) for setting in dice if setting.by == "volume"}
    rows |= {(metric, FIXED[metric]): value for metric, value in values.items()}
    return rows | {("hd95", setting.name): setting.combine(*distances, diagonal=diagonal)
                   for setting in hd95 if setting.by == "volume"}
