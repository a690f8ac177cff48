r"""The reference of the ratios: RFNet and RFNet + PASSION computed the way the public code does it.

Our own plain form of that way (spec peers, sections 3, 4, 6 and 8), so that both sides of a ratio run in the same
process family on the same machine:

- a missing scan is a volume of zeros that is encoded, decoded and, in the end, multiplied by zero;
- the decoder that all modalities share runs on one modality after the other;
- region-aware fusion holds every modality masked by every region, K M maps of C channels;
- the students of PASSION run one after the other, each through the whole fusion decoder;
- the label is a one-hot map in double precision, converted and counted anew in every loss.

`python -m benchmarks run` counts its floating-point operations; at 80^3 and d = 8 they are the 304 and 557 GFLOP of the
public code.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = K = 4  # modalities and classes of BraTS
MAPS = list[Tensor]


def brick(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, instance norm, LeakyReLU."""
    mode = "reflect" if kernel > 1 else "zeros"
    return nn.Sequential(nn.Conv3d(c_in, c_out, kernel, stride, kernel // 2, padding_mode=mode),
                         nn.InstanceNorm3d(c_out), nn.LeakyReLU(0.2, inplace=True))


def up(x: Tensor, factor: int = 2) -> Tensor:
    """Trilinear, corners aligned."""
    return F.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=True) if factor > 1 else x


class Encoder(nn.Module):
    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.enter = nn.ModuleList(
            brick(a, b, stride=2 if i else 1) for i, (a, b) in enumerate(zip((1, *channels), channels, strict=False)))
        self.refine = nn.ModuleList(nn.Sequential(brick(c, c), brick(c, c)) for c in channels)

    def forward(self, x: Tensor) -> MAPS:
        maps = []
        for enter, refine in zip(self.enter, self.refine, strict=True):
            x = enter(x)
            x = x + refine(x)
            maps.append(x)
        return maps


class Joins(nn.Module):
    """The convolutions of a decoder level: after up-sampling, on the pair of maps, and out of it."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.rise = nn.ModuleList(brick(deep, c) for c, deep in pairs)
        self.merge = nn.ModuleList(nn.Sequential(brick(2 * c, c), brick(c, c, 1)) for c, _ in pairs)


class SharedDecoder(Joins):
    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.head = nn.Conv3d(channels[0], K, 1)

    def forward(self, maps: MAPS) -> Tensor:
        h = maps[-1]
        for level in (2, 1, 0):
            h = self.merge[level](torch.cat([self.rise[level](up(h)), maps[level]], 1))
        return self.head(h).softmax(1)


class RegionFusion(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Conv3d(M * c + 1, 128, 1), nn.LeakyReLU(0.2), nn.Conv3d(128, M, 1), nn.Sigmoid())
            for _ in range(K))
        self.regions, self.shortcut = (
            nn.Sequential(brick(M * c, c, 1), brick(c, c), brick(c, c // 2, 1)) for _ in range(2))

    def forward(self, y: Tensor, pi: Tensor) -> Tensor:
        masked = pi[:, :, None, None] * y[:, None]  # B, K, M, C, ...: every modality masked by every region
        size = pi.mean((2, 3, 4)) + 1e-7
        phi = masked.mean((4, 5, 6)) / size[:, :, None, None]
        mixed = []
        for k, gate in enumerate(self.gates):
            seen = torch.cat([phi[:, k].flatten(1), size[:, k: k + 1]], 1)[:, :, None, None, None]
            mixed.append((masked[:, k] * gate(seen)[:, :, None]).sum(1))
        return torch.cat([self.regions(torch.cat(mixed, 1)), self.shortcut(y.flatten(1, 2))], 1)


class FusionDecoder(Joins):
    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__(channels)
        self.embed = nn.ModuleList(
            nn.Sequential(brick(M * c, c // 4, 1), brick(c // 4, c // 4), brick(c // 4, c, 1)) for c in channels)
        self.where = nn.ModuleList(
            nn.Sequential(brick(c * (1 if i == 3 else 2), 16, 1), nn.Conv3d(16, K, 1)) for i, c in enumerate(channels))
        self.fuse = nn.ModuleList(map(RegionFusion, channels))
        self.head = nn.Conv3d(channels[0], K, 1)

    def forward(self, stacks: MAPS, mask: Tensor) -> tuple[Tensor, MAPS, Tensor]:
        """Logits, region logits of levels 1..4, features."""
        h, where = None, []
        for level in (3, 2, 1, 0):
            y = stacks[level] * mask[:, :, None, None, None, None]
            seen = self.embed[level](y.flatten(1, 2))
            h = h if h is None else self.rise[level](up(h))
            r = self.where[level](seen if h is None else torch.cat([h, seen], 1))
            fused = self.fuse[level](y, r.softmax(1).detach())
            h = fused if h is None else self.merge[level](torch.cat([fused, h], 1))
            where.insert(0, r)
        return self.head(h), where, h


class PlainRFNet(nn.Module):
    """RFNet of base width d."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        channels = [width * 2**i for i in range(4)]
        self.encoders = nn.ModuleList(Encoder(channels) for _ in range(M))
        self.shared, self.fusion = SharedDecoder(channels), FusionDecoder(channels)

    def encode(self, images: Tensor, mask: Tensor) -> tuple[list[MAPS], MAPS]:
        """Pyramids of every modality, those of zeros as well, and their stacks."""
        masked = images * mask[:, :, None, None, None]
        maps = [encoder(masked[:, m: m + 1]) for m, encoder in enumerate(self.encoders)]
        return maps, [torch.stack(level, 1) for level in zip(*maps, strict=True)]


def segmentation(p: Tensor, one_hot: Tensor) -> Tensor:
    """Weighted cross-entropy and Dice per study, everything counted anew."""
    y = one_hot.float()
    weights = (1 - y.mean((2, 3, 4)))[:, :, None, None, None].expand_as(p)
    entropy = -(weights * y * p.clamp(0.005, 1).log()).sum(1).mean((1, 2, 3))
    overlap = (p * y).sum((2, 3, 4))
    return entropy + 1 - (2 * overlap / (p.sum((2, 3, 4)) + y.sum((2, 3, 4)) + 1e-7)).mean(1)


def distilled(student: Tensor, teacher: Tensor, factor: int, t: float = 4.0) -> Tensor:
    """Pixel-wise self-distillation per study."""
    ps, pt = (up((z / t).softmax(1), factor).clamp(0.005, 1) for z in (student, teacher.detach()))
    return t * t * (pt * (pt.log() - ps.log())).mean((1, 2, 3, 4))


def similarities(f: Tensor, one_hot: Tensor) -> Tensor:
    """Cosine of every voxel with the prototype of every class."""
    y = one_hot.float()
    maps = []
    for c in range(K):
        size = y[:, c: c + 1].sum((2, 3, 4), keepdim=True)
        q = (f * y[:, c: c + 1]).sum((2, 3, 4), keepdim=True) / (size + 1e-5)
        maps.append(F.cosine_similarity(f, q.expand_as(f), dim=1, eps=1e-5))
    return torch.stack(maps, 1)


def peer_step(net: PlainRFNet, optimizer: torch.optim.Optimizer, images: Tensor, one_hot: Tensor, mask: Tensor, *,
              passion: bool) -> Tensor:
    """One training step; `one_hot` float64[B, K, D, H, W], `mask` float[B, M].  Returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    maps, stacks = net.encode(images, mask)
    logits, where, features = net.fusion(stacks, mask)
    loss = segmentation(logits.softmax(1), one_hot)
    for level, r in enumerate(where):
        loss = loss + 2.0 ** -(level + 1) * segmentation(up(r.softmax(1), 2**level), one_hot)
    for m in range(M):
        loss = loss + mask[:, m] * segmentation(net.shared(maps[m]), one_hot)
    if passion:
        teacher = similarities(features.detach(), one_hot)
        for m in range(M):
            alone = F.one_hot(torch.full((len(mask),), m), M).to(mask)
            z, r, f = net.fusion(stacks, alone)
            gap = distilled(z, logits, 1)
            for level in range(4):
                gap = gap + 2.0 ** -(level + 1) * distilled(r[level], where[level], 2**level)
            prototypes = (similarities(f, one_hot) - teacher).square().mean((1, 2, 3, 4))
            loss = loss + mask[:, m] * (0.5 * gap + 0.1 * prototypes)
    loss = loss.sum()
    loss.backward()
    optimizer.step()
    return loss.detach()
