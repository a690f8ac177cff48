"""Step 1, shape: a left ventricle with its wall and papillary muscles, a right ventricle, fat, and the chest around.

Level sets in mm, negative inside.  Angles phi start towards the middle of the right ventricle; the axis of the left
one runs from t = 0 (apex) to 1 (base).  Ranges: `spec myops`, section 4.2 (fitted to a mean shape of thousands of
hearts), and the volumes of MyoPS 2020, which `heart_realism.py` checks.

Taught in the lesson on hearts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dmaf_lite.phantom.fields import Chance
from dmaf_lite.phantom.heart.plane import PlaneGrid

SLICES = {2: 0.04, 3: 0.40, 4: 0.14, 5: 0.30, 6: 0.12}  # number of slices: share of cases (MyoPS 2020)
RV_HEIGHTS = (0.10, 0.21, 0.37, 0.53, 0.68, 0.84, 0.95)  # t, and how far the right ventricle bulges there
RV_BULGE = (0.25, 0.57, 0.82, 1.00, 1.00, 1.10, 1.00)
RV_WALL = 3.0  # mm, unlabelled
PAPILLARY = (1.9, -2.2)  # phi of the two muscles


def height_profile(t: float) -> float:
    """Radius of the left ventricle along its axis, relative to its largest."""
    return float(np.sqrt(max(1 - ((0.6 - t) / 0.62) ** 2, 0.0)) if t < 0.6 else 1 - 3.1 * (t - 0.6) ** 2)


@dataclass(frozen=True)
class Heart:
    """One person's heart and how it was sliced; lengths in mm, angles in radians.

    Attributes:
        slices, gap: Number of slices and their distance.
        base: t of the most basal slice.
        radius, wall, length: Of the left ventricle: largest inner radius, thickness of its wall, length of its axis.
        rv_depth, rv_span: How far the right ventricle bulges, and between which phi.
        tilt, flat: Rotation of the heart in the image, and ellipticity of the left ventricle.
    """

    slices: int
    gap: float
    base: float
    radius: float
    wall: float
    length: float
    rv_depth: float
    rv_span: tuple[float, float]
    tilt: float
    flat: float

    @classmethod
    def draw(cls, chance: Chance) -> Heart:
        """Few slices lie farther apart: together they always span most of the ventricle."""
        rng = chance.rng("heart")
        slices = int(rng.choice(list(SLICES), p=list(SLICES.values())))
        gap = float(np.clip(rng.normal(14.5, 2.2) * (1.25 if slices < 4 else 1), 12, 23))
        return cls(
            slices=slices, gap=gap, base=0.88 - rng.uniform(0, 0.08), radius=rng.uniform(18.5, 26.5),
            wall=rng.uniform(11.5, 16.0), length=max(rng.uniform(85, 105), slices * gap * 1.1),
            rv_depth=rng.uniform(17, 34),
            rv_span=(np.radians(rng.uniform(-74, -60)), np.radians(rng.uniform(48, 64))),
            tilt=rng.uniform(-0.5, 0.5), flat=rng.uniform(0.03, 0.10),
        )

    @property
    def heights(self) -> np.ndarray:
        """float[slices], t of each slice, from the base downwards."""
        return self.base - self.gap * np.arange(self.slices) / self.length


@dataclass(frozen=True)
class Polar:
    """A plane in the heart's own coordinates.

    Attributes:
        t: Height of the plane.
        phi: float32[n, n] in -pi..pi.
        rho: float32[n, n], distance from the axis in mm, ellipticity and lumps taken into account.
        radius, wall: Of the left ventricle at this height, without scar.
    """

    t: float
    phi: np.ndarray
    rho: np.ndarray
    radius: float
    wall: float

    @classmethod
    def of(cls, heart: Heart, grid: PlaneGrid, t: float, shift: np.ndarray, squeeze: float, lumps: np.ndarray) -> Polar:
        """The plane at height t of a heart that lies `shift` (mm) off the centre, at another phase of its beat.

        Args:
            heart: The heart.
            grid: The pixels.
            t: Height.
            shift: float[2].
            squeeze: 1; smaller is more contracted: a smaller cavity and a thicker wall.
            lumps: float32[n, n], about 0.7 mm deep.
        """
        x, y = grid.mesh[0] - np.float32(shift[0]), grid.mesh[1] - np.float32(shift[1])
        # The right ventricle lies to the left of the image: the coordinates are turned by pi and the tilt.
        cos, sin = np.float32(-np.cos(heart.tilt)), np.float32(-np.sin(heart.tilt))
        phi = np.arctan2(cos * y - sin * x, cos * x + sin * y)
        rho = np.hypot(x, y) * (1 + np.float32(heart.flat) * np.cos(2 * phi)) + np.float32(0.7) * lumps
        profile = height_profile(t)
        return cls(t, phi, rho, heart.radius * profile * squeeze, heart.wall * (0.82 + 0.18 * profile) / squeeze)

    def turn(self, angle: float) -> np.ndarray:
        """Unsigned angle to a direction, 0..pi."""
        apart = np.abs(self.phi - np.float32((angle + np.pi) % (2 * np.pi) - np.pi))
        return np.minimum(apart, np.float32(2 * np.pi) - apart)


@dataclass(frozen=True)
class Chambers:
    """What is where in a plane; masks are bool[n, n].

    Attributes:
        lv, ring, rv, rv_wall: Left cavity (muscles included), left wall, right cavity, right wall.
        muscle: Papillary muscles and trabeculae inside `lv`: muscle to the scanner, cavity to the annotator.
        fat: Around the heart.
        depth: float32, 0 at the endocardium, 1 at the epicardium.
        inward: float32, mm from the endocardium into the cavity, negative outside.
    """

    lv: np.ndarray
    ring: np.ndarray
    rv: np.ndarray
    rv_wall: np.ndarray
    muscle: np.ndarray
    fat: np.ndarray
    depth: np.ndarray
    inward: np.ndarray


def draw_chambers(heart: Heart, polar: Polar, thinning: np.ndarray, fields: Mapping[str, np.ndarray]) -> Chambers:
    """The chambers in one plane.

    Args:
        heart: The heart.
        polar: The plane.
        thinning: float32[n, n], factor on the wall's thickness: infarcts are thin.
        fields: Smooth random fields "fine" and "coarse", float32[n, n].
    """
    t, phi, rho, r0 = polar.t, polar.phi, polar.rho, np.float32(polar.radius)
    w = np.float32(polar.wall) * (1 + np.float32(0.10) * np.cos(phi)) * thinning
    depth = (rho - r0) / w
    lv, ring = depth < 0, (depth >= 0) & (depth < 1)
    inward = r0 - rho

    muscle = (inward > 0) & (inward < 3.0) & (fields["fine"] > 1.3)  # trabeculae
    if 0.35 < t < 0.75:
        for angle in PAPILLARY:
            distance = np.sqrt(rho**2 + (0.66 * r0) ** 2 - 2 * rho * 0.66 * r0 * np.cos(phi - np.float32(angle)))
            muscle |= distance < 5.0 * (1 + 0.15 * fields["fine"])

    low, high = heart.rv_span
    arc = np.clip((phi - low) / (high - low), 0, 1).astype(np.float32)
    inside_arc = (arc > 0) & (arc < 1)
    bulge = heart.rv_depth * np.interp(t, RV_HEIGHTS, RV_BULGE)
    outer = rho - r0 - w - np.float32(bulge) * np.clip(np.sin(np.pi * arc), 0, 1) ** np.float32(0.65)
    beyond = (depth >= 1) & inside_arc
    rv, rv_wall = beyond & (outer < 0), beyond & (outer >= 0) & (outer < RV_WALL)

    away = outer - RV_WALL * inside_arc
    thick = 3.5 + 3.5 * fields["coarse"] + 9 * np.exp(-((polar.turn(low) / 0.4) ** 2)) \
        + 7 * np.exp(-((polar.turn(high) / 0.35) ** 2))  # thickest where the right ventricle begins and ends
    fat = ~(lv | ring | rv | rv_wall) & (away < thick)
    return Chambers(lv, ring, rv, rv_wall, muscle & lv, fat, depth, inward)


@dataclass(frozen=True)
class Chest:
    """What lies around the heart in every slice: bool[n, n] each."""

    body: np.ndarray
    skin_fat: np.ndarray
    lungs: np.ndarray
    liver: np.ndarray
    aorta: np.ndarray

    @classmethod
    def draw(cls, grid: PlaneGrid, coarse: np.ndarray) -> Chest:
        """A schematic chest: ellipses with wavy edges; a network learns to leave it alone."""
        x, y = grid.mesh
        outside = np.hypot(x / 165, y / 118) - 1 + 0.02 * coarse
        lungs = np.minimum(np.hypot((x - 68) / 62, (y + 8) / 82), np.hypot((x + 95) / 48, (y + 12) / 72)) - 1 \
            + 0.05 * coarse
        inner = outside < -0.17
        return cls(
            body=outside < 0, skin_fat=(outside <= -0.02) & (outside > -0.10), lungs=inner & (lungs < 0),
            liver=inner & (np.hypot((x + 62) / 78, (y - 74) / 44) - 1 + 0.06 * coarse < 0),
            aorta=np.hypot(x - 22, y - 62) < 11,
        )
