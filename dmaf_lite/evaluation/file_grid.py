"""The way back: from the box that a network saw to the grid of the study's own files.

`predict` writes what comes out of here and `evaluate` scores it, so that the Dice of a table is that of the files.

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dmaf_lite.data.volume import Box

if TYPE_CHECKING:
    from dmaf_lite.data.cohort import Cohort

# Voxel sizes within 5 % of the training grid are taken as they are: interpolating would cost more
# sharpness than that difference in scale, which the training's own anatomy varies by anyway.
SPACING_TOLERANCE = 0.05
# An axis along which the voxels of the weights are this many times longer than along the others is that of thick
# slices; their distance is the scanner's, and no grid is asked for along it.
THICK = 2.0


class Placed(Protocol):
    """Where arrays of a box lie: `box` in a grid of `grid_shape`, which covers the files' grid of `original_shape`."""

    @property
    def box(self) -> Box: ...
    @property
    def grid_shape(self) -> Sequence[int]: ...
    @property
    def original_shape(self) -> Sequence[int]: ...


def on_files(values: Tensor, placed: Placed, *, outside: float = 0.0) -> Tensor:
    """float32[D, H, W] in the box -> float32[X, Y, Z] on the grid of the files, by linear interpolation."""
    whole = torch.full(tuple(placed.grid_shape), outside, device=values.device)
    whole[placed.box] = values.float()
    size = tuple(placed.original_shape)
    if tuple(placed.grid_shape) == size:
        return whole
    # align_corners=False: both grids cover one field of view edge to edge, as `volume.resample` lays them.
    return interpolate(whole[None, None], size, mode="trilinear", align_corners=False)[0, 0]


def label_on_files(probabilities: Tensor | np.ndarray, placed: Placed) -> np.ndarray:
    """float32[K, D, H, W] in the box -> uint8[X, Y, Z]: probabilities are interpolated, then the largest wins."""
    size, probabilities = tuple(placed.original_shape), torch.as_tensor(probabilities)
    best = torch.full(size, -1.0, device=probabilities.device)
    label = torch.zeros(size, dtype=torch.uint8, device=probabilities.device)
    for k, inside in enumerate(probabilities):  # one class at a time: a full-size study has millions of voxels
        probability = on_files(inside, placed, outside=float(k == 0))  # outside the box is background for certain
        better = probability > best
        label[better] = k
        best = torch.where(better, probability, best)
    return label.cpu().numpy()


def same_spacing(spacing: Sequence[float], known: Sequence[float]) -> bool:
    """Whether voxels of `spacing` mm are what weights of `known` mm were trained on, up to the tolerance."""
    wanted, found = np.asarray(known, float), np.asarray(spacing, float)
    compared = wanted < THICK * wanted.min()
    return bool(np.abs(found / wanted - 1)[compared].max() <= SPACING_TOLERANCE)


def check_prepared(cohort: Cohort, names: Iterable[str], card: Mapping[str, Any]) -> None:
    """Refuse cases that were prepared otherwise, or with another voxel size, than the weights were trained on.

    Args:
        cohort: Prepared.
        names: Of the cases that will be scored.
        card: Of the weights.

    Raises:
        ValueError: Saying what differs, and for the voxel size in which case.
    """
    known = card.get("preparation", "own")
    if cohort.preparation != known:
        word = "with" if known == "published" else "without"
        raise ValueError(f"{cohort.folder}: found the {cohort.preparation} preparation, the weights were trained on "
                         f"the {known} one; prepare the cohort for them, {word} --published")
    for meta in map(cohort.meta, names):
        if not same_spacing(meta["spacing"], card["spacing"]):
            raise ValueError(f"{meta['name']}: prepared with voxels of {mm(meta['spacing'])}, the weights were trained "
                             f"on {mm(card['spacing'])}; prepare the cohort for them, with --spacing "
                             f"{min(card['spacing']):g}")


def mm(spacing: Sequence[float]) -> str:
    """A voxel size in words."""
    return " x ".join(f"{s:.4g}" for s in spacing) + " mm"
