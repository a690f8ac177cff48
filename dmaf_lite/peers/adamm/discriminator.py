"""A discriminator that looks at style maps, and the two losses of the game, kept from leaking into each other.

Both losses are part of one total, so that training stays one backward pass and one update.  What would leak is cut:
the student is judged by a copy with detached weights (`fooling_loss`), and the discriminator is taught on detached maps
(`telling_apart_loss`).

Taught in lesson 11.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dmaf_lite.base.device import in_float32

FORMS = ("pooled", "released")


class StyleDiscriminator(nn.Module):
    """Is this style map the teacher's (0) or the student's (1)?

    Args:
        channels: Of the style map, 8 C; inside, half of it, as many, twice.
        form: ``"released"``: three convolutions of 4^3 with stride 2 and a last one of 2 x 3 x 2 voxels, which needs
            maps of at least 16 x 24 x 16 and gives one logit there; ``"pooled"`` (ours): 3^3, stride 2, and the mean
            of the logits, for any size.
    """

    def __init__(self, channels: int, form: str = "pooled") -> None:
        super().__init__()
        self.form = form
        kernel, last = (4, (2, 3, 2)) if form == "released" else (3, 1)
        widths = (channels, channels // 2, channels, 2 * channels)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            layers += [nn.Conv3d(c_in, c_out, kernel, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv3d(2 * channels, 1, last))

    def forward(self, style: Tensor) -> Tensor:
        """float[B, C, D, H, W] -> logits float32[B].

        Raises:
            ValueError: If the map is too small for the released form.
        """
        if self.form == "released" and any(n // 8 < k for n, k in zip(style.shape[2:], (2, 3, 2), strict=True)):
            raise ValueError(f"the released discriminator cannot take a style map of {tuple(style.shape[2:])} voxels; "
                             "it needs 16 x 24 x 16, a crop of 128 x 192 x 128: choose such a crop, or "
                             "discriminator: pooled")
        with in_float32(style.device):
            return self.body(style.float()).flatten(1).mean(1)


def fooling_loss(discriminator: nn.Module, student: Tensor) -> Tensor:
    """BCE(D(g_S), 0), [B]: the student's style should pass as the teacher's.  D's parameters get no gradient."""
    frozen = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    logits = functional_call(discriminator, frozen, (student,))
    return F.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits), reduction="none")


def telling_apart_loss(discriminator: nn.Module, teacher: Tensor, student: Tensor) -> Tensor:
    """BCE(D(sg g_T), 0) + BCE(D(sg g_S), 1), [B]: only D gets a gradient."""
    real, fake = discriminator(torch.cat([teacher, student]).detach()).chunk(2)
    return (F.binary_cross_entropy_with_logits(real, torch.zeros_like(real), reduction="none")
            + F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake), reduction="none"))
