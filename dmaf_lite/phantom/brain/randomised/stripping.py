"""Skull stripping that is not perfect: rests of what lies around the brain, or brain cut away; one mask for all."""

from __future__ import annotations

import numpy as np

from dmaf_lite.phantom.brain.randomised.imitators import Imitators
from dmaf_lite.phantom.fields import Chance, Grid


def varied_mask(depth: np.ndarray, grid: Grid, chance: Chance) -> np.ndarray:
    """bool[grid.shape]: from 2 mm too tight to 1.5 mm too wide, and here and there a thick rest.

    Args:
        depth: Distance below the true surface in mm, negative outside.
        grid: The voxels.
        chance: Which case.
    """
    rng = chance.rng("varied stripping")
    cut, wavy, thick = rng.uniform(-1.5, 2.0), rng.uniform(0.4, 1.5), rng.uniform(0, 9)
    limit = np.float32(cut) - np.float32(thick) * np.clip(chance.field("thick rests", grid, 70) - 0.4, 0, 1)
    return depth + np.float32(wavy) * chance.field("skull stripping", grid, 26) > limit


def add_surroundings(signal: np.ndarray, modality: str, depth: np.ndarray, grid: Grid, chance: Chance,
                     imitators: Imitators | None) -> np.ndarray:
    """The signal with fluid, dura, muscle and fat outside the brain's surface, where a loose mask shows them.

    Args:
        signal: float32[grid.shape], 0 outside the brain; bright tissue at about 1.
        modality: In T1ce they take up contrast medium.
        depth: As in `varied_mask`.
        grid, chance: Which brain.
        imitators: Their contrast medium lies outside the brain, too; or None.
    """
    rng = chance.rng(f"surroundings {modality}")
    mean = rng.uniform(0.2, 1.8) if modality == "T1ce" else rng.uniform(0.1, 1.3)
    rest = np.float32(mean) * np.clip(1 + 0.5 * chance.field(f"rest {modality}", grid, 14, octaves=2), 0, 2)
    if modality == "T1ce" and imitators is not None:
        rest = 0.7 * rest + imitators.medium * np.float32(rng.uniform(0.5, 1.5))
    share = np.clip(-depth / 1.5, 0, 1)  # the first 1.5 mm outside are still mostly fluid
    return np.where(depth > 0, signal, share * rest + (1 - share) * np.float32(0.15)).astype(np.float32)
