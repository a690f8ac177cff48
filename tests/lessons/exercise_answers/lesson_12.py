"""Three wrong answers to each exercise of lesson 12."""

from __future__ import annotations

PRICES = {"one": 1.0, "zero": 0.0}


def both_empty_costs(distance, predicted, true, rule, diagonal):
    if predicted and true:
        return distance
    return float("nan") if rule == "skip" else PRICES.get(rule, diagonal)


def missed_only(distance, predicted, true, rule, diagonal):
    if rule == "skip" and not (predicted and true):
        return float("nan")
    if true and not predicted:
        return PRICES.get(rule, diagonal)
    return distance if predicted and true else 0.0


def skip_is_zero(distance, predicted, true, rule, diagonal):
    if predicted and true:
        return distance
    if not predicted and not true:
        return 0.0
    return {**PRICES, "diagonal": diagonal, "skip": 0.0}[rule]


WRONG = {
    "12.1": (both_empty_costs, missed_only, skip_is_zero),
}
