"""Three wrong answers to each exercise of lesson 15."""

import numpy as np


def closed_bin(promised, came, low, high):
    inside = (promised >= low) & (promised <= high)
    return (float(promised[inside].mean()), float(came[inside].mean())) if inside.any() else (np.nan, np.nan)


def share_of_all(promised, came, low, high):
    inside = (promised >= low) & (promised < high)
    return (float(promised[inside].mean()), float((came & inside).mean())) if inside.any() else (np.nan, np.nan)


def zero_for_nothing(promised, came, low, high):
    inside = (promised >= low) & (promised < high)
    return (float(promised[inside].mean()), float(came[inside].mean())) if inside.any() else (0.0, 0.0)


def always_a_half(q, thresholds):
    return min(thresholds, key=lambda t: abs(t - 0.5))


def most_sure(q, thresholds):
    return max(thresholds, key=lambda t: q[q >= t].mean() if (q >= t).any() else 0)


def largest_mask(q, thresholds):
    return min(thresholds)


def always_the_best(expected, worth_it):
    return max(expected, key=expected.get)


def first_that_gains(expected, worth_it):
    return next((scan for scan in ("T2", "T1", "T1ce", "FLAIR")
                 if scan in expected and expected[scan] >= expected["nothing"] + worth_it), "nothing")


def strictly_more(expected, worth_it):
    best = max(expected, key=expected.get)
    return best if expected[best] > expected["nothing"] + worth_it else "nothing"


WRONG = {
    "15.1": (closed_bin, share_of_all, zero_for_nothing),
    "15.2": (always_a_half, most_sure, largest_mask),
    "15.3": (always_the_best, first_that_gains, strictly_more),
}
