"""AdaMM's objective: every term in numbers, who teaches whom, and a run from training to prediction."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from dmaf_lite.data.batches import Batch
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.evaluate import EvaluationSettings, evaluate
from dmaf_lite.evaluation.inference import WindowSettings
from dmaf_lite.evaluation.predict import predict_folders
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.objectives import total
from dmaf_lite.peers.adamm.objective import (
    RELEASED,
    AdammObjective,
    AdammSettings,
    consistency_weight,
    reliability_weights,
    squared_dice_loss,
)
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import TrainSettings, train
from dmaf_lite.training.step import StepModel, build_optimizer, train_step

TERMS = {"seg", "seg_teacher", "consistency", "content", "presence", "style", "adversarial", "discriminator"}
SOME = torch.tensor([[1, 0, 1, 0], [1, 1, 1, 1]]).bool()


def tiny_pair(released=False, **options):
    torch.manual_seed(0)
    net = build_network("adamm", BRATS, faithful=released, width=8)
    return net, build_objective("adamm", BRATS, net, total_steps=100, **options)


def tiny_batch(available=SOME, existing=None):
    torch.manual_seed(1)
    images, label = torch.randn(2, 4, 16, 16, 16), torch.randint(0, 4, (2, 16, 16, 16))
    label[1][label[1] == 3] = 2  # the second study has no enhancing tumour
    return Batch(images, available, label, ("a", "b"), torch.ones(2, 4).bool() if existing is None else existing)


def terms_of(net, objective, batch, step=3):
    return StepModel(net, objective)(batch, step)


def test_dice_in_numbers():
    p, y = torch.zeros(1, 2, 1, 1, 4), torch.zeros(1, 2, 1, 1, 4)
    p[0, 0, 0, 0] = torch.tensor([0.5, 1.0, 0.0, 0.0])
    y[0, 0, 0, 0] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    p[0, 1] = 0.5  # an absent class
    loss = squared_dice_loss(p, y)
    assert loss[0].tolist() == pytest.approx([1 - 2 * 1.5 / (1.25 + 2), 1.0])
    loss = squared_dice_loss(p, y, smooth=1.0)
    assert loss[0].tolist() == pytest.approx([1 - (3 + 1) / (3.25 + 1), 1 - 1 / (1 + 1)])


@pytest.mark.parametrize("smooth, says_something", [(0.0, False), (1.0, True)])
def test_only_the_smooth_dice_speaks_against_an_absent_class(smooth, says_something):
    p = torch.full((1, 1, 2, 2, 2), 0.3, requires_grad=True)
    squared_dice_loss(p, torch.zeros_like(p), smooth=smooth).sum().backward()
    assert bool((p.grad > 0).all()) == says_something and bool((p.grad == 0).all()) != says_something


def test_reliability_weights_teach_the_head():
    q = torch.tensor([[0.2, 0.9, 0.5]], requires_grad=True)
    weights = reliability_weights(q, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(weights, torch.tensor([[1.8, 1.1, 1.5]]))
    weights.sum().backward()
    assert q.grad.tolist() == [[-1, -1, 1]]


def test_the_ramp_of_the_specification():
    """0.067, 0.60, 2.87, 7.3, 10 at epochs 0, 5, 10, 15, 20 of 200."""
    found = [consistency_weight(epoch / 20) for epoch in (0, 5, 10, 15, 20, 150)]
    assert found == pytest.approx([0.067, 0.60, 2.87, 7.3, 10, 10], rel=0.01)
    _, objective = tiny_pair()
    assert [objective.ramp(step) for step in (0, 5, 10, 99)] == [consistency_weight(t) for t in (0, 0.5, 1, 9)]
    _, objective = tiny_pair(ramp=0.0)
    assert objective.ramp(0) == 10


@pytest.mark.parametrize("faithful", [False, True], ids=["fixed", "faithful"])
def test_every_term_in_numbers(faithful):
    """The terms anew, from the two networks' answers, by other means."""
    net, objective = tiny_pair(faithful, faithful=faithful, discriminator="pooled")  # released: only large crops
    net.eval(), objective.eval()
    batch = tiny_batch()
    with torch.no_grad():
        terms = terms_of(net, objective, batch, step=5)
        everything = torch.ones(2, 4).bool()
        students, teachers = net.encode(batch.images, SOME), objective.teacher.encode(batch.images, everything)
        student, teacher = net.decode(students, SOME), objective.teacher.decode(teachers, everything)
    assert set(terms) == TERMS | ({"style_gram"} if faithful else {"voxel"})
    for b in range(2):
        dice, presence, consistency, voxel = [0.0, 0.0], 0.0, 0.0, 0.0
        for c in range(3):
            y = (batch.label[b] == c + 1).double()
            z = float(y.any())
            p = [answer.lesion_logits[b, c].double().sigmoid() for answer in (student, teacher)]
            q = [answer.presence_logits[b, c].double().sigmoid().item() for answer in (student, teacher)]
            s = 0.0 if faithful else 1.0
            for i in range(2):
                d = 1 - (2 * (p[i] * y).sum() + s) / ((p[i] ** 2).sum() + y.sum() + s + 1e-7)
                dice[i] += (1 + abs(q[i] - z)) * float(d)
                presence -= math.log(q[i] if z else 1 - q[i]) / 3
                bce = -(y * p[i].log() + (1 - y) * (1 - p[i]).log()).mean().item()
                voxel += (0.6, 0.4)[i] * bce
            consistency += float(((p[0] - p[1]) ** 2).mean())
        expected = {"seg": dice[0], "seg_teacher": dice[1], "presence": presence, "consistency": consistency,
                    "content": ((teachers.content - students.content)[b] ** 2).mean().item()} | (
                        {} if faithful else {"voxel": voxel})
        for name, value in expected.items():
            assert terms[name].value[b].item() == pytest.approx(value, rel=1e-4, abs=1e-6), name
    weights = {name: term.weight for name, term in terms.items()}
    assert weights == {"seg": 0.6, "seg_teacher": 0.4, "consistency": consistency_weight(0.5), "content": 0.2,
                       "presence": 1.0, "style": 100.0 if faithful else 1.0, "adversarial": 2e-4,
                       "discriminator": 1.0} | ({"style_gram": 1e-4} if faithful else {"voxel": 1.0})


def test_faithful_writes_out_the_released_settings():
    resolved = AdammSettings(faithful=True)
    assert {name: getattr(resolved, name) for name in RELEASED} == RELEASED
    assert AdammSettings(faithful=True, smooth=1.0).smooth == 1.0  # written out, though it is the kit's default
    assert AdammSettings(faithful=True, discriminator="pooled", lambda_style=7.0).lambda_style == 7.0


def test_the_released_step_at_the_published_crop_reads_no_value():
    """On the meta device there are no values: anything that made the host wait for one would raise."""
    with torch.device("meta"):
        net = build_network("adamm", BRATS, faithful=True)
        objective = build_objective("adamm", BRATS, net, total_steps=100, faithful=True)
        images, label = torch.empty(2, 4, 160, 192, 128), torch.empty(2, 160, 192, 128, dtype=torch.long)
    assert sum(p.numel() for p in objective.teacher.parameters()) == 4_785_223
    assert sum(p.numel() for p in objective.discriminator.parameters()) == 3_149_249
    terms = terms_of(net, objective, Batch(images, SOME, label, ("a", "b"), torch.ones(2, 4).bool()))
    assert all(term.value.shape == (2,) for term in terms.values())
    total(terms).backward()


def test_teacher_and_student_learn_from_each_other():
    net, objective = tiny_pair()
    terms = terms_of(net, objective, tiny_batch())
    for name in ("consistency", "content", "style"):
        net.zero_grad(), objective.zero_grad()
        terms[name].contribution().backward(retain_graph=True)
        for network in (net, objective.teacher):
            assert any((p.grad != 0).any() for p in network.parameters() if p.grad is not None), name
        assert all(p.grad is None for p in objective.discriminator.parameters())


def test_no_gradient_leaks_between_the_players():
    net, objective = tiny_pair()
    terms = terms_of(net, objective, tiny_batch())
    terms["adversarial"].contribution().backward(retain_graph=True)
    assert all(p.grad is None for p in objective.parameters())  # neither discriminator nor teacher
    assert (net.fuse_style.weight.grad != 0).any()
    net.zero_grad()
    terms["discriminator"].contribution().backward()
    assert all(p.grad is None for p in [*net.parameters(), *objective.teacher.parameters()])
    assert all((p.grad != 0).any() for p in objective.discriminator.parameters())


def test_every_parameter_of_the_teacher_learns():
    """Released: a third of them never receives a gradient."""
    net, objective = tiny_pair()
    total(terms_of(net, objective, tiny_batch())).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in objective.parameters())


def test_the_teacher_sees_what_exists_and_the_student_what_was_drawn():
    net, objective = tiny_pair()
    net.eval(), objective.eval()
    existing = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]]).bool()
    values = []
    for missing, dropped in ((0.0, 0.0), (float("nan"), 0.0), (0.0, 2.0)):
        batch = tiny_batch(existing=existing)
        batch.images[0, 1] = missing  # T1ce of the first study: nowhere
        batch.images[0, 3] += dropped  # its T2: only the teacher's
        with torch.no_grad():
            values.append({name: term.value for name, term in terms_of(net, objective, batch).items()})
    zero, nan, moved = values
    assert all(torch.equal(zero[name], nan[name]) for name in zero)
    assert torch.equal(zero["seg"], moved["seg"]) and not torch.equal(zero["seg_teacher"], moved["seg_teacher"])


def test_the_discriminator_has_its_own_group_and_may_forget():
    for faithful, remembered in ((False, 3), (True, 1)):
        net, objective = tiny_pair(faithful=faithful)
        if faithful:  # crops are too small for the released one
            objective.discriminator = AdammObjective(BRATS, net, AdammSettings(ramp=0)).discriminator
        optimizer = build_optimizer(net, objective, lr=1e-3, weight_decay=1e-4)
        group = next(g for g in optimizer.param_groups if g["betas"] == (0.9, 0.99))
        assert {id(p) for p in group["params"]} == {id(p) for p in objective.discriminator.parameters()}
        listed = [id(p) for g in optimizer.param_groups for p in g["params"]]
        assert len(listed) == len(set(listed)) == len([*net.parameters(), *objective.parameters()])
        model = StepModel(net, objective)
        for step in range(3):
            train_step(model, optimizer, [tiny_batch()], step, clip=12.0)
        steps = {int(optimizer.state[p]["step"]) for p in objective.discriminator.parameters()}
        assert steps == {remembered}
        assert {int(optimizer.state[p]["step"]) for p in objective.teacher.parameters()} == {3}


def test_a_batch_without_lesion_or_with_every_scan_is_learned_from():
    net, objective = tiny_pair()
    batch = tiny_batch(available=torch.ones(2, 4).bool())
    batch.label.zero_()
    terms = terms_of(net, objective, batch)
    total(terms).backward()
    assert torch.isfinite(total(terms))
    assert all(p.grad is None for p in net.bank.parameters())


def test_the_student_alone_learns_its_gate_from_the_plain_objective():
    net, _ = tiny_pair()
    objective = build_objective("plain", BRATS, net)
    total(terms_of(net, objective, tiny_batch())).backward()
    assert all((p.grad != 0).any() for p in [*net.presence.parameters(), *net.bank["1010"].parameters()])


def test_mixed_precision_keeps_the_terms():
    net, objective = tiny_pair()
    net.eval(), objective.eval()
    plain = terms_of(net, objective, tiny_batch())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = terms_of(net, objective, tiny_batch())
    total(mixed).backward()
    assert all(term.value.dtype == torch.float32 for term in mixed.values())
    for name, term in plain.items():
        torch.testing.assert_close(mixed[name].value, term.value, atol=0.02, rtol=0.1)


def test_what_does_not_fit_is_refused():
    net = build_network("adamm", BRATS, width=8)
    with pytest.raises(ValueError, match="total_steps is None"):
        build_objective("adamm", BRATS, net)
    with pytest.raises(ValueError, match=r"got the network Linear.*expected AdammNet"):
        AdammObjective(BRATS, nn.Linear(1, 1), AdammSettings(ramp=0))
    with pytest.raises(ValueError, match="discriminator is 'voxels'"):
        AdammSettings(discriminator="voxels")
    with pytest.raises(ValueError, match="ramp is 2"):
        AdammSettings(ramp=2)
    with pytest.raises(ValueError, match="voxel is -1"):
        AdammSettings(voxel=-1)
    assert objective_is_quiet(build_objective("adamm", BRATS, net, total_steps=1))


def objective_is_quiet(objective):
    objective.end_epoch()
    return objective.learning_rate_factors().tolist() == [1, 1, 1, 1] and objective.log_state() == {}


RUN = TrainSettings(network="adamm", network_options={"width": 8}, objective="adamm", crop=(16, 16, 16), steps=4,
                    log_every=1, checkpoint_every=2, lr=1e-3, precision="float32")


@pytest.mark.parametrize("faithful", [False, True], ids=["fixed", "faithful"])  # the latter has a batch norm
def test_a_run_from_training_to_prediction(tiny_cohort, tiny_folder, tmp_path, faithful):
    names, run = tiny_cohort.names, replace(RUN, network_options={"width": 8, "faithful": faithful})
    whole = train(TrainingSet(tiny_cohort, names), tmp_path / "whole", run, progress=False)
    train(TrainingSet(tiny_cohort, names), tmp_path / "parts", run, progress=False, stop_after=3)
    parts = train(TrainingSet(tiny_cohort, names), tmp_path / "parts", run, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    log = pd.read_csv(tmp_path / "whole" / "log.csv")
    assert TERMS <= set(log.columns) and len(log) == RUN.steps

    net, card = load_weights(tmp_path / "whole" / "weights.safetensors")
    windows = WindowSettings(window=RUN.crop, overlap=0.25)
    rows = evaluate(net, tiny_cohort, names[-1:], settings=EvaluationSettings(windows=windows), progress=False)
    assert sorted(rows["subset"].unique()) == ["FLAIR", "FLAIR+T1ce", "T1ce"]  # the scans that this case has
    report = predict_folders(net, card, [tiny_folder / names[-1]], tmp_path / "out", windows=windows, progress=False)
    assert not report.failed and set(report.written) == {names[-1]}


def test_in_training_the_teacher_is_given_the_scans_that_were_dropped(tiny_cohort, tmp_path, monkeypatch):
    batches, forward = [], AdammObjective.forward

    def look(self, net, features, prediction, batch, step):
        if batch.images.device.type != "meta":  # the trial before a run has no numbers
            batches.append(batch)
        return forward(self, net, features, prediction, batch, step)

    monkeypatch.setattr(AdammObjective, "forward", look)
    settings = replace(RUN, condition="imbalanced+drop", steps=2, network_options={"width": 8, "gate": "hard"},
                       missing_rates={"FLAIR": 0.25, "T1ce": 0.25, "T1": 0.5, "T2": 0.5})
    net = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, settings, progress=False)
    assert net.settings.gate == "hard" and (tmp_path / "weights.safetensors").exists()
    dropped = torch.cat([batch.existing & ~batch.available for batch in batches])
    images = torch.cat([batch.images for batch in batches])
    assert dropped.any() and (images[dropped].flatten(1) != 0).any(1).all()
