"""Checks of lesson 11: the mean feature of a region, and the balance between modalities."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dmaf_lite.lessons.exercises import exercise
from dmaf_lite.peers.preference import balanced, relative_preference
from dmaf_lite.peers.rfnet import region_means as reference


@exercise("11.1")
def check_11_1(region_means: Callable) -> None:
    """Weighted means: each region by its own size."""
    pi = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]])
    y = torch.tensor([1.0, 3.0, 10.0, 30.0]).view(1, 1, 1, 4)
    found = region_means(pi, y)
    assert tuple(found.shape) == (1, 2, 1, 1), "one vector of C numbers for each class and modality: [B, K, M, C]"
    assert torch.allclose(found.flatten(), torch.tensor([2.0, 20.0]), atol=1e-3), \
        "voxels 1 and 3 make region 0, 10 and 30 region 1: the means are 2 and 20"
    generator = torch.Generator().manual_seed(0)
    pi = torch.rand(2, 4, 60, generator=generator).softmax(1) * torch.rand(2, 4, 60, generator=generator)
    y = torch.randn(2, 3, 5, 60, generator=generator)
    expected, _ = reference(pi.reshape(2, 4, 3, 4, 5), y.reshape(2, 3, 5, 3, 4, 5))
    assert torch.allclose(region_means(pi, y), expected, atol=1e-4), \
        "a voxel counts for a class as much as its probability, and the sum is divided by that class's own total"


@exercise("11.2")
def check_11_2(new_beta: Callable) -> None:
    """Preference, step, clip, length."""
    even = torch.ones(4)
    assert torch.allclose(new_beta(even, torch.full((4,), 0.3), 0.1), even), "equal distances change nothing"
    distance = torch.tensor([0.2, 0.1, 0.3, 0.2])
    found = new_beta(even, distance, 0.1)
    assert found[2] > found[0] > found[1], "the farther a modality is from the fused features, the more it weighs"
    for beta, eta in ((even, 0.015), (torch.tensor([0.5, 1.5, 1.0, 0.9]), 0.2), (even, 9.0)):
        expected = balanced(beta, relative_preference(distance), eta)
        assert torch.allclose(new_beta(beta, distance, eta), expected, atol=1e-5), \
            "beta - eta (1 - D / mean D), kept between 0.1 and 4, then scaled to the length of (1, 1, 1, 1)"
