"""One step: accumulated gradients are those of all studies, and what an objective asks for is done."""

import pytest
import torch
from torch import nn

from dmaf_lite.data.batches import Batch
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.terms import Term
from dmaf_lite.spec import BRATS
from dmaf_lite.training.step import StepModel, build_optimizer, set_learning_rates, train_step


def studies(available, seed=0):
    g = torch.Generator().manual_seed(seed)
    available = torch.tensor(available, dtype=torch.bool)
    images = torch.randn(len(available), 4, 8, 8, 8, generator=g)
    return Batch(images, available, torch.randint(0, 4, (len(available), 8, 8, 8), generator=g), ("",) * len(available))


def part(batch, rows):
    return Batch(batch.images[rows], batch.available[rows], batch.label[rows], batch.names[rows])


def gradients(batches, objective="dmaf"):
    torch.manual_seed(0)
    net = build_network("dmaf_net", BRATS, width=4, levels=2)
    objective = build_objective(objective, BRATS, net, total_steps=10, missing_rates=[0.0] * 4)
    optimizer = build_optimizer(net, objective, lr=0.0, weight_decay=0.0)
    terms = train_step(StepModel(net, objective), optimizer, batches, 5, clip=1e9)
    return {name: p.grad for name, p in net.named_parameters()}, terms


def test_accumulated_batches_are_one_batch():
    batch = studies([[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [1, 1, 0, 0]])
    whole, terms = gradients([batch])
    parts, terms_of_parts = gradients([part(batch, slice(0, 2)), part(batch, slice(2, 4))])
    largest = max(g.norm() for g in whole.values() if g is not None)
    for name, g in whole.items():
        if g is None:  # T1, that nobody has
            assert parts[name] is None and name.startswith("encoders.2")
        else:
            assert (g - parts[name]).norm() < 1e-4 * largest, name
    for name, term in terms.items():
        assert terms_of_parts[name].value.shape == term.value.shape
        torch.testing.assert_close(terms_of_parts[name].value, term.value, rtol=1e-3, atol=1e-5)


class WithADiscriminator(nn.Module):
    """An objective with parameters that have options of their own, and a hook before the update."""

    def __init__(self):
        super().__init__()
        self.judge, self.rest, self.calls = nn.Linear(1, 1), nn.Linear(1, 1), []

    def parameter_groups(self):
        return [{"params": list(self.judge.parameters()), "betas": (0.5, 0.9)}]

    def before_update(self, optimizer):
        self.calls.append(all(p.grad is not None for p in self.judge.parameters()))

    def forward(self, net, features, prediction, batch, step):
        return {"seg": Term(prediction.logits.mean((1, 2, 3, 4)) + self.judge(torch.ones(1, 1)).sum())}


def test_an_objective_may_keep_parameters_and_a_hook():
    net, objective = build_network("dmaf_net", BRATS, width=4, levels=2), WithADiscriminator()
    optimizer = build_optimizer(net, objective, lr=1e-3, weight_decay=0.1)
    owners = [{id(p) for p in group["params"]} for group in optimizer.param_groups]
    assert sum(map(len, owners)) == len({i for owner in owners for i in owner})
    everything = [*net.parameters(), *objective.parameters()]
    assert {i for owner in owners for i in owner} == {id(p) for p in everything}
    assert [g["betas"] for g, owner in zip(optimizer.param_groups, owners, strict=True)
            if id(objective.judge.weight) in owner] == [(0.5, 0.9)]
    set_learning_rates(optimizer, 1e-2, [0.5, 1.0, 1.0, 1.0])
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.005, 0.01, 0.01, 0.01, 0.01, 0.01])
    train_step(StepModel(net, objective), optimizer, [studies([[1, 1, 1, 1]])], 0, clip=1.0)
    assert objective.calls == [True]


def test_a_network_without_encoders_of_its_own_is_one_group():
    net = nn.Linear(2, 2)
    objective = Objective.__new__(Objective)
    nn.Module.__init__(objective)  # an objective with nothing in it
    groups = build_optimizer(net, objective, lr=1e-3, weight_decay=0.0).param_groups
    assert len(groups) == 1 and len(groups[0]["params"]) == 2


def test_nothing_is_read_back_from_the_device():
    """On meta tensors every read of a value raises."""
    with torch.device("meta"):
        net = build_network("dmaf_net", BRATS, width=4, levels=2)
        objective = build_objective("plain", BRATS, net)
    batch = studies([[1, 1, 0, 1], [0, 1, 0, 0]])
    on_device = Batch(batch.images.to("meta"), batch.available, batch.label.to("meta"), batch.names)
    terms = StepModel(net, objective)(on_device, 0)
    assert all(term.value.device.type == "meta" for term in terms.values())
