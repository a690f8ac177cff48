"""Fusion and instance norm a few planes at a time, for answers on a CPU.

Both are little arithmetic over large maps: scores up-sampled, their softmax, weights times features and the sum are
four passes over memory, and memory is what a CPU waits for.  Planes that fit its cache are read and written once.
Same formulas as `DMAF.forward` and `NormActConv` (tests hold them equal); gradients are not needed here.

Taught in lesson 08.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_

from dmaf_lite.base.device import in_float32
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.nn.interpolation import line

CACHE = 1 << 19  # bytes of a slab: half of what one core has for itself


def fuse_in_slabs(scores: Tensor, e: Tensor, pairs: Pairs, gate: Callable[[Tensor, Pairs], Tensor]
                  ) -> tuple[Tensor, Tensor]:
    """f = sum_m A_m * e^m with A the gate of the up-sampled scores.

    Args:
        scores: float32[P, C, g1, g2, g3], the restored maps S_m.
        e: float[P, C, D, H, W], channels last in memory.
        pairs: Whose rows these are.
        gate: Scores float[P, ...] -> weights of the same shape.

    Returns:
        float32[B, C, D, H, W], channels last in memory; the weights' mean over channels, float32[P, 1, D, H, W].
    """
    size, e = e.shape[2:], e.movedim(1, -1)
    one_by_one = [Pairs.of(row[None]) for row in pairs.available]
    first, middle, last = (line(a, b, False, e.device, torch.float32)
                           for a, b in zip(scores.shape[2:], size, strict=True))
    f = scores.new_empty((pairs.B, *e.shape[1:]))
    weights = scores.new_empty(e.shape[:-1])
    over_channels = scores.new_full((e.shape[-1],), 1 / e.shape[-1])  # a product with it is their mean, and faster
    with in_float32(e.device), one_thread():
        s = torch.einsum("hb,pabcx->pahcx", middle, scores.movedim(1, -1))
        s = torch.einsum("wc,pahcx->pahwx", last, s).flatten(2)  # trilinear but for the first axis
        for study, own in enumerate(one_by_one):  # several at once would not fit the cache
            rows = slice(study, None, pairs.B) if pairs.uniform else (pairs.study == study).nonzero().flatten()
            s_of, e_of = s[rows], e[rows]
            for slab in slabs(e_of):
                a = gate((first[slab] @ s_of).unflatten(2, e.shape[2:]), own)
                weights[rows, slab] = a @ over_channels
                f[study, slab] = own.sum_by_study(a.mul_(e_of[:, slab]))[0]
    return f.movedim(-1, 1), weights.unsqueeze(1)


def answers_in_slabs(x: Tensor) -> bool:
    """Whether this is for float32[N, C, D, H, W] as it comes: on a CPU, channels last, and nobody wants gradients."""
    return (not torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32
            and x.is_contiguous(memory_format=torch.channels_last_3d))


def norm_act_in_slabs(x: Tensor, eps: float, slope: float) -> Tensor:
    """Instance norm and LeakyReLU of float32[N, C, D, H, W], channels last in memory; so is the answer.

    The answer is in the type in which a convolution under autocast reads it.  The deviation is that from the mean, and
    sums are taken plane by plane: torch's own kernels for this layout add up half a million voxels one by one and are
    wrong in the fourth digit.
    """
    with one_thread():
        return _norm_act(x.movedim(1, -1), eps, slope).movedim(-1, 1)


def _norm_act(x: Tensor, eps: float, slope: float) -> Tensor:
    """The same, for [N, D, H, W, C]."""
    voxels = x[0, ..., 0].numel()
    mean = x.sum((2, 3)).sum(1)[:, None, None, None] / voxels
    squares = torch.zeros_like(mean)
    for slab in slabs(x):
        squares += torch.sub(x[:, slab], mean).square_().sum((2, 3)).sum(1)[:, None, None, None]
    scale = (squares / voxels + eps).rsqrt()
    y = torch.empty_like(x, dtype=torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype)
    for slab in slabs(x):
        y[:, slab] = leaky_relu_(torch.sub(x[:, slab], mean).mul_(scale), slope)
    return y


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside the block.

    Several would meet hundreds of times for a piece of work each, and beside other programs one of them is
    always late: 242 ms in place of 31.  One alone takes 8, and more cores would wait for the same memory.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def slabs(maps: Tensor) -> Iterator[slice]:
    """Ranges of planes of float[N, D, H, W, C], all rows of them about `CACHE` bytes."""
    planes = maps.shape[1]
    step = max(1, int(CACHE // (maps[:, 0].numel() * 4)))
    return (slice(start, min(start + step, planes)) for start in range(0, planes, step))
