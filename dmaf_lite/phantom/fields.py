"""Chance and space: where the voxels are, and random numbers that do not depend on them.

Two ideas make the phantom reproducible.  Every random quantity has a *name* and its own stream, so
that adding a step to the recipe leaves the others untouched.  And smooth random fields are drawn on
knots fixed in millimetres, then sampled at the voxels, so that the same seed shows the same head at
every spacing.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

FIELD_OF_VIEW = (240.0, 240.0, 155.0)  # mm; BraTS: 240 x 240 x 155 voxels of 1 mm
SPLINE_POWER = 151 / 315  # mean over the phase of the squared weights of the cubic B-spline, per axis


@dataclass(frozen=True)
class Grid:
    """A box of voxel centres inside the field of view; lengths in mm from the centre of the field.

    Attributes:
        spacing: Edge of a voxel in mm, the same along every axis.
        full: Shape of the whole field of view in voxels.
        start: Index of the box's first voxel in the whole field of view.
        shape: Shape of the box in voxels.
    """

    spacing: float
    full: tuple[int, int, int]
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @classmethod
    def field_of_view(cls, spacing: float) -> Grid:
        """The whole 240 x 240 x 155 mm at a spacing in mm."""
        full = tuple(round(extent / spacing) for extent in FIELD_OF_VIEW)
        return cls(spacing=float(spacing), full=full, start=(0, 0, 0), shape=full)

    def axis(self, k: int) -> np.ndarray:
        """float32[shape[k]], the voxel centres along axis k in mm."""
        index = np.arange(self.shape[k]) + self.start[k]
        return ((index - (self.full[k] - 1) / 2) * self.spacing).astype(np.float32)

    def mesh(self) -> list[np.ndarray]:
        """The three axes, shaped to broadcast against each other."""
        return np.meshgrid(*(self.axis(k) for k in range(3)), indexing="ij", sparse=True)

    def cover(self, low: Sequence[float], high: Sequence[float]) -> Grid:
        """The smallest box of this grid's voxels that covers the corner points `low`..`high` in mm."""
        start, stop = [], []
        for k in range(3):
            middle = (self.full[k] - 1) / 2
            first, last = self.start[k], self.start[k] + self.shape[k]
            start.append(int(np.clip(np.floor(low[k] / self.spacing + middle), first, last - 1)))
            stop.append(int(np.clip(np.ceil(high[k] / self.spacing + middle) + 1, start[-1] + 1, last)))
        return replace(self, start=tuple(start), shape=tuple(b - a for a, b in zip(start, stop, strict=True)))

    def slices_in(self, outer: Grid) -> tuple[slice, slice, slice]:
        """Where this box lies in the array of a larger box of the same field of view."""
        offsets = (a - b for a, b in zip(self.start, outer.start, strict=True))
        return tuple(slice(o, o + n) for o, n in zip(offsets, self.shape, strict=True))

    def expand(self, values: np.ndarray) -> np.ndarray:
        """Put the box's values into the whole field of view, 0 elsewhere."""
        out = np.zeros(self.full, values.dtype)
        out[tuple(slice(a, a + n) for a, n in zip(self.start, self.shape, strict=True))] = values
        return out

    def affine(self) -> np.ndarray:
        """float64[4, 4], voxel of the whole field of view to world (RAS mm), oriented LPS as in BraTS.

        At 1 mm this is BraTS2020's ``diag(-1, -1, 1)`` with the offset (0, 239, 0); at any other
        spacing the field of view keeps its centre.
        """
        centre = np.array([-119.5, 119.5, 77.0])
        direction = np.array([-self.spacing, -self.spacing, self.spacing])
        affine = np.diag([*direction, 1.0])
        affine[:3, 3] = centre - direction * (np.array(self.full) - 1) / 2 + 0.0
        return affine


@dataclass(frozen=True)
class Chance:
    """All randomness of one case: the same seed, index and name always give the same draw."""

    seed: int
    index: int

    def rng(self, name: str) -> np.random.Generator:
        """The generator of the quantity called `name`."""
        return np.random.default_rng([self.seed, self.index, zlib.crc32(name.encode())])

    def field(self, name: str, grid: Grid, wavelength: float, *, octaves: int = 1, gain: float = 0.5) -> np.ndarray:
        """A smooth random field: zero mean, unit deviation where the voxels resolve it.

        Args:
            name: Which field.
            grid: Where to sample it.
            wavelength: Size of the coarsest structures in mm.
            octaves: Number of layers; each halves the wavelength of the one before.
            gain: Amplitude of each layer relative to the one before.

        Returns:
            float32[grid.shape]
        """
        total, power = np.zeros(grid.shape, np.float32), 0.0
        for octave in range(octaves):
            amplitude, layer_wavelength = gain**octave, wavelength / 2**octave
            # A voxel averages what is finer than itself: without this, 3 mm images would be speckled.
            seen = amplitude * np.exp(-2 * (grid.spacing / layer_wavelength) ** 2)
            if seen > 0.03 * amplitude:
                total += np.float32(seen) * self._layer(f"{name}/{octave}", grid, knot_distance=layer_wavelength / 2)
            power += amplitude**2
        return total / np.float32(np.sqrt(power))

    def _layer(self, name: str, grid: Grid, *, knot_distance: float) -> np.ndarray:
        """White noise on knots `knot_distance` mm apart, joined by cubic B-splines, unit deviation."""
        values, phase = _knots(self, name, knot_distance)
        position = [grid.axis(k) / knot_distance + (values.shape[k] - 1) / 2 + phase[k] for k in range(3)]
        first = [int(p[0]) - 1 for p in position]
        values = values[tuple(slice(f, int(p[-1]) + 3) for f, p in zip(first, position, strict=True))]
        for k in (2, 1, 0):  # the last axis comes to the front and is sampled there: after three rounds all are back
            knot = np.floor(position[k]).astype(int) - first[k]
            t = (position[k] % 1).astype(np.float32)
            weights = np.stack(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)) / 6
            values = np.moveaxis(values, 2, 0)
            # Plain sums, not a matrix product: the bytes must not depend on the number of threads.
            sampled = np.empty((grid.shape[k], *values.shape[1:]), np.float32)
            for n, (i, w) in enumerate(zip(knot, weights.T, strict=True)):
                sampled[n] = w[0] * values[i - 1] + w[1] * values[i] + w[2] * values[i + 1] + w[3] * values[i + 2]
            values = sampled
        return values / np.float32(SPLINE_POWER**1.5)


@lru_cache(maxsize=32)  # a recipe samples the same fields on the plan and on the wanted grid; 2 MB each
def _knots(chance: Chance, name: str, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """The knots' values over the whole field of view, and how far they are shifted in knots (-0.5..0.5)."""
    rng = chance.rng(name)
    count = [int(np.ceil(extent / distance)) + 6 for extent in FIELD_OF_VIEW]
    values, phase = rng.standard_normal(count, dtype=np.float32), rng.random(3) - 0.5
    values.setflags(write=False)
    return values, phase
