"""Step 4, scanner: what lies between tissue and a file - blur, shading, noise, units, a stripped skull.

No two sites scan alike: slices are thick or thin, coils shade the image, and the same tissue may be
80 at one site and 1000 at another.  A method that is not normalised per scan learns the site.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.fields import Chance, Grid


@dataclass(frozen=True)
class Scan:
    """How one sequence of one case was acquired.

    Attributes:
        thickness: Slice thickness in mm; 1 is a 3-D acquisition, 3 to 6 a 2-D one.
        shading: Strength of the coil's shading: deviation of the log signal.
        noise: Deviation of the noise at 1 mm, relative to bright tissue at about 1.
        gain: Grey values of bright tissue.
    """

    thickness: float
    shading: float
    noise: float
    gain: float

    @classmethod
    def draw(cls, modality: str, chance: Chance) -> Scan:
        """Sites differ 13-fold in scale (as measured on real cases), sequences of one site up to twofold."""
        site = np.exp(chance.rng("site").uniform(np.log(120), np.log(120 * 13)))
        rng = chance.rng(f"scan {modality}")
        # T1 and T1ce are nearly always acquired in 3-D; FLAIR and T2 in slices at every second site.
        sliced = modality in ("FLAIR", "T2") and rng.random() < 0.5
        return cls(thickness=rng.uniform(3, 6) if sliced else 1.0, shading=rng.uniform(0.04, 0.115),
                   noise=rng.uniform(0.02, 0.05), gain=site * rng.uniform(0.7, 1.4))


def strip_skull(depth: np.ndarray, grid: Grid, chance: Chance) -> np.ndarray:
    """The brain mask a skull-stripping tool would find: wavy, here and there a little too tight.

    Args:
        depth: Distance below the true surface in mm.
    """
    return depth + 0.6 * chance.field("skull stripping", grid, 26) > 0.4


def acquire(signal: np.ndarray, scan: Scan, mask: np.ndarray, grid: Grid, chance: Chance, modality: str) -> np.ndarray:
    """Scan a signal.

    Args:
        signal: float32[grid.shape], noise-free.
        scan: How.
        mask: bool[grid.shape], what skull stripping keeps.
        grid: The voxels.
        chance: Which case.
        modality: Names the streams of noise.

    Returns:
        int16[grid.shape]: at least 1 inside the mask, 0 outside.
    """
    in_plane = 0.5  # mm, deviation of the point spread; registration to the common grid has blurred every scan
    if scan.thickness > 1:  # the deviation of a box of that width, on top of the in-plane blur
        through = np.hypot(in_plane, scan.thickness / np.sqrt(12))
    else:
        through = in_plane
    image = ndi.gaussian_filter(signal, np.array([in_plane, in_plane, through]) / grid.spacing, truncate=3)
    shade = np.clip(chance.field(f"shading {modality}", grid, 150), -2.5, 2.5)
    kept = image[mask] * np.exp(np.float32(scan.shading) * shade[mask])
    # Noise averages over the voxel, but files at 3 mm come from scans that were noisy in other ways too:
    # the square root keeps it visible at every spacing.
    deviation = np.float32(scan.noise / np.sqrt(grid.spacing))
    real, imaginary = deviation * chance.rng(f"noise {modality}").standard_normal((2, len(kept)), dtype=np.float32)
    magnitude = np.hypot(kept + real, imaginary)  # Rician
    values = np.zeros(grid.shape, np.int16)
    values[mask] = np.clip(np.rint(magnitude * np.float32(scan.gain)), 1, np.iinfo(np.int16).max)
    return values
