"""Three wrong answers to each exercise of lesson 06."""

import torch


def uncorrected(values, rho):
    D = 0.0
    for value in values:
        if value is not None:
            D = rho * D + (1 - rho) * value
    return D


def counts_every_step(values, rho):
    D = 0.0
    for value in values:
        if value is not None:
            D = rho * D + (1 - rho) * value
    return D / (1 - rho ** len(values))


def plain_mean(values, rho):
    seen = [value for value in values if value is not None]
    return sum(seen) / len(seen) if seen else 0.0


def slows_the_lagging(D, alpha):
    return 1 - torch.tanh(alpha * (D / D.mean() - 1).clamp(min=0))


def speeds_up_the_lagging(D, alpha):
    return 1 + torch.tanh(alpha * (D / D.mean() - 1))


def absolute_gap(D, alpha):
    return 1 - torch.tanh(alpha * (D.mean() - D).clamp(min=0))


WRONG = {
    "6.1": (uncorrected, counts_every_step, plain_mean),
    "6.2": (slows_the_lagging, speeds_up_the_lagging, absolute_gap),
}
