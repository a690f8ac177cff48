"""Which steps are recorded and replayed, and that nobody sees a difference; the CUDA part runs on a GPU only."""

from dataclasses import replace

import pytest
import torch

from dmaf_lite.data.batches import Batch
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.objectives.terms import Term
from dmaf_lite.spec import BRATS
from dmaf_lite.training.graphs import Recorded, StepGraphs, backward_for
from dmaf_lite.training.step import StepModel, build_optimizer, forward_backward, train_step

TABLES = [[[1, 1, 0, 1], [0, 1, 0, 0]], [[1, 1, 1, 1], [1, 0, 0, 1]]]


def batch_of(number, device="cpu"):
    g = torch.Generator().manual_seed(number)
    available = torch.tensor(TABLES[number % 2], dtype=torch.bool)
    return Batch(torch.randn(2, 4, 8, 8, 8, generator=g).to(device), available,
                 torch.randint(0, 4, (2, 8, 8, 8), generator=g).to(device), ("", ""))


def training(device="cpu", objective="dmaf"):
    torch.manual_seed(0)
    net = build_network("dmaf_net", BRATS, width=4, levels=2)
    objective = build_objective(objective, BRATS, net, total_steps=20, missing_rates=[0.0] * 4)
    model = StepModel(net, objective).to(device)
    return model, build_optimizer(model.net, model.objective, lr=1e-3, weight_decay=0.0)


def by_hand(model, batch, step, dtype):
    """A recording that computes anew from the tensors it was given, as a graph does."""
    terms, gradients = {}, []

    def replay():
        for p in model.parameters():
            p.grad = None
        made = forward_backward(model, batch, step, dtype)
        terms.update({name: Term(term.value.detach(), term.weight) for name, term in made.items()})
        gradients[:] = [p.grad for p in model.parameters()]

    return Recorded(replay, terms, gradients)


def train(backward, device="cpu", steps=9, **more):
    model, optimizer = training(device)
    terms = [train_step(model, optimizer, [batch_of(step, device)], step, clip=1.0, backward=backward, **more)
             for step in range(steps)]
    return model.state_dict(), terms


def test_replayed_steps_are_the_usual_ones():
    calls = []

    def record(*args):
        calls.append(args[2])
        return by_hand(*args)

    graphs = StepGraphs(constant_after=3, record=record)
    weights, terms = train(graphs)
    expected, usual = train(forward_backward)
    assert calls == [5, 6]  # the second step with each table, counted from step 3 on
    assert all(torch.equal(weights[k], expected[k]) for k in expected)
    assert all(torch.equal(a[n].value, b[n].value) for a, b in zip(terms, usual, strict=True) for n in b)


def test_a_crop_that_reaches_beyond_its_scan_is_recorded_apart():
    """Its loss leaves voxels out: other kernels for the same table."""
    graphs = StepGraphs(constant_after=0, record=by_hand)
    model, optimizer = training()
    for step in range(4):
        train_step(model, optimizer, [replace(batch_of(0), padded=step % 2 == 0)], step, clip=1.0, backward=graphs)
    assert len(graphs.graphs) == 2


def test_no_more_graphs_than_the_limit_and_none_for_accumulated_batches():
    calls = []
    graphs = StepGraphs(constant_after=0, limit=1, record=lambda *args: (calls.append(args[2]), by_hand(*args))[1])
    train(graphs)
    assert calls == [2]
    model, optimizer = training()
    graphs = StepGraphs(constant_after=0, record=by_hand)
    for step in range(3):
        train_step(model, optimizer, [batch_of(0), batch_of(0)], step, clip=1.0, backward=graphs)
    assert not graphs.graphs


def test_a_step_that_cannot_be_recorded_is_made_as_usual():
    def fails(*args):
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.warns(UserWarning, match="could not be recorded .*not permitted"):
        weights, _ = train(StepGraphs(constant_after=0, record=fails))
    expected, _ = train(forward_backward)
    assert all(torch.equal(weights[k], expected[k]) for k in expected)


def test_graphs_that_cannot_be_are_left_with_a_word():
    model, _ = training()
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert backward_for(model.objective, cuda, graphs=False) is forward_backward
    with pytest.warns(UserWarning, match="graphs need a CUDA device"):
        assert backward_for(model.objective, cpu, graphs=True) is forward_backward
    with pytest.warns(UserWarning, match="which Linear is not"):
        assert backward_for(torch.nn.Linear(1, 1), cuda, graphs=True) is forward_backward


def test_terms_depend_on_the_step_only_before_the_objective_says_so():
    for name in ("dmaf", "plain"):
        model, _ = training(objective=name)
        batch, first = batch_of(1), model.objective.constant_after
        model.eval()  # the monitor stands still

        def weights(step, model=model, batch=batch):
            return [torch.as_tensor(t.weight).sum() for t in model(batch, step).values()]

        assert weights(first) == weights(first + 7)
        assert name == "plain" or weights(first - 1) != weights(first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recorded_on_a_gpu(dtype):
    weights, _ = train(StepGraphs(constant_after=3), "cuda", dtype=dtype)
    expected, _ = train(forward_backward, "cuda", dtype=dtype)
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=1e-3, atol=1e-4)
