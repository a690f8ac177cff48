"""Three wrong answers to each exercise of lesson 02."""

import torch


def divides_by_all(e, available):
    return torch.where(available[:, :, None], e, 0.0).mean(1)


def multiplies_the_mask(e, available):
    mask = available[:, :, None].float()
    return (e * mask).sum(1) / mask.sum(1)


def trusts_the_missing(e, available):
    return torch.nan_to_num(e).sum(1) / available.sum(1, keepdim=True)


def study_first(available):
    return [(int(b), int(m)) for b, m in available.nonzero()]


def all_pairs(available):
    B, M = available.shape
    return [(b, m) for m in range(M) for b in range(B)]


def swapped(available):
    return [(int(m), int(b)) for m, b in available.T.nonzero()]


def smooth_below_only(p, y, s=1.0):
    return 1 - (2 * (p * y).sum(1) / (p.sum(1) + y.sum(1) + s)).mean()


def pooled_over_classes(p, y, s=1.0):
    return 1 - (2 * (p * y).sum() + s) / (p.sum() + y.sum() + s)


def squared_sizes(p, y, s=1.0):
    return 1 - ((2 * (p * y).sum(1) + s) / (p.square().sum(1) + y.sum(1) + s)).mean()


WRONG = {
    "2.1": (divides_by_all, multiplies_the_mask, trusts_the_missing),
    "2.2": (study_first, all_pairs, swapped),
    "2.3": (smooth_below_only, pooled_over_classes, squared_sizes),
}
