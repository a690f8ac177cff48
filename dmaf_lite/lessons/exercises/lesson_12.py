"""Checks of lesson 12: what an empty side costs under four rules."""

from __future__ import annotations

import math
from collections.abc import Callable

from dmaf_lite.lessons.exercises import exercise


@exercise("12.1")
def check_12_1(priced: Callable) -> None:
    """The four rules on the three kinds of cases."""
    nan, prices = float("nan"), {"diagonal": 300.0, "one": 1.0, "zero": 0.0}
    for rule in (*prices, "skip"):
        assert priced(7.5, 10, 12, rule, 300.0) == 7.5, f"{rule}: where both sides are there, it is the distance itself"
    for rule, price in prices.items():
        for predicted, true in ((0, 12), (10, 0)):
            found = priced(nan, predicted, true, rule, 300.0)
            assert found == price, f"{rule}: with one side empty it must be {price}, and is {found}"
        assert priced(nan, 0, 0, rule, 300.0) == 0, f"{rule}: nothing there and nothing called is no error, so 0"
    for sides in ((0, 12), (10, 0), (0, 0)):
        assert math.isnan(priced(nan, *sides, "skip", 300.0)), "skip: an undefined distance is left out, so nan"
    assert priced(nan, 0, 12, "diagonal", 99.0) == 99, "the diagonal is the argument of that name"
