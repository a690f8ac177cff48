"""Turn the axes of an array to where a data set has them, and back: permuting and flipping, nothing is interpolated.

BraTS files point to left, posterior, superior (LPS); the Decathlon's and many others to RAS.  In array order the
same head is then upside down, and a network has seen only one of them.

Taught in lesson 01.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

# For every axis of the file: the axis that it becomes, and 1 or -1 for its direction.
Turn = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_TURN: Turn = ((0, 1), (1, 1), (2, 1))


def has_geometry(affine: np.ndarray) -> bool:
    """Whether an affine (4, 4) says anything: the identity is what tools write that know nothing."""
    return not np.array_equal(affine, np.eye(4))


def turn_to(affine: np.ndarray, shape: Sequence[int], orientation: str | None) -> Turn:
    """How the axes must be turned so that they point to `orientation`, such as ``LPS``; None turns nothing.

    An affine without geometry turns nothing either.
    """
    if orientation is None or not has_geometry(affine) or len(shape) != 3:
        return NO_TURN
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(orientation)))
    return tuple((int(axis), int(flip)) for axis, flip in turn)


def turned(array: np.ndarray, turn: Turn) -> tuple[np.ndarray, np.ndarray]:
    """The turned array (a view), and the (4, 4) that takes its indices to those of `array`."""
    if turn == NO_TURN:
        return array, np.eye(4)
    ornt = np.array(turn, float)
    return apply_orientation(array, ornt), inv_ornt_aff(ornt, array.shape)


def turn_back(array: np.ndarray, turn: Turn) -> np.ndarray:
    """Undo `turned`: a turned array (X, Y, Z) with the axes that it had before."""
    if turn == NO_TURN:
        return array
    axes = [axis for axis, _ in turn]
    back = [(axes.index(new), turn[axes.index(new)][1]) for new in range(3)]
    return np.ascontiguousarray(apply_orientation(array, np.array(back, float)))
