"""The signal of one randomised scan: drawn contrast, tissue that is nowhere uniform, a tumour more or less visible."""

from __future__ import annotations

import numpy as np

from dmaf_lite.phantom.brain.anatomy import Anatomy
from dmaf_lite.phantom.brain.randomised.imitators import Imitators
from dmaf_lite.phantom.brain.randomised.roles import HEALTHY, TUMOUR, Conspicuity, draw_contrast
from dmaf_lite.phantom.brain.tumour import Lesion
from dmaf_lite.phantom.fields import Chance, Grid

# Deviation of a sub-class's mean from its tissue's.  T1's tumours are hardly darker than white matter: healthy blotches
# as strong as they teach the network that T1 shows nothing.
SUBCLASSES = {"FLAIR": 0.04, "T1ce": 0.015, "T1": 0.01, "T2": 0.04}
REGIONS = {"FLAIR": 0.06, "T1ce": 0.03, "T1": 0.03, "T2": 0.06}  # largest deviation of slow differences in space
GRAIN = {"FLAIR": 0.04, "T1ce": 0.03, "T1": 0.025, "T2": 0.04}  # largest deviation of fine ones
TUMOUR_SUBCLASSES = 0.10


def varied_signal(modality: str, grid: Grid, anatomy: Anatomy, lesion: Lesion, lesion_grid: Grid, chance: Chance, *,
                  imitators: Imitators | None, faint: bool) -> np.ndarray:
    """The signal of one scan, free of noise and blur: float32[grid.shape], 0 outside the brain.

    Args:
        modality: FLAIR, T1ce, T1 or T2.
        grid: The anatomy's grid.
        anatomy: Healthy tissue, already pushed aside by the tumour.
        lesion: Tumour tissue.
        lesion_grid: The lesion's grid, a box inside `grid`.
        chance: Which case.
        imitators: Healthy structures that look like a tumour, or None.
        faint: Let the tumour hardly show in some scans (`Conspicuity`).
    """
    rng = chance.rng(f"varied signal {modality}")
    mean = draw_contrast(modality, chance)
    healthy = np.zeros(grid.shape, np.float32)
    for tissue in HEALTHY:
        blotchy = _subclasses(f"{modality} {tissue}", grid, chance, rng, SUBCLASSES[modality])
        healthy += getattr(anatomy, tissue) * np.float32(mean[tissue]) * blotchy
    if imitators is not None:
        healthy = imitators.add_to(healthy, modality, mean, grid, anatomy, chance)

    here = lesion_grid.slices_in(grid)
    under, signal = healthy[here], healthy.copy()
    # Cells that run beyond the label may shine, but less than half as bright as the oedema: a label says what one sees.
    beyond = np.clip(lesion.infiltration - 0.05, 0, 0.5) * (anatomy.white[here] + 0.3 * anatomy.grey[here])
    shine = np.float32((mean["oedema"] - mean["white"]) * rng.uniform(0, 0.4))
    drawn = (1 - lesion.whole) * (under + shine * beyond)
    patchy = 1 + np.float32(rng.uniform(0.04, 0.15)) * chance.field(f"patches {modality}", lesion_grid,
                                                                     rng.uniform(5, 20), octaves=2)
    shown = (Conspicuity.draw(modality, chance) if faint else Conspicuity()).maps(lesion.infiltration)
    for tissue in TUMOUR:
        own = np.float32(mean[tissue]) * patchy \
            * _subclasses(f"{modality} {tissue}", lesion_grid, chance, rng, TUMOUR_SUBCLASSES)
        drawn += getattr(lesion, tissue) * (under + shown[tissue] * (own - under))
    signal[here] = drawn

    signal *= 1 + np.float32(rng.uniform(0.01, REGIONS[modality])) \
        * chance.field(f"varied regions {modality}", grid, rng.uniform(25, 60)) \
        + np.float32(rng.uniform(0.01, GRAIN[modality])) * chance.field(f"grain {modality}", grid, 8)
    return np.clip(signal, 0, None) * anatomy.brain


def _subclasses(name: str, grid: Grid, chance: Chance, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """Factors about 1: one to three soft-edged parts of a tissue are a little brighter or darker than the rest."""
    factor = np.ones(grid.shape, np.float32)
    for k in range(int(rng.integers(1, 4))):
        field = chance.field(f"subclass {name} {k}", grid, rng.uniform(12, 60), octaves=2)
        steep, middle, shift = rng.uniform(2, 10), rng.uniform(-1, 1), rng.normal(0, deviation)
        factor += np.float32(shift) / (1 + np.exp(-np.float32(steep) * (field - np.float32(middle))))
    return factor
