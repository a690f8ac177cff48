"""Fusion and instance norm a few planes at a time, for answers on a CPU.

Both are little arithmetic over large maps: scores up-sampled, their softmax, weights times features and the sum are
four passes over memory, and memory is what a CPU waits for.  Planes that fit its cache are read and written once.
Equal to `DMAF.forward` and `NormActConv` up to rounding (tests hold them equal); gradients are not needed here.

Taught in lesson 08.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu_

from dmaf_lite.base.device import in_float32
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.nn.interpolation import line

CACHE = 1 << 19  # bytes of a slab: half of what one core has for itself
LARGEST = 60.0  # difference of scores whose exponential, times features, is far below the largest float32

Gate = Callable[[Tensor, Pairs], Tensor]


def fuse_in_slabs(scores: Tensor, e: Tensor, pairs: Pairs, gate: Gate) -> Tensor:
    """f = sum_m A_m * e^m with A the gate of the up-sampled scores.

    Args:
        scores: float32[P, C, g1, g2, g3], the restored maps S_m.
        e: float[P, C, D, H, W], channels last in memory.
        pairs: Whose rows these are.
        gate: Scores float[P, ...] -> weights of the same shape.

    Returns:
        float32[B, C, D, H, W], channels last in memory.
    """
    f, e = _empty(e, pairs), e.movedim(1, -1)
    with in_float32(e.device), one_thread():
        first, s = _but_for_the_first_axis(scores, e.shape[1:-1])
        for study, rows, own in _studies(pairs):
            s_of, e_of = s[rows], e[rows]
            for slab in slabs(e.shape[1], e_of[:, 0].numel()):
                a = gate((first[slab] @ s_of).unflatten(2, e.shape[2:]), own)
                f[study, slab] = own.sum_by_study(a.mul_(e_of[:, slab]))[0]
    return f.movedim(-1, 1)


def fuse_by_softmax(scores: Tensor, e: Tensor, pairs: Pairs) -> Tensor:
    """The same for the gate softmax, with half the work: a softmax knows differences of scores alone.

    Two scans: f = e^1 + sigmoid(S_2 - S_1) (e^2 - e^1).  More: x_m = exp(S_m - S_1), and
    f = (e^1 + sum_m x_m e^m) / (1 + sum_m x_m), m = 2..k.  The interpolated difference is the difference of the
    interpolated, and no larger than the largest that goes in.
    """
    f, e = _empty(e, pairs), e.movedim(1, -1)
    with in_float32(e.device), one_thread():
        for study, rows, own in _studies(pairs):
            against_first = scores[rows][1:] - scores[rows][:1]
            if own.P > 2 and not against_first.abs().max() <= LARGEST:  # not <=: nor NaN
                f[study] = fuse_in_slabs(scores[rows], e[rows].movedim(-1, 1), own, _softmax)[0].movedim(0, -1)
                continue
            first, s = _but_for_the_first_axis(against_first, e.shape[1:-1])
            maps = list(e[rows])
            for slab in slabs(e.shape[1], maps[0][0].numel()):
                parts = [part[slab].float() for part in maps]
                differences = [(first[slab] @ s_m).view(parts[0].shape) for s_m in s]
                _weigh(parts, differences, f[study, slab])
    return f.movedim(-1, 1)


def _weigh(e: list[Tensor], differences: list[Tensor], out: Tensor) -> None:
    """Into `out`: the sum of k maps float32[d, H, W, C], weighed by the softmax of 0 and k - 1 differences."""
    if len(e) == 1:
        out.copy_(e[0])
    elif len(e) == 2:
        torch.lerp(e[0], e[1], differences[0].sigmoid_(), out=out)
    else:
        x = [difference.exp_() for difference in differences]
        torch.addcmul(e[0], x[0], e[1], out=out)
        total = x[0] + 1
        for x_m, e_m in zip(x[1:], e[2:], strict=True):
            out.addcmul_(x_m, e_m)
            total += x_m
        out.div_(total)


def weights_in_slabs(scores: Tensor, size: Sequence[int], pairs: Pairs, gate: Gate) -> Tensor:
    """The weights A that `fuse_in_slabs` gives: their mean over channels, float32[P, 1, D, H, W]."""
    channels = scores.shape[1]
    weights = scores.new_empty((pairs.P, *size))
    over_channels = scores.new_full((channels,), 1 / channels)  # a product with it is their mean, and faster
    with in_float32(scores.device), one_thread():
        first, s = _but_for_the_first_axis(scores, size)
        for _, rows, own in _studies(pairs):
            s_of = s[rows]
            for slab in slabs(size[0], own.P * math.prod(size[1:]) * channels):
                a = gate((first[slab] @ s_of).unflatten(2, (*size[1:], channels)), own)
                weights[rows, slab] = a @ over_channels
    return weights.unsqueeze(1)


def _empty(e: Tensor, pairs: Pairs) -> Tensor:
    """float32[B, D, H, W, C] for the fused maps of e."""
    return torch.empty((pairs.B, *e.shape[2:], e.shape[1]), device=e.device)


def _but_for_the_first_axis(scores: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Trilinear up-sampling in two parts: the weights of the first axis [D, g1], and the scores [P, g1, H W C],
    up-sampled along the other two."""
    first, middle, last = (line(a, b, False, scores.device, torch.float32)
                           for a, b in zip(scores.shape[2:], size, strict=True))
    s = torch.einsum("hb,pabcx->pahcx", middle, scores.movedim(1, -1))
    return first, torch.einsum("wc,pahcx->pahwx", last, s).flatten(2)


def _studies(pairs: Pairs) -> Iterator[tuple[int, Tensor | slice, Pairs]]:
    """Study after study (all at once would not fit the cache): its number, its rows, its own pairs."""
    for study, row in enumerate(pairs.available):
        rows = slice(study, None, pairs.B) if pairs.uniform else (pairs.study == study).nonzero().flatten()
        yield study, rows, Pairs.of(row[None])


def _softmax(scores: Tensor, pairs: Pairs) -> Tensor:
    """The gate softmax of one study."""
    return scores.softmax(dim=0)


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
    for slab in slabs(x.shape[1], x[:, 0].numel()):
        squares += torch.sub(x[:, slab], mean).square_().sum((2, 3)).sum(1)[:, None, None, None]
    scale = (squares / voxels + eps).rsqrt()
    y = torch.empty_like(x, dtype=torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype)
    for slab in slabs(x.shape[1], x[:, 0].numel()):
        part = torch.sub(x[:, slab], mean, out=y[:, slab] if y.dtype == x.dtype else None)
        leaky_relu_(part.mul_(scale), slope)
        if part.dtype != y.dtype:
            y[:, slab] = part
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


def slabs(planes: int, values: int) -> Iterator[slice]:
    """Ranges of `planes` planes, each range about `CACHE` bytes; a plane, of all maps together, has so many values."""
    step = max(1, CACHE // (4 * values))
    return (slice(start, min(start + step, planes)) for start in range(0, planes, step))
