"""Three wrong answers to each exercise of lesson 07."""

import torch


def mean_over_everything(terms):
    return sum((value * weight).mean() for value, weight in terms)


def sum_over_studies(terms):
    return sum((value * weight).sum() for value, weight in terms)


def forgets_weights(terms):
    return sum((value.sum(1) if value.ndim == 2 else value).mean() for value, _ in terms)


def each_alone(gradients, limit):
    return [None if g is None else g * min(1.0, limit / float(g.norm())) for g in gradients]


def always_scales(gradients, limit):
    norm = torch.sqrt(sum((g**2).sum() for g in gradients if g is not None))
    return [None if g is None else g * limit / norm for g in gradients]


def none_becomes_zero(gradients, limit):
    norm = torch.sqrt(sum((g**2).sum() for g in gradients if g is not None))
    factor = min(1.0, limit / float(norm))
    return [torch.zeros(()) if g is None else g * factor for g in gradients]


WRONG = {
    "7.1": (mean_over_everything, sum_over_studies, forgets_weights),
    "7.2": (each_alone, always_scales, none_becomes_zero),
}
