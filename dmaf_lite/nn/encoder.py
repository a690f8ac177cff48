"""One encoder per modality, run on the studies that have it.

Taught in lesson 02.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dmaf_lite.nn.blocks import CUBE, InstanceNorm, Kernel, ResidualLevel
from dmaf_lite.nn.contract import Features, Pairs

Stride = tuple[int, int, int]


class Encoder(nn.Module):
    """Pyramid of one modality: float[N, 1, D, H, W] -> L maps float[N, C_l, D_l, H_l, W_l].

    The deepest map is normed at the end (ours): relations between modalities are compared there, and the
    covariance of features that may grow without bound grows with their fourth power.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[Stride], *, padding: str,
                 kernels: Sequence[Kernel] | None = None) -> None:
        super().__init__()
        kernels = kernels or [CUBE] * len(channels)
        self.levels = nn.ModuleList(
            ResidualLevel(c_in, c_out, stride=stride, padding=padding, kernel=kernel)
            for c_in, c_out, stride, kernel in zip((1, *channels), channels, strides, kernels, strict=False)
        )
        self.norm = InstanceNorm(channels[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        pyramid = []
        for level in self.levels:
            x = level(x)
            pyramid.append(x)
        return [*pyramid[:-1], self.norm(pyramid[-1])]


def encode_available(encoders: Sequence[nn.Module], images: Tensor, available: Tensor) -> Features:
    """Run encoder m on the studies that have modality m; nothing of a missing scan is read.

    Args:
        encoders: One module per modality, float[N, 1, D, H, W] -> list of L maps.
        images: float[B, M, D, H, W]; a missing channel may hold anything, also NaN.
        available: bool[B, M].
    """
    pairs = Pairs.of(available, images.device)
    if images.shape[:2] != pairs.available.shape:
        raise ValueError(f"images are {tuple(images.shape[:2])} studies x modalities, "
                         f"the availability table is {tuple(pairs.available.shape)}")
    pyramids = [
        encoder(images[:, m].index_select(0, pairs.study[start:stop]).unsqueeze(1))
        for m, (encoder, (start, stop)) in enumerate(zip(encoders, pairs.blocks, strict=True))
        if stop > start
    ]
    return Features([torch.cat(maps) for maps in zip(*pyramids, strict=True)], pairs)
