"""Healthy structures that look like a tumour: what takes up contrast medium, and what is bright on FLAIR.

Head frame of the maps: x to the left, y to the back, z up, in mm from the middle of the average brain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.brain.anatomy import Anatomy, Head
from dmaf_lite.phantom.fields import Chance, Grid

Item = tuple[np.ndarray, float, float]  # a mask 0..1, and the range of its brightness


@dataclass(frozen=True)
class Imitators:
    """One brain's healthy structures that look like a tumour.

    Attributes:
        medium: Contrast medium outside tumours, see `uptake`.
        spots: White matter lesions, see `white_spots`.
    """

    medium: np.ndarray
    spots: np.ndarray

    @classmethod
    def draw(cls, grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> Imitators:
        """Those of one case."""
        return cls(uptake(grid, anatomy, chance, head), white_spots(grid, anatomy, chance))

    def add_to(self, signal: np.ndarray, modality: str, mean: Mapping[str, float], grid: Grid, anatomy: Anatomy,
               chance: Chance) -> np.ndarray:
        """The signal of healthy tissue (float32[grid.shape]) with what one scan shows of them.

        Args:
            signal: Before.
            modality: FLAIR, T1ce, T1 or T2.
            mean: Mean signal of the tissues white and oedema in this scan.
            grid, anatomy, chance: Which brain.
        """
        rng = chance.rng(f"imitators {modality}")
        if modality == "T1ce":
            return signal + self.medium * np.float32(rng.uniform(0.4, 1.1) * mean["white"])
        signal = signal + self.spots * np.float32((mean["oedema"] - mean["white"]) * rng.uniform(0.4, 1.2))
        if modality == "FLAIR" and rng.random() < 0.6:  # bright cortex in places, and fluid that is not suppressed
            cortex, flow = chance.field("bright cortex", grid, 50), chance.field("flow", grid, 30) - 0.5
            signal += anatomy.grey * np.float32(rng.uniform(0, 0.3)) * np.clip(cortex, 0, 2)
            signal += anatomy.csf * np.float32(rng.uniform(0, 0.6)) * np.clip(flow, 0, 2)
        if modality == "T2":  # flowing blood is dark
            signal *= 1 - np.clip(self.medium, 0, 1) * np.float32(rng.uniform(0, 0.8))
        return signal


def uptake(grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> np.ndarray:
    """Contrast medium outside tumours, relative to white matter: float32[grid.shape], 0 to about 2.

    Also outside the brain's surface, where a skull stripping that is not tight leaves dura and sinuses.
    """
    rng = chance.rng("uptake")
    out = np.zeros(grid.shape, np.float32)
    for items in (_vessels, _membranes, _sinuses, _base, _plexus):
        for mask, low, high in items(grid, anatomy, chance, head):
            sharp = np.clip((mask - 0.45) * rng.uniform(1.3, 4) + 0.45, 0, 1)
            np.maximum(out, np.where(sharp < 0.05, 0, sharp) * np.float32(rng.uniform(low, high)), out=out)
    return out


def _vessels(grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> Iterator[Item]:
    """Lines where two random sheets cross, thin and thick, mostly near fluid."""
    rng = chance.rng("varied vessels")
    near = _near_fluid(anatomy)
    for k in range(int(rng.integers(1, 4))):
        wavelength, widths = rng.uniform(18, 40), (rng.uniform(0.05, 0.22), rng.uniform(0.08, 0.3))
        sheets = [np.exp(-((chance.field(f"varied vessels {k}{j}", grid, wavelength)
                            / np.float32(np.hypot(width, 0.03 * grid.spacing))) ** 2))
                  for j, width in enumerate(widths)]
        where = near if rng.random() < 0.7 else np.clip(1.2 * near + 0.3, 0, 1)
        yield np.clip(2.5 * sheets[0] * sheets[1], 0, 1) * where, 0.3, 1.4


def _membranes(grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> Iterator[Item]:
    """Patches of dura on the surface, of the falx between the halves, of the tentorium above the cerebellum."""
    rng = chance.rng("membranes")
    x, y, z = _head_frame(grid, head)
    if rng.random() < 0.7:
        patches = chance.field("dura", grid, rng.uniform(25, 80), octaves=2) - np.float32(rng.uniform(-1.5, 1.2))
        yield _bell(anatomy.depth, rng.uniform(1, 4)) * np.clip(2 * patches, 0, 1), 0.1, 1.1
    if rng.random() < 0.6:
        patches = chance.field("falx", grid, 30) + np.float32(rng.uniform(-0.8, 0.8))
        yield (_bell(x + _sway(grid, chance), rng.uniform(1, 2)) * np.clip(2 * patches, 0, 1)
               * _near_fluid(anatomy)), 0.2, 1.2
    if rng.random() < 0.5:
        roof = z - rng.uniform(-42, -18) - 2 - rng.uniform(0.2, 0.8) * (50 - y) + _sway(grid, chance)
        yield _bell(roof, 1.8) * (y > -5) * (y < 70) * _near_fluid(anatomy), 0.2, 0.9


def _sinuses(grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> Iterator[Item]:
    """The upper sagittal sinus, the transverse ones, and thick bands where those lie close to the cerebellum."""
    rng = chance.rng("sinuses")
    x, y, z = _head_frame(grid, head)
    if rng.random() < 0.8:
        radius = rng.uniform(3, 7)
        yield (_bell(x + _sway(grid, chance), radius) * _bell(anatomy.depth, radius) * ((z > 5) | (y > 25))), 0.3, 1.5
    if rng.random() < 0.7:
        radius = rng.uniform(3, 7)
        unequal = np.clip(0.7 + 0.8 * chance.field("unequal sinuses", grid, 90), 0, 1)
        height = _bell(z - rng.uniform(-42, -18), radius)
        yield height * _bell(anatomy.depth, radius + 2) * (y > 10) * unequal, 0.3, 1.5
        for side in (-1, 1):
            if rng.random() < 0.6:
                height = _bell(z - rng.uniform(-58, -18), rng.uniform(4, 14), power=4)
                yield (height * _bell(anatomy.depth, rng.uniform(3, 9), power=4) * (y > rng.uniform(-20, 30))
                       * (side * x > -8)), 0.5, 2.0


def _base(grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> Iterator[Item]:
    """Blobs below: cavernous sinus, pituitary, mucosa."""
    rng = chance.rng("base of the skull")
    frame = _head_frame(grid, head)
    for _ in range(int(rng.integers(0, 5))):
        centre = (rng.uniform(-40, 40), rng.uniform(-70, 30), rng.uniform(-60, -20))
        radius, axes = rng.uniform(3, 11), rng.uniform(0.6, 1.6, 3)
        squared = sum(((a - np.float32(c)) / np.float32(s)) ** 2 for a, c, s in zip(frame, centre, axes, strict=True))
        yield np.exp(-squared / np.float32(radius**2)) * _bell(np.clip(anatomy.depth, 0, None), 9), 0.3, 1.5


def _plexus(grid: Grid, anatomy: Anatomy, chance: Chance, head: Head) -> Iterator[Item]:
    """Choroid plexus, in and at the ventricles."""
    rng = chance.rng("plexus")
    if rng.random() < 0.85:
        near = np.clip(2 * (ndi.gaussian_filter(anatomy.csf, 2 / grid.spacing) - 0.15), 0, 1)
        tufts = chance.field("plexus", grid, rng.uniform(8, 16), octaves=2) - np.float32(rng.uniform(0.4, 1.6))
        yield np.clip((anatomy.depth - 22) / 6, 0, 1) * near * np.clip(3 * tufts, 0, 1), 0.3, 1.3


def white_spots(grid: Grid, anatomy: Anatomy, chance: Chance) -> np.ndarray:
    """White matter lesions of age and caps on the ventricles, 0..1: bright on FLAIR and T2 like an oedema."""
    rng = chance.rng("varied spots")
    out = np.zeros(grid.shape, np.float32)
    if rng.random() < 0.45:
        spots = chance.field("varied spots", grid, rng.uniform(7, 18), octaves=2) - np.float32(rng.uniform(1.3, 3.2))
        out = np.clip(2 * spots, 0, 1) * anatomy.white
    if rng.random() < 0.4:
        near = ndi.gaussian_filter(anatomy.csf * (anatomy.depth > 22), rng.uniform(2, 6) / grid.spacing)
        caps = np.clip(np.float32(rng.uniform(2, 6)) * (near - 0.12), 0, 1) * anatomy.white
        out = np.maximum(out, caps * np.clip(0.6 + 0.5 * chance.field("caps", grid, 30), 0, 1))
    return out


def _bell(distance: np.ndarray, width: float, power: int = 2) -> np.ndarray:
    """exp(-(distance / width)^power): 1 on a surface, 0 away from it."""
    return np.exp(-((distance / np.float32(width)) ** power))


def _near_fluid(anatomy: Anatomy) -> np.ndarray:
    return np.clip(2 * (anatomy.csf - 0.1), 0, 1)


def _sway(grid: Grid, chance: Chance) -> np.ndarray:
    """mm by which the middle plane is bent."""
    return 2 * chance.field("sway", grid, 60)


def _head_frame(grid: Grid, head: Head) -> list[np.ndarray]:
    """x, y, z in mm along the head's own axes, float32[grid.shape] each."""
    mesh = grid.mesh()
    return [sum(np.float32(head.rotation[k, j]) * mesh[j] for j in range(3)) for k in range(3)]
