r"""RFNet (Ding et al., ICCV 2021): fuse by tumour region, with one gate per modality and region.

    images --encode--> x_1..x_4 of each modality --decode--> prediction
      one encoder per modality     per level, deep to full size: where is what? (PRM); region-aware fusion (RFM)

Written from the formulas of spec peers, section 3.1.  **Region-aware fusion**: with pi_k(v) the probability of class k,
without gradient, y_m the features of modality m, exact 0 where it is missing, and V voxels,

.. math::
    \bar\pi_k = \tfrac1V \sum_v \pi_k(v) + 10^{-7}, \qquad \phi_{k,m} = \tfrac1V \sum_v \pi_k(v) y_m(v) / \bar\pi_k,
    \qquad s_k = \sigma(\mathrm{MLP}_k[\phi_{k,1..M}, \bar\pi_k]) \in (0, 1)^M, \qquad R_k = \pi_k \sum_m s_{k,m} y_m

This closed form needs K maps of C channels.  The obvious one holds every modality masked by every region, K M of them.

Presets: `passion` (d = 8) and `original` (d = 16) have 2,381,792 and 8,984,960 parameters, all in use.
The size of the last gate follows the number of modalities (ours); the released code takes that of the classes, 4 = 4.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dmaf_lite.base.device import in_float32
from dmaf_lite.base.settings import checked, choose
from dmaf_lite.nn.blocks import initialise
from dmaf_lite.nn.contract import Features, Prediction
from dmaf_lite.nn.encoder import encode_available
from dmaf_lite.peers.peer_blocks import (
    CNA,
    Brick,
    Conv,
    FlatCNA,
    PeerDecoder,
    PeerEncoder,
    PeerUpLevel,
    check_crop,
    fusion_stack,
    total_stride,
)
from dmaf_lite.spec import DatasetSpec

HIDDEN = 128  # of the gates' MLPs, as published
PRM_WIDTH = 16  # of the heads, as published


@checked
class RFNetSettings:
    """Shape of the network.

    Attributes:
        width: d, a multiple of 4; levels have d, 2 d, 4 d, 8 d channels.
        through_plane: False: no kernel and no stride along the last axis, for few thick slices.
    """

    width: int = 8
    through_plane: bool = True

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width is {self.width}; expected a multiple of 4, as the heads work at a quarter of it")

    @property
    def channels(self) -> tuple[int, ...]:
        """C_1..C_4."""
        return tuple(self.width * 2**level for level in range(4))


PRESETS = {"passion": RFNetSettings(width=8), "original": RFNetSettings(width=16)}


def region_means(
    pi: Float[Tensor, "B K D H W"], y: Float[Tensor, "B M C D H W"]
) -> tuple[Float[Tensor, "B K M C"], Float[Tensor, "B K"]]:
    """phi, the mean feature of each modality in each region, and the regions' sizes bar-pi; both float32."""
    voxels = pi[0, 0].numel()
    with in_float32(pi.device):
        weights, values = pi.float().flatten(2), y.float().flatten(3)
        size = weights.mean(2) + 1e-7
        sums = weights @ values.flatten(1, 2).mT
    return sums.unflatten(2, y.shape[1:3]) / voxels / size[:, :, None, None], size


class RegionFusion(nn.Module):
    """RFM: a stack float[B, M, C, D, H, W] and region probabilities -> float[B, C, D, H, W], and the gates."""

    def __init__(self, channels: int, modalities: int, classes: int, brick: Brick = CNA) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Conv3d(modalities * channels + 1, HIDDEN, 1), nn.LeakyReLU(0.2),
                          nn.Conv3d(HIDDEN, modalities, 1))
            for _ in range(classes)
        )
        self.regions = fusion_stack(brick, classes * channels, channels, channels // 2)
        self.shortcut = fusion_stack(brick, modalities * channels, channels, channels // 2)

    def forward(self, y: Tensor, pi: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse `y` with the probabilities `pi`, float[B, K, D, H, W], which get no gradient; gates are [B, K, M]."""
        pi = pi.detach()
        s = self.gate(y, pi)
        mixed = torch.einsum("bkm,bmcxyz->bkcxyz", s.to(y.dtype), y) * pi[:, :, None].to(y.dtype)
        fused = torch.cat([self.regions(mixed.flatten(1, 2)), self.shortcut(y.flatten(1, 2))], 1)
        return fused, s

    def gate(self, y: Tensor, pi: Tensor) -> Float[Tensor, "B K M"]:
        """s_{k,m}, in float32."""
        phi, size = region_means(pi, y)
        seen = torch.cat([phi.flatten(2), size[:, :, None]], 2)
        with in_float32(y.device):
            rows = [gate(seen[:, k, :, None, None, None]).flatten(1) for k, gate in enumerate(self.gates)]
        return torch.stack(rows, 1).sigmoid()


class RegionHead(nn.Module):
    """PRM: where is what, coarsely: a stack, and the decoder's map from the level below, -> logits."""

    def __init__(self, channels: int, modalities: int, classes: int, brick: Brick = CNA, *, deepest: bool) -> None:
        super().__init__()
        self.embed = fusion_stack(brick, modalities * channels, channels // 4, channels)
        self.head = nn.Sequential(brick(channels * (1 if deepest else 2), PRM_WIDTH, 1), Conv(PRM_WIDTH, classes, 1))

    def forward(self, y: Tensor, h: Tensor | None) -> Tensor:
        """`y` float[B, M, C, D, H, W]; `h` float[B, C, D, H, W], None at the deepest level."""
        embedding = self.embed(y.flatten(1, 2))
        return self.head(embedding if h is None else torch.cat([h, embedding], 1))


@dataclass(frozen=True)
class Fused:
    """What the fusion decoder gives, all lists full size first: region logits, fused maps, gates; f and its logits."""

    region_logits: list[Tensor]
    maps: list[Tensor]
    weights: list[Tensor]
    features: Tensor
    logits: Tensor


class RegionDecoder(nn.Module):
    """The fusion decoder: from the stacks of all levels to logits."""

    def __init__(self, channels: Sequence[int], modalities: int, classes: int, brick: Brick = CNA) -> None:
        super().__init__()
        deepest = len(channels) - 1
        self.region_heads = nn.ModuleList(
            RegionHead(c, modalities, classes, brick, deepest=level == deepest) for level, c in enumerate(channels)
        )
        self.fusions = nn.ModuleList(RegionFusion(c, modalities, classes, brick) for c in channels)
        self.levels = nn.ModuleList(PeerUpLevel(brick, c_deep, c) for c, c_deep in pairwise(channels))
        self.head = Conv(channels[0], classes, 1)

    def forward(self, features: Features) -> Fused:
        h, logits, maps, weights = None, [], [], []
        for level in reversed(range(len(self.fusions))):
            y = features.dense(level)
            if level < len(self.levels):
                h = self.levels[level].rise(h)
            r = self.region_heads[level](y, h)
            pi = r.float().softmax(1)
            fused, s = self.fusions[level](y, pi)
            h = fused if h is None else self.levels[level].join(fused, h)
            logits.insert(0, r)
            maps.insert(0, fused)
            weights.insert(0, torch.einsum("bkm,bkxyz->bmxyz", s, pi.detach()))
        return Fused(logits, maps, weights, h, self.head(h))


class RFNet(nn.Module):
    """The network under the encode/decode contract (see `contract.py`).

    Attributes:
        encode_depends_on_availability: False: a modality's features do not depend on the others.
        channels: C_1..C_4.
        stride: Total stride per axis; crops are multiples of it.
        classes: K.
    """

    encode_depends_on_availability = False

    def __init__(self, spec: DatasetSpec, settings: RFNetSettings = PRESETS["passion"]) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.channels, self.classes = settings.channels, len(spec.classes)
        self.stride = total_stride(8, through_plane=settings.through_plane)
        brick = CNA if settings.through_plane else FlatCNA
        self.encoders = nn.ModuleList(PeerEncoder(brick, self.channels) for _ in spec.modalities)
        self.shared_decoder = PeerDecoder(brick, self.channels, self.classes)
        self.fusion_decoder = RegionDecoder(self.channels, spec.M, self.classes, brick)
        initialise(self)

    def encode(self, images: Tensor, available: Tensor) -> Features:
        """images float[B, M, D, H, W], available bool[B, M] -> packed features.

        Raises:
            ValueError: If a side is no multiple of the total stride, or would shrink to one voxel.
        """
        check_crop(images.shape[2:], self.stride)
        return encode_available(self.encoders, images, available)

    def decode(self, features: Features, available: Tensor) -> Prediction:
        """Features and the mask to use (part of what was encoded) -> prediction.

        The deep logits are those of the PRMs, at strides 1, 2, 4, 8.  The modality weights are ours: the gates of the
        regions, averaged by the regions' probabilities in each voxel and divided by their sum over what is there.
        """
        features = features.select(available)
        fused = self.fusion_decoder(features)
        return Prediction(
            logits=fused.logits,
            pairs=features.pairs,
            unimodal_logits=self.shared_decoder(features.levels) if self.training else None,
            deep_logits=fused.region_logits if self.training else None,
            fused_features=fused.maps,
            decoder_features=fused.features,
            fusion_weights=None if self.training else [shares(w, features) for w in fused.weights],
        )

    def forward(self, images: Tensor, available: Tensor) -> Prediction:
        return self.decode(self.encode(images, available), available)


def shares(weights: Float[Tensor, "B M D H W"], features: Features) -> Float[Tensor, "P 1 D H W"]:
    """Weights as parts of their sum over the modalities that are there, packed."""
    pairs = features.pairs
    packed = pairs.from_dense(weights).unsqueeze(1)
    return packed / pairs.sum_by_study(packed).index_select(0, pairs.study)


def rfnet_settings(*, preset: str = "passion", **options: object) -> RFNetSettings:
    """RFNet's settings of a preset, with single ones replaced."""
    return choose(PRESETS, preset, options)
