"""Step 4, acquisition: thick slabs, blur, leftover misregistration, a beating and breathing heart, coil and noise.

Taught in the lesson on hearts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.fields import Chance
from dmaf_lite.phantom.heart.plane import PlaneGrid
from dmaf_lite.phantom.heart.shape import Chambers

SLAB = {"C0": 8.0, "LGE": 5.0, "T2": 12.0}  # mm, at most the distance of the slices
BLUR = {"C0": 0.65, "LGE": 0.50, "T2": 0.80}  # mm, deviation in plane: pixels of 1.25, 0.75, 1.35 mm were interpolated
NOISE = {"C0": 0.03, "LGE": 0.05, "T2": 0.05}  # deviation at 1.5 mm, relative to bright tissue
SUB_SLICES = 5  # of a slab
BREATH = 1.5  # mm, deviation from slice to slice: each is a breath-hold of its own
ANNOTATOR = 0.6  # mm
# What an artefact does to a slice: (modalities, share of the cases or slices that have it, range of its strength).
DARK_RIM = ({"C0", "LGE"}, 0.4, (0.10, 0.35))
GHOST = ({"LGE", "T2"}, 0.2, (0.03, 0.10))


@dataclass(frozen=True)
class Motion:
    """Where the heart lies in each slice of each scan; the grid is that of LGE.

    Attributes:
        walk: float[slices, 2], mm; shared by all scans and the label.
        left_over: Modality -> float[slices, 2], mm: what registration to LGE leaves over.
        squeeze: Modality -> phase of the beat, relative to that of LGE.
    """

    walk: np.ndarray
    left_over: dict[str, np.ndarray]
    squeeze: dict[str, float]

    @classmethod
    def draw(cls, slices: int, chance: Chance, misregistration: float) -> Motion:
        """`misregistration`: deviation in mm between scans, per slice and axis."""
        rng = chance.rng("motion")
        walk = np.cumsum(rng.normal(0, BREATH, (slices, 2)), axis=0)
        shifts = {m: rng.normal(0, 1, (slices, 2)) * (0 if m == "LGE" else misregistration) for m in SLAB}
        return cls(walk, shifts, {m: 1.0 if m == "LGE" else float(rng.normal(1, 0.03)) for m in SLAB})


def slab_heights(modality: str, gap: float, length: float) -> np.ndarray:
    """float[5], heights of the sub-slices of a slab relative to its middle, in t."""
    return min(SLAB[modality], gap) * np.linspace(-0.4, 0.4, SUB_SLICES) / length


def slow_blood(chambers: Chambers, t: float, strength: float) -> np.ndarray:
    """What is added to T2: blood is not black where it flows slowly, at the wall and towards the apex."""
    near = np.exp(-np.clip(chambers.inward, 0, None) / 3)
    return np.float32(strength * (1.3 - t)) * chambers.lv * near


def dark_rim(chambers: Chambers, modality: str, chance: Chance) -> np.ndarray | float:
    """Factor on the signal: a dark line of 2 mm under the endocardium, along a part of it, that is no infarct."""
    rng = chance.rng(f"dark rim {modality}")
    modalities, share, strength = DARK_RIM
    if modality not in modalities or rng.random() >= share:
        return 1.0
    return 1 - np.float32(rng.uniform(*strength)) * chambers.ring * np.exp(-((chambers.inward + 1) ** 2))


def ghost(signal: np.ndarray, heart: np.ndarray, modality: str, rng: np.random.Generator) -> np.ndarray:
    """Add faint copies of a heart that moved, along the direction of phase encoding (the second axis)."""
    modalities, share, strength = GHOST
    if modality not in modalities or rng.random() >= share:
        return signal
    n = signal.shape[1]
    moving, step = signal * heart, int(rng.uniform(0.12, 0.3) * n)
    copies = np.roll(moving, step, axis=1) + np.roll(moving, -step, axis=1)
    return signal + np.float32(rng.uniform(*strength)) * copies


def scan_slice(signal: np.ndarray, modality: str, grid: PlaneGrid, chance: Chance, number: int) -> np.ndarray:
    """Blur, shade and add noise: float32[n, n] -> float32[n, n], 0 or more."""
    rng = chance.rng(f"scan {modality} {number}")
    signal = signal * (1 + np.float32(0.04) * grid.field(chance, f"texture {modality} {number}", 18))
    blurred = ndi.gaussian_filter(signal, BLUR[modality] / grid.spacing, truncate=3)
    x, y = grid.mesh
    # Brighter towards the chest wall, where the coil lies.
    coil = np.exp(-np.float32(0.30 * rng.uniform(0.6, 1.4) / 118) * (0.3 * x + y)
                  + np.float32(0.05) * grid.field(chance, f"coil {modality} {number}", 150))
    deviation = np.float32(NOISE[modality] * rng.uniform(0.7, 1.3) * np.sqrt(1.5 / grid.spacing))
    real, imaginary = deviation * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    return np.hypot(blurred * coil + real, imaginary)  # Rician
