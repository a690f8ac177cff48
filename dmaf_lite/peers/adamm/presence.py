r"""AdaMM's answer: independent sigmoids per lesion class, gated by whether the class is there at all.

The network gives z_c per voxel and lesion class, p_c = sigmoid(z_c), and q_c, the probability that class c occurs in
the crop (spec adamm, section 3.3).  The gate lets a class through, p_c 1[q_c > 0.5] ("hard", released), or
weighs it, p_c q_c ("soft", ours), or does nothing ("none").

The kit's networks answer with logits of K classes that exclude each other, background first.  Ours, for that: the
log-odds of the gated probabilities beside a background of 0,

.. math::  L = (0, \ln \tfrac{\tilde p_1}{1 - \tilde p_1}, \ldots)

so that argmax says: background where no class exceeds 0.5, else the class with the largest gated probability.
The released code thresholds each class by itself: a voxel may then be oedema *and* enhancing.  Whole tumour is the
same under both rules; the inner regions lose the voxels in which oedema is more likely.  With one class in question,
softmax(L) gives back exactly its probability.

Taught in lesson 11.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dmaf_lite.nn.convolution import Conv3d
from dmaf_lite.peers.adamm.garm import make_norm

GATES = ("soft", "hard", "none")
# Log-odds of a class that the hard gate has closed: exp(-100) is 0 in float32, and a logarithm of it is finite.
CLOSED = -100.0


class PresenceHead(nn.Sequential):
    """Which lesion classes are in the crop: float[B, C, D, H, W] -> logits float[B, K - 1].

    conv3, norm, ReLU, conv1, mean over all voxels; the sigmoid is the reader's.
    """

    def __init__(self, channels: int, lesions: int, norm: str) -> None:
        super().__init__(
            Conv3d(channels, channels, 3, padding=1), make_norm(norm, channels), nn.ReLU(),
            nn.Conv3d(channels, lesions, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        )


def log_odds_of_product(z: Tensor, other: Tensor) -> Tensor:
    """ln(s / (1 - s)) of s = sigmoid(z) sigmoid(other), finite also where both are close to 1."""
    log_s = F.logsigmoid(z) + F.logsigmoid(other)
    # -expm1(log s) = 1 - s. At 1e-12 from certainty a float32 softmax is exactly 1 anyway.
    log_s = log_s.clamp(max=-1e-12)
    return log_s - (-torch.expm1(log_s)).log()


def class_logits(
    lesion_logits: Float[Tensor, "B L D H W"], presence_logits: Float[Tensor, "B L"], *, gate: str
) -> Float[Tensor, "B K D H W"]:
    """Logits of K = L + 1 exclusive classes, background first; float32.

    Args:
        lesion_logits: z.
        presence_logits: Of the head.
        gate: ``"soft"``, ``"hard"`` or ``"none"``. Through the hard gate the head learns nothing.

    Raises:
        ValueError: For another gate.
    """
    z, presence = lesion_logits.float(), presence_logits.float()[:, :, None, None, None]
    if gate == "soft":
        z = log_odds_of_product(z, presence)
    elif gate == "hard":
        z = torch.where(presence > 0, z, CLOSED)
    elif gate != "none":
        raise ValueError(f"gate is {gate!r}; expected one of {', '.join(GATES)}")
    return torch.cat([torch.zeros_like(z[:, :1]), z], dim=1)
