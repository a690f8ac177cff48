"""Trilinear interpolation, on GPUs as three matrix products.

Interpolation along one axis is a product with a small matrix of weights, two of them in each row that are not 0; along
three axes it is three products.  torch's own kernel for CUDA collects its gradient with atomic additions: on an H100
that one kernel took a quarter of a training step of 80^3, and no two runs were the same.  The gradient of a product is
a product again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dmaf_lite.base.device import in_float32

BY_PRODUCTS = {"cuda"}  # devices


def trilinear(x: Tensor, size: Sequence[int], *, align_corners: bool) -> Tensor:
    """float[N, C, d, h, w] interpolated to `size`, as `F.interpolate` does."""
    if x.device.type in BY_PRODUCTS and x.is_contiguous():
        return by_products(x, size, align_corners=align_corners)
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=align_corners)


def by_products(x: Tensor, size: Sequence[int], *, align_corners: bool) -> Tensor:
    """The same as products along the last, the middle and the first axis, in the type of `x`."""
    n, c, d, h, w = x.shape
    first, middle, last = (line(a, b, align_corners, x.device, x.dtype) for a, b in zip((d, h, w), size, strict=True))
    with in_float32(x.device):  # no other type than that of x
        x = x.reshape(-1, w) @ last.mT
        x = torch.bmm(middle.expand(n * c * d, -1, -1), x.view(n * c * d, h, size[2]))
        x = torch.bmm(first.expand(n * c, -1, -1), x.view(n * c, d, size[1] * size[2]))
    return x.view(n, c, *size)


@lru_cache(maxsize=256)
def line(source: int, target: int, align_corners: bool, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Weights [target, source] of linear interpolation along one axis."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        unit = torch.eye(source, dtype=torch.float64)[None]
        weights = F.interpolate(unit, size=target, mode="linear", align_corners=align_corners)[0].mT
        return weights.to(device, dtype).contiguous()
