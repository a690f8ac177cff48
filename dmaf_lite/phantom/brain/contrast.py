"""Step 3, signal: how bright every tissue is in each of the four sequences, before any scanner.

The table is what makes the modalities unequal, as they are in patients:

- FLAIR suppresses fluid, so the whole tumour (WT) is the brightest thing there; its parts look alike.
- T1ce shows a leaky blood-brain barrier: the rim (ET) lights up around a dark core (TC).  So do vessels.
- T1 shows anatomy; oedema looks like grey matter.
- T2 shows everything wet: oedema, but sulci and ventricles too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dmaf_lite.phantom.brain.anatomy import Anatomy
from dmaf_lite.phantom.brain.tumour import Lesion
from dmaf_lite.phantom.fields import Chance, Grid


@dataclass(frozen=True)
class Contrast:
    """Mean signal of the tissues in one sequence, relative to bright healthy tissue at about 1.

    Attributes:
        csf, grey, white: Healthy tissue.
        necrosis, solid, oedema, enhancing: Tumour tissue, as in :class:`~dmaf_lite.phantom.brain.tumour.Lesion`.
        necrosis_spread: Deviation of the core between patients: it may be fluid, clotted or fatty.
        infiltration: Extra signal of thinly infiltrated tissue beyond the labels.
        spots: Extra signal of the white matter spots that come with age.
        vessels: Extra signal of blood vessels.
    """

    csf: float
    grey: float
    white: float
    necrosis: float
    solid: float
    oedema: float
    enhancing: float
    necrosis_spread: float
    infiltration: float = 0.0
    spots: float = 0.0
    vessels: float = 0.0


CONTRASTS = {
    "FLAIR": Contrast(csf=0.18, grey=0.82, white=0.68, necrosis=1.12, solid=1.14, oedema=1.17, enhancing=1.13,
                      necrosis_spread=0.07, infiltration=0.35, spots=0.40),
    "T1ce": Contrast(csf=0.26, grey=0.66, white=0.86, necrosis=0.36, solid=0.50, oedema=0.65, enhancing=1.18,
                     necrosis_spread=0.04, vessels=0.80),
    "T1": Contrast(csf=0.28, grey=0.68, white=0.92, necrosis=0.57, solid=0.60, oedema=0.63, enhancing=0.62,
                   necrosis_spread=0.04, infiltration=-0.08, spots=-0.08),
    "T2": Contrast(csf=2.30, grey=0.82, white=0.60, necrosis=1.19, solid=1.12, oedema=1.15, enhancing=1.09,
                   necrosis_spread=0.07, infiltration=0.28, spots=0.30),
}


def make_signal(modality: str, grid: Grid, anatomy: Anatomy, lesion: Lesion, lesion_grid: Grid,
                chance: Chance) -> np.ndarray:
    """The signal of one sequence, free of noise and blur.

    Args:
        modality: A key of `CONTRASTS`.
        grid: The anatomy's grid.
        anatomy: Healthy tissue, already pushed aside by the tumour.
        lesion: Tumour tissue.
        lesion_grid: The lesion's grid, a box inside `grid`.
        chance: Which case.

    Returns:
        float32[grid.shape], about 0..1 (T2: fluid up to 2.3), 0 outside the brain.
    """
    mean = _individual(CONTRASTS[modality], chance.rng(f"contrast {modality}"))
    signal = mean.csf * anatomy.csf + mean.grey * anatomy.grey + mean.white * anatomy.white
    if mean.spots:
        signal += mean.spots * _spots(grid, anatomy, chance)
    if mean.vessels:
        signal += mean.vessels * _vessels(grid, anatomy, chance)

    here = lesion_grid.slices_in(grid)
    healthy = 1 - lesion.whole
    beyond = np.clip(lesion.infiltration - 0.05, 0, 0.5) * (anatomy.white[here] + 0.3 * anatomy.grey[here])
    tumour = mean.necrosis * lesion.necrosis + mean.solid * lesion.solid \
        + mean.oedema * lesion.oedema + mean.enhancing * lesion.enhancing
    patchy = 1 + 0.10 * chance.field(f"patches {modality}", lesion_grid, 9, octaves=2)
    signal[here] = healthy * (signal[here] + mean.infiltration * beyond) + tumour * patchy

    # Tissue is nowhere uniform: slow differences between regions and fine ones within.
    signal *= 1 + 0.035 * chance.field(f"regions {modality}", grid, 34) \
        + 0.03 * chance.field(f"grain {modality}", grid, 8)
    return np.clip(signal, 0, None) * anatomy.brain


def _individual(table: Contrast, rng: np.random.Generator) -> Contrast:
    """One patient's contrast: every tissue off by about 5 %, the tumour more or less conspicuous."""
    normal = (table.grey + table.white) / 2
    jitter = dict(zip(("csf", "grey", "white"), rng.normal(1, 0.04, 3), strict=True))
    values = {tissue: np.float32(getattr(table, tissue) * factor) for tissue, factor in jitter.items()}
    conspicuous = rng.uniform(0.74, 1.10)
    for tissue in ("necrosis", "solid", "oedema", "enhancing"):
        own = conspicuous * rng.uniform(0.94, 1.06)
        values[tissue] = np.float32(normal + (getattr(table, tissue) - normal) * own)
    values["necrosis"] += np.float32(rng.normal(0, table.necrosis_spread))
    return Contrast(**values, **{name: np.float32(getattr(table, name))
                                 for name in ("necrosis_spread", "infiltration", "spots", "vessels")})


def _spots(grid: Grid, anatomy: Anatomy, chance: Chance) -> np.ndarray:
    """White matter spots of age, 0..1; none in young patients.  They fool a threshold on FLAIR."""
    threshold = chance.rng("age").uniform(2.2, 3.8)  # above 3 hardly a voxel is reached
    return np.clip(2 * (chance.field("spots", grid, 13, octaves=2) - threshold), 0, 1) * anatomy.white


def _vessels(grid: Grid, anatomy: Anatomy, chance: Chance) -> np.ndarray:
    """Contrast medium in vessels, 0..1: lines where two random sheets cross, near fluid."""
    sheets = [np.exp(-((chance.field(f"vessels {k}", grid, 24) / width) ** 2))
              for k, width in enumerate(math.hypot(w, 0.03 * grid.spacing) for w in (0.09, 0.14))]
    return np.clip(2.5 * sheets[0] * sheets[1], 0, 1) * np.clip(2 * (anatomy.csf - 0.15), 0, 1)
