"""Checks of lesson 03: weights over what is there, and the weighted sum."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dmaf_lite.lessons.exercises import exercise
from dmaf_lite.spec import BRATS


def _batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, scores and masks: every subset once."""
    generator = torch.Generator().manual_seed(0)
    e, scores = torch.randn(2, 15, 4, 5, generator=generator)
    return e, scores, torch.tensor(BRATS.subsets())


@exercise("3.1")
def check_3_1(masked_softmax: Callable) -> None:
    """Exact zeros for missing modalities, a plain softmax over the others, NaN harmless."""
    _, scores, available = _batch()
    weights = masked_softmax(scores.clone(), available)
    assert weights.shape == scores.shape, "one weight for every score"
    assert (weights[~available] == 0).all(), "a missing modality must get exactly 0, not just little"
    for b, mask in enumerate(available):
        expected = scores[b, mask].softmax(0)
        assert torch.allclose(weights[b, mask], expected, atol=1e-5), \
            "over what is there it is a plain softmax along the modalities, and sums to 1"
    broken = torch.where(available[:, :, None], scores, float("nan"))
    again = masked_softmax(broken, available)
    assert torch.equal(again, weights), "NaN in a missing modality must change nothing: set its score, do not add to it"


@exercise("3.2")
def check_3_2(fuse: Callable) -> None:
    """The weighted sum over what is there; one modality is passed on; NaN harmless."""
    e, scores, available = _batch()
    f = fuse(e.clone(), scores.clone(), available)
    assert f.shape == (15, 5), "one fused vector for every study"
    for b, mask in enumerate(available):
        expected = (scores[b, mask].softmax(0) * e[b, mask]).sum(0)
        assert torch.allclose(f[b], expected, atol=1e-5), \
            "the sum of weight times feature over what is there; with one modality that is the feature itself"
    hole = torch.where(available[:, :, None], 0.0, float("nan"))
    again = fuse(e + hole, scores + hole, available)
    assert torch.equal(again, f), "0 x NaN is NaN: fill the holes of e with zeros before you multiply"
