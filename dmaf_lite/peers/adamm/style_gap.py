r"""Style as second-order statistics: what a teacher's maps have in common with each other, asked of the student.

Three Gram losses between the maps of teacher T and student S (spec adamm, section 3.2), one value per study:

* `layer_style_gap` (ours, after the paper's figure): channels of one layer against channels of another,
  M_ij = F_i F_j^T / N per study, mean squared difference.
* `slice_style_gap` (as released): the layers are put behind each other as channels; within each channel, slices against
  slices. It loops over the batch where the paper says layers.
* `style_gram_gap` (as released): the Gram matrix of one map. Its divisors leave about 1e-16: it does nothing.

A batch is the mean over its studies; the released code sums the style over it, the same at its batch of 1.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dmaf_lite.base.device import in_float32

PAIRS = ((0, 2), (1, 0), (2, 1))  # each of three layers with the next, published


def cross_grams(maps: Sequence[Tensor]) -> Tensor:
    """M_ij = F_i F_j^T / N of the layer pairs: three [B, C, D, H, W] -> float32 [B, 3, C, C], N = D H W."""
    flat = [map_.float().flatten(2) for map_ in maps]
    with in_float32(maps[0].device):
        return torch.stack([flat[i] @ flat[j].mT / flat[i].shape[2] for i, j in PAIRS], 1)


def layer_style_gap(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Mean over pairs and entries of the squared difference of `cross_grams`: two times three maps -> [B]."""
    return (cross_grams(teacher) - cross_grams(student)).square().mean((1, 2, 3))


def slice_grams(maps: Sequence[Tensor]) -> Tensor:
    """F_c F_c^T / N of every channel c of all maps: [B, C, D, H, W] each -> float32 [B, sum C, D, D].

    F_c has a row for each of the D slices (the first axis) and N = H W columns. In a batch, study b is correlated
    with study b - 1, as released; alone, with itself.
    """
    f = torch.cat([map_.float() for map_ in maps], 1).flatten(3)
    with in_float32(f.device):
        return f @ f.roll(1, 0).mT / f.shape[3]


def slice_style_gap(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
    """Sum over channels of ||M_c^T - M_c^S||_F^2 / (4 D^2 N^2), [B]; N as in `slice_grams`."""
    d, n = teacher[0].shape[2], teacher[0].shape[3] * teacher[0].shape[4]
    return (slice_grams(teacher) - slice_grams(student)).square().sum((1, 2, 3)) / (4 * d**2 * n**2)


def style_gram_gap(teacher: Tensor, student: Tensor) -> Tensor:
    """||G^T - G^S||_F^2 / (4 C^2 (D H)^2), G = F F^T / (B C N), all studies' channels being rows of F.

    Returns:
        [B], the batch's one number for each study.
    """
    b, c, d, h = student.shape[:4]

    def gram(map_: Tensor) -> Tensor:
        f = map_.float().flatten(0, 1).flatten(1)
        return f @ f.mT / f.numel()

    with in_float32(student.device):
        gap = (gram(teacher) - gram(student)).square().sum() / (4 * c**2 * (d * h) ** 2)
    return gap.expand(b)
