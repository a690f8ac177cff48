"""Making one scan worse, as scanners and patients do: noise, uneven brightness, motion.

All three start from a scan as the network sees it (mean 0, deviation 1 inside the head, 0 outside) and standardise the
result again, as preparing would.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import shift as shifted

from dmaf_lite.data.volume import standardise

KINDS = ("noise", "bias", "motion")


def degrade(scan: np.ndarray, kind: str, level: float, *, seed: int = 0) -> np.ndarray:
    """A worse copy of a scan.

    Args:
        scan: float32 [X, Y, Z], standardised, 0 outside the head.
        kind: ``noise``: Gaussian, `level` in standard deviations of the head.  ``bias``: brightness grows by e^level
            from one end of the first axis to the other.  ``motion``: two ghosts of a quarter each, `level` voxels to
            either side along the second axis.
        level: At least 0; 0 gives the scan back.
        seed: Of the noise.

    Raises:
        ValueError: An unknown kind, or a negative level.
    """
    if kind not in KINDS or level < 0:
        raise ValueError(f"{kind} of level {level} asked for; choose one of {', '.join(KINDS)} and a level of at least 0")
    if level == 0:
        return scan.copy()
    inside = scan != 0
    if kind == "noise":
        worse = scan + level * np.random.default_rng(seed).standard_normal(scan.shape, np.float32)
    elif kind == "bias":
        field = np.exp(level * np.linspace(-0.5, 0.5, scan.shape[0], dtype=np.float32))[:, None, None]
        lowest = scan[inside].min()
        worse = (scan - lowest) * field + lowest  # intensities are positive before they are standardised
    else:
        ghosts = [shifted(scan, (0, step, 0), order=1) for step in (-level, level)]
        worse = 0.5 * scan + 0.25 * (ghosts[0] + ghosts[1])
    return standardise(worse.astype(np.float32), inside)[0]
