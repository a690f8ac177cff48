"""A 3-D convolution that is quick for one study, too.

torch takes its fast CPU kernels (oneDNN) for float32 where the batch has several samples or the map is large, and else
an old one that lays every neighbourhood out in memory: from 8 to 8 channels, one study of 32^3 voxels takes longer than
four.  One study is the common case here: a batch of one, or the only study of a batch that has a scan.  So a small map
is computed as a batch of two halves, each with the planes beside it that its kernel reaches: the same products and sums
in a sixth of the time.

Taught in lesson 08.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 20480  # channels * planes * rows up to which torch (2.13) takes the old kernel for one sample
TINY = 512  # voxels of a result below which two halves cost more than they save


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d`, in halves where that is quicker."""

    def forward(self, x: Tensor) -> Tensor:
        return in_halves(self, x) if _is_slow(self, x) else super().forward(x)


def _is_slow(conv: nn.Conv3d, x: Tensor) -> bool:
    """Whether torch would take its old kernel, and halves are possible and quicker."""
    if not (x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
            and len(x) == 1 and x[0, :, :, :, 0].numel() <= SMALL
            and max(conv.kernel_size) == 3 and conv.groups == 1 and set(conv.dilation) == {1}):
        return False
    sides = [(n + 2 * p - k) // s + 1
             for n, k, s, p in zip(x.shape[2:], conv.kernel_size, conv.stride, conv.padding, strict=True)]
    return sides[0] % 2 == 0 and math.prod(sides) >= TINY


def in_halves(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """The convolution of one sample float[1, C, D, H, W], an even number of planes of the result, as a batch of two."""
    padding, kernel, stride = conv.padding, conv.kernel_size[0], conv.stride[0]
    if conv.padding_mode == "zeros":
        x, padding = F.pad(x, (0, 0, 0, 0, padding[0], padding[0])), (0, *padding[1:])
    else:
        x, padding = F.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode), (0, 0, 0)
    half = ((x.shape[2] - kernel) // stride + 1) // 2  # planes of a half of the result
    read = (half - 1) * stride + kernel  # and of what it is made from
    halves = torch.cat([x[:, :, start:start + read] for start in (0, half * stride)])
    return torch.cat(F.conv3d(halves, conv.weight, conv.bias, conv.stride, padding).split(1), dim=2)
