"""Wide, unequal ventricles and wide sulci: dark fluid that is no necrosis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.phantom.brain.anatomy import Anatomy
from dmaf_lite.phantom.fields import Chance, Grid


def widen(grid: Grid, anatomy: Anatomy, chance: Chance) -> Anatomy:
    """Let fluid take the place of tissue where there is much of it nearby; the shares still sum to 1.

    Args:
        grid: The anatomy's grid.
        anatomy: After the tumour's push, before its tissue is drawn.
        chance: Which case; seven in ten get wider ventricles, four in ten wider sulci.
    """
    rng = chance.rng("wide fluid")
    deep = np.clip((anatomy.depth - 20) / 4, 0, 1)  # 1 where fluid is a ventricle's
    extra = np.zeros(grid.shape, np.float32)
    if rng.random() < 0.7:
        near = ndi.gaussian_filter(anatomy.csf * deep, rng.uniform(2.5, 6) / grid.spacing)
        # The threshold varies in space: one horn may be wide and the other not.
        limit = np.float32(rng.uniform(0.06, 0.45)) * np.exp(np.float32(0.5) * chance.field("unequal", grid, 90))
        extra = np.clip(8 * (near - limit), 0, 1) * deep
    if rng.random() < 0.4:
        near = ndi.gaussian_filter(anatomy.csf * (1 - deep), rng.uniform(1, 2) / grid.spacing)
        limit = np.float32(rng.uniform(0.25, 0.6)) * np.exp(np.float32(0.4) * chance.field("atrophy", grid, 60))
        extra = np.maximum(extra, np.clip(5 * (near - limit), 0, 1) * (1 - deep))
    extra = (extra * anatomy.brain).astype(np.float32)
    return replace(anatomy, csf=anatomy.csf + (1 - anatomy.csf) * extra, grey=anatomy.grey * (1 - extra),
                   white=anatomy.white * (1 - extra))
