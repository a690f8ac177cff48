"""A run knows what it is: nothing half-written, nothing mixed, nothing that is not finite."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
import yaml

from dmaf_lite.__main__ import main
from dmaf_lite.base.lock import Locked, lock
from dmaf_lite.data.batches import TrainingBatches
from dmaf_lite.data.missing import write_table
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import NETWORKS
from dmaf_lite.methods.objectives import OBJECTIVES
from dmaf_lite.methods.pairings import PAIRINGS
from dmaf_lite.objectives.terms import total
from dmaf_lite.training import loop
from dmaf_lite.training.checkpoint import LAST
from dmaf_lite.training.loop import Interrupted, TrainSettings, train
from dmaf_lite.training.run import Run, build, try_out
from dmaf_lite.training.step import StepModel
from dmaf_lite.training.train_settings import batch_settings

TINY = TrainSettings(network_options={"width": 2, "levels": 2, "grid": 2, "depth": 1}, crop=(8, 8, 8), batch=1, steps=4,
                     log_every=2, checkpoint_every=2, precision="float32")
SIZES = {"baseline": {"width": 4, "levels": 2}, "dmaf_net": {"width": 4, "levels": 2}, "rfnet": {"width": 4},
         "mmformer": {"width": 4, "grid": 2, "token_width": 16, "heads": 2, "hidden": 16}, "adamm": {"width": 8}}
ALL = (True,) * 4


@pytest.fixture
def whole(tiny_cohort):
    return TrainingSet(tiny_cohort, tiny_cohort.names)


@pytest.mark.parametrize("change, words", [
    ({"crop": (9, 8, 8)}, "a crop of"),
    ({"network": "mmformer", "network_options": {}, "crop": (32, 32, 32)}, "does not fit a grid"),
    ({"condition": "imbalanced"}, "rates are given for"),
])
def test_settings_that_do_not_fit_leave_no_trace(whole, tmp_path, change, words):
    """Fault 8: they were written first, and the corrected ones were then another run."""
    with pytest.raises(ValueError, match=words):
        train(whole, tmp_path / "run", replace(TINY, **change), progress=False)
    assert not (tmp_path / "run").exists()


def test_an_unknown_option_of_a_network_is_a_sentence_before_the_folder_is_made(tiny_cohort, tmp_path, capsys):
    """Fault 9."""
    (tmp_path / "p.yaml").write_text("network_options: {widht: 4}\n")
    assert main(["train", "--cohort", str(tiny_cohort.folder), "--out", str(tmp_path / "run"), "--profile",
                 str(tmp_path / "p.yaml")]) == 2
    said = capsys.readouterr().err
    assert "network_options: " in said and "widht is not known; the settings there are width" in said
    assert "p.yaml" in said and not (tmp_path / "run").exists()


def test_the_command_refuses_a_table_under_complete(tiny_cohort, tmp_path, capsys):
    """Fault 3."""
    table = TrainingSet(tiny_cohort, tiny_cohort.names, {n: ALL for n in tiny_cohort.names}).frame()
    write_table(tmp_path / "t.csv", table)
    assert main(["train", "--cohort", str(tiny_cohort.folder), "--out", str(tmp_path / "run"), "--table",
                 str(tmp_path / "t.csv")]) == 2
    assert "the condition is complete" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_run_is_not_continued_with_another_table_or_other_cases(tiny_cohort, tmp_path, whole):
    """Fault 2."""
    settings = replace(TINY, condition="imbalanced")
    table = {name: ALL for name in tiny_cohort.names}
    first = TrainingSet(tiny_cohort, tiny_cohort.names, table)
    train(first, tmp_path / "run", settings, progress=False, stop_after=1)
    other = TrainingSet(tiny_cohort, tiny_cohort.names, table | {tiny_cohort.names[0]: (True, True, True, False)})
    with pytest.raises(ValueError, match="other missing-rate table"):
        train(other, tmp_path / "run", settings, progress=False)
    with pytest.raises(ValueError, match="other missing-rate table"):
        Run(tmp_path / "run").open(replace(TINY, condition="imbalanced"), whole)
    (tmp_path / "run" / "data.json").write_text(json.dumps({"digest": "of another cohort"}))
    with pytest.raises(ValueError, match="other prepared cases"):
        train(first, tmp_path / "run", settings, progress=False)
    (tmp_path / "run" / "data.json").unlink()  # a run of an earlier version
    train(first, tmp_path / "run", settings, progress=False, stop_after=2)


def test_a_run_knows_whether_it_is_this_one_and_done(tmp_path, whole):
    run = Run(tmp_path / "run")
    assert not run.is_done(TINY, whole) and not run.folder.exists()
    train(whole, run.folder, TINY, progress=False, stop_after=2)
    assert not run.is_done(TINY, whole)
    train(whole, run.folder, TINY, progress=False)
    assert run.is_done(TINY, whole)
    with pytest.raises(ValueError, match="other steps, lr"):
        run.is_done(replace(TINY, lr=0.5, steps=5), whole)


def test_a_checkpoint_that_is_not_finite_never_replaces_a_good_one(tmp_path, whole, monkeypatch):
    """Fault 7: log_every 10, checkpoint_every 3 wrote it over the last good one."""
    settings = replace(TINY, steps=12, log_every=10, checkpoint_every=3)
    real = loop.train_step

    def breaks(model, optimizer, batches, step, **options):
        terms = real(model, optimizer, batches, step, **options)
        if step == 4:
            next(model.net.parameters()).data.fill_(torch.nan)
        return terms

    monkeypatch.setattr(loop, "train_step", breaks)
    with pytest.raises(FloatingPointError, match="last good checkpoint"):
        train(whole, tmp_path / "run", settings, progress=False)
    state = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert state["step"] == 3 and all(value.isfinite().all() for value in state["net"].values())
    assert not Run(tmp_path / "run").finished


def test_the_log_shows_what_the_step_was_made_with(tmp_path, whole):
    """Fault 14: the row at the end of an epoch showed the next epoch's weights, and a formula for the learning rate."""
    settings = replace(TINY, steps=8, log_every=1, batch=2, condition="complete", poly=1.0,
                       objective_options={"warmup": 0.0, "monitor": {"eta": 0.5}})
    train(whole, tmp_path / "run", settings, progress=False)  # an epoch is two steps of two
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    beta = log[[c for c in log.columns if c.startswith("beta/")]].to_numpy()
    assert (beta[0] == beta[1]).all() and (beta[2] == beta[3]).all() and (beta[1] != beta[2]).any()
    assert log["lr"].tolist() == pytest.approx([settings.lr * (1 - t / 8) for t in range(8)])


def test_left_overs_of_a_killed_process_are_swept(tmp_path, whole):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    for left in ("checkpoint/.01234567.partial.last.pt", ".89abcdef.partial.card.json"):
        (tmp_path / "run" / left).write_text("half")
    train(whole, tmp_path / "run", TINY, progress=False)
    assert not [path for path in (tmp_path / "run").rglob("*.partial.*")]


def test_two_processes_never_train_one_run(tmp_path, whole):
    with lock(tmp_path / "run"), pytest.raises(Locked, match="is in use by process"):
        train(whole, tmp_path / "run", TINY, progress=False)
    train(whole, tmp_path / "run", TINY, progress=False)
    assert not (tmp_path / "run" / "lock.json").exists()


def test_a_checkpoint_is_also_written_by_time_and_when_asked_to_stop(tmp_path, whole, monkeypatch):
    settings = replace(TINY, steps=6, checkpoint_every=100)
    seen = []
    real = Run.save
    monkeypatch.setattr(Run, "save", lambda self, *a, step, **k: (seen.append(step), real(self, *a, step=step, **k)))
    train(whole, tmp_path / "timed", settings, progress=False, checkpoint_minutes=0.0)
    assert seen == [1, 2, 3, 4, 5, 6]
    seen.clear()
    train(whole, tmp_path / "untimed", settings, progress=False)
    assert seen == [6]
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="stopped after step 3 of 6"):
        train(whole, tmp_path / "stopped", settings, progress=False, should_stop=lambda: next(asked))
    train(whole, tmp_path / "stopped", settings, progress=False)
    states = [torch.load(tmp_path / run / LAST, weights_only=True)["net"] for run in ("untimed", "stopped")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("network, objective", [pair for pair, (works, _) in PAIRINGS.items() if works])
def test_no_value_is_read_back_in_a_step(whole, network, objective):
    """Tensors on the meta device have no values, so any read-back raises; for every network x objective."""
    settings = TrainSettings(network=network, network_options=SIZES[network], objective=objective, batch=2,
                             crop=(32, 32, 32))
    batches = TrainingBatches(whole, batch_settings(settings))
    net, terms = build(settings, whole, "meta")
    batches.keep_dropped = terms.reads_dropped
    net.train()
    model = StepModel(net, terms)
    for step in range(2):
        loss = total(model(batches.outline(step), step))
        loss.backward()
        assert loss.device.type == "meta"
    assert set(NETWORKS) == set(SIZES) and {objective} <= set(OBJECTIVES)


def test_every_crop_is_tried_out(whole):
    try_out(replace(TINY, late_crops=((16, 16, 16),)), whole)
    with pytest.raises(ValueError, match="a crop of"):
        try_out(replace(TINY, late_crops=((17, 16, 16),)), whole)


def test_settings_on_disk_are_plain_yaml(tmp_path, whole):
    Run(tmp_path / "run").open(TINY, whole)
    assert yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())["crop"] == [8, 8, 8]
    assert Run(tmp_path / "run").settings() == TINY
