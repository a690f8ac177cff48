"""Spoil a scan on purpose: noise, a coil's bias, a patient who moves.

All three work on a z-scored scan (0 outside the foreground) and z-score it again, as a bad file would be on its way in.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage as ndi

FLOOR = 3.0  # z: the darkest tissue is near -3, so `z + FLOOR` is a brightness that a coil can multiply


def noise(scan: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of `level` standard deviations of the foreground."""
    return scan + level * rng.standard_normal(scan.shape, dtype=np.float32)


def bias(scan: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth shade; the log of its brightness has the deviation `level` over the whole box."""
    knots = rng.standard_normal((4, 4, 4))
    field = ndi.zoom(knots, np.array(scan.shape) / knots.shape, order=3, mode="nearest", grid_mode=True)
    field = (field - field.mean()) / field.std()
    return (scan + FLOOR) * np.exp(np.float32(level) * field.astype(np.float32)) - FLOOR


def motion(scan: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A head that moves along the second axis while the lines of k-space are read; `level` in voxels (deviation)."""
    shape = scan.shape
    spectrum = np.fft.fft(scan + FLOOR * (scan != 0), axis=1)
    lines = np.fft.fftfreq(shape[1])
    # The head jumps a few times; a line is read at the place where the head is by then. The middle is read at rest.
    jumps = rng.normal(0, level, 8).repeat(-(-shape[1] // 8))[: shape[1]]
    jumps[np.abs(lines) < 0.03] = 0
    moved = np.fft.ifft(spectrum * np.exp(-2j * np.pi * lines * jumps)[None, :, None], axis=1).real
    return (moved - FLOOR * (scan != 0)).astype(np.float32)


DAMAGES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "noise": noise, "bias": bias, "motion": motion}


def damage(scan: np.ndarray, kind: str, level: float, *, seed: int = 0) -> np.ndarray:
    """A damaged copy of a scan.

    Args:
        scan: float32[D, H, W], z-scored over the foreground, exactly 0 outside.
        kind: ``noise`` (in deviations), ``bias`` (deviation of the log brightness) or ``motion`` (voxels).
        level: 0 changes nothing.
        seed: The same seed makes the same pattern at every level, so that a slider only makes it stronger.

    Returns:
        float32[D, H, W], z-scored over the same foreground, exactly 0 outside.

    Raises:
        ValueError: An unknown kind, or a negative level.
    """
    if kind not in DAMAGES or level < 0:
        raise ValueError(f"damage {kind!r} of level {level} is not known; expected one of {sorted(DAMAGES)} and a "
                         "level of 0 or more")
    there = scan != 0
    if level == 0 or not there.any():
        return scan.copy()
    spoiled = DAMAGES[kind](scan, level, np.random.default_rng(seed))
    inside = spoiled[there]
    result = np.zeros_like(scan)
    result[there] = (inside - inside.mean()) / max(float(inside.std()), 1e-6)
    return result
