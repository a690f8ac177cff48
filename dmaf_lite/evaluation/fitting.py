"""From observed studies to a calibration, and how good it is on studies that the fit has not seen.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmaf_lite.evaluation.calibration import SubsetCalibration, fit_line
from dmaf_lite.evaluation.confidence import gains, region_confidence
from dmaf_lite.evaluation.expected import Doubt, doubts
from dmaf_lite.evaluation.inclusion import steps, violations
from dmaf_lite.evaluation.observed import Mask, Observed
from dmaf_lite.evaluation.reliability import Scaling, entropy, expected_calibration_error, fit_scaling, zone_of
from dmaf_lite.spec import DatasetSpec

SCALING_VOXELS = 1_000  # of one study: enough for a scaling of five numbers

Fitted = Mapping[Mask, SubsetCalibration]


def fit(studies: Sequence[Observed], spec: DatasetSpec) -> dict[Mask, SubsetCalibration]:
    """Calibrate every subset that all of these studies have."""
    masks = [mask for mask in spec.subsets() if all(mask in study.masks for study in studies)]
    dice = {mask: [study.dice(mask, spec) for study in studies] for mask in masks}
    fitted = {}
    for mask in masks:
        seen = [_thinned(*study.of(mask)) for study in studies]
        scaling = fit_scaling(*(np.concatenate(parts, axis=-1) for parts in zip(*seen, strict=True)))
        found = [_doubts(study, mask, scaling, spec) for study in studies]
        regions = {region: fit_line([one[region] for one in found], [one[region] for one in dice[mask]],
                                    [study.true_voxels[region] * study.voxel_ml for study in studies],
                                    [study.voxel_ml for study in studies]) for region in spec.regions}
        means = {region: _mean(dice[mask], region) for region in spec.regions}
        fitted[mask] = SubsetCalibration(scaling, regions, means, _recovered(dice, mask, spec))
    return fitted


def _thinned(p: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most `SCALING_VOXELS` of a study, evenly spread, and their weights: every voxel of a zone counts alike."""
    step = max(1, -(-len(truth) // SCALING_VOXELS))
    return p[:, ::step], truth[::step], np.full(len(truth[::step]), float(step))


def _doubts(study: Observed, mask: Mask, scaling: Scaling, spec: DatasetSpec) -> dict[str, Doubt]:
    p, _ = study.of(mask)
    return doubts(p.argmax(axis=0), scaling(p), spec, study.weight)


def _recovered(dice: Mapping[Mask, list[dict[str, float]]], mask: Mask, spec: DatasetSpec
               ) -> dict[str, dict[str, float]]:
    """Missing scan -> region -> mean gain as a share of the mean missing Dice."""
    shares: dict[str, dict[str, float]] = {}
    for small, large, scan in steps(dice):
        if small == mask:
            shares[spec.modalities[scan]] = {
                region: (_mean(dice[large], region) - before) / max(1 - before, 1e-3)
                for region, before in ((region, _mean(dice[small], region)) for region in spec.regions)}
    return shares


def _mean(dice: Sequence[Mapping[str, float]], region: str) -> float:
    return float(np.mean([one[region] for one in dice]))


def judge(studies: Sequence[Observed], spec: DatasetSpec) -> dict[str, Any]:
    """How good the promises are: fitted on every second study, tried on the others, and the other way round.

    Returns:
        ``regions``: region -> correlation of expected and true Dice, mean error, share of true Dice and volumes within
        their intervals.  ``subsets``: name -> region -> calibration error in the region's zone before and after the
        scaling.  ``next_scan``: mean true gain in Dice of a scan that is chosen at random, by the mean
        table, by `gains`, by who knows the truth.  ``violations``: of `inclusion`, before and after.
    """
    halves = [(studies[0::2], studies[1::2]), (studies[1::2], studies[0::2])]
    tried = [_try(fitted, study, spec) for one, other in halves for fitted in [fit(one, spec)] for study in other]
    return {"regions": _judge_regions(tried, spec), "subsets": _judge_subsets(tried, spec),
            "next_scan": _judge_next_scan(tried, spec), "violations": _judge_inclusion(tried)}


@dataclass(frozen=True, eq=False)
class _Tried:
    """A study that the fit had not seen: per subset what was promised of its regions, and the true Dice."""

    fitted: Fitted
    study: Observed
    doubts: Mapping[Mask, Mapping[str, Doubt]]
    true: Mapping[Mask, Mapping[str, float]]


def _try(fitted: Fitted, study: Observed, spec: DatasetSpec) -> _Tried:
    return _Tried(fitted, study, {mask: _doubts(study, mask, one.scaling, spec) for mask, one in fitted.items()},
                  {mask: study.dice(mask, spec) for mask in fitted})


def _judge_regions(tried: Sequence[_Tried], spec: DatasetSpec) -> dict[str, dict[str, float]]:
    rows: dict[str, list[tuple[float, ...]]] = {region: [] for region in spec.regions}
    for one in tried:
        for mask, calibration in one.fitted.items():
            true = one.true[mask]
            for region, doubt in one.doubts[mask].items():
                found = region_confidence(calibration.regions[region], doubt, one.study.voxel_ml)
                true_ml = one.study.true_voxels[region] * one.study.voxel_ml
                rows[region].append((found.dice, true[region], found.dice_low <= true[region] <= found.dice_high,
                                     found.low_ml <= true_ml <= found.high_ml))
    result = {}
    for region, lines in rows.items():
        promised, true, dice_in, volume_in = np.array(lines, float).T
        result[region] = {"correlation": float(np.corrcoef(promised, true)[0, 1]),
                          "error": float(np.abs(promised - true).mean()),
                          "dice_within": float(dice_in.mean()), "volume_within": float(volume_in.mean())}
    return result


def _judge_subsets(tried: Sequence[_Tried], spec: DatasetSpec) -> dict[str, dict[str, dict[str, float]]]:
    result: dict[str, dict[str, dict[str, float]]] = {}
    for mask in tried[0].fitted:
        raw, scaled, truth, weights = [], [], [], []
        for one in tried:
            p, true = one.study.of(mask)
            raw.append(p)
            scaled.append(one.fitted[mask].scaling(p))
            truth.append(true)
            weights.append(np.full(len(true), one.study.weight))
        p, q, true, weight = (np.concatenate(parts, axis=-1) for parts in (raw, scaled, truth, weights))
        result[spec.subset_name(mask)] = errors = {}
        for region, labels in spec.regions.items():
            near, came = zone_of(p, labels), spec.region_mask(true, region)
            errors[region] = {name: expected_calibration_error(values[sorted(labels)].sum(axis=0)[near], came[near],
                                                               weight[near])
                              for name, values in (("before", p), ("after", q))}
    return result


def _judge_next_scan(tried: Sequence[_Tried], spec: DatasetSpec) -> dict[str, float]:
    chosen: dict[str, list[float]] = {"random": [], "table": [], "ours": [], "oracle": []}
    for one in tried:
        mean = {mask: float(np.mean(list(true.values()))) for mask, true in one.true.items()}
        for mask, calibration in one.fitted.items():
            gained = {spec.modalities[scan]: mean[large] - mean[mask]
                      for small, large, scan in steps(mean) if small == mask}
            if not gained:
                continue
            expected = {region: calibration.regions[region].dice(doubt) for region, doubt in one.doubts[mask].items()}
            chosen["random"].append(float(np.mean(list(gained.values()))))
            chosen["table"].append(gained[next(iter(gains(calibration.mean_dice, calibration)))])
            chosen["ours"].append(gained[next(iter(gains(expected, calibration)))])
            chosen["oracle"].append(max(gained.values()))
    return {name: float(np.mean(values)) for name, values in chosen.items()}


def _judge_inclusion(tried: Sequence[_Tried]) -> dict[str, dict[str, float]]:
    def share(of: Callable[[Fitted, Mask, np.ndarray], np.ndarray]) -> dict[str, float]:
        found = [violations({mask: entropy(of(one.fitted, mask, p.astype(np.float32)))
                             for mask, p in zip(one.study.masks, one.study.probabilities, strict=True)})
                 for one in tried]
        return {"steps": float(np.mean([one.steps for one in found])),
                "voxels": float(np.mean([one.voxels for one in found]))}

    return {"before": share(lambda fitted, mask, p: p), "after": share(lambda fitted, mask, p: fitted[mask].scaling(p))}
