r"""Bricks of RFNet and mmFormer: their convolutions, encoder, decoder levels (spec peers, section 3).

    CNA   convolution, instance norm, LeakyReLU(0.2)      RFNet
    NAC   instance norm, LeakyReLU(0.2), convolution      mmFormer

Every convolution has a bias, as published; before a norm it has no influence.  Up-sampling is trilinear with aligned
corners.  Either brick can be given to `PeerEncoder` and `PeerDecoder`.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmaf_lite.nn.blocks import InstanceNorm, in_layout
from dmaf_lite.nn.convolution import Conv3d


class Conv(Conv3d):
    """Convolution with bias that keeps its size at stride 1.

    Attributes:
        flat: No kernel and no stride along the last axis: every slice by itself.

    On CPUs the bfloat16 weight gradient over two voxels along the first axis is not to be trusted (see `blocks.py`);
    such maps are tiny: float32.
    """

    flat = False

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, padding: str = "reflect") -> None:
        # A 1^3 convolution needs no padding, and an even number of reflected voxels would be none.
        mode = padding if kernel > 1 else "zeros"
        through = (1, 1, 0) if self.flat else (kernel, stride, kernel // 2)
        super().__init__(c_in, c_out, (kernel, kernel, through[0]), stride=(stride, stride, through[1]),
                         padding=(kernel // 2, kernel // 2, through[2]), padding_mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[2] <= 2 * self.stride[0]:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class FlatConv(Conv):
    """The same for slices."""

    flat = True


class CNA(nn.Module):
    """Convolution, instance norm, LeakyReLU(0.2): float[N, C_in, D, H, W] -> float[N, C_out, ...]."""

    conv_type: type[Conv] = Conv

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, padding: str = "reflect") -> None:
        super().__init__()
        self.conv = self.conv_type(c_in, c_out, kernel, stride=stride, padding=padding)
        self.norm = InstanceNorm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class NAC(nn.Module):
    """Instance norm, LeakyReLU(0.2), convolution: float[N, C_in, D, H, W] -> float[N, C_out, ...]."""

    conv_type: type[Conv] = Conv

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, *, stride: int = 1, padding: str = "reflect") -> None:
        super().__init__()
        self.norm = InstanceNorm(c_in)
        self.conv = self.conv_type(c_in, c_out, kernel, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.leaky_relu(self.norm(x), 0.2))


class FlatCNA(CNA):
    """The same for slices."""

    conv_type = FlatConv


class FlatNAC(NAC):
    """The same for slices."""

    conv_type = FlatConv


Brick = type[CNA] | type[NAC]


def total_stride(side: int, *, through_plane: bool) -> tuple[int, int, int]:
    """Total stride per axis of a network that divides each side by `side`, or only those in plane."""
    return (side, side, side if through_plane else 1)


def fusion_stack(brick: Brick, c_in: int, c: int, c_out: int, *, padding: str = "reflect") -> nn.Sequential:
    """1^3, 3^3, 1^3 convolutions: C_in -> C -> C -> C_out; how the peers merge the maps of all modalities."""
    return nn.Sequential(brick(c_in, c, 1), brick(c, c, padding=padding), brick(c, c_out, 1))


class PeerLevel(nn.Module):
    """One encoder level: u = enter(x), strided; u + refine(u), nothing after the sum."""

    def __init__(self, brick: Brick, c_in: int, c_out: int, *, stride: int, bare: bool = False) -> None:
        super().__init__()
        self.enter = (brick.conv_type if bare else brick)(c_in, c_out, stride=stride)
        self.refine = nn.Sequential(brick(c_out, c_out), brick(c_out, c_out))

    def forward(self, x: Tensor) -> Tensor:
        # Channels last in memory, from here through the whole network (see blocks.InstanceNorm).
        u = in_layout(self.enter(x))
        return u + self.refine(u)


class PeerEncoder(nn.Module):
    """Pyramid of one modality: float[N, 1, D, H, W] -> L maps at strides 1, 2, 4, ...

    With `NAC` the first convolution is bare: to norm the image would take its brightness away.
    """

    def __init__(self, brick: Brick, channels: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            PeerLevel(brick, c_in, c_out, stride=2 if level else 1, bare=issubclass(brick, NAC) and level == 0)
            for level, (c_in, c_out) in enumerate(pairwise((1, *channels)))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        pyramid = []
        for level in self.levels:
            x = level(x)
            pyramid.append(x)
        return pyramid


class PeerUpLevel(nn.Module):
    """g = enter(up(h_{l+1}));  h_l = out(merge([g, x_l])), in the order that the caller concatenates."""

    def __init__(self, brick: Brick, c_deep: int, c: int) -> None:
        super().__init__()
        self.enter = brick(c_deep, c)
        self.merge = brick(2 * c, c)
        self.out = brick(c, c, 1)
        self.scale = (2, 2, 1 if brick.conv_type.flat else 2)

    def rise(self, deep: Tensor) -> Tensor:
        """To twice the size and this level's width."""
        return self.enter(F.interpolate(deep, scale_factor=self.scale, mode="trilinear", align_corners=True))

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """Two maps of this level into one."""
        return self.out(self.merge(torch.cat([first, second], 1)))


class PeerDecoder(nn.Module):
    """The decoder that all modalities share ("sep"): a pyramid -> logits float[N, K, D, H, W]."""

    def __init__(self, brick: Brick, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(PeerUpLevel(brick, c_deep, c) for c, c_deep in pairwise(channels))
        self.head = Conv(channels[0], classes, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        h = pyramid[-1]
        for level, skip in zip(reversed(self.levels), reversed(pyramid[:-1]), strict=True):
            h = level.join(level.rise(h), skip)
        return self.head(h)


def check_crop(shape: Sequence[int], stride: Sequence[int]) -> None:
    """Refuse a crop whose sides are no multiple of the total stride, or would shrink to one voxel.

    Raises:
        ValueError: With both numbers.
    """
    if any(size % step or (step > 1 and size < 2 * step) for size, step in zip(shape, stride, strict=True)):
        raise ValueError(f"a crop of {tuple(shape)} voxels does not fit: every side must be a "
                         f"multiple of {tuple(stride)} and at least twice that; choose another crop size")
