"""How large the windows over a study are: as small as the network's crops, or larger where that saves work.

Windows of one size hardly ever fit a study: two of 32 voxels cover 48, or one of 48 does, with less than half of the
work in each axis where that is so.  A network whose norm sees the window must have learned from windows of such sizes:
see `late_crops` in the settings of a training.

Taught in lesson 09.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def fitted_window(shape: Sequence[int], window: Sequence[int], largest: Sequence[int], *, overlap: float,
                  stride: Sequence[int]) -> tuple[int, ...]:
    """The window between `window` and `largest` with which the fewest voxels are computed; the smaller of equal ones.

    Args:
        shape: Of the study, in voxels.
        window, largest: Its smallest and largest sides.
        overlap: Share of a window that its neighbour covers too.
        stride: Of the network: sides are its multiples.
    """
    return tuple(_side(*axis, overlap) for axis in zip(shape, window, largest, stride, strict=True))


def count(length: int, side: int, overlap: float) -> int:
    """Windows of `side` voxels that `length` takes, as `monai.inferers.sliding_window_inference` lays them."""
    return 1 if length <= side else math.ceil((length - side) / max(1, int(side * (1 - overlap)))) + 1


def _side(length: int, least: int, most: int, step: int, overlap: float) -> int:
    sides = [least, *range(least + step - least % step, most + 1, step)]
    return min(sides, key=lambda side: (side * count(length, side, overlap), side))
