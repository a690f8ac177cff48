r"""Self-distillation as in PASSION: every modality alone is a student of the same network with all that is there.

Two gaps between a student and its teacher (spec peers, sections 4.5 and 4.6), V voxels, K classes, U trilinear:

.. math::
    \tilde p(z) = U(\mathrm{softmax}(z / T)), \qquad
    \mathrm{KD} = \frac{T^2}{K V} \sum_{c,v} \tilde p^t_{c,v} (\ln \tilde p^t_{c,v} - \ln \tilde p^s_{c,v})

    S_{c,v}(f) = \cos(f_v, q_c), \quad q_c = \mathrm{mean}_{v: y_v = c} f_v, \qquad
    \pi = \mathrm{mean}_{c,v} (S^s_{c,v} - S^t_{c,v})^2, \quad D = \mathrm{mean}_{c,v} |S^s_{c,v} - S^t_{c,v}|

q has the prototypes of each branch's own features; the mean over c takes the classes that are there.  KD and the
prototype loss pi train the student; the distance D only says how far it is.  The teacher is detached.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dmaf_lite.base.device import in_float32
from dmaf_lite.objectives.prototype import prototypes
from dmaf_lite.objectives.segmentation import TINY

SHORTEST = 1e-5  # of a feature in the cosine, as published


def tempered(logits: Tensor, size: Sequence[int], *, temperature: float, clip: float | None = None
             ) -> tuple[Tensor, Tensor]:
    """Softened probabilities and their logarithms at full size, in float32.

    Args:
        logits: [P, K, d, h, w], at full size or smaller (a deep head: softmax first, then trilinear).
        size: (D, H, W).
        temperature: T.
        clip: None, or the floor of the probabilities; the published 0.005 leaves sums above 1, not renormalised.

    Returns:
        p and ln p, each [P, K, D, H, W].
    """
    logits = logits.float() / temperature
    if logits.shape[2:] == tuple(size):
        log_p = F.log_softmax(logits, dim=1)
        if clip is None:
            return log_p.exp(), log_p
        p = log_p.exp()
    else:
        p = F.interpolate(F.softmax(logits, dim=1), tuple(size), mode="trilinear", align_corners=True)
    p = p.clamp(TINY if clip is None else clip, 1)
    return p, p.log()


def pixel_gap(student: Tensor, teacher: Tensor, study: Tensor, size: Sequence[int], *, temperature: float = 4.0,
              clip: float | None = None) -> Tensor:
    """KD, the divergence of every student from its teacher, mean over classes and voxels.

    Args:
        student: Logits [P, K, d, h, w].
        teacher: Logits [B, K, d, h, w]; detached.
        study: int64 [P], the teacher of each student.
        size: (D, H, W), where both are compared.
        temperature: T; the factor T^2 keeps the gradient's size.
        clip: See `tempered`.

    Returns:
        float32 [P].
    """
    _, log_student = tempered(student, size, temperature=temperature, clip=clip)
    p, log_p = tempered(teacher.detach(), size, temperature=temperature, clip=clip)
    p, log_p = p.index_select(0, study), log_p.index_select(0, study)
    return temperature**2 * (p * (log_p - log_student)).flatten(1).mean(1)


def class_similarity(features: Tensor, one_hot: Tensor) -> Tensor:
    """Cosine of every voxel's feature with every class prototype of the same features.

    Args:
        features: [P, C, D, H, W].
        one_hot: float32 [P, K, D, H, W], 0 or 1.

    Returns:
        float32 [P, K, V]; 0 for an absent class.
    """
    towards = F.normalize(prototypes(features, one_hot), dim=2, eps=SHORTEST)
    with in_float32(features.device):
        return towards @ F.normalize(features.float().flatten(2), dim=1, eps=SHORTEST)


def similarity_gap(student: Tensor, teacher: Tensor, one_hot: Tensor, present: Tensor, study: Tensor
                   ) -> tuple[Tensor, Tensor]:
    """pi and D of every student.

    Args:
        student: Features [P, C, D, H, W] before the last convolution.
        teacher: Features [B, C, D, H, W]; detached.
        one_hot: float32 [B, K, D, H, W], 0 or 1.
        present: bool [B, K], the classes that count.
        study: int64 [P], the study of each student.

    Returns:
        float32 [P] each; D is detached.
    """
    ours = class_similarity(student, one_hot.index_select(0, study))
    theirs = class_similarity(teacher.detach(), one_hot).index_select(0, study)
    share = (present / present.sum(1, keepdim=True).clamp(min=1)).index_select(0, study)
    difference = ours - theirs
    loss = (difference.square().mean(2) * share).sum(1)
    with torch.no_grad():
        distance = (difference.abs().mean(2) * share).sum(1)
    return loss, distance
