"""Checks of lesson 04: covariance alignment and graph attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dmaf_lite.lessons.exercises import exercise


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


@exercise("4.1")
def check_4_1(my_covariance: Callable[[Tensor], Tensor]) -> None:
    """The covariance of the channels."""
    x = _numbers(7, 3)
    found = my_covariance(x)
    assert found.shape == (3, 3), f"expected one row and column per channel, [3, 3], got {list(found.shape)}"
    assert torch.allclose(my_covariance(x + 5), found, atol=1e-4), "adding 5 to every value must change nothing: centre"
    assert torch.allclose(found, torch.cov(x.T), atol=1e-5), "the divisor is the number of voxels minus one"


@exercise("4.2")
def check_4_2(edge_weights: Callable[[Tensor, Tensor], Tensor]) -> None:
    """A softmax over edges."""
    scores = 3 * _numbers(5, 5) - 2
    edges = torch.eye(5).bool() | (_numbers(5, 5) > 0.3)
    edges[0, 1], edges[1, 0] = True, False  # not symmetric: rows and columns must not be confused
    weights = edge_weights(scores, edges)
    assert (weights[~edges] == 0).all(), "where there is no edge the weight must be exactly 0"
    assert torch.allclose(weights.sum(1), torch.ones(5)), "the weights of each row must sum to 1"
    expected = scores.exp() * edges / (scores.exp() * edges).sum(1, keepdim=True)
    assert torch.allclose(weights, expected, atol=1e-6), "weights must be in proportion to exp(score)"


@exercise("4.3")
def check_4_3(choose_neighbours: Callable[[Tensor, int], Tensor]) -> None:
    """The nearest nodes by cosine similarity."""
    f = _numbers(9, 4) * torch.arange(1.0, 10).unsqueeze(1)  # of very different lengths
    f[3] = 0
    edges = choose_neighbours(f, 3)
    assert edges.dtype == torch.bool and edges.shape == (9, 9), "expected a bool table, nodes by nodes"
    assert edges.diagonal().all(), "every node is its own neighbour, also one whose feature is 0"
    assert (edges.sum(1) == 3).all(), "every row must hold K neighbours, the node itself included"
    cosine = torch.nn.functional.cosine_similarity(f[:, None], f[None], dim=2)
    for i in range(9):
        away = cosine[i].masked_fill(edges[i], -2).max()
        assert cosine[i][edges[i]].min() >= away - 1e-6, "the neighbours are the most similar by angle, not by length"
