"""Terms and their sum."""

from __future__ import annotations

import pytest
import torch

from dmaf_lite.base.device import in_float32
from dmaf_lite.objectives.terms import Term, shares, total


def test_total_is_the_mean_over_studies_of_the_weighted_sum_over_modalities():
    terms = {"seg": Term(torch.tensor([1.0, 3.0])),
             "cov": Term(torch.tensor([[1.0, 0.0, 2.0], [4.0, 5.0, 6.0]]), torch.tensor([1.0, 10.0, 0.5])),
             "att": Term(torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 4.0]]), 0.25)}
    by_hand = (1 + 3) / 2 + ((1 * 1 + 2 * 0.5) + (4 * 1 + 5 * 10 + 6 * 0.5)) / 2 + 0.25 * (2 + 4) / 2
    assert total(terms).item() == pytest.approx(by_hand)


def test_gradient_of_the_total_is_weight_over_studies():
    value = torch.rand(4, 3, requires_grad=True)
    weight = torch.tensor([0.5, 1.0, 2.0])
    total({"a": Term(value, weight)}).backward()
    torch.testing.assert_close(value.grad, (weight / 4).expand(4, 3))


def test_shares_are_relative_to_the_segmentation_loss():
    terms = {"seg": Term(torch.tensor([2.0, 2.0])), "cov": Term(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), 0.2)}
    assert shares(terms)["cov"].item() == pytest.approx(0.1)
    assert shares(terms)["seg"].item() == 1


def test_no_term_is_an_error():
    with pytest.raises(ValueError, match="no term"):
        total({})


def test_in_float32_switches_autocast_off_and_on_again():
    x = torch.rand(8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with in_float32(x.device):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
