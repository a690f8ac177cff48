"""Tumours of every size, kind and number: rings thin and thick, patchy ones, some without enhancement or oedema.

The same four tissues as in `brain/tumour.py`, which keeps what the two have in common: push, front, annotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmaf_lite.phantom.brain.anatomy import Anatomy, Head, make_anatomy
from dmaf_lite.phantom.brain.tumour import (
    PLAN_SPACING,
    Focus,
    Lesion,
    Tumour,
    distance_to,
    grow_front,
    mass_effect,
    sample_on,
)
from dmaf_lite.phantom.fields import Chance, Grid


@dataclass(frozen=True)
class Surface:
    """How rough a tumour is; lengths in mm.

    Attributes:
        lumps: Height of its lumps relative to its radius.
        lump_size: Their wavelength.
        ragged: Height of the necrotic core's own roughness.
        gaps: The rim enhances where a field of wavelength `gap_size` is below this; low: patches only.
        gap_size: That wavelength.
    """

    lumps: float
    lump_size: float
    ragged: float
    gaps: float
    gap_size: float

    @classmethod
    def draw(cls, chance: Chance) -> Surface:
        """72 % rings with or without gaps, 11 % patchy, 17 % without enhancement, as in BraTS2020."""
        rng = chance.rng("surface")
        kind = rng.choice(["ring", "patchy", "none"], p=[0.72, 0.11, 0.17])
        gaps = {"ring": rng.uniform(0.7, 2.5), "patchy": rng.uniform(-1.0, 0.3), "none": -np.inf}[kind]
        return cls(lumps=rng.uniform(0.10, 0.30), lump_size=rng.uniform(14, 34), ragged=rng.uniform(1.0, 2.5),
                   gaps=float(gaps), gap_size=rng.uniform(14, 30))


@dataclass(frozen=True)
class VariedTumour(Tumour):
    """A planned tumour with a surface of its own."""

    surface: Surface


def plan_varied_tumour(chance: Chance, head: Head) -> VariedTumour:
    """Decide on the coarse grid where the tumour is and how far its oedema has run."""
    plan = head.box(Grid.field_of_view(PLAN_SPACING))
    foci = _choose_foci(plan, make_anatomy(plan, chance, head), chance)
    surface = Surface.draw(chance)
    pushed = make_anatomy(plan, chance, head, mass_effect(plan, foci))
    rng = chance.rng("varied oedema")
    steps = 2 if rng.random() < 0.08 else int(rng.integers(25, 110))  # 2: next to none
    start = _body_level(plan, chance, foci, surface) < 0
    return VariedTumour(foci=foci, enhancing=bool(np.isfinite(surface.gaps)), plan=plan, surface=surface,
                        oedema=grow_front(start, pushed, steps))


def make_varied_lesion(grid: Grid, anatomy: Anatomy, chance: Chance, tumour: VariedTumour) -> Lesion:
    """Draw a planned tumour at the voxels of a grid, with soft edges (partial volume) one voxel wide."""
    edge, surface = max(grid.spacing, 1.2), tumour.surface  # mm

    def soft(level: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - level / edge, 0, 1)

    brain = anatomy.brain.astype(np.float32)
    # Fluid that was there before stays fluid.
    body = soft(_body_level(grid, chance, tumour.foci, surface)) * brain * np.clip(1.6 - 1.2 * anatomy.csf, 0, 1)
    if tumour.enhancing:
        necrosis = soft(_core_level(grid, chance, tumour.foci, surface)) * body
        gaps = 6 * (np.float32(surface.gaps) - chance.field("varied gaps", grid, surface.gap_size, octaves=2))
        solid = soft(gaps) * (body - necrosis)
    else:
        necrosis, solid = np.zeros_like(body), body
    spread = sample_on(tumour.oedema, tumour.plan, grid)
    # .22, not the plain phantom's .30: the label ends where a person still sees the signal.
    share = np.clip(0.5 + (spread + 0.08 * chance.field("oedema edge", grid, 14, octaves=2) - 0.22) / 0.14, 0, 1)
    wet = np.clip(1.6 - 2 * anatomy.csf, 0, 1) * np.clip(1.5 - 2 * anatomy.grey + 3 * (spread - 0.4), 0, 1)
    return Lesion(necrosis=necrosis, solid=solid, oedema=share * wet * (brain - body),
                  enhancing=body - necrosis - solid, infiltration=spread * brain)


def _choose_foci(plan: Grid, anatomy: Anatomy, chance: Chance) -> tuple[Focus, ...]:
    """One tumour of 11 to 34 mm radius, in a third of the cases with one to three satellites."""
    rng = chance.rng("varied foci")
    height = np.arange(plan.shape[2]) / plan.shape[2]
    shallow, low = rng.random() < 0.3, rng.random() < 0.15
    sites = np.argwhere((anatomy.white + 0.7 * anatomy.grey > 0.6) & (anatomy.depth > (4 if shallow else 12))
                        & (anatomy.depth < 48) & (height > (0.12 if low else 0.33)))
    points = np.stack([plan.axis(k)[sites[:, k]] for k in range(3)], axis=1)
    rim = float(rng.choice([rng.uniform(2, 4), rng.uniform(4, 9), rng.uniform(9, 30)], p=[0.35, 0.4, 0.25]))

    def draw(point: np.ndarray, smallest: float, largest: float) -> Focus:
        return Focus(centre=point + rng.uniform(-1.5, 1.5, 3), axes=rng.uniform(0.65, 1.5, 3),
                     radius=float(np.exp(rng.uniform(np.log(smallest), np.log(largest)))),
                     rim=rim * rng.uniform(0.7, 1.4), pressure=rng.uniform(0.0, 0.4))

    foci = [draw(points[rng.integers(len(points))], 11, 34)]
    away = np.linalg.norm(points - foci[0].centre, axis=1) - foci[0].radius
    near = points[(away > 5) & (away < 50)]
    if rng.random() < 0.35 and len(near):
        foci += [draw(near[rng.integers(len(near))], 3.5, 13) for _ in range(rng.integers(1, 4))]
    return tuple(foci)


def _body_level(grid: Grid, chance: Chance, foci: tuple[Focus, ...], surface: Surface) -> np.ndarray:
    """About the signed distance to the solid parts' surface in mm, negative inside."""
    return _level(grid, chance, foci, surface, inside=False)


def _core_level(grid: Grid, chance: Chance, foci: tuple[Focus, ...], surface: Surface) -> np.ndarray:
    """As `_body_level`, for the necrotic cores: inside the solid parts by the thickness of their rims."""
    ragged = np.float32(surface.ragged) * chance.field("varied core edge", grid, 14, octaves=2)
    return _level(grid, chance, foci, surface, inside=True) + ragged


def _level(grid: Grid, chance: Chance, foci: tuple[Focus, ...], surface: Surface, *, inside: bool) -> np.ndarray:
    lumps = chance.field("varied lumps", grid, surface.lump_size, octaves=3, gain=0.55)
    mesh = grid.mesh()
    return np.min([distance_to(mesh, f) + np.float32(surface.lumps * f.radius) * lumps - f.radius
                   + (f.rim if inside else 0) for f in foci], axis=0)
