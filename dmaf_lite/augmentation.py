"""Random changes of a training crop, each with its deterministic twin.

`draw` makes the random choice, `apply` carries it out: the same `Augmentation` gives the same crop,
so any crop of a run can be looked at again.  Flips and intensity follow the published recipes; the
intensity change is per modality here, not per slab.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AugmentationSettings:
    """How strongly crops are changed."""

    flip: float = 0.5  # probability per axis
    gain: float = 0.1  # image * U(1 - gain, 1 + gain), per modality
    shift: float = 0.1  # image + U(-shift, shift), in standard deviations


@dataclass(frozen=True)
class Augmentation:
    """One drawn change: which axes to flip, gain[M] and shift[M]."""

    flips: tuple[int, ...]
    gain: np.ndarray
    shift: np.ndarray


def draw(rng: np.random.Generator, modalities: int, settings: AugmentationSettings) -> Augmentation:
    """Draw a change for images of M modalities."""
    flips = tuple(int(axis) for axis in np.flatnonzero(rng.random(3) < settings.flip))
    gain = rng.uniform(1 - settings.gain, 1 + settings.gain, modalities).astype(np.float32)
    shift = rng.uniform(-settings.shift, settings.shift, modalities).astype(np.float32)
    return Augmentation(flips, gain, shift)


def apply(change: Augmentation, images: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Carry out a change on images float32[M, D, H, W] and label [D, H, W].

    The background of an image is exactly 0 and stays so: only the foreground is shifted.
    """
    gain, shift = change.gain[:, None, None, None], change.shift[:, None, None, None]
    images = np.where(images != 0, images * gain + shift, images)
    axes = np.array(change.flips, dtype=int)
    return np.flip(images, axes + 1), np.flip(label, axes)
