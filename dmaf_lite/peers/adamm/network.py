r"""AdaMM (arXiv 2509.15017): one U-Net for all sets of scans, with small adapters for each set.

    images, 0 where missing --encode--> skips c1 c2 c3, style g, content k, bottleneck b --decode--> prediction
       shared U-Net and the set's adapters     b: set-specific and general, joined by GARM     U-Net and adapters

Written from the formulas of spec adamm, sections 2 and 3.  The scans are fused in the first convolution, so the
features depend on which of them are there: encode anew for every subset.

``faithful=True`` is the released code with its known defects; without it they are repaired.  What that code
declares and never uses is left out: 316,694 of its 7,101,885 parameters, namely the adapters for "no scan at
all" (134,288) and GARM's modules outside the forward pass (182,406).  The teacher has neither adapters nor GARM here.

Taught in lesson 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from dmaf_lite.base.settings import checked, is_written, with_defaults
from dmaf_lite.nn.contract import Features, Pairs, Prediction
from dmaf_lite.nn.convolution import Conv3d
from dmaf_lite.peers.adamm.adapters import MaskGroups, adapter_bank
from dmaf_lite.peers.adamm.garm import GARM
from dmaf_lite.peers.adamm.presence import PresenceHead, class_logits
from dmaf_lite.spec import DatasetSpec


@checked
class AdammNetSettings:
    """Shape of the network, and whether it has the defects of the released code.

    Attributes:
        width: C, a multiple of 8 (group norm); levels have C, 2 C, 4 C, 8 C channels.
        gate: See `presence.py`. It holds no weights: to score without it, give a trained network
            ``net.settings = replace(net.settings, gate="none")``.
        faithful: The defects of the released code: those of `GARM`, batch norm there and in the presence head (the
            U-Net itself is group-normed), and the hard gate where none is written out.
    """

    width: int = 16  # published
    gate: Literal["soft", "hard", "none"] = "soft"
    faithful: bool = False

    @model_validator(mode="before")
    @classmethod
    def _faithful(cls, given: Any) -> Any:
        return with_defaults(given, {"gate": "hard"}) if is_written(given, "faithful") is True else given

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width is {self.width}; expected a multiple of 8, for the eight groups of the norms")


@dataclass(frozen=True, kw_only=True)
class AdammFeatures(Features):
    """What the encoder gives: one row per *study*, all its scans together.

    Attributes:
        levels: The skips c1, c2, c3 and the bottleneck b, float[B, C_l, D_l, H_l, W_l].
        groups: The studies by mask, for the decoder's adapters.
        transition: d3, float[B, 8 C, D/8, H/8, W/8], the first map at the deepest size.
        style: g, the same shape.
        content: k, the same shape.
    """

    groups: MaskGroups
    transition: Tensor
    style: Tensor
    content: Tensor

    def select(self, available: Tensor, study: Tensor | None = None) -> AdammFeatures:
        """The features themselves, for the mask that they were encoded with.

        Raises:
            ValueError: For any other mask, or a choice of studies.
        """
        if study is None and torch.equal(torch.as_tensor(available).cpu(), self.pairs.available):
            return self
        raise ValueError("AdaMM fuses the scans before its encoder: features hold for the very mask they were encoded "
                         f"with, {self.pairs.available.int().tolist()}, and no other; call encode for each mask")

    def dense(self, level: int) -> Tensor:
        """Not there: rows are studies.

        Raises:
            ValueError: Always.
        """
        raise ValueError("AdaMM's maps hold all scans of a study together; there is no map per modality")


@dataclass(frozen=True, kw_only=True)
class AdammPrediction(Prediction):
    """A prediction with the answers behind its class logits.

    Attributes:
        lesion_logits: z, float[B, K - 1, D, H, W], before sigmoid and gate.
        presence_logits: float[B, K - 1], before the sigmoid that gives q.
    """

    lesion_logits: Tensor
    presence_logits: Tensor


class ResidualBlock(nn.Module):
    """R(c): x + conv3(relu(GN8(conv3(relu(GN8(x)))))), with bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(
            layer for _ in range(2)
            for layer in (nn.GroupNorm(8, channels), nn.ReLU(inplace=True), Conv3d(channels, channels, 3, padding=1))
        ))

    def forward(self, x: Tensor) -> Tensor:
        # As in blocks.py: on CPUs the bfloat16 gradient of a convolution over two voxels is not to be trusted.
        if x.device.type == "cpu" and x.shape[2] <= 2:
            with torch.autocast("cpu", enabled=False):
                return x + self.body(x.float())
        return x + self.body(x)


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    """`count` blocks R(channels) in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


class AdammNet(nn.Module):
    """The network under the encode/decode contract (see `contract.py`).

    Args:
        spec: The data set; every class but the background is a lesion class with a sigmoid of its own.
        settings: See `AdammNetSettings`.
        adapters: False leaves out adapters and GARM: the teacher, who never uses them.

    Attributes:
        encode_depends_on_availability: True: the evaluator encodes anew for every subset.
        encoders: None: no modality has an encoder of its own.
        channels: C, 2 C, 4 C, 8 C.
        stride: Total stride per axis; crops are multiples of it.
        classes: K.
    """

    encode_depends_on_availability = True
    encoders = ()

    def __init__(self, spec: DatasetSpec, settings: AdammNetSettings | None = None, *,
                 adapters: bool = True) -> None:
        super().__init__()
        settings = settings or AdammNetSettings()
        self.spec, self.settings, self.classes = spec, settings, len(spec.classes)
        w = settings.width
        self.channels, self.stride = (w, 2 * w, 4 * w, 8 * w), (8, 8, 8)
        self.enter = nn.Sequential(Conv3d(spec.M, w, 3, padding=1), ResidualBlock(w))
        self.down = nn.ModuleList(Conv3d(c, 2 * c, 3, stride=2, padding=1) for c in (w, 2 * w, 4 * w))
        self.refine = nn.ModuleList(residual_blocks(c, n) for c, n in ((2 * w, 2), (4 * w, 2), (8 * w, 3)))
        self.deepest = ResidualBlock(8 * w)
        self.fuse_style = nn.Conv3d(20 * w, 8 * w, 1)
        self.fuse_bottleneck = nn.Conv3d(16 * w, 8 * w, 1)
        self.dropout = nn.Dropout(0.2)
        self.reduce = nn.ModuleList(nn.Conv3d(2 * c, c, 1) for c in (4 * w, 2 * w, w))
        self.merge = nn.ModuleList((ResidualBlock(4 * w), ResidualBlock(2 * w)))
        self.presence = PresenceHead(w, self.classes - 1, "batch" if settings.faithful else "group")
        # One sigmoid per class, the background's last as released; that one enters no loss and no metric.
        self.head = nn.Conv3d(w, self.classes, 1)
        self.last = ResidualBlock(w)
        self.bank = adapter_bank(spec, w) if adapters else nn.ModuleDict()
        self.garm = GARM(8 * w, faithful=settings.faithful) if adapters else None

    def encode(self, images: Tensor, available: Tensor) -> AdammFeatures:
        """images float[B, M, D, H, W], available bool[B, M] -> features of exactly these masks.

        A missing channel may hold anything, also NaN: it is replaced by 0.

        Raises:
            ValueError: If a side is no multiple of the total stride or less than twice it, or the masks do not fit.
        """
        if any(size % 8 or size < 16 for size in images.shape[2:]):
            raise ValueError(f"a crop of {tuple(images.shape[2:])} voxels does not fit: every side must be a "
                             f"multiple of {self.stride} and at least twice that; choose another crop size")
        pairs = Pairs.of(available, images.device)
        if images.shape[:2] != pairs.available.shape:
            raise ValueError(f"images are {tuple(images.shape[:2])} studies x modalities, "
                             f"the availability table is {tuple(pairs.available.shape)}")
        groups = MaskGroups.of(pairs.available, images.device)
        available = pairs.available.to(images.device, non_blocking=True)[:, :, None, None, None]
        c1 = self.enter(torch.where(available, images, 0))
        c2 = self.refine[0](self._adapt(self.down[0](c1), groups, "encoder", 0))
        d2 = self.down[1](c2)
        a2 = self._adapt(d2, groups, "encoder", 1)
        c3 = self.refine[1](a2)
        d3 = self.down[2](c3)
        a3 = self._adapt(d3, groups, "encoder", 2)
        e = self.refine[2](a3)
        content = self.deepest(e)
        # Style and content come from the maps before the adapters: what all sets of scans share.
        style = self.fuse_style(torch.cat([F.max_pool3d(d2, 2), d3, content], 1))
        bottleneck = self.dropout(self.fuse_bottleneck(torch.cat([style, content], 1)))
        if self.garm is not None:
            a4 = self._adapt(e, groups, "encoder", 3)
            adapted = torch.cat([F.max_pool3d(a2, 2), a3, a4], 1)
            bottleneck = groups.apply(self._join, bottleneck, adapted, a4)
        return AdammFeatures([c1, c2, c3, bottleneck], pairs, groups=groups, transition=d3, style=style,
                             content=content)

    def decode(self, features: AdammFeatures, available: Tensor) -> AdammPrediction:
        """Features and the mask that they were encoded with -> prediction.

        Raises:
            ValueError: For another mask.
        """
        features = features.select(available)
        c1, c2, c3, u = features.levels
        for level, skip in enumerate((c3, c2)):
            u = self.merge[level](F.interpolate(self.reduce[level](u), scale_factor=2) + skip)
            u = self._adapt(u, features.groups, "decoder", level)
        u = self._adapt(F.interpolate(self.reduce[2](u), scale_factor=2), features.groups, "decoder", 2) + c1
        presence = self.presence(u)
        last = self.last(u)
        lesion = self.head(last)[:, : self.classes - 1]
        return AdammPrediction(
            logits=class_logits(lesion, presence, gate=self.settings.gate), pairs=features.pairs,
            decoder_features=last, lesion_logits=lesion, presence_logits=presence,
        )

    def forward(self, images: Tensor, available: Tensor) -> AdammPrediction:
        return self.decode(self.encode(images, available), available)

    def _adapt(self, x: Tensor, groups: MaskGroups, where: str, position: int) -> Tensor:
        """Each study through the adapter of its mask; unchanged where nothing is missing."""

        def adapter(key: str, part: Tensor) -> Tensor:
            return getattr(self.bank[key], where)[position](part) if key in self.bank else part

        return groups.apply(adapter, x) if self.garm is not None else x

    def _join(self, key: str, general: Tensor, adapted: Tensor, a4: Tensor) -> Tensor:
        """The bottleneck of the studies with one mask: specific and general through GARM."""
        if key not in self.bank:
            return general
        own = self.bank[key]
        specific = self.dropout(own.fuse_bottleneck(torch.cat([own.fuse_style(adapted), a4], 1)))
        return self.garm(specific, general)
