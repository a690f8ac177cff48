r"""How the public code of RFNet, mmFormer and PASSION prepares a study, for weights that were trained on it.

Per study (spec peers, section 1.1), x_m the scans that it has:

.. math::
    S = \{v : \textstyle\sum_m x_{m,v} > 0\}, \qquad x_m \leftarrow (x_m - \mu_m) / \sigma_m \text{ everywhere}

with mean and deviation over S.  One support for all scans, so that a scan looks different beside others; and the
background is a negative constant, not 0.  The kit's own preparation (`case.normalise_case`) does neither.

Where a study lacks a scan, S is that of the others: the public code has no such studies, it makes scans missing later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from dmaf_lite.data.volume import Box

Preparation = Literal["own", "published"]
MINIMUM = 128  # voxels per axis


def check_brains(preparation: Preparation, stack: bool) -> None:
    """Refuse the published preparation of a stack of slices; everybody asks before anything is written.

    Raises:
        ValueError: It is asked for.
    """
    if stack and preparation == "published":
        raise ValueError("the published preparation (--published) is one of whole brains, and these studies are stacks "
                         "of slices; leave it out")


def published_box(images: Mapping[str, np.ndarray]) -> Box:
    """The box of the public code around raw scans (X, Y, Z), its two slips included.

    The last plane that is not empty is cut off, unless the box is widened; widened by an even number of voxels it has
    129 and not 128.  It never leaves the volume: below 0 it is shifted, beyond the far face it is cut.

    Raises:
        ValueError: Every scan is 0 everywhere.
    """
    mask = np.maximum.reduce(list(images.values())) != 0
    box = []
    for axis, length in enumerate(mask.shape):
        occupied = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not occupied.size:
            raise ValueError("no box around an empty scan")
        start, stop = int(occupied[0]), int(occupied[-1])
        if stop - start < MINIMUM:
            half = (MINIMUM - (stop - start)) // 2
            start, stop = start - half, stop + half + 1
        if start < 0:
            start, stop = 0, stop - start
        box.append(slice(start, min(stop, length)))
    return tuple(box)


def standardise_together(images: Mapping[str, np.ndarray]
                         ) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, tuple[float, float]]]:
    """z-score cropped scans (D, H, W) over their common support, every voxel of them.

    Returns:
        Modality -> float32; the support, bool (D, H, W); modality -> (mean, deviation).

    Raises:
        ValueError: No contrast inside the support.
    """
    support = np.add.reduce([image.astype(np.float32) for image in images.values()]) > 0
    normal, intensity = {}, {}
    for name, image in images.items():
        values = image[support].astype(np.float64)
        mean, deviation = (float(values.mean()), float(values.std())) if values.size else (0.0, 0.0)
        if not deviation > 0:
            raise ValueError(f"no contrast: the {values.size} voxels of the support all have the same value")
        normal[name] = ((image - np.float32(mean)) / np.float32(deviation)).astype(np.float32)
        intensity[name] = (mean, deviation)
    return normal, support, intensity
