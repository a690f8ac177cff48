r"""mmFormer (Zhang et al., MICCAI 2022): transformers within and between modalities at the deepest level.

    images --encode--> x_1..x_5, tokens of each modality --decode--> prediction
      convolutions, then self-attention     all tokens attend to each other; a decoder with the stacks as skips

Written from the formulas of spec peers, section 3.2.  A modality that is missing has tokens of exact 0; with their
positions added they take part in the attention between modalities, which has no mask, as published.

The grid of tokens is part of the weights (learned positions): a crop is ``16 grid`` voxels wide, and no other.

Where this differs from the released code: there the tokens come out of the last transformer modality by modality and
are *viewed* as a grid, so that cell r holds tokens M r .. M r + M - 1 of one modality, at a place that is not theirs.
Here every cell gets the tokens of its own place, of all modalities.  ``faithful=True`` gives the released
behaviour; published weights were trained with it and need it.

Presets: `passion` (80^3, 35,599,184 parameters) and `original` (128^3, 36,391,760: the released 36,654,416 without the
262,656 of four convolutions that it declares and never uses).

Taught in lesson 11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dmaf_lite.base.settings import checked, choose
from dmaf_lite.nn.blocks import initialise
from dmaf_lite.nn.contract import Features, Prediction
from dmaf_lite.nn.encoder import encode_available
from dmaf_lite.peers.peer_blocks import (
    NAC,
    Brick,
    Conv,
    FlatNAC,
    PeerDecoder,
    PeerEncoder,
    PeerUpLevel,
    check_crop,
    fusion_stack,
    total_stride,
)
from dmaf_lite.spec import DatasetSpec


@checked
class MMFormerSettings:
    """Shape of the network; defaults: PASSION's.

    Attributes:
        width: d; levels have d, 2 d, .. 16 d channels.
        grid: Tokens per axis and modality; crops are 16 times that.
        token_width: Width of a token.
        heads: Of the attention; they divide the width of a token.
        hidden: Of the feed-forward part.
        dropout: Everywhere in the transformers.
        faithful: The released arrangement of the tokens, see above.
        through_plane: False: for single slices. No kernel and no stride along the last axis, and a crop is one voxel
            wide there: the learned positions of the tokens are those of a plane.
    """

    width: int = 8
    grid: int = 5
    token_width: int = 512
    heads: int = 8
    hidden: int = 4096
    dropout: float = 0.1
    faithful: bool = False
    through_plane: bool = True

    def __post_init__(self) -> None:
        if self.grid < 2:
            raise ValueError(f"grid is {self.grid}; expected 2 tokens per axis or more, one has no neighbours")
        if self.token_width % self.heads:
            raise ValueError(f"token_width is {self.token_width}; expected a multiple of the {self.heads} heads")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected a part, from 0 to below 1")

    @property
    def channels(self) -> tuple[int, ...]:
        """C_1..C_5."""
        return tuple(self.width * 2**level for level in range(5))

    @property
    def tokens(self) -> tuple[int, int, int]:
        """Tokens of one modality per axis."""
        return (self.grid, self.grid, self.grid if self.through_plane else 1)

    @property
    def brick(self) -> Brick:
        """What the convolutional parts are made of."""
        return NAC if self.through_plane else FlatNAC


PRESETS = {"passion": MMFormerSettings(), "original": MMFormerSettings(grid=8)}


class TransformerLayer(nn.Module):
    """t <- t + P;  t <- t + Drop(SA(LN t));  t <- t + FFN(LN t): float[N, T, E] -> float[N, T, E]."""

    def __init__(self, settings: MMFormerSettings) -> None:
        super().__init__()
        width, p = settings.token_width, settings.dropout
        self.heads, self.dropout = settings.heads, p
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)
        # Two dropouts in a row after the attention: one belongs to the projection, one to the residual.
        self.after_attention = nn.Sequential(nn.Dropout(p), nn.Dropout(p))
        self.feed = nn.Sequential(nn.Linear(width, settings.hidden), nn.GELU(), nn.Dropout(p),
                                  nn.Linear(settings.hidden, width), nn.Dropout(p))

    def forward(self, t: Tensor, position: Tensor) -> Tensor:
        t = t + position
        t = t + self.after_attention(self.project(self.attend(self.norm_attention(t))))
        return t + self.feed(self.norm_feed(t))

    def attend(self, t: Tensor) -> Tensor:
        """Multi-head self-attention before its projection."""
        # [N, T, 3 E] -> three times [N, heads, T, E / heads]
        q, k, v = self.qkv(t).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).flatten(2)


class MMFormerEncoder(nn.Module):
    """One modality: float[N, 1, D, H, W] -> its pyramid and its tokens float[N, T, E], T = grid^3 (or ^2)."""

    def __init__(self, settings: MMFormerSettings) -> None:
        super().__init__()
        self.pyramid = PeerEncoder(settings.brick, settings.channels)
        self.embed = Conv(settings.channels[-1], settings.token_width, 1)
        self.position = nn.Parameter(torch.zeros(1, math.prod(settings.tokens), settings.token_width))
        self.transformer = TransformerLayer(settings)

    def forward(self, x: Tensor) -> list[Tensor]:
        pyramid = self.pyramid(x)
        tokens = self.embed(pyramid[-1]).flatten(2).mT
        return [*pyramid, self.transformer(tokens, self.position)]


@dataclass(frozen=True, kw_only=True)
class MMFormerFeatures(Features):
    """A pyramid and tokens per pair.

    Attributes:
        levels: x_1..x_5, packed.
        tokens: float[P, T, E], packed, after the transformer of their modality.
    """

    tokens: Tensor

    def select(self, available: Tensor, study: Tensor | None = None) -> MMFormerFeatures:
        """As in `Features`, tokens included."""
        chosen = Features([*self.levels, self.tokens], self.pairs).select(available, study)
        return MMFormerFeatures(chosen.levels[:-1], chosen.pairs, tokens=chosen.levels[-1])


def to_grid(tokens: Float[Tensor, "B M T E"], grid: Sequence[int], *, scrambled: bool) -> Float[Tensor, "B M*E G G G"]:
    """Tokens of all modalities -> a map with their channels one after the other.

    Args:
        tokens: Their order is that of the voxels, last axis fastest.
        grid: Tokens per axis, T in all.
        scrambled: View the memory (modality, token, channel) as (place, M E channels), as the released code does.
    """
    if scrambled:
        # [B, T, M E], each row M tokens in a row
        rows = tokens.flatten(1, 2).unflatten(1, (tokens.shape[2], -1)).flatten(2)
    else:
        rows = tokens.transpose(1, 2).flatten(2)  # [B, T, M E], each row one place
    return rows.mT.unflatten(2, tuple(grid))


class TokenFusion(nn.Module):
    """Between the modalities: tokens float[B, M, T, E], 0 where missing -> a map float[B, E, G, G, G]."""

    def __init__(self, settings: MMFormerSettings, modalities: int) -> None:
        super().__init__()
        self.grid, self.scrambled = settings.tokens, settings.faithful
        self.transformer = TransformerLayer(settings)
        self.reduce = Conv(modalities * settings.token_width, settings.token_width, 1)

    def forward(self, tokens: Tensor, positions: Sequence[Tensor]) -> Tensor:
        mixed = self.transformer(tokens.flatten(1, 2), torch.cat(list(positions), 1))
        return self.reduce(to_grid(mixed.unflatten(1, tokens.shape[1:3]), self.grid, scrambled=self.scrambled))


class StackDecoder(nn.Module):
    """The fusion decoder: Q_l merges the stack of level l, and a U-Net's decoder goes up through them."""

    def __init__(self, settings: MMFormerSettings, modalities: int, classes: int) -> None:
        super().__init__()
        channels = settings.channels
        entering = [modalities * c for c in channels[:-1]] + [settings.token_width]
        # Zeros at the border in the fusions, reflection everywhere else, as published.
        self.fusions = nn.ModuleList(
            fusion_stack(settings.brick, c_in, c, c, padding="zeros")
            for c_in, c in zip(entering, channels, strict=True)
        )
        self.levels = nn.ModuleList(PeerUpLevel(settings.brick, c_deep, c) for c, c_deep in pairwise(channels))
        self.deep_heads = nn.ModuleList(Conv(c, classes, 1) for c in channels[1:])
        self.head = Conv(channels[0], classes, 1)

    def fuse(self, features: Features, deepest: Tensor) -> list[Tensor]:
        """Q_1..Q_5; `deepest` is what the tokens came to, float[B, E, G, G, G]."""
        stacks = [features.dense(level).flatten(1, 2) for level in range(len(self.fusions) - 1)]
        return [fusion(x) for fusion, x in zip(self.fusions, [*stacks, deepest], strict=True)]

    def forward(self, fused: Sequence[Tensor]) -> list[Tensor]:
        """f_1..f_5."""
        f = [fused[-1]]
        for level, q in zip(reversed(self.levels), reversed(fused[:-1]), strict=True):
            f.insert(0, level.join(q, level.rise(f[0])))
        return f


class MMFormer(nn.Module):
    """The network under the encode/decode contract (see `contract.py`).

    Attributes:
        encode_depends_on_availability: False: a modality's features and tokens do not depend on the others.
        channels: C_1..C_5.
        stride: Total stride per axis.
        classes: K.
    """

    encode_depends_on_availability = False

    def __init__(self, spec: DatasetSpec, settings: MMFormerSettings = PRESETS["passion"]) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.channels, self.classes = settings.channels, len(spec.classes)
        self.stride = total_stride(16, through_plane=settings.through_plane)
        self.encoders = nn.ModuleList(MMFormerEncoder(settings) for _ in spec.modalities)
        self.token_fusion = TokenFusion(settings, spec.M)
        self.shared_decoder = PeerDecoder(settings.brick, self.channels, self.classes)
        self.fusion_decoder = StackDecoder(settings, spec.M, self.classes)
        initialise(self)

    def encode(self, images: Tensor, available: Tensor) -> MMFormerFeatures:
        """images float[B, M, D, H, W], available bool[B, M] -> packed features.

        Raises:
            ValueError: If a side is not its stride times the token grid.
        """
        sides = tuple(n * step for n, step in zip(self.settings.tokens, self.stride, strict=True))
        if tuple(images.shape[2:]) != sides:
            check_crop(images.shape[2:], self.stride)
            raise ValueError(f"a window of {tuple(images.shape[2:])} voxels does not fit a grid of "
                             f"{self.settings.grid} tokens per axis; expected {sides[0]} voxels per axis"
                             f"{'' if self.settings.through_plane else ' in plane and one slice'}, or for windows "
                             "of 32, 48, 64, .. voxels a network with grid 2, 3, 4, ..")
        packed = encode_available(self.encoders, images, available)
        return MMFormerFeatures(packed.levels[:-1], packed.pairs, tokens=packed.levels[-1])

    def decode(self, features: MMFormerFeatures, available: Tensor) -> Prediction:
        """Features and the mask to use (part of what was encoded) -> prediction; deep logits at strides 2, 4, 8, 16."""
        features = features.select(available)
        tokens = features.pairs.to_dense(features.tokens)
        deepest = self.token_fusion(tokens, [encoder.position for encoder in self.encoders])
        decoder = self.fusion_decoder
        fused = decoder.fuse(features, deepest)
        f = decoder(fused)
        deep = [head(x) for head, x in zip(decoder.deep_heads, f[1:], strict=True)] if self.training else None
        return Prediction(
            logits=decoder.head(f[0]),
            pairs=features.pairs,
            unimodal_logits=self.shared_decoder(features.levels) if self.training else None,
            deep_logits=deep,
            fused_features=fused,
            decoder_features=f[0],
        )

    def forward(self, images: Tensor, available: Tensor) -> Prediction:
        return self.decode(self.encode(images, available), available)


def mmformer_settings(*, preset: str = "passion", **options: object) -> MMFormerSettings:
    """mmFormer's settings of a preset, with single ones replaced."""
    return choose(PRESETS, preset, options)
