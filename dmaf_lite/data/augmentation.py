"""Random changes of a training crop, each with its deterministic twin.

`draw` makes the random choice, `apply` carries it out: the same `Augmentation` gives the same crop,
so any crop of a run can be looked at again, on the CPU or on a GPU.  Rotation, intensity and flips follow the
published recipes (spec peers, section 2.1); the intensity change is per modality here, not per slab, the angle
is not rounded, and what a rotation brings in from outside is background, 0, in images and label alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dmaf_lite.base.settings import checked
from dmaf_lite.data.scan_augmentation import ScanChange, change_scans, draw_scans

PLANES = ((0, 1), (1, 2), (0, 2))  # pairs of the axes D, H, W


@checked
class AugmentationSettings:
    """How strongly crops are changed."""

    flip: float = 0.5  # probability per axis
    gain: float = 0.1  # image * U(1 - gain, 1 + gain), per modality
    shift: float = 0.1  # image + U(-shift, shift), in standard deviations
    # Degrees: in one plane, by U(-rotation, rotation).  Published: 10.  Off by default: the shipped weights and the
    # tables of the kit were made without it.
    rotation: float = 0.0
    # Strength of the changes of each scan by itself, see scan_augmentation.py; 1 full, 0 none.
    scans: float = 0.0
    # For stacks of thick slices: rotations stay in plane, where the patient's left is not flipped to the right.
    in_plane: bool = False
    # Pixels: every slice of every scan is moved in plane by N(0, slip), rounded: scans that are not quite registered.
    slip: float = 0.0

    def __post_init__(self) -> None:
        if self.scans < 0:
            raise ValueError(f"scans is {self.scans}; expected 0 (off), 1 (full) or between")


@dataclass(frozen=True)
class Augmentation:
    """One drawn change.

    Attributes:
        flips: Which axes to flip.
        gain, shift: float32[M].
        plane, angle: A rotation in a plane of two axes, in degrees.
        slip: int64[M, W, 2], pixels along the first two axes for each slice of each scan; None moves nothing.
        scans: How each scan changes by itself.
    """

    flips: tuple[int, ...]
    gain: np.ndarray
    shift: np.ndarray
    plane: tuple[int, int] = PLANES[0]
    angle: float = 0.0
    scans: ScanChange | None = None
    slip: np.ndarray | None = None


def draw(rng: np.random.Generator, modalities: int, settings: AugmentationSettings, slices: int = 1) -> Augmentation:
    """Draw a change for images of M modalities with `slices` voxels along the last axis."""
    flips = tuple(int(axis) for axis in np.flatnonzero(rng.random(3) < settings.flip))
    gain = rng.uniform(1 - settings.gain, 1 + settings.gain, modalities).astype(np.float32)
    shift = rng.uniform(-settings.shift, settings.shift, modalities).astype(np.float32)
    plane = PLANES[rng.integers(len(PLANES))]
    angle = float(rng.uniform(-settings.rotation, settings.rotation))
    # Drawn last: switching it on leaves the rest as it was.
    scans = draw_scans(rng, modalities, settings.scans) if settings.scans else None
    if settings.in_plane:
        flips, plane = tuple(axis for axis in flips if axis == 2), PLANES[0]
    slip = np.rint(rng.normal(0, settings.slip, (modalities, slices, 2))).astype(np.int64) if settings.slip else None
    return Augmentation(flips, gain, shift, plane, angle, scans, slip)


def apply(change: Augmentation, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Carry out a change on images float32[M, D, H, W] and label [D, H, W], on the device where they are.

    The background of an image is exactly 0 and stays so: only the foreground is shifted.
    """
    if change.scans is not None:
        images = change_scans(change.scans, images)
    if change.slip is not None:
        images = slipped(images, change.slip)
    if change.angle:
        images = rotate(images, change.plane, change.angle)
        label = rotate(label.unsqueeze(0).float(), change.plane, change.angle).squeeze(0).to(label.dtype)
    # A change that is none costs a pass over memory all the same, on a CPU as long as reading the crop.
    if (change.gain != 1).any() or change.shift.any():
        gain, shift = (torch.from_numpy(v).to(images.device, non_blocking=True).view(-1, 1, 1, 1)
                       for v in (change.gain, change.shift))
        images = torch.where(images != 0, images * gain + shift, images)
    if change.flips:
        images, label = images.flip([axis + 1 for axis in change.flips]), label.flip(change.flips)
    return images, label


def slipped(images: Tensor, slip: np.ndarray) -> Tensor:
    """Move every slice of float32[M, D, H, W] by int64[M, W, 2] pixels; the border is repeated."""
    m, depth, height, width = images.shape
    steps = torch.from_numpy(slip).to(images.device, non_blocking=True)

    def source(side: int, axis: int) -> Tensor:
        index = torch.arange(side, device=images.device)[None, :, None] - steps[:, None, :, axis]
        return index.clamp(0, side - 1)  # [M, side, W]

    rows = images.gather(1, source(depth, 0)[:, :, None, :].expand(m, depth, height, width))
    return rows.gather(2, source(height, 1)[:, None, :, :].expand(m, depth, height, width))


def rotate(volumes: Tensor, plane: tuple[int, int], degrees: float) -> Tensor:
    """Turn float32[C, D, H, W] about its centre in a plane of two axes; nearest voxel, 0 from outside.

    Nearest, as in the published recipes: a label has nothing between two classes.
    """
    axes = [axis + 1 for axis in plane]
    slices = volumes.movedim(axes, (-2, -1))  # the third axis rides along with the channels
    height, width = slices.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # grid_sample measures both axes from -1 to 1, whatever their number of voxels.
    matrix = torch.tensor([[[cos, -sin * height / width, 0], [sin * width / height, cos, 0]]], dtype=volumes.dtype)
    grid = F.affine_grid(matrix, [1, 1, height, width], align_corners=False).to(volumes.device, non_blocking=True)
    flat = slices.reshape(1, -1, height, width)
    turned = F.grid_sample(flat, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return turned.reshape(slices.shape).movedim((-2, -1), axes)
