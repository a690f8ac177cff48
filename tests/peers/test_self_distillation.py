"""Pixel-wise and prototype self-distillation: published values, closed forms, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from golden import field, golden_label
from torch import Tensor

from dmaf_lite.objectives.segmentation import LabelStats
from dmaf_lite.peers.self_distillation import class_similarity, pixel_gap, similarity_gap, tempered

BOTH = torch.tensor([0, 1])
SIZE = (6, 6, 6)


def close(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), atol=3e-6, rtol=0)


# ---- golden values of spec peers, section 4.9 ----------------------------------------------------------------------

@pytest.mark.parametrize(("temperature", "expected"), [(1.0, [0.341893, 0.341797]), (4.0, [0.475798, 0.475696])])
def test_golden_kd(temperature, expected):
    teacher, student = 2 * field((2, 4, *SIZE), 0.37, 0.1), 2 * field((2, 4, *SIZE), 0.53, 0.7)
    close(pixel_gap(student, teacher, BOTH, SIZE, temperature=temperature, clip=0.005), expected)
    # The clip does not act on logits as small as these.
    torch.testing.assert_close(pixel_gap(student, teacher, BOTH, SIZE, temperature=temperature),
                               torch.tensor(expected), atol=3e-6, rtol=0)


def test_golden_kd_of_a_deep_head():
    teacher, student = 2 * field((2, 4, 3, 3, 3), 0.37, 0.1), 2 * field((2, 4, 3, 3, 3), 0.53, 0.7)
    close(pixel_gap(student, teacher, BOTH, SIZE, temperature=4.0, clip=0.005), [0.220961, 0.225813])


def test_golden_kd_where_the_clip_acts():
    teacher, student = 6 * field((2, 4, *SIZE), 0.37, 0.1), 6 * field((2, 4, *SIZE), 0.53, 0.7)
    clipped = pixel_gap(student, teacher, BOTH, SIZE, temperature=1.0, clip=0.005)
    close(clipped, [0.795572, 0.797219])
    assert (pixel_gap(student, teacher, BOTH, SIZE, temperature=1.0) > 1.2 * clipped).all()


def golden_features() -> tuple[Tensor, Tensor]:
    return field((2, 8, *SIZE), 0.29, 0.2), field((2, 8, *SIZE), 0.41, 0.5)


def test_golden_prototype_loss_and_distance():
    stats = LabelStats.of(golden_label(), 4)
    loss, distance = similarity_gap(*golden_features(), stats.one_hot, stats.counts > 0, BOTH)
    close(loss, [1.134886, 1.106103])
    close(distance, [0.857384, 0.848687])


def test_golden_prototypes_with_a_class_that_one_study_lacks():
    label = golden_label()
    label[0][label[0] == 3] = 0
    stats = LabelStats.of(label, 4)
    in_all = (stats.counts > 0).all(0, keepdim=True).expand(2, 4)
    loss, distance = similarity_gap(*golden_features(), stats.one_hot, in_all, BOTH)
    close(loss, [1.145043, 1.074761])
    close(distance, [0.860132, 0.838214])
    # Ours: the other study keeps its own class.
    loss, distance = similarity_gap(*golden_features(), stats.one_hot, stats.counts > 0, BOTH)
    close(loss, [1.145043, 1.106103])
    close(distance, [0.860132, 0.848687])


# ---- closed forms --------------------------------------------------------------------------------------------------

def test_kd_is_the_divergence_of_teacher_from_student():
    student, teacher = torch.randn(3, 4, 3, 3, 3), torch.randn(2, 4, 3, 3, 3)
    study = torch.tensor([0, 1, 0])
    expected = F.kl_div((student / 4).log_softmax(1), (teacher[study] / 4).softmax(1), reduction="none")
    torch.testing.assert_close(pixel_gap(student, teacher, study, (3, 3, 3)), 16 * expected.flatten(1).mean(1))
    assert pixel_gap(teacher, teacher, torch.arange(2), (3, 3, 3)).abs().max() < 1e-6


def test_deep_heads_are_softened_before_they_are_enlarged():
    logits = 8 * torch.randn(1, 4, 2, 2, 2)
    p, log_p = tempered(logits, (4, 4, 4), temperature=2.0)
    expected = F.interpolate((logits / 2).softmax(1), (4, 4, 4), mode="trilinear", align_corners=True)
    torch.testing.assert_close(p, expected.clamp(min=1e-7))
    torch.testing.assert_close(log_p.exp(), p)
    torch.testing.assert_close(p.sum(1), torch.ones(1, 4, 4, 4))  # and nothing has to be renormalised
    clipped, _ = tempered(logits, (4, 4, 4), temperature=0.1, clip=0.005)
    assert clipped.min() == pytest.approx(0.005) and clipped.sum(1).max() > 1.004


def test_similarity_voxel_by_voxel():
    features, label = torch.randn(2, 5, 2, 3, 2), torch.randint(3, (2, 2, 3, 2))
    one_hot = LabelStats.of(label, 4).one_hot  # class 3 is nowhere
    found = class_similarity(features, one_hot)
    for b in range(2):
        f, y = features[b].flatten(1), label[b].flatten()
        for c in y.unique().tolist():
            q = f[:, y == c].mean(1)
            torch.testing.assert_close(found[b, c], F.cosine_similarity(f, q[:, None], dim=0))
    assert (found[:, 3] == 0).all()


def test_gradients_reach_the_students_only_and_stay_finite():
    student = torch.zeros(2, 5, 2, 2, 2)  # no direction at all
    student[1] = torch.randn(5, 2, 2, 2)
    student.requires_grad_()
    teacher = torch.randn(2, 5, 2, 2, 2, requires_grad=True)
    stats = LabelStats.of(torch.zeros(2, 2, 2, 2, dtype=torch.long), 4)
    loss, distance = similarity_gap(student, teacher, stats.one_hot, stats.counts > 0, BOTH)
    assert not distance.requires_grad and loss[1] > 0
    loss.sum().backward()
    assert teacher.grad is None and student.grad.isfinite().all() and student.grad[1].abs().sum() > 0
    logits, target = (torch.randn(2, 4, 2, 2, 2, requires_grad=True) for _ in range(2))
    pixel_gap(logits, target, BOTH, (2, 2, 2)).sum().backward()
    assert target.grad is None and logits.grad.abs().sum() > 0


def test_bfloat16_under_autocast_is_compared_in_float32():
    student, teacher = (torch.randn(2, 6, 3, 3, 3).bfloat16() for _ in range(2))
    stats = LabelStats.of(torch.randint(4, (2, 3, 3, 3)), 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = similarity_gap(student, teacher, stats.one_hot, stats.counts > 0, BOTH)
    exact = similarity_gap(student.float(), teacher.float(), stats.one_hot, stats.counts > 0, BOTH)
    torch.testing.assert_close(low, exact)
    assert pixel_gap(student, teacher, BOTH, (3, 3, 3)).dtype == torch.float32
