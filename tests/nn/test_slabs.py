"""A few planes at a time gives what whole maps give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dmaf_lite.nn import slabs
from dmaf_lite.nn.blocks import NormActConv, upsample
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.nn.fusion import DMAF, softmax_over_available
from dmaf_lite.spec import BRATS

TABLES = {
    "every subset": [list(subset) for subset in BRATS.subsets()],
    "alike": [[True, False, True, True]] * 3,
    "one study": [[True, True, True, True]],
}


def channels_last(*shape: int) -> torch.Tensor:
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("cache", [1, 1 << 12, 1 << 30], ids=["plane by plane", "some planes", "all at once"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_fusion_in_slabs_is_fusion_of_whole_maps(table, gate, cache, monkeypatch):
    monkeypatch.setattr(slabs, "CACHE", cache)
    torch.manual_seed(0)
    pairs = Pairs.of(torch.tensor(table))
    layer = DMAF(8, BRATS.M, grid=3, depth=1, gate=gate)
    nn.init.normal_(layer.restore.weight)
    e = channels_last(pairs.P, 8, 10, 9, 7)
    whole, weights = layer(e, pairs)
    with torch.no_grad():
        f, mean = layer(e, pairs)
    torch.testing.assert_close(f, whole)
    torch.testing.assert_close(mean(), weights.mean(1, keepdim=True))
    assert f.is_contiguous(memory_format=torch.channels_last_3d) == whole.is_contiguous(
        memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("largest", [3.0, 500.0], ids=["some far apart", "beyond what an exponential can say"])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_scores_far_apart_are_weighed_as_the_softmax_does(table, largest):
    torch.manual_seed(0)
    pairs = Pairs.of(torch.tensor(table))
    e = channels_last(pairs.P, 8, 10, 9, 7)
    scores = largest * torch.randn(pairs.P, 8, 3, 3, 3)
    found = slabs.fuse_by_softmax(scores, e, pairs)
    weights = softmax_over_available(upsample(scores.double(), e.shape[2:]), pairs)
    assert weights.max() > 0.99
    torch.testing.assert_close(found.double(), pairs.sum_by_study(weights * e), rtol=1e-4, atol=1e-4)


def test_half_precision_features_are_weighed_in_float32():
    torch.manual_seed(0)
    pairs = Pairs.of(torch.ones(2, 3, dtype=torch.bool))
    e, scores = channels_last(6, 8, 6, 5, 4).bfloat16(), torch.randn(6, 8, 3, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = slabs.fuse_by_softmax(scores, e, pairs)
    torch.testing.assert_close(found, slabs.fuse_by_softmax(scores, e.float(), pairs), rtol=0, atol=0)
    torch.testing.assert_close(found, slabs.fuse_in_slabs(scores, e.float(), pairs, softmax_over_available))


@pytest.mark.parametrize("cache", [1, 1 << 30], ids=["plane by plane", "all at once"])
def test_norm_in_slabs_is_instance_norm(cache, monkeypatch):
    monkeypatch.setattr(slabs, "CACHE", cache)
    torch.manual_seed(0)
    x = 3 * channels_last(2, 4, 20, 22, 24) + 100  # a mean far from 0: squares of the values would lose digits
    exact = nn.functional.leaky_relu(nn.functional.instance_norm(x.double().contiguous()), 0.2)
    with torch.no_grad():
        y = slabs.norm_act_in_slabs(x, 1e-5, 0.2)
    torch.testing.assert_close(y.double(), exact, atol=1e-4, rtol=0)
    assert y.is_contiguous(memory_format=torch.channels_last_3d) and (x.mean() > 99)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_block_answers_alike_with_and_without_gradients(precision):
    torch.manual_seed(0)
    block, x = NormActConv(8), channels_last(2, 8, 12, 10, 8)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        expected = block(x.requires_grad_()).detach()
        with torch.no_grad():
            assert slabs.answers_in_slabs(x)
            found = block(x)
    torch.testing.assert_close(found, expected)  # of bfloat16: within its rounding


def test_one_thread_works_and_the_others_come_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # whatever the machine or an earlier test has left
    try:
        with pytest.raises(RuntimeError), slabs.one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
