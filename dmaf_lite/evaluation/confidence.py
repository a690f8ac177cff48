"""How sure is an answer?  Per region expected Dice and a volume with its interval; which scan would help most.

Three steps, each fitted on synthetic studies that the weights have not seen (`calibrate.py`):

    probabilities --scaling per subset--> q that keep their word, inside the zone    (reliability.py)
    q --expected Dice per region-->        2 sum_P q / (|P| + sum q)                  (expected.py)
    that --a line per subset and region--> what it was worth on those studies        (calibration.py)

The line is needed because voxels are not independent: a lesion is missed or found as a whole.  What is promised
holds for studies like those of the calibration; `experience.py` says when a study is not like them.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmaf_lite.evaluation.calibration import RegionLine, SubsetCalibration
from dmaf_lite.evaluation.expected import Doubt, doubts
from dmaf_lite.evaluation.reliability import zone
from dmaf_lite.spec import DatasetSpec


@dataclass(frozen=True)
class RegionConfidence:
    """One region of one answer.

    Attributes:
        dice: Expected Dice; `dice_low`, `dice_high`: its 90 % interval.
        volume_ml: The most probable true volume, with its 90 % interval `low_ml`, `high_ml`.
    """

    dice: float
    dice_low: float
    dice_high: float
    volume_ml: float
    low_ml: float
    high_ml: float


@dataclass(frozen=True, eq=False)
class Confidence:
    """How sure one answer is.

    Attributes:
        regions: Region -> `RegionConfidence`.
        gains: Missing scan -> expected gain in mean Dice over the regions, the most helpful first.
        map: float32[D, H, W], probability that the class that is shown is right.
    """

    regions: Mapping[str, RegionConfidence]
    gains: Mapping[str, float]
    map: np.ndarray


def confidence(probabilities: np.ndarray, calibration: SubsetCalibration, spec: DatasetSpec,
               spacing: Sequence[float]) -> Confidence:
    """What can be promised of an answer.

    Args:
        probabilities: float32[K, D, H, W], as the network gave them.
        calibration: That of the subset of scans they come from.
        spec: Names the regions.
        spacing: mm per axis.
    """
    q = calibration.scaling(probabilities)
    label = probabilities.argmax(axis=0)
    found = in_zone(label, probabilities, q, spec)
    voxel_ml = float(np.prod(spacing)) / 1000
    regions = {name: region_confidence(calibration.regions[name], doubt, voxel_ml) for name, doubt in found.items()}
    shown = np.take_along_axis(q, label[None], axis=0)[0]
    return Confidence(regions, gains({name: one.dice for name, one in regions.items()}, calibration), shown)


def in_zone(label: np.ndarray, probabilities: np.ndarray, q: np.ndarray, spec: DatasetSpec) -> dict[str, Doubt]:
    """`doubts` over the zone alone: the small chances of a million voxels of background add up to a lesion."""
    inside = zone(probabilities)
    return doubts(label[inside], q[:, inside], spec)


def region_confidence(line: RegionLine, doubt: Doubt, voxel_ml: float) -> RegionConfidence:
    """Numbers of one region."""
    low_ml, volume_ml, high_ml = line.volume(doubt, voxel_ml)
    return RegionConfidence(line.dice(doubt), *line.dice_interval(doubt), volume_ml, low_ml, high_ml)


def gains(dice: Mapping[str, float], calibration: SubsetCalibration) -> dict[str, float]:
    """Missing scan -> expected gain in mean Dice, largest first.

    A scan recovers a share of what is missing: an answer that is good already has little to gain.
    """
    found = {scan: float(np.mean([share * (1 - dice[region]) for region, share in shares.items()]))
             for scan, shares in calibration.recovered.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))
