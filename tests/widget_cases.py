"""A small study with a tumour on the patient's left, and a network that answers without computing."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dmaf_lite.spec import BRATS
from dmaf_lite.widgets import Answer, Study

SHAPE = (20, 24, 16)
LEFT, FRONT, TOP = 14, 6, 10  # of the tumour's middle, in LPS order
AFFINE = np.diag([-1.0, -2.0, 3.0, 1.0])  # LPS with edges of 1, 2, 3 mm


def small_study(modalities=BRATS.modalities, *, labelled: bool = True) -> Study:
    """An ellipsoid head, and a cube of tumour in it with one voxel of its core."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    head = (grid**2).sum(0) < 0.8
    label = np.zeros(SHAPE, np.uint8)
    label[LEFT - 2 : LEFT + 3, FRONT - 1 : FRONT + 2, TOP - 1 : TOP + 2] = 2
    label[LEFT, FRONT, TOP] = 3
    rng = np.random.default_rng(0)
    images = {m: np.where(head, rng.uniform(100, 200, SHAPE) * (i + 1), 0).astype(np.float32)
              for i, m in enumerate(modalities)}
    return Study("small", BRATS, images, label if labelled else None, AFFINE)


def pixels(png: bytes) -> np.ndarray:
    """The picture of a PNG file, as int so that differences do not wrap."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def quick_answer(mask) -> Answer:
    """As many slabs of tumour as there are scans, equal weights, and a Dice that tells the subset's size."""
    label = np.zeros(SHAPE, np.uint8)
    label[:, :, 5 : 5 + 2 * sum(mask)] = 2
    share = np.array(mask) / sum(mask)
    maps = np.stack([np.full(SHAPE, round(255 * s), np.uint8) for s in share])
    return Answer(label, np.full(SHAPE, 60 * sum(mask), np.uint8), maps, np.tile(share, (3, 1)),
                  {region: sum(mask) / 4 for region in BRATS.regions}, seconds=0.01)
