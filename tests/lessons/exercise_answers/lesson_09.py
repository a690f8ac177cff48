"""Three wrong answers to each exercise of lesson 09."""

import numpy as np


def both_empty_is_penalised(to_truth, to_prediction, penalty):
    if not len(to_truth) or not len(to_prediction):
        return penalty
    return float(np.percentile(np.concatenate([to_truth, to_prediction]), 95))


def larger_of_two(to_truth, to_prediction, penalty):
    if len(to_truth) == len(to_prediction) == 0:
        return 0.0
    if not len(to_truth) or not len(to_prediction):
        return penalty
    return float(max(np.percentile(to_truth, 95), np.percentile(to_prediction, 95)))


def missed_only(to_truth, to_prediction, penalty):
    if not len(to_truth) and not len(to_prediction):
        return 0.0
    if not len(to_truth):
        return penalty
    return float(np.percentile(np.concatenate([to_truth, to_prediction]), 95))


def counts_letters(table):
    return {len(subset.split("T")): value for subset, value in table.items()}


def last_one_wins(table):
    return {subset.count("+") + 1: value for subset, value in table.items()}


def counts_plus_signs(table):
    sizes = {}
    for subset, value in table.items():
        sizes.setdefault(subset.count("+"), []).append(value)
    return {size: float(np.mean(values)) for size, values in sizes.items()}


def bonferroni(p):
    return np.minimum(1, np.asarray(p) * len(p))


def may_fall(p):
    p = np.asarray(p, dtype=float)
    rank = np.argsort(np.argsort(p))
    return np.minimum(1, p * (len(p) - rank))


def sorted_output(p):
    p = np.sort(np.asarray(p, dtype=float))
    return np.maximum.accumulate(np.minimum(1, p * np.arange(len(p), 0, -1)))


WRONG = {
    "9.1": (both_empty_is_penalised, larger_of_two, missed_only),
    "9.2": (counts_letters, last_one_wins, counts_plus_signs),
    "9.3": (bonferroni, may_fall, sorted_output),
}
