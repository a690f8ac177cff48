"""mmFormer: tokens and their places, attention against its slow form, and the published counts."""

import math

import pytest
import torch
import torch.nn.functional as F

from dmaf_lite.methods.networks import build_network
from dmaf_lite.peers.mmformer import MMFormerSettings, TransformerLayer, to_grid
from dmaf_lite.spec import BRATS

SMALL = {"width": 2, "grid": 2, "token_width": 16, "heads": 2, "hidden": 16}


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_passion_part_by_part():
    with torch.device("meta"):
        net = build_network("mmformer", BRATS)
    decoder = net.fusion_decoder
    assert count(net) == 35_599_184
    for encoder in net.encoders:
        parts = (encoder.pyramid, encoder.embed, encoder.transformer)
        assert [count(part) for part in parts] == [1_473_216, 66_048, 5_250_048]
        assert encoder.position.numel() == 64_000
    layer = net.token_fusion.transformer
    assert [count(layer), count(net.token_fusion.reduce)] == [5_250_048, 1_049_088]
    assert count(layer.norm_attention) + count(layer.qkv) + count(layer.project) == 1_050_112
    assert count(layer.norm_feed) + count(layer.feed) == 4_199_936
    assert (count(decoder), count(net.shared_decoder)) == (1_293_444, 593_356)
    assert [count(f) for f in decoder.fusions] == [2_072, 8_240, 32_864, 131_264, 524_672]
    assert [count(h) for h in decoder.deep_heads] == [68, 132, 260, 516]
    up = decoder.levels[3]
    assert [count(up.enter), count(up.merge), count(up.out)] == [221_248, 221_248, 4_160]


def test_parameters_of_the_original_without_its_dead_convolutions():
    with torch.device("meta"):
        net = build_network("mmformer", BRATS, preset="original")
    assert count(net) == 36_654_416 - 4 * 65_664 == 36_391_760
    assert net.encoders[0].position.numel() == 262_144


def test_work_of_a_full_crop():
    """Spec peers, section 8: 114.290 GFLOP forward, of which 53.707 the shared decoder."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = build_network("mmformer", BRATS)
        images = torch.randn(1, 4, 80, 80, 80)
    with FlopCounterMode(display=False, depth=2) as counter:
        net(images, torch.ones(1, 4).bool())
    work = {name: sum(flops.values()) / 1e9 for name, flops in counter.get_flop_counts().items()}
    assert work["MMFormer"] == pytest.approx(114.290, abs=5e-4)
    assert work["MMFormer.shared_decoder"] == pytest.approx(53.707, abs=5e-4)


def test_the_layer_against_its_slow_form():
    torch.manual_seed(0)
    layer = TransformerLayer(MMFormerSettings(token_width=12, heads=3, hidden=20)).eval()
    t, position = torch.randn(2, 5, 12), torch.randn(1, 5, 12)
    x = t + position
    q, k, v = layer.qkv(layer.norm_attention(x)).split(12, dim=2)
    mixed = torch.empty_like(x)
    for b in range(2):
        for head in range(3):
            own = slice(4 * head, 4 * head + 4)
            scores = q[b, :, own] @ k[b, :, own].T / math.sqrt(4)
            mixed[b, :, own] = scores.softmax(1) @ v[b, :, own]
    x = x + F.linear(mixed, layer.project.weight, layer.project.bias)
    first, second = layer.feed[0], layer.feed[3]
    x = x + second(F.gelu(first(layer.norm_feed(x))))
    torch.testing.assert_close(layer(t, position), x, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    layer = TransformerLayer(MMFormerSettings(token_width=12, heads=3, hidden=20))
    t = torch.randn(1, 5, 12)
    assert not torch.equal(layer(t, t), layer(t, t))
    layer.eval()
    assert torch.equal(layer(t, t), layer(t, t))


def test_each_token_stands_at_its_place_unless_the_released_arrangement_is_asked_for():
    grid, modalities, width = 3, 4, 2
    # The value of a token says whose it is and where: 100 m + place, the same in all its channels.
    place = torch.arange(27.0)
    tokens = (100 * torch.arange(4.0)[:, None] + place)[None, :, :, None].expand(1, modalities, 27, width)
    ours = to_grid(tokens, (grid,) * 3, scrambled=False)
    assert ours.shape == (1, modalities * width, grid, grid, grid)
    for m in range(modalities):
        for channel in range(width):
            assert torch.equal(ours[0, m * width + channel].flatten(), 100 * m + place)
    released = to_grid(tokens, (grid,) * 3, scrambled=True)
    in_memory = tokens[0, :, :, 0].flatten()
    for cell in range(27):
        z, y, x = cell // 9, cell // 3 % 3, cell % 3
        assert torch.equal(released[0, ::width, z, y, x], in_memory[4 * cell: 4 * cell + 4])


def test_the_arrangement_changes_the_answer_but_no_weight():
    nets = []
    for scrambled in (False, True):
        torch.manual_seed(0)
        nets.append(build_network("mmformer", BRATS, faithful=scrambled, **SMALL).eval())
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    images = torch.randn(1, 4, 32, 32, 32)
    a, b = (net(images, torch.ones(1, 4).bool()).logits for net in nets)
    assert (a - b).abs().max() > 1e-3


def test_the_positions_of_missing_modalities_take_part_their_tokens_do_not():
    torch.manual_seed(0)
    net = build_network("mmformer", BRATS, **SMALL).eval()
    images, flair = torch.randn(1, 4, 32, 32, 32), torch.tensor([[True, False, False, False]])
    before = net(images, flair).logits
    with torch.no_grad():
        torch.nn.init.normal_(net.encoders[3].embed.weight)  # of what is not encoded
    assert torch.equal(net(images, flair).logits, before)
    with torch.no_grad():
        torch.nn.init.normal_(net.encoders[3].position)
    assert (net(images, flair).logits - before).abs().max() > 1e-4


def test_deep_heads_are_at_strides_2_to_16():
    net = build_network("mmformer", BRATS, **SMALL)
    deep = net(torch.randn(1, 4, 32, 32, 32), torch.ones(1, 4).bool()).deep_logits
    assert [tuple(z.shape[1:]) for z in deep] == [(4, s, s, s) for s in (16, 8, 4, 2)]


def test_a_window_off_the_grid_says_what_fits():
    net = build_network("mmformer", BRATS, **SMALL)
    with pytest.raises(ValueError, match=r"grid of 2 tokens per axis; expected 32 voxels per axis"):
        net.encode(torch.randn(1, 4, 48, 48, 48), torch.ones(1, 4).bool())


@pytest.mark.parametrize("option, words", [({"grid": 1}, "grid is 1"), ({"dropout": 1.0}, "dropout is 1.0"),
                                           ({"token_width": 10, "heads": 4}, "multiple of the 4 heads")])
def test_settings_are_checked(option, words):
    with pytest.raises(ValueError, match=words):
        MMFormerSettings(**option)
