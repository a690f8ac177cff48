r"""Prototype distillation: every modality's class means move towards those of the fused features.

With y(i, c) the share of class c in the deepest voxel i (ours: soft, so that a small region does not vanish when
the label is pooled), the prototype of class c is the mean feature weighted by membership (spec dmaf_net, section 5):

.. math::
    p_c = \frac{\sum_i y(i, c)\, e(i)}{\sum_i y(i, c)}, \qquad
    L_{proto} = \mathrm{mean}_{c\ \mathrm{present}} \bigl( 1 - \cos(p^m_c, p^f_c) \bigr)

Background is a class.  A class that is absent from a study gives no term and no gradient.

Taught in lesson 05.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dmaf_lite.base.device import in_float32
from dmaf_lite.nn.blocks import average_pool
from dmaf_lite.objectives.segmentation import LabelStats


def soft_membership(one_hot: Tensor, size: torch.Size | tuple[int, int, int]) -> Tensor:
    """Share of each class in each voxel of a coarser grid: float32 [B, K, D, H, W] -> float32 [B, K, *size]."""
    return average_pool(one_hot, size)


def prototypes(features: Tensor, membership: Tensor) -> Tensor:
    """Mean feature per class, weighted by membership; exactly 0 for an absent class.

    Args:
        features: [P, C, D, H, W].
        membership: [P, K, D, H, W], not negative.

    Returns:
        float32 [P, K, C].
    """
    y = membership.float().flatten(2)
    mass = y.sum(2)
    with in_float32(features.device):
        sums = y @ features.float().flatten(2).mT
    return sums / torch.where(mass > 0, mass, 1).unsqueeze(2)


def prototype_gap(student: Tensor, teacher: Tensor, present: Tensor, *, distance: str = "cosine") -> Tensor:
    """Mean over present classes of the distance between two sets of prototypes; the teacher is detached.

    Args:
        student: [P, K, C].
        teacher: [P, K, C].
        present: bool [P, K].
        distance: ``"cosine"``, 1 - cos; or ``"l2"``, the squared difference averaged over channels (ours, so that
            its size does not grow with the width of the network).

    Returns:
        [P]; 0 where no class is present.

    Raises:
        ValueError: For another distance.
    """
    keep = present.unsqueeze(2)
    # An absent class is replaced *before* any division: a norm of 0 must not reach the gradient.
    student, teacher = torch.where(keep, student, 1), torch.where(keep, teacher.detach(), 1)
    if distance == "cosine":
        gap = 1 - F.cosine_similarity(student, teacher, dim=2)
    elif distance == "l2":
        gap = (student - teacher).square().mean(2)
    else:
        raise ValueError(f"distance is {distance!r}; expected 'cosine' or 'l2'")
    return torch.where(present, gap, 0).sum(1) / present.sum(1).clamp(min=1)


def prototype_loss(student: Tensor, teacher: Tensor, label: LabelStats, study: Tensor, *,
                   distance: str = "cosine") -> Tensor:
    """L_proto of every student.

    Args:
        student: e_L [P, C, D, H, W], packed pairs of studies with at least two modalities.
        teacher: f_L [B, C, D, H, W].
        label: Statistics of the B labels.
        study: int64 [P], the study of each pair.
        distance: See `prototype_gap`.

    Returns:
        float32 [P].
    """
    membership = soft_membership(label.one_hot, teacher.shape[2:])
    ours = prototypes(student, membership.index_select(0, study))
    theirs = prototypes(teacher.detach(), membership).index_select(0, study)
    return prototype_gap(ours, theirs, (label.counts > 0).index_select(0, study), distance=distance)
