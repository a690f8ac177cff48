"""Step 2, tumour: where it grows, what it pushes aside, and how its oedema spreads.

A glioma has a solid part - often a necrotic core inside an enhancing rim - and around it an oedema
that runs along the white matter.  Foci are chosen and the oedema is grown on a fixed coarse grid, so
that they are the same at every spacing; edges are then drawn at the voxels of the wanted one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.brain.anatomy import Anatomy
from dmaf_lite.phantom.fields import Chance, Grid

PLAN_SPACING = 4.0  # mm; fine enough for white matter tracts, coarse enough for hundreds of spreading steps


@dataclass(frozen=True)
class Focus:
    """One solid part of a tumour; lengths in mm, `axes` are its proportions along x, y, z."""

    centre: np.ndarray
    radius: float
    axes: np.ndarray
    rim: float
    pressure: float


@dataclass(frozen=True)
class Tumour:
    """A whole tumour: its foci, whether it enhances, and its oedema (0..1) on the plan grid."""

    foci: tuple[Focus, ...]
    enhancing: bool
    oedema: np.ndarray
    plan: Grid


@dataclass(frozen=True)
class Lesion:
    """Fractions of tumour tissue at the voxels of a grid: float32[grid.shape] each, together at most 1.

    Attributes:
        necrosis: Dead core (label 1 NCR).
        solid: Tumour that does not enhance (label 1 NET).
        oedema: Swollen tissue around it (label 2 ED).
        enhancing: Tumour with a leaky blood-brain barrier (label 4 ET on disk).
        infiltration: 0..1, thin spread of cells beyond the labels; not part of the sum.
    """

    necrosis: np.ndarray
    solid: np.ndarray
    oedema: np.ndarray
    enhancing: np.ndarray
    infiltration: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """Sum of the four tissues."""
        return self.necrosis + self.solid + self.oedema + self.enhancing


def choose_foci(plan: Grid, anatomy: Anatomy, chance: Chance, *, several: float) -> tuple[Focus, ...]:
    """Seed a tumour in white matter, not at the rim and not in the brain stem.

    Args:
        plan: The coarse grid.
        anatomy: The healthy brain on it.
        chance: Which case.
        several: Probability of one or two satellite foci.
    """
    rng = chance.rng("foci")
    height = np.arange(plan.shape[2]) / plan.shape[2]
    sites = np.argwhere((anatomy.white > 0.6) & (anatomy.depth > 13) & (anatomy.depth < 45) & (height > 0.38))
    points = np.stack([plan.axis(k)[sites[:, k]] for k in range(3)], axis=1)

    def draw(point: np.ndarray, low: float, high: float) -> Focus:
        return Focus(centre=point + rng.uniform(-1.5, 1.5, 3), radius=rng.uniform(low, high),
                     axes=rng.uniform(0.8, 1.25, 3), rim=rng.uniform(4.5, 9.0), pressure=rng.uniform(0.15, 0.35))

    foci = [draw(points[rng.integers(len(points))], 13.5, 24)]
    away = np.linalg.norm(points - foci[0].centre, axis=1) - foci[0].radius
    near = points[(away > 14) & (away < 40)]
    if rng.random() < several and len(near):
        for _ in range(rng.integers(1, 3)):
            foci.append(draw(near[rng.integers(len(near))], 7, 13))
    return tuple(foci)


def choose_metastases(plan: Grid, anatomy: Anatomy, chance: Chance) -> tuple[Focus, ...]:
    """Seed 3 to 14 round foci, most of them below 1 cm3, close to the border of grey and white matter.

    Args:
        plan: The coarse grid.
        anatomy: The healthy brain on it.
        chance: Which case.
    """
    rng = chance.rng("metastases")
    sites = np.argwhere((anatomy.white > 0.25) & (anatomy.white < 0.9) & (anatomy.depth > 8) & (anatomy.depth < 30))
    points = np.stack([plan.axis(k)[sites[:, k]] for k in range(3)], axis=1)
    foci: list[Focus] = []
    for point in rng.permutation(points)[:200]:
        radius = float(np.clip(np.exp(rng.normal(np.log(5.0), 0.45)), 2.5, 14))
        if all(np.linalg.norm(point - other.centre) > radius + other.radius + 6 for other in foci):
            foci.append(Focus(centre=point + rng.uniform(-1.5, 1.5, 3), radius=radius, axes=rng.uniform(0.9, 1.1, 3),
                              rim=rng.uniform(3.0, 6.0), pressure=rng.uniform(0.1, 0.2)))
        if len(foci) == 3 + chance.rng("number of metastases").integers(12):
            break
    return tuple(foci)


def mass_effect(grid: Grid, foci: tuple[Focus, ...]) -> list[np.ndarray]:
    """How far each voxel's tissue was pushed outwards, in mm: three float32[grid.shape].

    The push grows up to the tumour's edge and fades beyond it, so that ventricles and midline give way.
    """
    mesh = grid.mesh()
    push = [np.zeros(grid.shape, np.float32) for _ in range(3)]
    for focus in foci:
        distance = distance_to(mesh, focus)
        fade = np.exp(-((np.clip(distance - focus.radius, 0, None) / (1.3 * focus.radius)) ** 2))
        amount = focus.pressure * focus.radius * fade * np.clip(distance / (0.6 * focus.radius), 0, 1)
        amount /= distance + np.float32(1e-3)
        for k in range(3):
            push[k] += amount * (mesh[k] - np.float32(focus.centre[k]))
    return push


def spread_oedema(plan: Grid, anatomy: Anatomy, chance: Chance, foci: tuple[Focus, ...]) -> np.ndarray:
    """Grow the oedema from the solid foci: a Fisher-KPP front, u' = div(D grad u) + rho u (1 - u).

    The diffusion D is high in white matter, low in grey matter, and zero in fluid and outside.

    Returns:
        float32[plan.shape] in 0..1.
    """
    return grow_front(_solid_level(plan, chance, foci) < 0, anatomy, int(chance.rng("oedema").integers(30, 90)))


def grow_front(start: np.ndarray, anatomy: Anatomy, steps: int) -> np.ndarray:
    """Let a front run from `start` (bool) through the tissue: float32 of the same shape, 0..1."""
    u = start.astype(np.float32) * anatomy.brain
    diffusion = np.where(anatomy.brain & (anatomy.csf < 0.6), 0.06 + 0.94 * anatomy.white**1.5, 0).astype(np.float32)
    between = [np.where((diffusion > 0) & (np.roll(diffusion, 1, k) > 0), (diffusion + np.roll(diffusion, 1, k)) / 2, 0)
               for k in range(3)]
    step, growth = np.float32(0.16), np.float32(0.035)  # 0.16 < 1/6 keeps the explicit scheme stable
    for _ in range(steps):
        flow = [between[k] * (u - np.roll(u, 1, k)) for k in range(3)]
        u = np.clip(u + step * sum(np.roll(flow[k], -1, k) - flow[k] for k in range(3)) + growth * u * (1 - u), 0, 1)
    return u


def make_lesion(grid: Grid, anatomy: Anatomy, chance: Chance, tumour: Tumour) -> Lesion:
    """Draw a planned tumour at the voxels of a grid, with soft edges (partial volume) one voxel wide."""
    edge = max(grid.spacing, 1.2)  # mm

    def soft(level: np.ndarray) -> np.ndarray:
        """1 where a level in mm is well below zero, 0 well above, linear between."""
        return np.clip(0.5 - level / edge, 0, 1)

    brain = anatomy.brain.astype(np.float32)
    body = soft(_solid_level(grid, chance, tumour.foci)) * brain
    if tumour.enhancing:
        necrosis = soft(_core_level(grid, chance, tumour.foci)) * body
        gaps = 6 * (1.45 - chance.field("gaps in the rim", grid, 22, octaves=2))
        solid = soft(gaps) * (body - necrosis)
    else:
        necrosis, solid = np.zeros_like(body), body
    spread = sample_on(tumour.oedema, tumour.plan, grid)
    roughness = chance.field("oedema edge", grid, 14, octaves=2)
    share = np.clip(0.5 + (spread + 0.05 * roughness - 0.30) / 0.14, 0, 1)
    # Oedema fills white matter; cortex is spared unless the front has long passed, and fluid always.
    wet = np.clip(1.6 - 2 * anatomy.csf, 0, 1) * np.clip(1.5 - 2 * anatomy.grey + 3 * (spread - 0.4), 0, 1)
    oedema = share * wet * (brain - body)
    return Lesion(necrosis=necrosis, solid=solid, oedema=oedema, enhancing=body - necrosis - solid,
                  infiltration=spread * brain)


def annotate(lesion: Lesion, grid: Grid, chance: Chance, *, wobble: float) -> np.ndarray:
    """Draw the labels as a person would: smoother than the tissue, and never quite on the edge.

    Args:
        lesion: The truth.
        grid: Its grid.
        chance: Which annotator.
        wobble: Deviation of the drawn edges from the true ones in mm.

    Returns:
        uint8[grid.shape] with BraTS2020's values on disk: 0, 1 NCR/NET, 2 ED, 4 ET.
    """
    points = np.indices(grid.shape, dtype=np.float32)
    for k in range(3):
        points[k] += np.float32(wobble / grid.spacing) * chance.field(f"hand {k}", grid, 16, octaves=2)
    tissues = [1 - lesion.whole, lesion.necrosis + lesion.solid, lesion.oedema, lesion.enhancing]
    drawn = [ndi.map_coordinates(ndi.gaussian_filter(tissue, 0.9 / grid.spacing), points, order=1, mode="nearest")
             for tissue in tissues]
    return np.array([0, 1, 2, 4], np.uint8)[np.argmax(drawn, axis=0)]


def lesion_box(grid: Grid, tumour: Tumour, margin: float = 8.0) -> Grid:
    """The part of a grid that the tumour can touch, with `margin` mm to spare."""
    where = np.argwhere(tumour.oedema > 0.02)
    low = [tumour.plan.axis(k)[where[:, k].min()] - margin for k in range(3)]
    high = [tumour.plan.axis(k)[where[:, k].max()] + margin for k in range(3)]
    return grid.cover(low, high)


def distance_to(mesh: list[np.ndarray], focus: Focus) -> np.ndarray:
    """Distance from a focus in mm, in its own proportions: float32 of the shape of the mesh."""
    return np.sqrt(sum(((mesh[k] - np.float32(focus.centre[k])) / np.float32(focus.axes[k])) ** 2 for k in range(3)))


def _solid_level(grid: Grid, chance: Chance, foci: tuple[Focus, ...]) -> np.ndarray:
    """About the signed distance to the solid parts' lumpy surface in mm, negative inside."""
    lumps, mesh = chance.field("lumps", grid, 22, octaves=3, gain=0.45), grid.mesh()
    return np.min([distance_to(mesh, f) + np.float32(0.17 * f.radius) * lumps - f.radius for f in foci], axis=0)


def _core_level(grid: Grid, chance: Chance, foci: tuple[Focus, ...]) -> np.ndarray:
    """As `_solid_level`, for the necrotic cores: inside the solid parts by the thickness of their rims."""
    lumps, mesh = chance.field("lumps", grid, 22, octaves=3, gain=0.45), grid.mesh()
    ragged = 1.6 * chance.field("core edge", grid, 12, octaves=2)
    return np.min([distance_to(mesh, f) + np.float32(0.17 * f.radius) * lumps - f.radius + f.rim for f in foci],
                  axis=0) + ragged


def sample_on(values: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Linear interpolation from one grid of the field of view to another."""
    index = [(target.axis(k) - source.axis(k)[0]) / source.spacing for k in range(3)]
    points = np.stack(np.broadcast_arrays(*np.meshgrid(*index, indexing="ij", sparse=True)))
    return ndi.map_coordinates(values, points, order=1, mode="nearest")
