"""The loop: a run that was interrupted ends like one that was not."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from dmaf_lite.data.batches import TrainingBatches
from dmaf_lite.data.missing import missing_table, read_table
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.spec import BRATS
from dmaf_lite.training.checkpoint import load_checkpoint
from dmaf_lite.training.loop import (
    TrainSettings,
    batch_settings,
    learning_rate,
    train,
)
from dmaf_lite.training.step import StepModel, build_optimizer, set_learning_rates, train_step

RATES = {"FLAIR": 0.5, "T1ce": 0.25, "T1": 0.25, "T2": 0.5}
TINY = TrainSettings(
    network_options={"width": 4, "levels": 2}, crop=(8, 8, 8), steps=8, log_every=2, checkpoint_every=2,
    condition="imbalanced", missing_rates=RATES, objective_options={"warmup": 0.0},
)


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_equals_uninterrupted(tiny_cohort, tmp_path, precision):
    settings = replace(TINY, precision=precision)
    whole = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "whole", settings, progress=False)
    train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "parts", settings, progress=False, stop_after=3)
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    parts = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "parts", settings, progress=False)
    assert equal(weights(whole), weights(parts))
    logs = [pd.read_csv(tmp_path / run / "log.csv") for run in ("whole", "parts")]
    common = logs[0].merge(logs[1], on="step", suffixes=("", "_"))
    assert len(common) == 4 and (common["total"] == common["total_"]).all()
    assert (common["beta/FLAIR"] == common["beta/FLAIR_"]).all()


def test_a_killed_run_goes_on(tiny_cohort, tmp_path):
    """kill -9 in the middle; what is left on disk is enough to end with the same weights."""
    settings = replace(TINY, steps=24, checkpoint_every=4)
    whole = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "whole", settings, progress=False)
    code = ("import sys; from dmaf_lite.data.cohort import Cohort; from dmaf_lite.base.settings import *;"
            "from dmaf_lite.training.loop import *;"
            "from dmaf_lite.data.training_set import *;"
            "c = Cohort(sys.argv[1]); s = from_mapping(TrainSettings, read_yaml(sys.argv[2]));"
            "train(TrainingSet(c, c.names), sys.argv[3], s, progress=False)")
    child = subprocess.Popen([sys.executable, "-c", code, tiny_cohort.folder, tmp_path / "whole" / "settings.yaml",
                              tmp_path / "killed"])
    checkpoint = tmp_path / "killed" / "checkpoint" / "last.pt"
    deadline = time.time() + 60
    while not checkpoint.exists() and time.time() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    killed = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "killed", settings, progress=False)
    assert equal(weights(whole), weights(killed))
    assert [p.name for p in (tmp_path / "killed" / "checkpoint").glob("*.pt") if not p.name.startswith(".")] == [
        "last.pt"]


def test_the_run_folder_is_complete(tiny_cohort, tmp_path):
    net = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, TINY, progress=False)
    assert {p.name for p in tmp_path.iterdir()} >= {
        "settings.yaml", "cases.txt", "missing_rates.csv", "log.csv", "checkpoint", "weights.safetensors", "card.json"}
    loaded, card = load_weights(tmp_path / "weights.safetensors")
    assert equal(weights(net), weights(loaded))
    assert card["training_cases"] == len(tiny_cohort.names) and "not a medical device" in card["note"]
    table = read_table(tmp_path / "missing_rates.csv")
    assert table.equals(missing_table(tiny_cohort.names, RATES, seed=0))


def test_a_folder_never_mixes_two_runs(tiny_cohort, tmp_path):
    train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, TINY, progress=False, stop_after=1)
    with pytest.raises(ValueError, match=r"other lr; a run is never mixed"):
        train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, replace(TINY, lr=0.5), progress=False)
    with pytest.raises(ValueError, match="other training cases"):
        train(TrainingSet(tiny_cohort, tiny_cohort.names[:-1]), tmp_path, TINY, progress=False)


def test_a_damaged_checkpoint_is_named(tiny_cohort, tmp_path):
    train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, TINY, progress=False, stop_after=2)
    (tmp_path / "checkpoint" / "last.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"last\.pt cannot be read"):
        train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, TINY, progress=False)


def test_a_run_goes_on_with_as_many_batches_in_a_step_as_it_began(tiny_cohort, tmp_path):
    train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, TINY, progress=False, stop_after=2)
    net = build_network("dmaf_net", BRATS, **TINY.network_options)
    objective = build_objective("dmaf", BRATS, net, total_steps=TINY.steps, missing_rates=[0.25] * 4, warmup=0.0)
    optimizer = build_optimizer(net, objective, lr=TINY.lr, weight_decay=TINY.weight_decay)
    with pytest.raises(ValueError, match="1 batches in a step, this run has 2"):
        load_checkpoint(tmp_path, net, objective, optimizer, batches_per_step=2)
    last = tmp_path / "checkpoint" / "last.pt"
    state = torch.load(last, weights_only=True)
    del state["batches_per_step"]  # as earlier versions wrote it
    torch.save(state, last)
    assert load_checkpoint(tmp_path, net, objective, optimizer)[0] == 2


def test_everything_off_is_the_baseline_to_the_digit(tiny_cohort, tmp_path):
    off = {"relation": "none", "prototype": "none", "dtm": "none"}
    ablated = replace(TINY, objective="dmaf", objective_options=off,
                      network_options=TINY.network_options | {"fusion": "mean"})
    baseline = replace(TINY, network="baseline", objective="plain", objective_options={})
    nets = [train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / str(i), s, progress=False)
            for i, s in enumerate((ablated, baseline))]
    assert equal(weights(nets[0]), weights(nets[1]))
    logs = [pd.read_csv(tmp_path / str(i) / "log.csv") for i in range(2)]
    assert logs[0].equals(logs[1])


def test_the_loss_falls(tiny_cohort, tmp_path):
    settings = replace(TINY, steps=40, lr=3e-3, foreground=1.0, objective="plain", objective_options={})
    everything = {name: (True,) * 4 for name in tiny_cohort.names}
    train(TrainingSet(tiny_cohort, tiny_cohort.names, everything), tmp_path, settings, progress=False)
    log = pd.read_csv(tmp_path / "log.csv")
    assert log["seg"].tail(5).mean() < 0.8 * log["seg"].head(2).mean()


def test_a_loss_that_is_no_number_stops_the_run(tiny_cohort, tmp_path):
    with pytest.raises(FloatingPointError, match="Lower the learning rate"):
        train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path, replace(TINY, lr=1e18, clip=1e30), progress=False)


def test_gamma_scales_the_update_of_its_encoder_only(tiny_cohort):
    training_set = TrainingSet(tiny_cohort, tiny_cohort.names)
    batches = TrainingBatches(training_set, replace(batch_settings(TINY), condition="complete"))
    step = next(s for s in range(50) if batches[s].available.all(0).any() and batches[s].available.any(0).all())
    moved = []
    for factors in ([1.0] * 4, [0.5, 1.0, 1.0, 1.0]):
        torch.manual_seed(0)
        net = build_network("dmaf_net", BRATS, **TINY.network_options)
        objective = build_objective("plain", BRATS, net)
        optimizer = build_optimizer(net, objective, lr=TINY.lr, weight_decay=0.0)
        before = weights(net)
        set_learning_rates(optimizer, 1e-3, factors)
        train_step(StepModel(net, objective), optimizer, [batches[step]], 0, clip=TINY.clip)
        moved.append({k: net.state_dict()[k] - v for k, v in before.items()})
    for name in moved[0]:
        ratio = 0.5 if name.startswith("encoders.0") else 1.0
        torch.testing.assert_close(moved[1][name], ratio * moved[0][name], rtol=1e-2, atol=1e-6)


def test_an_encoder_that_sees_nothing_is_left_alone(tiny_cohort):
    """No decay, no stale momentum: the parameters do not move at all."""
    table = {name: (True, False, True, False) for name in tiny_cohort.names}
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names, table), batch_settings(TINY))
    net = build_network("dmaf_net", BRATS, **TINY.network_options)
    objective = build_objective("plain", BRATS, net)
    optimizer = build_optimizer(net, objective, lr=TINY.lr, weight_decay=0.1)
    before = weights(net)
    for step in range(3):
        train_step(StepModel(net, objective), optimizer, [batches[step]], step, clip=TINY.clip)
    after = weights(net)
    still = {n.split(".")[1] for n in before if n.startswith("encoders") and torch.equal(before[n], after[n])}
    assert still == {"1", "3"}


def test_the_learning_rate_decays_to_zero():
    rates = [learning_rate(step, TINY) for step in (0, 4, 8)]
    assert rates == [TINY.lr, TINY.lr * 0.5**0.9, 0.0]


def test_every_parameter_is_in_exactly_one_group():
    net = build_network("dmaf_net", BRATS, **TINY.network_options)
    objective = build_objective("dmaf", BRATS, net, missing_rates=[0.0] * 4, total_steps=10)
    groups = build_optimizer(net, objective, lr=TINY.lr, weight_decay=TINY.weight_decay).param_groups
    listed = [id(p) for group in groups for p in group["params"]]
    everything = {id(p) for module in (net, objective) for p in nn.Module.parameters(module)}
    assert len(listed) == len(set(listed)) and set(listed) == everything and len(groups) == BRATS.M + 1


def test_late_crops_come_in_the_last_part_of_the_steps(tiny_cohort, tmp_path):
    settings = replace(TINY, late_crops=((16, 8, 8),), late_share=0.25, condition="complete", missing_rates={})
    assert batch_settings(settings).late_from == 6 and batch_settings(settings, 4).late_from == 24
    assert [batch_settings(settings).crop_of(step) for step in (5, 6)] == [(8, 8, 8), (16, 8, 8)]
    whole = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "whole", settings, progress=False)
    train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "parts", settings, progress=False, stop_after=7)
    parts = train(TrainingSet(tiny_cohort, tiny_cohort.names), tmp_path / "parts", settings, progress=False)
    assert equal(weights(whole), weights(parts))
