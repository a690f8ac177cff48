"""RFNet: region-aware fusion against its slow form, and the published counts."""

import pytest
import torch

from dmaf_lite.methods.networks import build_network
from dmaf_lite.peers.rfnet import PRESETS, RegionFusion, RFNetSettings, region_means
from dmaf_lite.spec import BRATS


def count(module):
    return sum(p.numel() for p in module.parameters())


def slow_region_fusion(module, stack, pi):
    """By regions, studies and modalities, with a volume for each region and modality."""
    outputs = []
    for y, probability in zip(stack, pi.detach(), strict=True):
        regions = []
        for k, gate in enumerate(module.gates):
            size = probability[k].mean() + 1e-7
            masked = [probability[k] * y[m] for m in range(len(y))]
            means = [volume.mean(dim=(1, 2, 3)) / size for volume in masked]
            hidden, act, out = gate
            seen = torch.cat([*means, size[None]])
            s = torch.sigmoid(out.weight.flatten(1) @ act(hidden.weight.flatten(1) @ seen + hidden.bias) + out.bias)
            regions.append(sum(s[m] * masked[m] for m in range(len(y))))
        outputs.append(torch.cat([module.regions(torch.cat(regions)[None]),
                                  module.shortcut(torch.cat(list(y))[None])], 1))
    return torch.cat(outputs)


def test_the_closed_form_equals_the_slow_one_in_values_and_gradients():
    torch.manual_seed(0)
    module = RegionFusion(8, 3, 5)  # as many modalities as classes only by accident: here not
    stack = torch.randn(2, 3, 8, 4, 4, 4) + 1
    stack[0, 1] = 0
    logits = torch.randn(2, 5, 4, 4, 4)
    target = torch.randn(2, 8, 4, 4, 4)
    found = []
    for form in (lambda y, pi: module(y, pi)[0], lambda y, pi: slow_region_fusion(module, y, pi)):
        module.zero_grad()
        y, r = stack.clone().requires_grad_(), logits.clone().requires_grad_()
        fused = form(y, r.softmax(1))
        (fused * target).sum().backward()
        assert r.grad is None  # regions are told, not taught
        found.append([fused.detach(), y.grad, *(p.grad.clone() for p in module.parameters())])
    assert found[0][0].abs().max() > 0.1
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, atol=5e-5, rtol=2e-4)  # sums of 500 numbers in float32


def test_a_mean_over_a_region_is_one_over_its_voxels():
    y = torch.zeros(1, 1, 1, 2, 2, 2)
    y[..., 0] = 3.0
    pi = torch.zeros(1, 2, 2, 2, 2)
    pi[:, 0, ..., 0], pi[:, 1, ..., 1] = 1, 1
    means, size = region_means(pi, y)
    torch.testing.assert_close(means.flatten(), torch.tensor([3.0, 0.0]))
    torch.testing.assert_close(size, torch.tensor([[0.5, 0.5]]))


def test_an_empty_region_stays_finite():
    y = torch.randn(1, 2, 3, 4, 4, 4, requires_grad=True)
    means, _ = region_means(torch.zeros(1, 2, 4, 4, 4), y)
    means.sum().backward()
    assert (means == 0).all() and torch.isfinite(y.grad).all()


def test_parameters_of_passion_part_by_part():
    with torch.device("meta"):
        net = build_network("rfnet", BRATS)
    decoder = net.fusion_decoder
    assert count(net) == 2_381_792 == 4 * 366_912 + 767_444 + 146_700
    assert [count(e) for e in net.encoders] == [366_912] * 4
    assert (count(decoder), count(net.shared_decoder)) == (767_444, 146_700)
    assert [count(f) for f in decoder.fusions] == [23_544, 52_064, 133_296, 392_528]
    assert [count(h) for h in decoder.region_heads] == [540, 1_372, 4_164, 13_236]
    for up, (wide, narrow) in zip(decoder.levels, [(3_464, 72), (13_840, 272), (55_328, 1_056)], strict=True):
        assert (count(up.enter), count(up.merge), count(up.out)) == (wide, wide, narrow)
    assert count(decoder.head) == 36


def test_parameters_of_the_original_width():
    with torch.device("meta"):
        net = build_network("rfnet", BRATS, preset="original")
    assert count(net) == 8_984_960
    assert [count(net.encoders[0]), count(net.fusion_decoder), count(net.shared_decoder)] == [
        1_466_496, 2_532_588, 586_388]
    assert PRESETS["original"].channels == (16, 32, 64, 128)


def test_work_of_a_full_crop():
    """Spec peers, section 8, in GFLOP: encoders 4 x 7.631, shared decoder 50.135, fusion 21.058.

    The counter sees matrix products and convolutions: in the closed form the sums over voxels and modalities are
    products too, 0.366 more at all levels together, which elsewhere are multiplications that it does not count.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = build_network("rfnet", BRATS)
        images = torch.randn(1, 4, 80, 80, 80)
    with FlopCounterMode(display=False, depth=2) as counter:
        net(images, torch.ones(1, 4).bool())
    work = {name: sum(flops.values()) / 1e9 for name, flops in counter.get_flop_counts().items()}
    assert work["RFNet.shared_decoder"] == pytest.approx(50.135, abs=5e-4)
    assert work["RFNet.fusion_decoder"] == pytest.approx(21.058 + 0.366, abs=2e-3)
    assert work["RFNet"] == pytest.approx(101.716 + 0.366, abs=2e-3)


def test_an_encoder_that_sees_nothing_has_no_gradient():
    torch.manual_seed(0)
    net = build_network("rfnet", BRATS, width=4)
    available = torch.tensor([[True, False, False, False], [False, False, False, True]])
    net(torch.randn(2, 4, 16, 16, 16), available).logits.sum().backward()
    assert [all(p.grad is not None for p in e.parameters()) for e in net.encoders] == [True, False, False, True]
    assert [all(p.grad is None for p in e.parameters()) for e in net.encoders] == [False, True, True, False]


def test_the_heads_say_where_at_their_own_size():
    net = build_network("rfnet", BRATS, width=4)
    deep = net(torch.randn(1, 4, 16, 16, 16), torch.ones(1, 4).bool()).deep_logits
    assert [tuple(r.shape[1:]) for r in deep] == [(4, s, s, s) for s in (16, 8, 4, 2)]


def test_settings_are_checked():
    with pytest.raises(ValueError, match="width is 6; expected a multiple of 4"):
        RFNetSettings(width=6)
    with pytest.raises(ValueError, match="preset 'lite' is not known"):
        build_network("rfnet", BRATS, preset="lite")
