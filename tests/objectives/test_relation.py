"""Covariance alignment and masked graph attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dmaf_lite.objectives.relation import (
    GraphAttention,
    RelationAlignment,
    covariance,
    covariance_gap,
    nearest_nodes,
)

STUDY = torch.tensor([0, 1, 0, 1, 1])  # five students of two studies


def maps(channels: int = 16, size: tuple[int, int, int] = (2, 3, 2), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Students [5, C, D, H, W] and teachers [2, C, D, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(5, channels, *size, generator=generator, requires_grad=True),
            torch.randn(2, channels, *size, generator=generator, requires_grad=True))


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Parameters away from their start, so that no test leans on an identity."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return module


# ---- covariance alignment ------------------------------------------------------------------------------------------

def test_covariance_is_the_sample_covariance():
    x = torch.randn(3, 20, 5) + 7
    for one, by_torch in zip(covariance(x), (torch.cov(tokens.T) for tokens in x), strict=True):
        torch.testing.assert_close(one, by_torch)


def test_cca_is_deep_coral_computed_by_hand():
    student, teacher = maps()
    relation = randomised(RelationAlignment(16, relation="cov"))
    got = relation(student, teacher, STUDY)["cov"].detach().numpy()
    weight = relation.cov.linear.weight.detach().double().numpy()
    for p, b in enumerate(STUDY.tolist()):
        x = weight @ student[p].detach().flatten(1).double().numpy()
        y = teacher[b].detach().flatten(1).double().numpy()
        by_hand = np.square(np.cov(x) - np.cov(y)).sum() / (4 * 16**2)
        assert got[p] == pytest.approx(by_hand, rel=1e-5)


def test_cca_gradient_is_the_closed_form():
    student, teacher = maps()
    relation = RelationAlignment(16, relation="cov")
    relation(student, teacher, STUDY)["cov"].sum().backward()
    x = student.detach().flatten(2).mT
    x = x - x.mean(1, keepdim=True)
    difference = covariance(x) - covariance(teacher.detach().flatten(2).mT)[STUDY]
    by_hand = x @ difference / (x.shape[1] - 1) / 16**2  # 4 X D / (V - 1), over 4 d^2
    torch.testing.assert_close(student.grad.flatten(2).mT, by_hand)


def test_the_linear_has_no_bias_because_a_bias_has_no_effect():
    relation = RelationAlignment(16, relation="cov")
    assert [name for name, _ in relation.named_parameters()] == ["cov.linear.weight"]
    student, teacher = maps()
    shifted = student + torch.arange(16.0).view(1, 16, 1, 1, 1)
    torch.testing.assert_close(relation(student, teacher, STUDY), relation(shifted, teacher, STUDY))


def test_sampling_floor_of_two_samples_of_one_gaussian():
    generator = torch.Generator().manual_seed(3)
    for voxels, floor in ((27, 0.019), (125, 0.004)):
        x, y = torch.randn(2, 40, voxels, 128, generator=generator)
        assert covariance_gap(covariance(x), covariance(y)).mean().item() == pytest.approx(floor, rel=0.06)


def test_one_voxel_has_no_covariance():
    with pytest.raises(ValueError, match="2 voxels"):
        covariance(torch.zeros(1, 1, 4))


# ---- graph attention -----------------------------------------------------------------------------------------------

def slow_neighbours(f: Tensor, count: int) -> list[list[int]]:
    """Indices each node attends to: itself and the count - 1 others of largest cosine."""
    rows = []
    for i in range(len(f)):
        cosine = [torch.dot(f[i], f[j]).item() / (f[i].norm() * f[j].norm()).item() for j in range(len(f))]
        others = sorted((j for j in range(len(f)) if j != i), key=lambda j, c=cosine: -c[j])
        rows.append([i, *others[:count - 1]])
    return rows


def slow_attention(module: GraphAttention, e: Tensor, f: Tensor) -> Tensor:
    """One student, node by node and head by head: e, f [V, d] -> G [V, d]."""
    asks, holds = (e, f) if module.direction == "modality" else (f, e)
    voxels, channels = f.shape
    width = channels // module.heads
    joined = slow_neighbours(f.detach(), module.neighbours or voxels)
    rows = []
    for i in range(voxels):
        heads = []
        for h in range(module.heads):
            part = slice(h * width, (h + 1) * width)
            q = module.query(asks[i])[part]
            scores = torch.stack([torch.dot(q, module.key(holds[j])[part]) / math.sqrt(width) for j in joined[i]])
            weights = scores.exp() / scores.exp().sum()
            heads.append(sum(w * module.value(holds[j])[part] for w, j in zip(weights, joined[i], strict=True)))
        rows.append(module.out(torch.cat(heads)))
    return torch.stack(rows)


@pytest.mark.parametrize("direction", ["modality", "fused_queries"])
@pytest.mark.parametrize("neighbours", [None, 1, 4])
def test_slow_form_equals_fast_form_values_and_gradients(direction, neighbours):
    student, teacher = maps()
    relation = randomised(RelationAlignment(16, relation="att", direction=direction, neighbours=neighbours))
    fast = relation(student, teacher, STUDY)["att"]
    e, f = student.flatten(2).mT, teacher.detach().flatten(2).mT
    slow = torch.stack([(slow_attention(relation.att, e[p], f[b]) - f[b]).square().mean()
                        for p, b in enumerate(STUDY.tolist())])
    torch.testing.assert_close(fast, slow)
    inputs = [student, *relation.parameters()]
    weights = torch.arange(1.0, 6.0)
    for one, other in zip(*(torch.autograd.grad((weights * loss).sum(), inputs) for loss in (fast, slow)),
                          strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-5)  # sums of about 100 entries of size 1


def test_adjacency_holds_the_node_itself_and_the_nearest():
    f = maps()[1].detach().flatten(2).mT
    mask = nearest_nodes(f, 4)
    assert (mask.sum(-1) == 4).all() and mask.diagonal(dim1=1, dim2=2).all()
    for b in range(2):
        for i, joined in enumerate(slow_neighbours(f[b], 4)):
            assert set(mask[b, i].nonzero().flatten().tolist()) == set(joined)
    assert nearest_nodes(f, 99).all()


def test_adjacency_of_empty_and_of_equal_nodes_still_holds_the_node_itself():
    for f in (torch.zeros(1, 6, 8), torch.ones(1, 6, 8)):
        mask = nearest_nodes(f, 2)
        assert mask.diagonal(dim1=1, dim2=2).all() and (mask.sum(-1) == 2).all()


@pytest.mark.parametrize("direction", ["modality", "fused_queries"])
def test_masked_edges_carry_no_gradient(direction):
    student, teacher = maps()
    e = student.detach().flatten(2).mT.contiguous().requires_grad_()
    f = teacher.detach().flatten(2).mT.contiguous().requires_grad_()
    attention = randomised(GraphAttention(16, direction=direction, neighbours=3))
    mask = nearest_nodes(f, 3)[STUDY]
    out = attention(e, f, STUDY)
    holder = f if direction == "modality" else e
    for p, i in ((0, 0), (1, 5), (4, 11)):
        grad, = torch.autograd.grad(out[p, i].square().sum(), holder, retain_graph=True)
        grad = grad[STUDY[p]] if direction == "modality" else grad[p]
        assert (grad[~mask[p, i]] == 0).all()
        assert (grad[mask[p, i]].abs().sum(-1) > 0).all()


def test_neighbours_beyond_the_graph_is_the_full_graph():
    student, teacher = maps()
    full, many = (randomised(RelationAlignment(16, relation="att", neighbours=n)) for n in (None, 500))
    torch.testing.assert_close(full(student, teacher, STUDY), many(student, teacher, STUDY))


def test_heads_are_eight_channels_wide():
    assert [GraphAttention(c).heads for c in (4, 8, 64, 256)] == [1, 1, 8, 32]


# ---- both ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("relation", ["cov", "att", "both"])
def test_parts_are_switched_on_alone_and_no_gradient_reaches_the_teacher(relation):
    student, teacher = maps()
    module = RelationAlignment(16, relation=relation, neighbours=3)
    gaps = module(student, teacher, STUDY)
    assert set(gaps) == ({"cov", "att"} if relation == "both" else {relation})
    assert all(gap.shape == (5,) for gap in gaps.values())
    sum(gap.sum() for gap in gaps.values()).backward()
    assert teacher.grad is None
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert (student.grad.flatten(1).abs().sum(1) > 0).all()


def test_equal_features_have_no_covariance_gap_at_the_start():
    _, teacher = maps()
    module = RelationAlignment(16, relation="cov")
    gap = module(teacher.detach()[STUDY], teacher, STUDY)["cov"]
    torch.testing.assert_close(gap, torch.zeros(5), atol=1e-12, rtol=0)


def test_attention_that_copies_its_own_node_has_no_gap():
    _, teacher = maps()
    module = RelationAlignment(16, relation="att", neighbours=1)
    with torch.no_grad():
        for linear in (module.att.value, module.att.out):
            linear.weight.copy_(torch.eye(16))
        module.att.out.bias.zero_()
    gap = module(torch.randn(5, 16, 2, 3, 2), teacher, STUDY)["att"]
    torch.testing.assert_close(gap, torch.zeros(5), atol=1e-12, rtol=0)


def test_students_do_not_see_each_other():
    student, teacher = maps()
    module = randomised(RelationAlignment(16, neighbours=4))
    together = module(student, teacher, STUDY)
    for p, b in enumerate(STUDY.tolist()):
        alone = module(student[p:p + 1], teacher[b:b + 1], torch.tensor([0]))
        for name in together:
            torch.testing.assert_close(together[name][p], alone[name][0])


def test_bfloat16_features_under_autocast_give_float32_gaps_close_to_the_exact_ones():
    student, teacher = maps()
    # Values that bfloat16 holds exactly, so that what differs is the arithmetic.
    student, teacher = student.detach().bfloat16(), teacher.detach().bfloat16()
    module = randomised(RelationAlignment(16, neighbours=4))
    exact = module(student.float(), teacher.float(), STUDY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(student, teacher, STUDY)
    assert all(gap.dtype == torch.float32 for gap in low.values())
    torch.testing.assert_close(low["cov"], exact["cov"])  # covariances are kept out of autocast
    torch.testing.assert_close(low["att"], exact["att"], rtol=0.05, atol=0.01)


@pytest.mark.parametrize("wrong", [{"relation": "none"}, {"direction": "both"}, {"neighbours": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RelationAlignment(16, **wrong)
