"""Interpolation by matrix products is that of torch: values, gradients, and what is not a double."""

import pytest
import torch
import torch.nn.functional as F

from dmaf_lite.nn import interpolation
from dmaf_lite.nn.interpolation import by_products, line, trilinear


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(8, 10, 12), (7, 5, 13), (4, 5, 6)])
def test_values_and_gradients_are_torchs(size, align):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    g = torch.randn(2, 3, *size, dtype=torch.float64)
    results = []
    for form in (by_products, trilinear):
        leaf = x.clone().requires_grad_()
        y = form(leaf, size, align_corners=align)
        y.backward(g)
        results.append((y.detach(), leaf.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_weights_are_positive_and_sum_to_one_also_made_without_gradients():
    with torch.inference_mode():
        weights = line(5, 11, False, torch.device("cpu"), torch.float32)
    assert (weights >= 0).all() and torch.allclose(weights.sum(1), torch.ones(11)) and not weights.is_inference()
    assert line(5, 11, False, torch.device("cpu"), torch.float32) is weights


def test_autocast_does_not_round_a_map_of_float32():
    x = torch.randn(1, 2, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y = by_products(x, (6, 6, 6), align_corners=True)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, F.interpolate(x, (6, 6, 6), mode="trilinear", align_corners=True))


def test_bfloat16_stays_and_is_close():
    x = torch.randn(1, 2, 3, 3, 3).bfloat16()
    y = by_products(x, (6, 6, 6), align_corners=False)
    assert y.dtype == torch.bfloat16
    expected = F.interpolate(x.float(), (6, 6, 6), mode="trilinear")
    torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03)


def test_a_device_chooses_the_form(monkeypatch):
    called = []
    monkeypatch.setattr(interpolation, "by_products", lambda x, size, align_corners: called.append(size))
    x = torch.randn(1, 2, 3, 3, 3)
    trilinear(x, (6, 6, 6), align_corners=True)
    assert not called
    monkeypatch.setattr(interpolation, "BY_PRODUCTS", {"cpu"})
    trilinear(x.contiguous(memory_format=torch.channels_last_3d), (6, 6, 6), align_corners=True)
    assert not called  # another layout: torch's
    trilinear(x, (6, 6, 6), align_corners=True)
    assert called == [(6, 6, 6)]
