"""Step 2, infarct: dead wall (scar) in the territory of an artery, and the swollen wall (oedema) around it.

A scar begins at the endocardium and grows outwards; the oedema is wider and deeper and holds the scar.  Their sizes
are drawn from wide, skewed laws, as in MyoPS 2020: scars of 3 to 64 cm3, oedema outside them of 4 to 68.

Taught in the lesson on hearts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmaf_lite.phantom.fields import Chance
from dmaf_lite.phantom.heart.shape import Chambers, Polar

TERRITORIES = ((20, 110), (-125, -60), (140, 220))  # degrees of phi: the three coronary arteries
SECOND = 0.12  # share of cases with a second, smaller infarct
OBSTRUCTED = 0.3  # share of infarcts with a dark core (no contrast agent gets in)
THINNING = 0.22


@dataclass(frozen=True)
class Infarct:
    """One infarct; angles in radians.

    Attributes:
        centre: phi of its middle.
        half: Half its width.
        transmural: Depth of the scar, 1 reaches the epicardium.
        middle, along: Height of its middle and half its length, in t.
        margin: How much wider the oedema is on each side.
        wet: Depth of the oedema, relative to the wall.
        core: Whether it has a dark core.
    """

    centre: float
    half: float
    transmural: float
    middle: float
    along: float
    margin: float
    wet: float
    core: bool

    @classmethod
    def draw_all(cls, chance: Chance) -> tuple[Infarct, ...]:
        """The infarcts of a case: one, sometimes two."""
        rng = chance.rng("infarct")
        places = rng.permutation(3)[: 1 + (rng.random() < SECOND)]
        return tuple(cls._draw(rng, TERRITORIES[place], 1.0 if n == 0 else 0.55) for n, place in enumerate(places))

    @classmethod
    def _draw(cls, rng: np.random.Generator, territory: tuple[int, int], scale: float) -> Infarct:
        size = rng.beta(1.9, 2.3)  # most are of middling size; a few small, a few large
        half = (26 + 98 * size) * scale * rng.uniform(0.9, 1.1)
        margin = 5 + 52 * rng.beta(1.1, 2.8)
        return cls(
            centre=np.radians(rng.uniform(*territory)), half=np.radians(half),
            transmural=(0.50 + 0.70 * size) * rng.uniform(0.85, 1.2), middle=rng.uniform(0.35, 0.65),
            along=(0.26 + 0.36 * size) * rng.uniform(0.85, 1.2), margin=np.radians(margin),
            wet=rng.uniform(0.75, 1.25), core=bool(rng.random() < OBSTRUCTED),
        )

    def reach(self, polar: Polar, *, wider: float = 0.0, longer: float = 0.0) -> np.ndarray:
        """How strongly the infarct reaches a place: float32[n, n], 1 in its middle, 0 beyond its edge."""
        across = np.sqrt(np.clip(1 - (polar.turn(self.centre) / np.float32(self.half + wider)) ** 2, 0, 1))
        return across * np.float32(np.clip(1.25 - ((polar.t - self.middle) / (self.along + longer)) ** 2, 0, 1))


@dataclass(frozen=True)
class Injury:
    """Injured wall in one plane, bool[n, n]: `oedema` holds `scar`, which holds `core`."""

    oedema: np.ndarray
    scar: np.ndarray
    core: np.ndarray


def thinning(infarcts: Sequence[Infarct], polar: Polar) -> np.ndarray:
    """Factor on the wall's thickness, float32[n, n]."""
    return np.prod([1 - np.float32(THINNING * min(i.transmural, 1)) * i.reach(polar) for i in infarcts], axis=0)


def draw_injury(infarcts: Sequence[Infarct], polar: Polar, chambers: Chambers,
                fields: Mapping[str, np.ndarray]) -> Injury:
    """The injured part of the wall in one plane; `fields["fine"]` makes its edges ragged."""
    oedema, scar, core = (np.zeros(polar.phi.shape, bool) for _ in range(3))
    ragged = np.float32(0.10) * fields["fine"]
    depth = chambers.depth
    for infarct in infarcts:
        reach, wide = infarct.reach(polar), infarct.reach(polar, wider=infarct.margin, longer=0.10)
        dead = chambers.ring & (reach > 0.05) & (depth < np.float32(infarct.transmural) * reach + ragged)
        scar |= dead
        # The square root: swelling reaches nearly its full depth close to its edge.
        oedema |= chambers.ring & (wide > 0.05) & (depth < np.float32(infarct.wet) * np.sqrt(wide) + ragged)
        if infarct.core:
            core |= dead & (depth > 0.1) & (depth < 0.5 * infarct.transmural) \
                & (polar.turn(infarct.centre) < 0.5 * infarct.half)
    return Injury(oedema | scar, scar, core)
