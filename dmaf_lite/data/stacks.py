"""Stacks of few thick slices (hearts): resampled in plane alone, cropped to their centre.

What lies around a heart is a chest, full of signal, so there is no foreground to crop to; the heart lies in the middle
of the image.  The slices are the last axis; between them, 12 to 23 mm apart, nothing is interpolated.

Taught in the lesson on hearts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmaf_lite.data.volume import Box

# Around the centre of the image, in plane; 96 pixels of 2 mm, 128 of 1.5 mm, 192 of 1 mm: all multiples of 16.
CENTRE_MM = 192.0
# Percentiles of the crop at which grey values are cut off before they are normed: fat and coil spots are very bright.
CLIP = (0.5, 99.5)
# An axis whose voxels are this much longer than those of the others is that of the slices.
THICK = 1.5


def slice_axis(spacing: Sequence[float]) -> int | None:
    """Axis along which the voxels are clearly longest, or None where they are about cubes."""
    order = np.argsort(spacing)
    return int(order[-1]) if spacing[order[-1]] > THICK * spacing[order[-2]] else None


def centre_box(shape: Sequence[int], spacing: Sequence[float], minimum: Sequence[int]) -> Box:
    """The middle `CENTRE_MM` of the plane, all slices.

    Args:
        shape: Voxels per axis.
        spacing: mm.
        minimum: Smallest sides in voxels, where the image is that large.
    """
    box = []
    for axis in range(2):
        side = min(shape[axis], max(round(CENTRE_MM / float(spacing[axis])), minimum[axis]))
        start = (shape[axis] - side) // 2
        box.append(slice(start, start + side))
    return (*box, slice(0, shape[2]))


def clipped(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` (X, Y, Z) with its grey values inside `mask` cut off at the percentiles `CLIP` of them."""
    return np.clip(image, *np.percentile(image[mask], CLIP).astype(image.dtype)) if mask.any() else image
