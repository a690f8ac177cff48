"""The bricks: norm - activation - convolution, and the residual level they make.

Pre-norm (ours, as mmFormer; RFNet norms after the convolution): what a level adds is normed, the sum is
not.  An instance norm over a crop takes away how bright the crop is against the rest of the brain; kept
on the direct path, that is still known in a window without tumour.  On the phantom, at equal budget,
whole-tumour precision with all modalities rose from 0.3 to 0.6 by this alone.

Convolutions have no bias and instance norm no affine part: a volume of zeros gives features of
exactly zero.

Taught in lesson 02.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm(nn.InstanceNorm3d):
    """Instance norm without affine part, for tensors with the channels last in memory.

    Use it instead of torch's own, which has two faults there (torch 2.13).  It answers in the standard layout, so that
    the next convolution runs in that one: 2 to 6 times slower on CPUs, with 8 channels.  And for a batch of one its
    gradient is wrong, without a word, if the gradient that comes in has the channels last.
    """

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(Tensor.contiguous)
        channels_last = x.is_contiguous(memory_format=torch.channels_last_3d)
        return y.contiguous(memory_format=torch.channels_last_3d) if channels_last else y


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear interpolation of float[N, C, d, h, w] to `size`, corners not aligned.

    On CPUs bfloat16 is interpolated as float32 and made bfloat16 again, which takes half the time.
    """
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:
        return F.interpolate(x.float(), size=size, mode="trilinear", align_corners=False).to(x.dtype)
    return F.interpolate(x, size=size, mode="trilinear", align_corners=False)


class NormActConv(nn.Sequential):
    """Instance norm, LeakyReLU(0.2), convolution: float[N, C, D, H, W] -> float[N, C, D, H, W]."""

    def __init__(self, channels: int, *, padding: str = "zeros") -> None:
        super().__init__(
            InstanceNorm(channels),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv3d(channels, channels, 3, padding=1, padding_mode=padding, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        # On CPUs the bfloat16 weight gradient of a 3^3 convolution reads memory that was never written
        # when the first axis has two voxels (oneDNN in torch 2.13). Such maps are tiny: use float32.
        if x.device.type == "cpu" and x.shape[2] <= 2:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class ResidualLevel(nn.Module):
    """One encoder level: u = conv(x), strided; u + NAC(NAC(u))."""

    def __init__(self, c_in: int, c_out: int, *, stride: tuple[int, int, int], padding: str) -> None:
        super().__init__()
        self.enter = nn.Conv3d(c_in, c_out, 3, stride=stride, padding=1, padding_mode=padding, bias=False)
        self.refine = nn.Sequential(NormActConv(c_out, padding=padding), NormActConv(c_out, padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        # Channels last in memory, from here through the whole network (see InstanceNorm).
        u = self.enter(x).contiguous(memory_format=torch.channels_last_3d)
        return u + self.refine(u)


def initialise(module: nn.Module) -> None:
    """Kaiming-normal weights (fan-in, gain sqrt 2) for every convolution below `module`, as the peers do."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight)
