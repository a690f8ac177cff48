"""Random changes of each scan of a crop by itself, as another scanner would make it: blur, gamma, bias, gain, noise.

`draw_scans` makes the choice, `change_scans` carries it out on the device where the crop is, all scans at once.  The
noise is a hash of the voxel's number, so that it is the same on every device and costs no random state.  Amplitudes
and probabilities: spec of the randomised phantom, written for z-scored scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

DARKEST, BRIGHTEST = -3.0, 4.0  # of a z-scored scan: gamma bends the values between
KNOTS = 3  # per axis, of the bias field over the crop


@dataclass(frozen=True)
class ScanChange:
    """One drawn change of the M scans of a crop.

    Attributes:
        blur: float32[M, 3], deviation in voxels along D, H, W; 0 leaves a scan as it is.
        gamma: float32[M], exponent; 1 leaves a scan as it is.
        bias: float32[M, 3, 3, 3], logarithm of the shading at knots over the crop.
        gain, shift: float32[M].
        noise: float32[M], deviation.
        seed: Of the noise.
    """

    blur: np.ndarray
    gamma: np.ndarray
    bias: np.ndarray
    gain: np.ndarray
    shift: np.ndarray
    noise: np.ndarray
    seed: int


def draw_scans(rng: np.random.Generator, modalities: int, strength: float) -> ScanChange:
    """Draw a change of M scans; `strength` scales all amplitudes, and the probabilities half as fast (1: full)."""
    often = (strength + 1) / 2

    def some(probability: float) -> np.ndarray:
        return rng.random(modalities) < probability * often

    blur = np.repeat(rng.uniform(0, 0.8 * strength, (modalities, 1)), 3, axis=1)
    sliced = rng.random(modalities) < 0.5  # one axis with thicker slices
    blur[sliced, rng.integers(3, size=modalities)[sliced]] = rng.uniform(0.4, 1.3, modalities)[sliced] * strength
    blur[~some(0.35)] = 0
    gamma = np.where(some(0.7), np.exp(rng.normal(0, 0.3 * strength, modalities)), 1)
    deviation = np.where(some(0.6), rng.uniform(0.02, 0.02 + 0.23 * strength, modalities), 0)
    bias = rng.normal(0, 1, (modalities, KNOTS, KNOTS, KNOTS)) * deviation[:, None, None, None]
    gain, shift = np.exp(rng.normal(0, 0.2 * strength, modalities)), rng.normal(0, 0.3 * strength, modalities)
    noise = np.where(some(0.6), rng.uniform(0, 0.3 * strength, modalities), 0)
    return ScanChange(*(x.astype(np.float32) for x in (blur, gamma, bias, gain, shift, noise)),
                      seed=int(rng.integers(2**31)))


def change_scans(change: ScanChange, images: Tensor) -> Tensor:
    """Carry out a change on float32[M, D, H, W]; the background, exactly 0, stays so."""
    def each(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(images.device, non_blocking=True).view(-1, 1, 1, 1)

    inside = images != 0
    changed = images
    if change.blur.any():
        # Means over the foreground only: its edge does not fade into the background.
        share = blur(inside.to(images.dtype), change.blur).clamp(min=1e-2)
        changed = torch.where(each(change.blur.max(axis=1)) > 0, blur(images, change.blur) / share, images)
    place = ((changed - DARKEST) / (BRIGHTEST - DARKEST)).clamp(0, 1.3)
    bent = DARKEST + (BRIGHTEST - DARKEST) * place ** each(change.gamma)
    changed = torch.where(each(change.gamma) != 1, bent, changed)
    knots = torch.from_numpy(change.bias)[None].to(images.device, non_blocking=True)
    field = F.interpolate(knots, images.shape[1:], mode="trilinear", align_corners=True)[0]
    changed = (changed - DARKEST) * torch.exp(field) + DARKEST
    changed = changed * each(change.gain) + each(change.shift)
    changed = changed + each(change.noise) * hashed_noise(images.shape, change.seed, images.device)
    return torch.where(inside, changed, images)


def blur(volumes: Tensor, deviations: np.ndarray) -> Tensor:
    """Smooth float32[M, D, H, W] by a Gaussian of deviations[M, 3] voxels; nothing comes in from outside the crop.

    One matrix per axis and scan: for a crop that is quicker than a convolution, on a CPU and on a GPU.
    """
    for axis in range(3):
        length = volumes.shape[axis + 1]
        apart = np.subtract.outer(np.arange(length), np.arange(length))
        width = np.maximum(deviations[:, axis], 1e-3)[:, None, None]
        kernel = np.exp(-0.5 * (apart / width) ** 2)
        # Divided by the sum over all of space, so that a border shows as a smaller share, not as a brighter voxel.
        kernel = kernel / kernel[:, length // 2].sum(axis=1)[:, None, None]
        matrix = torch.from_numpy(kernel.astype(np.float32)).to(volumes.device, non_blocking=True)
        last = volumes.movedim(axis + 1, 1)
        volumes = torch.bmm(matrix, last.flatten(2)).view(last.shape).movedim(1, axis + 1)
    return volumes


def hashed_noise(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """float32[shape], zero mean and unit deviation, the same on every device: a sum of four hashed uniform numbers."""
    number = torch.arange(int(np.prod(shape)), device=device) + seed * 2654435761
    total = torch.zeros(len(number), device=device)
    for salt in (0x9E3779B9, 0x85EBCA6B):
        mixed = (number ^ salt) & 0xFFFFFFFF
        for multiplier in (0x7FEB352D, 0x46C2A5E5):  # 32-bit mixing; int64 keeps the products whole
            mixed = ((mixed ^ (mixed >> 16)) * multiplier) & 0xFFFFFFFF
        mixed = mixed ^ (mixed >> 15)
        total += (mixed & 0xFFFF) + (mixed >> 16)
    # Each 16-bit number: mean 32767.5, variance (2^32 - 1) / 12; four of them.
    return ((total - 4 * 32767.5) / np.sqrt(4 * (2.0**32 - 1) / 12)).view(*shape)
