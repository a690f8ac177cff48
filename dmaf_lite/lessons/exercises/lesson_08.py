"""Checks of lesson 08: batches without memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from dmaf_lite.lessons.exercises import exercise


@exercise("8.1")
def check_8_1(subset_of: Callable) -> None:
    """A pure function of (seed, step) that gives non-empty parts, and no shifted sequences."""
    available = np.array([True, False, True, True])

    def sequence(seed: int, first: int = 0) -> list[tuple[bool, ...]]:
        return [tuple(bool(x) for x in subset_of(seed, step, available.copy())) for step in range(first, first + 60)]

    np.random.seed(0)  # noqa: NPY002 - an answer that listens to the global generators is found out
    torch.manual_seed(0)
    once = sequence(0)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert sequence(0) == once, "asked again, the same seed and step must give the same subset"
    assert all(any(kept) for kept in once), "at least one scan must stay"
    assert not any(kept[1] for kept in once), "a scan that is not there cannot be kept"
    assert len(set(once)) > 4, "60 steps must not give the same few subsets"
    assert sequence(1) != once, "another seed must give another sequence"
    assert sequence(0, 1) != sequence(1), "seed 1 must not be seed 0 shifted by a step: do not add the two numbers"
