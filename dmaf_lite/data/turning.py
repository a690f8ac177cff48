"""Turn the axes of an array to where a data set has them, and back: permuting and flipping, nothing is interpolated.

BraTS files point to left, posterior, superior (LPS); the Decathlon's and many others to RAS.  In array order the
same head is then upside down, and a network has seen only one of them.  A stack of short-axis slices is oblique: its
slices become the last axis, and its plane lies as a short axis is usually shown (`short_axis_turn`).

Taught in lesson 01.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from dmaf_lite.data.stacks import slice_axis

# Where the axes of a short-axis stack point to, roughly, in mm to the patient's right, front and top: along a row of
# the picture to the left and the back, along a column to the feet and the back, along the slices to the base.
SHORT_AXIS = np.array([[-1.0, -1.0, 0.0], [0.0, -1.0, -1.0], [1.0, -1.0, 1.0]])

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


def short_axis_turn(affine: np.ndarray, shape: Sequence[int]) -> Turn:
    """How the axes of a stack of thick slices must be turned: slices last, and the plane as it is usually shown.

    The axis of the slices is the one whose voxels are clearly longest, else the last one.  The two axes of the plane
    are permuted and flipped to where they agree best with `SHORT_AXIS`, so that the same stack written with its axes in
    any order gives one array.  An affine (4, 4) without geometry turns nothing.
    """
    if not has_geometry(affine) or len(shape) != 3:
        return NO_TURN
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    along = SHORT_AXIS @ (affine[:3, :3] / sizes)  # [wanted axis, axis of the file]
    slices = slice_axis(sizes)
    slices = 2 if slices is None else slices
    plane = [axis for axis in range(3) if axis != slices]
    row, column = max(permutations(plane), key=lambda order: abs(along[0, order[0]]) + abs(along[1, order[1]]))
    becomes = {row: 0, column: 1, slices: 2}
    return tuple((becomes[axis], -1 if along[becomes[axis], axis] < 0 else 1) for axis in range(3))


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
