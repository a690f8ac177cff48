"""What `predict` says about its own answer: numbers for the JSON file and a map.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dmaf_lite.evaluation.calibration import LEVEL, Calibration, CalibrationError, beside, read_calibration
from dmaf_lite.evaluation.confidence import confidence
from dmaf_lite.evaluation.experience import features, unfamiliar
from dmaf_lite.methods.weights import weights_digest
from dmaf_lite.spec import DatasetSpec


@dataclass(frozen=True, eq=False)
class Promise:
    """What is promised of one answer.

    Attributes:
        summary: Plain values for JSON; empty without a calibration.
        warnings: What about the study is outside the experience of the weights, one sentence each.
        map: float32[D, H, W], probability that the class that is shown is right; None without a calibration.
    """

    summary: dict[str, Any]
    warnings: tuple[str, ...]
    map: np.ndarray | None


def calibration_of(weights: str | Path, net: nn.Module) -> tuple[Calibration | None, str | None]:
    """The calibration beside a weights file, or None and a sentence that says why there is none."""
    try:
        return read_calibration(beside(weights), weights_digest(net)), None
    except CalibrationError as error:
        return None, str(error)


def promise(probabilities: np.ndarray, images: np.ndarray, available: Sequence[bool], spacing: Sequence[float], *,
            spec: DatasetSpec, calibration: Calibration | None) -> Promise:
    """What can be said of an answer.

    Args:
        probabilities: float32[K, D, H, W], as the network gave them.
        images: float32[M, D, H, W], the prepared scans.
        available: bool[M].
        spacing: mm per axis of these arrays.
        spec: Names scans and regions.
        calibration: That of the weights; None says only what needs none: whether this is a brain.
    """
    if spec.name != "brats":  # litres of brain and rim of fluid: what is looked at is a head
        strange: list[str] = []
    else:
        experience = calibration.experience if calibration else {}
        strange = unfamiliar(features(images, available, spacing, spec), experience)
    known = calibration.subsets.get(spec.subset_name(available)) if calibration else None
    if calibration is None or known is None:
        return Promise({}, tuple(strange), None)
    found = confidence(probabilities, known, spec, spacing)
    regions = {region: {"expected_dice": round(one.dice, 3), "dice_interval": _rounded(one.dice_low, one.dice_high),
                        "volume_ml": round(one.volume_ml, 3), "volume_interval_ml": _rounded(one.low_ml, one.high_ml)}
               for region, one in found.regions.items()}
    summary = {
        "regions": regions,
        "next_scan": {scan: round(gain, 4) for scan, gain in found.gains.items()},
        "calibrated_on": f"{calibration.studies} studies: {calibration.data}",
        "familiar": not strange,
        "note": f"Intervals hold {LEVEL:.0%} of studies like those; of a study unlike them nothing is promised.",
    }
    return Promise(summary, tuple(strange), found.map)


def _rounded(low: float, high: float) -> list[float]:
    return [round(low, 3), round(high, 3)]
