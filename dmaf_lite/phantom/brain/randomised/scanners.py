"""Scanners that differ in more than the plain phantom's: gamma, slices along any axis, misregistration, noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.fields import Chance, Grid


def varied_acquire(signal: np.ndarray, gain: float, mask: np.ndarray, grid: Grid, chance: Chance,
                   modality: str) -> np.ndarray:
    """Scan a signal: int16[grid.shape], at least 1 inside the mask, 0 outside.

    Args:
        signal: float32[grid.shape], 0 or more.
        gain: Grey values of bright tissue.
        mask: bool[grid.shape], what skull stripping keeps.
        grid, chance, modality: Which scan.
    """
    rng = chance.rng(f"varied scan {modality}")
    top = np.float32(np.percentile(signal[mask], 99.5) + 1e-6)
    image = top * (signal / top) ** np.float32(np.exp(rng.normal(0, 0.15)))

    blur = np.full(3, rng.uniform(0.3, 1.3))  # mm; every scan was resampled on its way here
    axis = 2 if rng.random() < 0.7 else int(rng.integers(3))  # slices are mostly axial
    if rng.random() < 0.6:
        blur[axis] = np.hypot(blur[axis], rng.uniform(2, 6.5) / np.sqrt(12))
    image = ndi.gaussian_filter(image, blur / grid.spacing, truncate=3)
    shift = np.clip(rng.normal(0, 0.6, 3), -1.5, 1.5)  # mm: what is left after registration
    image = ndi.shift(image, shift / grid.spacing, order=1, mode="nearest")

    shade = np.clip(chance.field(f"varied shading {modality}", grid, rng.uniform(80, 200)), -2.5, 2.5)
    kept = image[mask] * np.exp(np.float32(rng.uniform(0.02, 0.15)) * shade[mask])
    # As in the plain scanner: noise averages over a voxel, but the square root keeps it visible at every spacing.
    level = 1.5 * np.median(kept) / np.sqrt(grid.spacing)
    deviation = np.float32(np.exp(rng.uniform(np.log(0.01), np.log(0.045))) * level)
    real, imaginary = deviation * chance.rng(f"noise {modality}").standard_normal((2, len(kept)), dtype=np.float32)
    values = np.zeros(grid.shape, np.int16)
    values[mask] = np.clip(np.rint(np.hypot(kept + real, imaginary) * np.float32(gain)), 1, np.iinfo(np.int16).max)
    return values
