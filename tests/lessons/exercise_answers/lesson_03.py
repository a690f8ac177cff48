"""Three wrong answers to each exercise of lesson 03."""

import torch


def adds_minus_infinity(scores, available):
    return (scores + torch.where(available, 0.0, -torch.inf)[:, :, None]).softmax(1)


def masks_after_the_softmax(scores, available):
    weights = torch.where(available[:, :, None], scores, 0.0).softmax(1)
    return torch.where(available[:, :, None], weights, 0.0)


def softmax_over_channels(scores, available):
    scores = torch.where(available[:, :, None], scores, 0.0)
    return torch.where(available[:, :, None], scores.softmax(2), 0.0)


def set_and_softmax(scores, available):
    return torch.where(available[:, :, None], scores, -torch.inf).softmax(1)


def trusts_the_weight(e, scores, available):
    return (set_and_softmax(scores, available) * e).sum(1)


def plain_mean(e, scores, available):
    return torch.where(available[:, :, None], e, 0.0).sum(1) / available.sum(1, keepdim=True)


def divides_once_more(e, scores, available):
    e = torch.where(available[:, :, None], e, 0.0)
    return (set_and_softmax(scores, available) * e).sum(1) / available.sum(1, keepdim=True)


WRONG = {
    "3.1": (adds_minus_infinity, masks_after_the_softmax, softmax_over_channels),
    "3.2": (trusts_the_weight, plain_mean, divides_once_more),
}
