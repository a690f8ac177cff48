"""Wrong answers to the exercises of lesson 05."""

import torch
import torch.nn.functional as F


def _one_hot(label, K):
    return F.one_hot(label, K).movedim(-1, 0).float()


def nearest(label, K):
    return _one_hot(label[::4, ::4, ::4], K)


def any_voxel(label, K):
    return F.max_pool3d(_one_hot(label, K), 4)


def winner(label, K):
    return _one_hot(F.avg_pool3d(_one_hot(label, K), 4).argmax(0), K)


def zero_by_zero(e, y):
    return (y @ e.T) / y.sum(1, keepdim=True)


def clamped_mass(e, y):
    return (y @ e.T) / y.sum(1, keepdim=True).clamp(min=1)


def hard_mean(e, y):
    inside = (y > 0).float()
    return (inside @ e.T) / inside.sum(1, keepdim=True).clamp(min=1)


def teacher_learns(p, q, present):
    return (1 - F.cosine_similarity(p[present], q[present], dim=1)).mean()


def absent_counts(p, q, present):
    gap = 1 - F.cosine_similarity(p, q.detach(), dim=1)
    return torch.where(present, gap, 0).mean()


def by_distance(p, q, present):
    return (p - q.detach())[present].square().mean()


def detached_teacher(p):
    return (1 - F.cosine_similarity(p, p.mean(0, keepdim=True).detach(), dim=2)).mean()


def teacher_of_all_classes(p):
    return (1 - F.cosine_similarity(p, p.mean((0, 1), keepdim=True), dim=2)).mean()


def sum_over_students(p):
    return (1 - F.cosine_similarity(p, p.mean(0, keepdim=True), dim=2)).sum(0).mean()


WRONG = {
    "5.1": (nearest, any_voxel, winner),
    "5.2": (zero_by_zero, clamped_mass, hard_mean),
    "5.3": (teacher_learns, absent_counts, by_distance),
    "5.4": (detached_teacher, teacher_of_all_classes, sum_over_students),
}
