"""The bricks: norm - activation - convolution, and the residual level they make.

Pre-norm (ours, as mmFormer; RFNet norms after the convolution): what a level adds is normed, the sum is
not.  An instance norm over a crop takes away how bright the crop is against the rest of the study; kept
on the direct path, that is still known in a window without a target.  On the phantom, at equal budget,
whole-tumour precision with all modalities rose from 0.3 to 0.6 by this alone.

Convolutions have no bias and instance norm no affine part: a volume of zeros gives features of
exactly zero.

Taught in lesson 02.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmaf_lite.base.device import in_float32
from dmaf_lite.nn.convolution import Conv3d
from dmaf_lite.nn.interpolation import trilinear
from dmaf_lite.nn.slabs import answers_in_slabs, norm_act_in_slabs

# Devices on which maps lie with the channels last.  CPUs: see `InstanceNorm`.  On CUDA both layouts are measured by
# `benchmarks/gpu.py`; the standard one needs fewer kernels, and small steps there wait for nothing else.
CHANNELS_LAST = {"cpu"}


def in_layout(x: Tensor) -> Tensor:
    """float[N, C, D, H, W] in the memory layout that is fast on its device; the tensor itself where it lies so."""
    last = x.device.type in CHANNELS_LAST
    return x.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


def add_into(x: Tensor, y: Tensor) -> Tensor:
    """x + y; where nobody wants gradients into the memory of x, which must have been made just now."""
    return x + y if torch.is_grad_enabled() or x.dtype != y.dtype else x.add_(y)


class PointConv(nn.Conv3d):
    """A convolution of 1^3 voxels, for the few classes of a head.

    Without gradients on a CPU it is a product of matrices in float32: a quarter of a convolution's time, from 8 to 4
    channels.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        with in_float32(x.device):
            voxels = x.float().movedim(1, -1).flatten(1, 3).mT  # (N, C, V), a view where the channels are last
            y = torch.bmm(self.weight.flatten(1).float().expand(len(x), -1, -1), voxels)
            return y.add_(self.bias[:, None]).unflatten(2, x.shape[2:])


class _NormChannelsLast(torch.autograd.Function):
    """Instance norm by sums over the voxels, (x - mean) / sqrt(variance + eps), without a copy to another layout."""

    @staticmethod
    def forward(ctx, x: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(x.float(), dim=(2, 3, 4), correction=0, keepdim=True)
        scale = (variance + eps).rsqrt()
        # x is kept and not y: the activation that follows works in place.
        ctx.save_for_backward(x, mean, scale)
        return torch.addcmul(-mean * scale, x, scale).to(x.dtype)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[Tensor, None]:
        x, mean, scale = ctx.saved_tensors
        y = torch.addcmul(-mean * scale, x, scale).to(x.dtype)
        voxels = (2, 3, 4)
        along = (g * y).mean(voxels, keepdim=True, dtype=scale.dtype)
        rest = torch.addcmul(g - g.mean(voxels, keepdim=True, dtype=scale.dtype), y, along, value=-1)
        return (rest * scale).to(g.dtype), None


class InstanceNorm(nn.InstanceNorm3d):
    """Instance norm without affine part, for tensors with the channels last in memory.

    Use it instead of torch's own, which has two faults there (torch 2.13).  It answers in the standard layout, so that
    the next convolution runs in that one: 2 to 6 times slower on CPUs, with 8 channels.  And for a batch of one its
    gradient is wrong, without a word, if the gradient that comes in has the channels last.
    """

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.is_contiguous(memory_format=torch.channels_last_3d)
        if x.device.type == "cuda" and channels_last and not x.is_contiguous():
            return _NormChannelsLast.apply(x, self.eps)
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(Tensor.contiguous)
        return y.contiguous(memory_format=torch.channels_last_3d) if channels_last else y


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear interpolation of float[N, C, d, h, w] to `size`, corners not aligned.

    On CPUs bfloat16 is interpolated as float32 and made bfloat16 again, which takes half the time.
    """
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:
        return trilinear(x.float(), size, align_corners=False).to(x.dtype)
    return trilinear(x, size, align_corners=False)


def average_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """Mean of float[N, C, D, H, W] over the cells of a coarser grid, as `F.adaptive_avg_pool3d`.

    By reshapes where the sides are multiples of the grid.  torch's kernel takes ten times as long with the channels
    last on a CPU, has an atomic, so unrepeatable, gradient on CUDA, and does not exist on MPS.
    """
    standard = x.device.type == "cpu" and not x.is_contiguous(memory_format=torch.channels_last_3d)
    if standard or any(side % n for side, n in zip(x.shape[2:], size, strict=True)):
        return F.adaptive_avg_pool3d(x, tuple(size))
    return mean_of_cells(x, size)


def mean_of_cells(x: Tensor, size: Sequence[int]) -> Tensor:
    """The same, for sides that are multiples of the grid."""
    cells = [part for side, n in zip(x.shape[2:], size, strict=True) for part in (n, side // n)]
    if x.device.type != "cpu":
        return x.reshape(*x.shape[:2], *cells).mean((3, 5, 7))
    # Channels last and one axis after the other: each sum then runs through memory in order.
    parts = x.movedim(1, -1).reshape(len(x), *cells, -1)
    return (parts.sum(2).sum(3).sum(4) / math.prod(cells[1::2])).movedim(-1, 1)


Kernel = tuple[int, int, int]
CUBE: Kernel = (3, 3, 3)


def around(kernel: Kernel) -> tuple[int, int, int]:
    """The padding that keeps the size: nothing along an axis where the kernel is 1."""
    return tuple(side // 2 for side in kernel)


class NormActConv(nn.Sequential):
    """Instance norm, LeakyReLU(0.2), convolution: float[N, C, D, H, W] -> float[N, C, D, H, W]."""

    def __init__(self, channels: int, *, padding: str = "zeros", kernel: Kernel = CUBE) -> None:
        super().__init__(
            InstanceNorm(channels),
            nn.LeakyReLU(0.2, inplace=True),
            Conv3d(channels, channels, kernel, padding=around(kernel), padding_mode=padding, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        # On CPUs the bfloat16 weight gradient of a 3^3 convolution reads memory that was never written
        # when the first axis has two voxels (oneDNN in torch 2.13). Such maps are tiny: use float32.
        if x.device.type == "cpu" and x.shape[2] <= 2:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        norm, act, conv = self
        if answers_in_slabs(x):
            return conv(norm_act_in_slabs(x, norm.eps, act.negative_slope))
        return super().forward(x)


class ResidualLevel(nn.Module):
    """One encoder level: u = conv(x), strided; u + NAC(NAC(u))."""

    def __init__(self, c_in: int, c_out: int, *, stride: tuple[int, int, int], padding: str,
                 kernel: Kernel = CUBE) -> None:
        super().__init__()
        self.enter = Conv3d(c_in, c_out, kernel, stride=stride, padding=around(kernel), padding_mode=padding,
                               bias=False)
        self.refine = nn.Sequential(*(NormActConv(c_out, padding=padding, kernel=kernel) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        u = in_layout(self.enter(x))  # from here through the whole network
        return add_into(u, self.refine(u))


def initialise(module: nn.Module) -> None:
    """Kaiming-normal weights (fan-in, gain sqrt 2) for every convolution below `module`, as the peers do."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight)
