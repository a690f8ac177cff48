"""A bad scan or no scan?  Predict with and without each scan, and keep what raises the expected Dice.

Attention does not notice a bad scan: its weight hardly moves.  The answer itself does: probabilities lose their
edge.  So every scan is left out once, all from the same encoded features, and the subset with the highest expected
Dice is kept.  Nothing is learned, no truth is needed.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from dmaf_lite.evaluation.calibration import Calibration
from dmaf_lite.evaluation.confidence import in_zone
from dmaf_lite.evaluation.expected import expected_dice
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.spec import DatasetSpec

Mask = tuple[bool, ...]
# Leaving a scan out must promise at least this much more mean Dice. 0 would drop good scans for nothing but noise.
WORTH_IT = 0.01


@dataclass(frozen=True, eq=False)
class Repair:
    """What leaving one scan out does.

    Attributes:
        expected: Subset -> region -> expected Dice: all scans first, then each one left out.
        kept: The subset to use.
        left_out: Name of the scan that is better left out, or None.
        probabilities: float32[K, D, H, W] of the subset that is kept.
    """

    expected: Mapping[Mask, Mapping[str, float]]
    kept: Mask
    left_out: str | None
    probabilities: np.ndarray

    def mean(self, mask: Mask) -> float:
        """Mean expected Dice over the regions."""
        return float(np.mean(list(self.expected[mask].values())))


def one_left_out(available: Mask) -> list[Mask]:
    """The subset itself, then without each of its scans, in the order of the spec; never an empty one."""
    without = [tuple(is_available and other != m for other, is_available in enumerate(available)) for m, can_be_left_out
               in enumerate(available) if can_be_left_out]
    return [tuple(available), *(mask for mask in without if any(mask))]


def calibrated(calibration: Calibration, spec: DatasetSpec) -> Callable[[np.ndarray, Mask], dict[str, float]]:
    """The promise of a calibration, for `repair`: probabilities and their subset -> region -> expected Dice."""
    def expect(probabilities: np.ndarray, mask: Mask) -> dict[str, float]:
        known = calibration.subsets[spec.subset_name(mask)]
        found = in_zone(probabilities.argmax(axis=0), probabilities, known.scaling(probabilities), spec)
        return {region: known.regions[region].dice(doubt) for region, doubt in found.items()}

    return expect


def repair(net: nn.Module, images: np.ndarray, available: Mask, *, spec: DatasetSpec, settings: WindowSettings,
           expect: Callable[[np.ndarray, Mask], Mapping[str, float]] | None = None, worth_it: float = WORTH_IT
           ) -> Repair:
    """Segment a study with all of its scans and without each of them, and keep the best promise.

    Args:
        net: A network of the kit.
        images: float32[M, D, H, W], prepared (z-scored, 0 outside).
        available: bool[M], the scans that are there.
        spec: Names scans and regions.
        settings: Windows.
        expect: Probabilities float32[K, D, H, W] and their subset -> region -> expected Dice; default the
            probabilities taken at their word (`expected_dice`).
        worth_it: Gain in mean expected Dice that a scan is left out for.
    """
    masks = one_left_out(tuple(map(bool, available)))
    maps = subset_probabilities(net, images, np.array(masks), settings=settings).cpu().numpy()
    expect = expect or (lambda probabilities, mask: expected_dice(probabilities, spec))
    expected = {mask: expect(one, mask) for mask, one in zip(masks, maps, strict=True)}
    means = [float(np.mean(list(expected[mask].values()))) for mask in masks]
    best = int(np.argmax(means))
    kept = best if means[best] >= means[0] + worth_it else 0
    gone = [name for name, before, after in zip(spec.modalities, masks[0], masks[kept], strict=True) if before > after]
    return Repair(expected, masks[kept], gone[0] if gone else None, maps[kept])
