"""Step 1, anatomy: an average brain, given an individual shape, its folds back, and room for a tumour.

The base is the MNI average of 152 healthy brains (ICBM 2009a): grey and white matter maps and a brain
mask at 2 mm, committed beside this file with its notice.  An average has no sulci - they lie
elsewhere in everybody - so sheets of cerebrospinal fluid (CSF) are drawn back into its cortex.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.fields import Chance, Grid

BASE_SPACING = 2.0  # mm
BASE_LEVELS = 15  # the maps are stored in 16 grey levels, 0..15
BASE_MARGIN = 4  # voxels put around them, so that a deformation never looks past the edge


@dataclass(frozen=True)
class Base:
    """The average brain: grey matter, white matter (0..1) and depth below the surface (mm, negative outside)."""

    grey: np.ndarray
    white: np.ndarray
    depth: np.ndarray


@lru_cache(maxsize=1)
def load_base() -> Base:
    """Read the committed base once per process; float32 maps of about 82 x 100 x 86 voxels of 2 mm, LPS."""
    with as_file(files("dmaf_lite.phantom") / "data" / "mni152_2mm.npz") as path, \
            np.load(path, allow_pickle=False) as stored:
        grey, white, mask = (np.pad(stored[name], BASE_MARGIN) for name in ("gm", "wm", "mask"))
    inside, outside = ndi.distance_transform_edt(mask), ndi.distance_transform_edt(mask == 0)
    # Half a voxel of smoothing hides the 16 levels and the voxel steps of the binary mask.
    smooth = [ndi.gaussian_filter(x.astype(np.float32), 0.5) for x in (grey, white, inside - outside)]
    return Base(grey=smooth[0] / BASE_LEVELS, white=smooth[1] / BASE_LEVELS, depth=smooth[2] * BASE_SPACING)


@dataclass(frozen=True)
class Head:
    """One person's head: size relative to the average along x, y, z, and how it lies in the scanner."""

    scale: np.ndarray
    rotation: np.ndarray
    warp: float = 3.2  # mm, deviation of the smooth individual deformation

    @classmethod
    def draw(cls, chance: Chance) -> Head:
        """Average brains are a little larger than BraTS's, hence a mean scale below 1."""
        rng = chance.rng("head")
        scale = rng.uniform(0.87, 0.97) * np.array([1.0, 1.0, rng.uniform(0.93, 1.0)])
        rotation = np.eye(3)
        for (i, j), angle in zip(((1, 2), (0, 2), (0, 1)), rng.normal(0, 0.05, 3), strict=True):
            turn = np.eye(3)
            turn[i, i] = turn[j, j] = np.cos(angle)
            turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
            rotation = rotation @ turn
        return cls(scale=scale, rotation=rotation)

    def box(self, grid: Grid) -> Grid:
        """The part of the field of view that can hold this head, with 6 mm to spare for its deformation."""
        half = (np.array(load_base().grey.shape) / 2 - BASE_MARGIN) * BASE_SPACING * self.scale + 6
        return grid.cover(-half, half)


@dataclass(frozen=True)
class Anatomy:
    """Tissue fractions at the voxels of a grid: float32[grid.shape], summing to 1 inside the brain.

    `depth` is the distance below the brain's surface in mm, negative outside.
    """

    csf: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    depth: np.ndarray

    @property
    def brain(self) -> np.ndarray:
        """bool, everything below the surface."""
        return self.depth > 0

    def inside(self, box: tuple[slice, slice, slice]) -> Anatomy:
        """The same tissue in a box of the grid."""
        return Anatomy(self.csf[box], self.grey[box], self.white[box], self.depth[box])


def make_anatomy(grid: Grid, chance: Chance, head: Head, push: Sequence[np.ndarray] | None = None) -> Anatomy:
    """The tissue of one person.

    Args:
        grid: Where.
        chance: Which person.
        head: Size and position.
        push: Three arrays in mm: how far a tumour has moved the tissue that is now at each voxel
            (see :func:`dmaf_lite.phantom.brain.tumour.mass_effect`).
    """
    base, points = load_base(), _template_points(grid, chance, head, push)
    grey, white, depth = (ndi.map_coordinates(volume, points, order=1, mode="nearest")
                          for volume in (base.grey, base.white, base.depth))
    del points
    cortex = np.clip(grey / 0.45, 0, 1) * np.exp(-((depth / 17) ** 4))  # 1 in the outer 17 mm, 0 in deep grey matter
    to_sulcus = _distance_to_sulci(grid, chance)
    # Fractions compete through a softmax: what is added below shifts the odds between the tissues.
    floor = 0.03  # a tissue that the average does not show at all stays improbable, not impossible
    sheet = math.hypot(1.25, 0.35 * grid.spacing)  # mm; a sulcus is thin, and voxels blur it without adding fluid
    csf_odds = np.log(np.clip(1 - grey - white, 0, 1) + floor) \
        + cortex * (5.4 * 1.25 / sheet * np.exp(-((to_sulcus / sheet) ** 2)) - 0.8) \
        + 2.0 * np.exp(-((depth / 1.3) ** 2))  # the film of fluid on the surface
    grey_odds = np.log(grey + floor) + cortex * 1.3 * np.exp(-((to_sulcus / 3.0) ** 2))
    white_odds = np.log(white + floor) + cortex * 2.2 * (1 - np.exp(-((to_sulcus / 3.6) ** 2)))
    odds = [csf_odds, grey_odds, white_odds]
    for name, tissue in zip(("csf", "grey", "white"), odds, strict=True):
        tissue += 0.28 * chance.field(f"tissue {name}", grid, 5)
    top = np.maximum(np.maximum(csf_odds, grey_odds), white_odds)
    sharpness = np.float32(3.2)  # real tissue is mostly pure; partial volume belongs to the edges
    shares = [np.exp(sharpness * (tissue - top)) for tissue in odds]
    inside = (depth > 0) / (shares[0] + shares[1] + shares[2])
    return Anatomy(*(share * inside for share in shares), depth=depth)


def _template_points(grid: Grid, chance: Chance, head: Head, push: Sequence[np.ndarray] | None) -> np.ndarray:
    """float32[3, *grid.shape]: the voxel of the base that is seen at each voxel of the grid."""
    here = grid.mesh()
    if push is not None:
        here = [x - shift for x, shift in zip(here, push, strict=True)]
    to_base = head.rotation / head.scale[:, None] / BASE_SPACING
    middle = (np.array(load_base().grey.shape) - 1) / 2
    points = np.empty((3, *grid.shape), np.float32)
    for k in range(3):
        warp = chance.field(f"warp {k}", grid, 48, octaves=2)
        points[k] = sum(np.float32(to_base[k, j]) * here[j] for j in range(3)) + np.float32(middle[k]) \
            + np.float32(head.warp / BASE_SPACING) * warp
    return points


def _distance_to_sulci(grid: Grid, chance: Chance) -> np.ndarray:
    """float32[grid.shape], about the distance in mm to the nearest sheet where a random field is zero."""
    fold = chance.field("folds", grid, 19, octaves=2, gain=0.35)  # 19 mm: two sulci lie about a centimetre apart
    slope = np.sqrt(sum(np.gradient(fold, grid.spacing, axis=k) ** 2 for k in range(3)))
    return np.abs(fold) / (slope + 0.02)
