"""The closed-form inputs of the golden values in the specification of the peers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def field(shape: tuple[int, ...], a: float, b: float) -> Tensor:
    """The closed-form input of the golden values: sin(a i + b), i the row-major index."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    return torch.sin(a * index + b).float().view(shape)


def golden_label() -> Tensor:
    i, j, k = torch.meshgrid(*(torch.arange(6),) * 3, indexing="ij")
    first = ((i + 2 * j + 3 * k) // 4) % 4
    return torch.stack([first, (first + 1) % 4])
