"""Checks of lesson 06: the corrected track, and the update factors."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dmaf_lite.lessons.exercises import exercise
from dmaf_lite.objectives.monitor import TrainingMonitor


@exercise("6.1")
def check_6_1(tracked: Callable) -> None:
    """Unbiased from the first value, absences change nothing, newer values count more."""
    assert abs(tracked([3.0], 0.98) - 3.0) < 1e-9, "after a single value the corrected track is that value"
    assert tracked([None, None], 0.98) == 0, "a modality that was never there reads 0"
    values = [1.0, 2.0, 4.0]
    expected = (0.25 * 1 + 0.5 * 2 + 1.0 * 4) / 1.75  # weights 1/8, 1/4, 1/2 over their sum
    assert abs(tracked(values, 0.5) - expected) < 1e-9, "D <- rho D + (1 - rho) d, and divide by 1 - rho^n at the end"
    gappy = [None, 1.0, None, None, 2.0, 4.0, None]
    assert abs(tracked(gappy, 0.5) - expected) < 1e-9, "steps without the modality change neither D nor n"


@exercise("6.2")
def check_6_2(update_factors: Callable) -> None:
    """Lagging keeps 1, being ahead slows, only ratios of gaps matter, equal to the package."""
    D = torch.tensor([0.4, 1.6, 1.0, 1.0])
    gamma = update_factors(D.clone(), 0.5)
    assert gamma[1] == 1 and gamma[2] == 1, "who lags, or is average, keeps exactly 1"
    assert 0 < gamma[0] < 1, "who is ahead (a small gap) is slowed, not stopped"
    assert torch.allclose(update_factors(10 * D, 0.5), gamma, atol=1e-5), \
        "gaps ten times as large for everybody change nothing: use the relative gap"
    monitor = TrainingMonitor(["gap"], [0.0] * 4)
    monitor.observe({"gap": D[None]}, torch.ones(1, 4, dtype=torch.bool))
    monitor.update_epoch()
    assert torch.allclose(gamma, monitor.factors, atol=1e-5), "1 - tanh(alpha max(0, -r))"
