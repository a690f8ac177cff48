"""A convolution of one study in halves is torch's, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import conv3d
from torch.profiler import ProfilerActivity, profile

from dmaf_lite.nn import convolution
from dmaf_lite.nn.convolution import Conv3d

FORMS = {
    "usual": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "slices": {"kernel_size": (3, 3, 1), "padding": (1, 1, 0), "stride": (2, 2, 1)},
    "no planes beside": {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)},
    "with bias, not padded": {"kernel_size": 3, "bias": True},
}


def channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("order", [torch.channels_last_3d, torch.contiguous_format], ids=["last", "first"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_halves_are_the_whole_in_values_and_gradients(form, order):
    torch.manual_seed(0)
    conv = Conv3d(3, 5, **{"bias": False, **form}).double()
    x = channels_last(1, 3, 12 if form.get("padding") else 14, 9, 8).contiguous(memory_format=order).requires_grad_()
    whole, halved = nn.Conv3d.forward(conv, x), convolution.in_halves(conv, x)
    g = torch.randn_like(whole)
    torch.testing.assert_close(halved, whole)
    for a, b in zip(torch.autograd.grad(halved, (x, *conv.parameters()), g),
                    torch.autograd.grad(whole, (x, *conv.parameters()), g), strict=True):
        torch.testing.assert_close(a, b)
    assert halved.is_contiguous(memory_format=order) == whole.is_contiguous(memory_format=order)


def kernels(conv: nn.Conv3d, x: torch.Tensor) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        conv(x)
    return {event.key for event in seen.key_averages() if "slow_conv" in event.key or "mkldnn_conv" in event.key}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_one_small_study_takes_the_fast_kernel_where_torch_takes_the_slow_one():
    """If this fails with a new torch, its rule has changed: then this file may not be needed any more."""
    x = channels_last(1, 8, 16, 16, 16).float()
    conv = Conv3d(8, 8, 3, padding=1)
    assert any("slow_conv" in name for name in kernels(nn.Conv3d(8, 8, 3, padding=1), x))
    assert kernels(conv, x) and not any("slow_conv" in name for name in kernels(conv, x))


@pytest.mark.parametrize(("shape", "halves"), [
    ((1, 8, 16, 16, 16), True),
    ((2, 8, 16, 16, 16), False),  # torch is quick by itself
    ((1, 8, 52, 52, 4), False),  # also here
    ((1, 8, 17, 16, 16), False),  # an odd number of planes
    ((1, 8, 4, 4, 4), False),  # more trouble than it saves
])
def test_halves_only_where_they_help(shape, halves, monkeypatch):
    asked = []
    monkeypatch.setattr(convolution, "in_halves", lambda conv, x: asked.append(x.shape))
    conv, x = Conv3d(8, 8, 3, padding=1), torch.randn(shape)
    conv(x)
    assert bool(asked) is halves
    with torch.autocast("cpu", torch.bfloat16):  # its kernels have another rule
        conv(x)
    assert len(asked) == halves


def test_other_convolutions_are_torchs():
    """Groups, dilation, no neighbours: nothing is halved."""
    x = torch.randn(1, 8, 16, 16, 16)
    for conv in (Conv3d(8, 8, 3, padding=1, groups=2), Conv3d(8, 8, 3, padding=2, dilation=2), Conv3d(8, 8, 1)):
        expected = conv3d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        assert torch.equal(conv(x), expected)
