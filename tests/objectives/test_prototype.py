"""Soft class prototypes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dmaf_lite.objectives.prototype import prototype_gap, prototype_loss, prototypes, soft_membership
from dmaf_lite.objectives.segmentation import LabelStats

STUDY = torch.tensor([0, 1, 0, 1])


def setting(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Students [4, 6, 2, 2, 3], teachers [2, 6, 2, 2, 3], label [2, 8, 8, 12] without class 3 in study 1."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(4, (2, 8, 8, 12), generator=generator)
    label[1][label[1] == 3] = 0
    return (torch.randn(4, 6, 2, 2, 3, generator=generator, requires_grad=True),
            torch.randn(2, 6, 2, 2, 3, generator=generator, requires_grad=True), label)


def slow_prototypes(e: Tensor, label: Tensor) -> dict[int, Tensor]:
    """Class by class, voxel by voxel: e [C, d, h, w], label [D, H, W] -> prototypes of the classes that are there."""
    steps = [n // m for n, m in zip(label.shape, e.shape[1:], strict=True)]
    found = {}
    for c in label.unique().tolist():
        total, mass = 0, 0
        for i in torch.cartesian_prod(*(torch.arange(n) for n in e.shape[1:])).tolist():
            block = label[tuple(slice(a * s, (a + 1) * s) for a, s in zip(i, steps, strict=True))]
            y = (block == c).float().mean()
            total, mass = total + y * e[:, i[0], i[1], i[2]], mass + y
        found[c] = total / mass
    return found


def slow_loss(e: Tensor, f: Tensor, label: Tensor, distance: str) -> Tensor:
    student, teacher = slow_prototypes(e, label), slow_prototypes(f.detach(), label)
    gaps = []
    for c in student:
        if distance == "cosine":
            gaps.append(1 - torch.dot(student[c], teacher[c]) / student[c].norm() / teacher[c].norm())
        else:
            gaps.append((student[c] - teacher[c]).square().mean())
    return sum(gaps) / len(gaps)


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_slow_form_equals_fast_form_values_and_gradients(distance):
    student, teacher, label = setting()
    fast = prototype_loss(student, teacher, LabelStats.of(label, 4), STUDY, distance=distance)
    slow = torch.stack([slow_loss(student[p], teacher[b], label[b], distance) for p, b in enumerate(STUDY.tolist())])
    torch.testing.assert_close(fast, slow)
    weights = torch.tensor([1.0, 2.0, -1.0, 0.5])
    torch.testing.assert_close(*(torch.autograd.grad((weights * loss).sum(), student)[0] for loss in (fast, slow)))


def test_membership_is_a_distribution_and_small_regions_survive_pooling():
    label = torch.zeros(1, 16, 16, 16, dtype=torch.long)
    label[0, 5, 5, 5] = 3
    y = soft_membership(LabelStats.of(label, 4).one_hot, (2, 2, 2))
    torch.testing.assert_close(y.sum(1), torch.ones(1, 2, 2, 2))
    assert y[0, 3, 0, 0, 0] == 1 / 512 and y[0, 3].sum() == 1 / 512
    e = torch.randn(1, 5, 2, 2, 2)
    # One voxel of the class is enough: the prototype is the feature of the voxel it lies in.
    torch.testing.assert_close(prototypes(e, y)[0, 3], e[0, :, 0, 0, 0])


def test_equal_features_have_no_gap():
    _, teacher, label = setting()
    for distance in ("cosine", "l2"):
        gap = prototype_loss(teacher.detach()[STUDY], teacher, LabelStats.of(label, 4), STUDY, distance=distance)
        torch.testing.assert_close(gap, torch.zeros(4), atol=2e-7, rtol=0)


def test_cosine_ignores_the_length_and_l2_does_not():
    _, teacher, label = setting()
    stats = LabelStats.of(label, 4)
    longer = 3 * teacher.detach()[STUDY]
    torch.testing.assert_close(prototype_loss(longer, teacher, stats, STUDY), torch.zeros(4), atol=2e-7, rtol=0)
    assert (prototype_loss(longer, teacher, stats, STUDY, distance="l2") > 0.01).all()


def test_an_absent_class_gives_no_term_and_no_gradient():
    present = torch.tensor([[True, True, False, False]])
    student = torch.randn(1, 4, 6, requires_grad=True)
    teacher = torch.randn(1, 4, 6)
    gap = prototype_gap(student, teacher, present)
    expected = (1 - F.cosine_similarity(student[0, :2], teacher[0, :2], dim=1)).mean()
    torch.testing.assert_close(gap[0], expected)
    gap.sum().backward()
    assert (student.grad[0, 2:] == 0).all() and (student.grad[0, :2] != 0).any()


@pytest.mark.parametrize("distance", ["cosine", "l2"])
def test_absent_classes_make_no_zero_by_zero(distance):
    student, teacher, label = setting()
    label[:] = 0  # background only: three absent classes of mass 0
    stats = LabelStats.of(label, 4)
    gap = prototype_loss(student, teacher, stats, STUDY, distance=distance)
    gap.sum().backward()
    assert gap.isfinite().all() and student.grad.isfinite().all() and (gap > 0).all()
    assert (prototypes(student, soft_membership(stats.one_hot, (2, 2, 3))[STUDY])[:, 1:] == 0).all()


def test_a_study_loses_nothing_to_a_batch_mate_without_the_class():
    student, teacher, label = setting()
    together = prototype_loss(student, teacher, LabelStats.of(label, 4), STUDY)
    alone = prototype_loss(student[:1], teacher[:1], LabelStats.of(label[:1], 4), STUDY[:1])
    torch.testing.assert_close(together[:1], alone)


def test_features_of_zero_keep_gradients_finite():
    _, teacher, label = setting()
    student = torch.zeros(4, 6, 2, 2, 3, requires_grad=True)
    prototype_loss(student, teacher, LabelStats.of(label, 4), STUDY).sum().backward()
    assert student.grad.isfinite().all()


def test_no_gradient_reaches_the_teacher():
    student, teacher, label = setting()
    prototype_loss(student, teacher, LabelStats.of(label, 4), STUDY).sum().backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_bfloat16_features_under_autocast_are_averaged_in_float32():
    student, teacher, label = setting()
    student, teacher, stats = student.detach().bfloat16(), teacher.detach().bfloat16(), LabelStats.of(label, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = prototype_loss(student, teacher, stats, STUDY)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, prototype_loss(student.float(), teacher.float(), stats, STUDY))


def test_another_distance_is_refused():
    with pytest.raises(ValueError, match="distance"):
        prototype_gap(torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), distance="l1")
