"""What probabilities were worth on studies whose truth is known: one line per subset and region, on disk as JSON.

The file lies beside the weights (`weights.confidence.json`) and names them by the digest of their numbers, so that a
calibration is never used for other weights.  `calibrate.py` makes it.

Taught in lesson 15.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from dmaf_lite.base.atomic import write_text
from dmaf_lite.base.settings import checked, from_mapping
from dmaf_lite.evaluation.expected import Doubt
from dmaf_lite.evaluation.reliability import Scaling

LEVEL = 0.9  # of all intervals: one in ten lies outside
FLOOR_ML = 0.5  # added to both volumes before their ratio is taken, so that an empty region has one
EDGE = 1e-3  # expected Dice are cut to [EDGE, 1 - EDGE] before the logit


@checked
class RegionLine:
    """What the expected Dice of one subset and region was worth on the studies of the calibration.

    Attributes:
        slope, offset: true Dice ~ expit(slope * logit(expected) + offset).
        residual: Low and high quantile of true minus expected Dice.
        nothing: Chance that an empty answer is right.
        log_ratio: Low, middle and high quantile of log((true + 0.5 ml) / (sum q + 0.5 ml)).
    """

    slope: float = 1.0
    offset: float = 0.0
    residual: tuple[float, float] = (-1.0, 1.0)
    nothing: float = 0.5
    log_ratio: tuple[float, float, float] = (-1.0, 0.0, 1.0)

    def dice(self, doubt: Doubt) -> float:
        """Expected Dice in [0, 1]."""
        if doubt.mask == 0:
            return self.nothing
        return float(expit(self.slope * _logit(doubt.dice) + self.offset))

    def dice_interval(self, doubt: Doubt) -> tuple[float, float]:
        """Where the true Dice probably lies; of an empty answer it is 0 or 1, and nothing between."""
        if doubt.mask == 0:
            return (0.0 if self.nothing < LEVEL else 1.0, 1.0 if self.nothing > 1 - LEVEL else 0.0)
        low, high = (float(np.clip(self.dice(doubt) + r, 0, 1)) for r in self.residual)
        return low, high

    def volume(self, doubt: Doubt, voxel_ml: float) -> tuple[float, float, float]:
        """Low, middle and high volume in millilitres."""
        low, middle, high = (max(0.0, float((doubt.everywhere * voxel_ml + FLOOR_ML) * np.exp(r) - FLOOR_ML))
                             for r in self.log_ratio)
        return low, middle, high


@checked
class SubsetCalibration:
    """All that is known about one subset of scans.

    Attributes:
        scaling: Of its probabilities.
        regions: Region -> its line.
        mean_dice: Region -> mean true Dice.
        recovered: Missing scan -> region -> share of the missing Dice (1 - Dice) that this scan brings, on average.
    """

    scaling: Scaling = field(default_factory=Scaling)
    regions: Mapping[str, RegionLine] = field(default_factory=dict)
    mean_dice: Mapping[str, float] = field(default_factory=dict)
    recovered: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def fit_line(found: Sequence[Doubt], true_dice: Sequence[float], true_ml: Sequence[float],
             voxel_ml: Sequence[float], *,
             strength: float = 2.0) -> RegionLine:
    """The line of one subset and region, from studies whose truth is known.

    Args:
        found: One per study.
        true_dice: Its Dice.
        true_ml: True volume.
        voxel_ml: Millilitres of its voxels.
        strength: Pull towards "take it at its word", in studies: a rare situation keeps a sober line.
    """
    predicted = np.array([doubt.mask > 0 for doubt in found])
    y = np.asarray(true_dice, float)
    x = np.array([_logit(doubt.dice) for doubt in found])[predicted]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * x + parameters[1]
        pull = parameters - (1.0, 0.0)
        error = expit(z) - y[predicted]
        gradient = np.array([(error * x).sum(), error.sum()]) + strength * pull
        return float((np.logaddexp(0, z) - y[predicted] * z).sum() + strength * (pull**2).sum() / 2), gradient

    slope, offset = minimize(loss, np.array([1.0, 0.0]), jac=True).x if predicted.any() else (1.0, 0.0)
    residuals = y[predicted] - expit(slope * x + offset)
    ratios = [np.log((ml + FLOOR_ML) / (doubt.everywhere * voxel + FLOOR_ML))
              for ml, doubt, voxel in zip(true_ml, found, voxel_ml, strict=True)]
    return RegionLine(float(slope), float(offset), _outer(residuals),
                      nothing=float((y[~predicted].sum() + 1) / ((~predicted).sum() + 2)),
                      log_ratio=(_outer(ratios)[0], float(np.median(ratios)), _outer(ratios)[1]))


def _outer(values: Sequence[float]) -> tuple[float, float]:
    """Bounds that hold a share `LEVEL` of new values too: order statistics (n + 1) alpha / 2, as in split conformal."""
    ordered = np.sort(np.asarray(values, float))
    if not len(ordered):
        return -1.0, 1.0
    rank = int(np.floor((len(ordered) + 1) * (1 - LEVEL) / 2))  # 0: too few studies for the level, so the extremes
    return float(ordered[max(rank - 1, 0)]), float(ordered[-max(rank, 1)])


def _logit(value: float) -> float:
    return float(logit(np.clip(value, EDGE, 1 - EDGE)))


FORMAT = 1


class CalibrationError(ValueError):
    """A calibration that cannot be used; the message says why and what to do."""


@checked
class Calibration:
    """The whole file.

    Attributes:
        weights: Digest of the weights that it belongs to (`weights_digest`).
        windows: Settings of the sliding window that it was made with.
        data: What the studies were, in words.
        studies: How many.
        subsets: Name of a subset (``FLAIR+T2``) -> what is known about it.
        experience: Modality -> feature -> lowest and highest value on those studies (`experience.py`).
        quality: How good the promises were on studies that the fit had not seen (`calibrate.judge`).
    """

    weights: str
    windows: Mapping[str, Any]
    data: str
    studies: int
    subsets: Mapping[str, SubsetCalibration]
    experience: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def beside(weights: str | Path) -> Path:
    """Where the calibration of a weights file lies."""
    return Path(weights).with_suffix(".confidence.json")


def write_calibration(path: str | Path, calibration: Calibration) -> Path:
    """Write a calibration, whole or not at all; numbers with five digits."""
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return float(f"{value:.5g}") if isinstance(value, float) else value

    write_text(path, json.dumps(plain(asdict(calibration)), indent=1, sort_keys=True) + "\n")
    return Path(path)


def read_calibration(path: str | Path, weights: str | None = None) -> Calibration:
    """Read a calibration.

    Args:
        path: The JSON file.
        weights: Digest of the weights at hand; None takes the file for whatever weights it is of.

    Raises:
        CalibrationError: No file, a damaged one, or one of other weights.
    """
    path = Path(path)
    again = "make it again: python -m dmaf_lite calibrate --weights WEIGHTS"
    if not path.is_file():
        raise CalibrationError(f"{path.name} is not beside the weights, so nobody knows how sure they are; {again}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}")
        found = from_mapping(Calibration, values)
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: not readable as a calibration ({error}); {again}") from None
    if found.format != FORMAT:
        raise CalibrationError(f"{path}: found format {found.format}, expected {FORMAT}; {again}")
    if weights is not None and found.weights != weights:
        raise CalibrationError(f"{path}: made for weights {found.weights}, found {weights}; {again}")
    return found
