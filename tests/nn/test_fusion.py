"""DMAF's promises, against a slow form that loops over studies and modalities."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from dmaf_lite.nn.contract import Pairs
from dmaf_lite.nn.fusion import DMAF, MeanFusion
from dmaf_lite.spec import BRATS


def lively(channels=16, modalities=4, seed=0, **options):
    """A DMAF whose Restore is not zero, as after some training."""
    torch.manual_seed(seed)
    dmaf = DMAF(channels, modalities, **options)
    torch.nn.init.normal_(dmaf.restore.weight, std=0.5)
    torch.nn.init.normal_(dmaf.position_embedding)
    torch.nn.init.normal_(dmaf.modality_embedding)
    return dmaf


def slow_dmaf(dmaf, maps, modalities):
    """One study: attention over the tokens of the scans that are there; no mask is needed.

    maps: the scans' features, each [C, D, H, W]; modalities: their indices.
    """
    size = tuple(min(dmaf.grid, n) for n in maps[0].shape[1:])
    position = F.interpolate(dmaf.position_embedding, size=size, mode="trilinear")[0].flatten(1).T
    tokens = [
        dmaf.project(F.adaptive_avg_pool3d(e, size).flatten(1).T) + position + dmaf.modality_embedding[m]
        for e, m in zip(maps, modalities, strict=True)
    ]
    x = torch.cat(tokens)
    for block in dmaf.blocks:
        q, k, v = block.qkv(block.norm_attention(x)).chunk(3, dim=-1)
        heads = []
        for h in range(block.heads):
            part = slice(h * q.shape[1] // block.heads, (h + 1) * q.shape[1] // block.heads)
            scores = q[:, part] @ k[:, part].T / (part.stop - part.start) ** 0.5
            heads.append(scores.softmax(-1) @ v[:, part])
        x = x + block.out(torch.cat(heads, dim=-1))
        x = x + block.feedforward(block.norm_feedforward(x))
    n = len(tokens[0])
    scores = []
    for i, e in enumerate(maps):
        grid = rearrange(dmaf.restore(x[i * n : (i + 1) * n]), "(d h w) c -> c d h w", d=size[0], h=size[1])
        scores.append(F.interpolate(grid[None], size=e.shape[1:], mode="trilinear")[0])
    weights = torch.stack(scores).softmax(0)
    return (weights * torch.stack(maps)).sum(0), weights


def packed(available, channels=16, size=6, dtype=torch.float32, seed=1):
    torch.manual_seed(seed)
    pairs = Pairs.of(available)
    return torch.randn(pairs.P, channels, size, size, size, dtype=dtype), pairs


def test_tokens_among_available_are_the_masked_ones():
    """Where all studies have the same scans, the blocks without mask and without the absent give the same."""
    dmaf = lively(grid=2, depth=2).double()
    for subset in BRATS.subsets():
        e, pairs = packed(torch.tensor([subset] * 2), dtype=torch.float64)
        tokens, _ = dmaf.tokens(e, pairs)
        results = []
        for form in (dmaf._among_available, dmaf._masked):
            answer = form(tokens, pairs)
            results.append([answer, *torch.autograd.grad(answer.square().sum(), [*dmaf.blocks.parameters(), tokens],
                                                         retain_graph=True)])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)


def all_masks(m):
    return torch.tensor([[bool(i >> k & 1) for k in range(m)] for i in range(1, 2**m)])


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("size", [6, 3])
def test_fast_form_is_the_slow_form_values_and_gradients(m, size):
    dmaf = lively(modalities=m)
    available = all_masks(m)  # every subset once, in one mixed batch
    e, pairs = packed(available, size=size)
    e.requires_grad_()
    f, weights = dmaf(e, pairs)
    target = torch.randn_like(f)
    (f * target).sum().backward()
    fast = {n: p.grad.clone() for n, p in dmaf.named_parameters()} | {"e": e.grad.clone()}
    dmaf.zero_grad()
    e.grad = None
    loss = 0.0
    for b in range(pairs.B):
        rows = [i for i in range(pairs.P) if pairs.study[i] == b]
        slow_f, slow_w = slow_dmaf(dmaf, [e[i] for i in rows], [int(pairs.modality[i]) for i in rows])
        assert torch.allclose(slow_f, f[b], atol=2e-5)
        assert torch.allclose(slow_w, weights[rows], atol=2e-5)
        loss = loss + (slow_f * target[b]).sum()
    loss.backward()
    for name, p in (*dmaf.named_parameters(), ("e", e)):
        assert torch.allclose(fast[name], p.grad, rtol=1e-3, atol=2e-3), name


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_weights_sum_to_one_over_what_is_there(gate):
    dmaf = lively(gate=gate)
    e, pairs = packed(all_masks(4))
    _, weights = dmaf(e, pairs)
    assert (weights >= 0).all()
    torch.testing.assert_close(pairs.sum_by_study(weights), torch.ones(15, *weights.shape[1:]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fusion", [lively(), lively(gate="sigmoid"), MeanFusion()], ids=["dmaf", "sigmoid", "mean"])
def test_one_modality_is_the_identity(fusion, dtype):
    e, pairs = packed(torch.eye(4).bool(), dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        f, _ = fusion(e, pairs)
    assert torch.equal(f, e)


def test_restore_at_zero_is_mean_fusion():
    e, pairs = packed(all_masks(4))
    f, weights = DMAF(16, 4)(e, pairs)
    mean, _ = MeanFusion()(e, pairs)
    torch.testing.assert_close(f, mean)
    torch.testing.assert_close(weights.mean((1, 2, 3, 4)), (1 / pairs.counts)[pairs.study])


def test_permuting_modalities_with_their_embeddings_permutes_the_weights():
    order = torch.tensor([2, 0, 3, 1])
    available = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]]).bool()
    dense = torch.randn(2, 4, 16, 6, 6, 6)
    dmaf = lively()
    pairs = Pairs.of(available)
    f, weights = dmaf(pairs.from_dense(dense), pairs)
    with torch.no_grad():
        dmaf.modality_embedding.copy_(dmaf.modality_embedding[order].clone())
    permuted = Pairs.of(available[:, order])
    g, moved = dmaf(permuted.from_dense(dense[:, order]), permuted)
    torch.testing.assert_close(g, f, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(permuted.to_dense(moved), pairs.to_dense(weights)[:, order], atol=2e-5, rtol=1e-4)


def test_a_study_does_not_depend_on_its_batch_mates():
    dmaf = lively()
    available = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 1]]).bool()
    e, pairs = packed(available)
    f, _ = dmaf(e, pairs)
    alone = pairs.study == 0
    g, _ = dmaf(e[alone], Pairs.of(available[:1]))
    torch.testing.assert_close(g[0], f[0], atol=1e-5, rtol=1e-4)


def test_zero_tokens_would_take_attention():
    """Why masking is needed: a present scan full of zeros is not the same as a missing one."""
    dmaf = lively()
    both = torch.tensor([[True, True, False, False]])
    e, pairs = packed(both)
    e[1] = 0
    with_zero, _ = dmaf(e, pairs)
    without, _ = dmaf(e[:1], Pairs.of(torch.tensor([[True, False, False, False]])))
    assert (with_zero - without).abs().max() > 0.1


def test_an_unknown_gate_is_refused():
    with pytest.raises(ValueError, match="gate 'hard' is not known"):
        DMAF(8, BRATS.M, gate="hard")


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_without_gradients_one_scan_is_taken_as_it_is(gate):
    """Nothing is computed for it then; the full way gives the same bits."""
    torch.manual_seed(0)
    dmaf = DMAF(8, BRATS.M, gate=gate)
    nn.init.normal_(dmaf.restore.weight)
    pairs = Pairs.of(torch.tensor([[False, True, False, False]] * 2))
    e = torch.randn(2, 8, 6, 6, 6)
    f, weights = dmaf(e, pairs)
    with torch.no_grad():
        g, short = dmaf(e, pairs)
    assert torch.equal(f, g) and g is e
    assert (weights == 1).all() and (short == 1).all()


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_the_way_for_equal_scans_is_the_general_way(gate):
    torch.manual_seed(0)
    dmaf = DMAF(8, BRATS.M, gate=gate)
    nn.init.normal_(dmaf.restore.weight)
    available = torch.tensor([[True, True, False, True]] * 3)
    e = torch.randn(9, 8, 6, 6, 6, requires_grad=True)
    results = []
    for uniform in (True, False):
        pairs = Pairs.of(available)
        assert pairs.uniform
        pairs.__dict__["uniform"] = uniform  # where the property keeps its answer
        f, weights = dmaf(e, pairs)
        results.append((f, weights, *torch.autograd.grad(f.square().sum(), (e, dmaf.restore.weight))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not Pairs.of(torch.tensor([[True, False, True, True], [True, True, False, True]])).uniform
