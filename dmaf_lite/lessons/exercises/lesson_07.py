"""Checks of lesson 07: the sum of the terms, clipping."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dmaf_lite.lessons.exercises import exercise


@exercise("7.1")
def check_7_1(add_up: Callable) -> None:
    """Mean over studies, sum over modalities, every weight in its place."""
    studies, pairs = torch.tensor([1.0, 3.0]), torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 0.0]])
    assert abs(float(add_up([(studies, 1.0)])) - 2) < 1e-6, "a term of one number per study: the mean over studies"
    assert abs(float(add_up([(pairs, 1.0)])) - 3.5) < 1e-6, \
        "a term per modality: sum over modalities, then mean over studies; an absent one is not averaged in"
    weight = torch.tensor([1.0, 0.5, 7.0])
    assert abs(float(add_up([(pairs, weight)])) - 3) < 1e-6, "a weight per modality belongs to that modality's column"
    assert abs(float(add_up([(studies, 2.0), (pairs, weight)])) - 7) < 1e-6, "all terms are added, each with its weight"


@exercise("7.2")
def check_7_2(clip: Callable) -> None:
    """One factor for all, only where it is needed, None stays None."""
    gradients = [torch.tensor([3.0, 0.0]), None, torch.tensor([[4.0]])]  # joint norm 5
    given = [None if g is None else g.clone() for g in gradients]
    short = clip(given, 1.0)
    assert len(short) == 3 and short[1] is None, "a parameter that took no part keeps None"
    norm = float(torch.sqrt(short[0].square().sum() + short[2].square().sum()))
    assert abs(norm - 1) < 1e-3, f"the joint norm must be 1 here, and is {norm:.3f}"
    assert abs(float(short[0][0] / short[2][0, 0]) - 0.75) < 1e-4, "one factor for all: the direction stays"
    kept = clip([g if g is None else g.clone() for g in gradients], 10.0)
    assert torch.allclose(kept[0], gradients[0]) and torch.allclose(kept[2], gradients[2]), \
        "gradients below the limit stay as they are"
