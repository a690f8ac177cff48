"""DMAF-Net (arXiv 2506.11691, figures) and, with ``fusion="mean"``, the shared-decoder baseline.

    images, available --encode--> features --decode--> prediction
      one encoder per modality      DMAF per level, fusion decoder (and, in training, the
      that is there                 shared decoder on every modality and the deep heads)

Presets, M = 4 modalities and K = 4 classes: see `PRESETS`; `docs/paper_to_code.md` lists their
parameter counts.  Taught in lessons 02 (baseline) and 03 (DMAF).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from dmaf_lite.base.settings import checked, choose
from dmaf_lite.nn.blocks import Kernel, initialise
from dmaf_lite.nn.contract import Features, Prediction
from dmaf_lite.nn.decoder import Decoder
from dmaf_lite.nn.encoder import Encoder, Stride, encode_available
from dmaf_lite.nn.fusion import DMAF, MeanFusion
from dmaf_lite.spec import DatasetSpec


@checked
class DmafNetSettings:
    """Shape of the network.  What the paper does not print is ours."""

    width: int = 8  # C_1; level l has C_1 2^(l-1) channels
    levels: int = 4  # the figure shows five; four keep a 32^3 crop at 4^3 in the deepest level
    fusion: Literal["dmaf", "mean"] = "dmaf"
    gate: Literal["softmax", "sigmoid"] = "softmax"  # of DMAF
    grid: int = 4  # DMAF tokens per axis
    depth: int = 4  # attention blocks per level (figure: four)
    padding: Literal["zeros", "reflect"] = "zeros"  # "reflect": RFNet
    through_plane: bool = True  # False: no stride along the last axis, for few thick slices (MyoPS)
    # Kernels along the last axis: 3, 1, or "auto", nnU-Net's rule: 3 at levels whose voxels are at most twice as long
    # along it as in plane. `anisotropy` is how much longer they are in the training data: slice distance / pixel. A
    # training fills it in from the prepared cases (`training/anisotropy.py`).
    kernel_through: Literal["auto", 1, 3] = "auto"
    anisotropy: float = 1.0

    def __post_init__(self) -> None:
        if not self.anisotropy > 0:
            raise ValueError(f"anisotropy is {self.anisotropy}; expected slice distance / pixel, above 0")

    @property
    def channels(self) -> tuple[int, ...]:
        """C_1..C_L."""
        return tuple(self.width * 2**level for level in range(self.levels))

    @property
    def strides(self) -> tuple[Stride, ...]:
        """Stride of each level against the one above."""
        down = (2, 2, 2) if self.through_plane else (2, 2, 1)
        return ((1, 1, 1), *(down for _ in range(self.levels - 1)))

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Kernel of each level."""
        if self.kernel_through != "auto":
            return ((3, 3, int(self.kernel_through)),) * self.levels
        shrink = 1 if self.through_plane else 2  # how much less long a voxel is, relative to its pixel, a level deeper
        return tuple((3, 3, 3 if self.anisotropy / shrink**level <= 2 else 1) for level in range(self.levels))


PRESETS = {"lite": DmafNetSettings(), "full": DmafNetSettings(width=16, levels=5)}


class DmafNet(nn.Module):
    """The network under the encode/decode contract (see `contract.py`).

    Attributes:
        encode_depends_on_availability: False: a modality's features do not depend on the others.
        channels: C_1..C_L.
        stride: Total stride per axis; crops are multiples of it.
        classes: K.
    """

    encode_depends_on_availability = False

    def __init__(self, spec: DatasetSpec, settings: DmafNetSettings = PRESETS["lite"]) -> None:
        super().__init__()
        self.spec, self.settings = spec, settings
        self.channels, self.classes = settings.channels, len(spec.classes)
        self.stride = tuple(math.prod(steps) for steps in zip(*settings.strides, strict=True))
        form = {"padding": settings.padding, "kernels": settings.kernels}
        self.encoders = nn.ModuleList(Encoder(self.channels, settings.strides, **form) for _ in spec.modalities)
        self.shared_decoder = Decoder(self.channels, self.classes, **form, deep=False)
        self.fusion_decoder = Decoder(self.channels, self.classes, **form, deep=True)
        initialise(self)
        self.fusions = nn.ModuleList(
            DMAF(c, spec.M, grid=settings.grid, depth=settings.depth, gate=settings.gate)
            if settings.fusion == "dmaf"
            else MeanFusion()
            for c in self.channels
        )

    def encode(self, images: Tensor, available: Tensor) -> Features:
        """images float[B, M, D, H, W], available bool[B, M] -> packed features.

        Raises:
            ValueError: If a side is no multiple of the total stride, or would shrink to one voxel.
        """
        for size, stride in zip(images.shape[2:], self.stride, strict=True):
            if size % stride or (stride > 1 and size < 2 * stride):
                raise ValueError(f"a crop of {tuple(images.shape[2:])} voxels does not fit: every side must be a "
                                 f"multiple of {self.stride} and at least twice that; choose another crop size")
        return encode_available(self.encoders, images, available)

    def decode(self, features: Features, available: Tensor) -> Prediction:
        """Features and the mask to use (part of what was encoded) -> prediction."""
        features = features.select(available)
        pairs = features.pairs
        fused, weights = zip(*(fuse(e, pairs) for fuse, e in zip(self.fusions, features.levels, strict=True)),
                             strict=True)
        decoded = self.fusion_decoder(fused)
        unimodal = deep = None
        if self.training:
            unimodal = self.shared_decoder.head(self.shared_decoder(features.levels)[0])
            deep = self.fusion_decoder.deep_logits(decoded)
        return Prediction(
            logits=self.fusion_decoder.head(decoded[0]),
            pairs=pairs,
            unimodal_logits=unimodal,
            deep_logits=deep,
            fused_features=list(fused),
            decoder_features=decoded[0],
            fusion_weights=None if self.training else list(weights),
        )

    def forward(self, images: Tensor, available: Tensor) -> Prediction:
        return self.decode(self.encode(images, available), available)


def dmaf_net_settings(*, preset: str = "lite", **options: object) -> DmafNetSettings:
    """DMAF-Net's settings of a preset, with single ones replaced."""
    return choose(PRESETS, preset, options)


def baseline_settings(*, preset: str = "lite", **options: object) -> DmafNetSettings:
    """The shared-decoder baseline: the same network with mean fusion."""
    return choose(PRESETS, preset, {**options, "fusion": "mean"})
