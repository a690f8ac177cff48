"""Methods x missing rates x seeds in one folder that any number of processes share."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import yaml

from dmaf_lite.__main__ import main
from dmaf_lite.base.lock import lock
from dmaf_lite.base.settings import changed, from_mapping
from dmaf_lite.data.splits import write_split
from dmaf_lite.experiment import engines
from dmaf_lite.experiment import matrix as module
from dmaf_lite.experiment.matrix import WORK, collect, do_run, open_matrix, results, work, write_tables
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.experiment.status import as_text, status
from dmaf_lite.methods.weights import read_card
from dmaf_lite.spec import MYOPS
from dmaf_lite.training.checkpoint import LAST

PROFILE = {
    "name": "tiny",
    "common": {"network_options": {"width": 2, "levels": 2, "grid": 2, "depth": 1}, "crop": [8, 8, 8], "steps": 2,
               "batch": 1, "log_every": 1, "objective_options": {}, "precision": "float32"},
    "variants": {"baseline": {"network": "baseline", "objective": "plain"}, "dmaf": {"objective": "plain"}},
    "rates": {"complete": {}, "rare": {"FLAIR": 0.5, "T1ce": 0.0, "T1": 0.0, "T2": 0.5}},
    "seeds": [0],
}
NAMES = ["baseline-complete-seed0", "dmaf-complete-seed0", "baseline-rare-seed0", "dmaf-rare-seed0"]
SETTINGS = from_mapping(ExperimentSettings, PROFILE)


@pytest.fixture(scope="module")
def split(tiny_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    names = tiny_cohort.names
    write_split(folder, {"train": names[:2], "val": names[2:3], "test": names[3:]})
    return folder


@pytest.fixture
def opened(tiny_cohort, split, tmp_path):
    """Opens a matrix on the tiny cohort."""
    def open_(settings=SETTINGS, folder=None):
        return open_matrix(settings, folder or tmp_path / "out", cohort=tiny_cohort.folder, split=split)
    return open_


@pytest.fixture(scope="module")
def done(tiny_cohort, split, tmp_path_factory):
    matrix = open_matrix(SETTINGS, tmp_path_factory.mktemp("done"), cohort=tiny_cohort.folder, split=split)
    outcomes = work(matrix, device="cpu", progress=False)
    assert outcomes == dict.fromkeys(NAMES, "finished")
    return matrix, write_tables(matrix, "cpu")


def test_every_run_says_what_it_is_in_its_rows(done):
    matrix, rows = done
    assert list(dict.fromkeys(rows["run"])) == NAMES  # balanced when interrupted
    assert rows.groupby("run")[["variant", "rates", "seed", "choice"]].nunique().eq(1).all().all()
    assert set(rows["variant"]) == {"baseline", "dmaf"} and set(rows["rates"]) == {"complete", "rare"}
    assert set(rows["choice"]) == {"last"}
    tables = {(matrix.folder / "runs" / name / "missing_rates.csv").read_text() for name in NAMES[2:]}
    assert len(tables) == 1 and not (matrix.folder / "runs" / NAMES[0] / "missing_rates.csv").exists()
    card = json.loads((matrix.folder / "card.json").read_text())
    assert {"hardware", "commit", "date", "profile", "torch", "hours", "costs", "curves"} <= card.keys()
    assert set(card["costs"]) == set(NAMES) and "/" not in card["data"]
    assert set(results(rows)["metric"]) == {"dice", "hd95"}


def test_a_finished_run_is_not_repeated_and_lost_rows_train_nothing(done, monkeypatch):
    matrix, rows = done
    monkeypatch.setattr(module, "train", None)  # would raise if called
    assert set(work(matrix, device="cpu", progress=False).values()) == {"finished"}
    (matrix.folder / "runs" / NAMES[1] / "rows.parquet").unlink()
    assert work(matrix, device="cpu", progress=False)[NAMES[1]] == "finished"
    pd.testing.assert_frame_equal(collect(matrix.folder), rows)


def test_the_state_is_read_from_the_folders(done, capsys):
    matrix, _ = done
    assert [state.state for state in status(matrix.folder)] == ["finished"] * 4
    assert main(["experiment", "status", str(matrix.folder)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("4 finished")
    assert main(["experiment", "status", str(matrix.folder / "runs")]) == 2
    assert "holds no experiment" in capsys.readouterr().err


def test_another_profile_in_the_same_folder_is_refused_and_more_runs_are_not(done, tiny_cohort, split):
    """Fault 1: steps 1 -> 3 was accepted, and the card then told what was not done."""
    matrix, _ = done
    again = {"cohort": tiny_cohort.folder, "split": split}
    longer = from_mapping(ExperimentSettings, PROFILE | {"common": {**PROFILE["common"], "steps": 3}})
    with pytest.raises(ValueError, match="holds a matrix with other settings of baseline-complete-seed0"):
        open_matrix(longer, matrix.folder, **again)
    with pytest.raises(ValueError, match="other table_seed"):
        open_matrix(changed(SETTINGS, {"table_seed": 5}), matrix.folder, **again)
    more = open_matrix(changed(SETTINGS, {"seeds": [0, 1]}), matrix.folder, **again)
    assert [state.state for state in status(matrix.folder)] == ["finished"] * 4 + ["waiting"] * 4
    assert not more.is_done(more.settings.runs[-1])
    open_matrix(SETTINGS, matrix.folder, **again)
    (matrix.folder / "profile.yaml").rename(matrix.folder / "kept")  # a matrix of an earlier version
    other = open_matrix(longer, matrix.folder, **again)
    with pytest.raises(ValueError, match="a run with other steps"):
        work(other, progress=False)
    (matrix.folder / "kept").replace(matrix.folder / "profile.yaml")


def test_a_failed_run_stops_nobody_and_is_tried_again(opened, monkeypatch, capsys):
    matrix = opened()
    real = module.train

    def breaks(training_set, folder, *args, **options):
        if folder.name == NAMES[0]:
            raise FloatingPointError("the loss is nan")
        return real(training_set, folder, *args, **options)

    monkeypatch.setattr(module, "train", breaks)
    only = [NAMES[0], NAMES[1]]
    assert work(matrix, only=only, device="cpu", progress=False) == {NAMES[0]: "failed", NAMES[1]: "finished"}
    states = {state.name: state for state in status(matrix.folder)}
    assert states[NAMES[0]].state == "failed" and states[NAMES[0]].detail == "the loss is nan"
    assert "Traceback" in (matrix.folder / "runs" / NAMES[0] / "error.txt").read_text()
    assert states[NAMES[2]].state == "waiting" and "1 failed" in as_text(list(states.values()))
    assert main(["experiment", "status", str(matrix.folder)]) == 1
    assert set(collect(matrix.folder)["run"]) == {NAMES[1]}  # a partial matrix gives a partial table
    monkeypatch.setattr(module, "train", real)
    assert work(matrix, only=only[:1], device="cpu", progress=False) == {NAMES[0]: "finished"}
    assert not (matrix.folder / "runs" / NAMES[0] / "error.txt").exists()


def test_the_profile_says_how_many_processes_read_ahead(opened, monkeypatch):
    asked = []

    def notes(*args, workers, **options):
        asked.append(workers)
        raise FloatingPointError("far enough")

    monkeypatch.setattr(module, "train", notes)
    work(opened(replace(SETTINGS, loader_workers=3)), only=NAMES[:1], device="cpu", progress=False)
    assert asked == [3]


def test_a_run_that_somebody_works_at_is_left_alone(opened):
    matrix = opened()
    folder = matrix.run(SETTINGS.runs[0]).folder
    with lock(folder, name=WORK):
        assert do_run(matrix, SETTINGS.runs[0], device="cpu", progress=False) == "held"
        assert status(matrix.folder)[0].state == "running" and engines.open_runs(matrix) == NAMES[1:]
    (folder / WORK).write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    os.utime(folder / WORK, (1, 1))
    assert status(matrix.folder)[0].state == "stale" and engines.open_runs(matrix) == NAMES


def test_a_run_asked_to_stop_goes_on_later(opened):
    matrix = opened()
    assert work(matrix, device="cpu", progress=False, should_stop=lambda: True) == {NAMES[0]: "stopped"}
    assert (matrix.folder / "runs" / NAMES[0] / LAST).is_file()
    assert status(matrix.folder)[0].detail == "goes on from its checkpoint"


def test_two_processes_on_a_fresh_folder_do_each_run_once(tiny_cohort, split, tmp_path):
    """Fault 5: they killed each other."""
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(PROFILE | {"rates": {}}))
    words = [sys.executable, "-m", "dmaf_lite", "experiment", tmp_path / "p.yaml", "--out", tmp_path / "out",
             "--cohort", tiny_cohort.folder, "--split", split, "--device", "cpu"]
    children = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for child in children:
        said = child.communicate()
        assert child.returncode == 0, said
    assert [state.state for state in status(tmp_path / "out")] == ["finished"] * 2
    assert len(collect(tmp_path / "out")) == len(collect(tmp_path / "out").drop_duplicates())


def test_the_best_weights_on_validation_are_scored_and_said_so(opened):
    settings = changed(SETTINGS, {"variants": {"dmaf": {"objective": "plain"}}, "rates": {}, "validate_every": 1,
                                  "choice": "best-on-validation"})
    matrix = opened(settings)
    assert work(matrix, device="cpu", progress=False) == {"dmaf-seed0": "finished"}
    run = matrix.run(settings.runs[0])
    looks = pd.read_csv(run.folder / "validation.csv")
    assert looks["step"].tolist() == [1, 2]
    best = int(looks.sort_values("score", kind="stable", ascending=False)["step"].iloc[0])
    assert read_card(run.folder / "best.safetensors")["chosen_at_step"] == best
    assert set(collect(matrix.folder)["choice"]) == {"best-on-validation"}


def test_the_command_writes_results_and_prints_tables(done, tiny_cohort, split, tmp_path, capsys):
    matrix, _ = done
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(PROFILE))
    assert main(["experiment", str(tmp_path / "tiny.yaml"), "--out", str(matrix.folder), "--cohort",
                 str(tiny_cohort.folder), "--split", str(split), "--device", "cpu", "--results",
                 str(tmp_path / "results"), "--ship", NAMES[0], str(tmp_path / "shipped.safetensors")]) == 0
    assert "baseline, rare, Dice on brats2020" in capsys.readouterr().out
    assert read_card(tmp_path / "shipped.safetensors") == json.loads((tmp_path / "shipped.json").read_text())
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"tiny.parquet", "tiny.json"}
    assert main(["experiment", str(tmp_path / "tiny.yaml"), "--out", str(matrix.folder), "--cohort",
                 str(tiny_cohort.folder), "--split", str(split), "--device", "cpu", "--only", NAMES[0], "--results",
                 str(tmp_path / "again")]) == 0  # whatever is finished, also by others
    assert set(pd.read_parquet(tmp_path / "again" / "tiny.parquet")["run"]) == set(NAMES)
    capsys.readouterr()
    assert main(["experiment", str(tmp_path / "tiny.yaml"), "--dry-run"]) == 0
    assert capsys.readouterr().out.split() == NAMES
    for words, said in ((["--out", "x", "--only", "nobody"], "has no run nobody"), ([], "give --out"),
                        (["--out", "x", "--cohort", "y"], "both --cohort and --split")):
        assert main(["experiment", str(tmp_path / "tiny.yaml"), *words]) == 2 and said in capsys.readouterr().err


def test_several_processes_do_the_named_runs_only(done, tiny_cohort, split, tmp_path, monkeypatch):
    matrix, _ = done
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(PROFILE))
    asked = []
    monkeypatch.setattr(engines, "on_this_machine", lambda matrix, words, processes: asked.append((words, processes)))
    assert main(["experiment", str(tmp_path / "tiny.yaml"), "--out", str(matrix.folder), "--cohort",
                 str(tiny_cohort.folder), "--split", str(split), "--device", "cpu", "--processes", "2", "--only",
                 *NAMES[1:3]]) == 0
    (words, processes), = asked
    assert words[-3:] == ["--only", *NAMES[1:3]] and processes == 2


@pytest.mark.parametrize("change", [{"variants": {"a": {"netwrok": "x"}}}, {"common": {"stepz": 3}}, {"sedes": [1]},
                                    {"rates": {"a": {"FLAIR": "x"}}}, {"choice": "best-on-validation"},
                                    {"variants": {"a": {}, "a-complete": {}}, "rates": {"complete-complete": {},
                                                                                        "complete": {}}}])
def test_a_misspelt_setting_stops_before_the_first_run(change):
    with pytest.raises(ValueError, match=r"netwrok|stepz|sedes|FLAIR|validate_every|two runs are named"):
        from_mapping(ExperimentSettings, PROFILE | change)


def test_names_without_the_axis_of_rates_are_those_of_earlier_versions():
    settings = from_mapping(ExperimentSettings, {k: v for k, v in PROFILE.items() if k != "rates"} | {"seeds": [0, 1]})
    assert [run.name for run in settings.runs] == ["baseline-seed0", "dmaf-seed0", "baseline-seed1", "dmaf-seed1"]
    assert settings.train_settings(settings.runs[0]).condition == "complete"
    assert replace(SETTINGS).train_settings(SETTINGS.run(NAMES[2])).condition == "imbalanced"


@pytest.mark.parametrize("executor", ["debug", "local"])
def test_jobs_do_what_is_open_and_nothing_twice(tiny_cohort, split, tmp_path, executor):
    pytest.importorskip("submitit")
    settings = changed(SETTINGS, {"rates": {}})
    matrix = open_matrix(settings, tmp_path / "out", cohort=tiny_cohort.folder, split=split)
    words = engines.arguments(matrix, cohort=tiny_cohort.folder, split=split, device="cpu")
    jobs = engines.submit(matrix, words, executor=executor, per_job=2 if executor == "debug" else 1)
    assert len(jobs) == (1 if executor == "debug" else 2) and [job.result() for job in jobs] == [0] * len(jobs)
    assert [state.state for state in status(matrix.folder)] == ["finished"] * 2
    assert engines.submit(matrix, words, executor=executor) == []
    with pytest.raises(ValueError, match="nothing to submit"):
        engines.sbatch_script(matrix, words)


def test_a_job_comes_back_as_itself():
    submitit = pytest.importorskip("submitit")
    job = engines.RunJob(["python"], ["a", "b"], threads=2)
    again = job.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission) and again.function is job


@pytest.mark.parametrize(("ends", "waits", "said"), [((0, 143), True, 143), ((0, -15), True, -15), ((0, 1), False, 1),
                                                      ((0, 0), False, 0)])
def test_a_job_whose_runs_were_ended_by_the_system_waits_to_be_queued_again(monkeypatch, ends, waits, said):
    code = {code: [sys.executable, "-c", f"import os, signal\nif {code} < 0: os.kill(os.getpid(), {-code})\n"
                                         f"raise SystemExit({code})"] for code in ends}
    real, left, slept = subprocess.Popen, list(ends), []
    monkeypatch.setattr(engines.subprocess, "Popen", lambda words, **_: real(code[left.pop(0)]))
    monkeypatch.setattr(engines.time, "sleep", slept.append)
    assert engines.RunJob(["python"], ["a", "b"], threads=1)() == said
    assert bool(slept) == waits


def test_the_printed_script_names_every_open_run(opened, tiny_cohort, split):
    matrix = opened()
    words = engines.arguments(matrix, cohort=tiny_cohort.folder, split=split, device="cuda")
    script = engines.sbatch_script(matrix, words, at_once=2, gpus=1, partition="low")
    assert "#SBATCH --array=0-3%2" in script and "#SBATCH --gres=gpu:1" in script and "#SBATCH --requeue" in script
    assert all(name in script for name in NAMES)
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert engines.groups(NAMES, 3) == [NAMES[:3], NAMES[3:]]


OWN_PHANTOMS = {**{name: value for name, value in PROFILE.items() if name != "rates"},
                "phantom": {"train": 2, "val": 1, "test": 1, "seed": 0, "spacing": 6.0},
                "training_phantoms": {"dmaf": {"train": 3, "val": 0, "test": 0, "seed": 1, "spacing": 6.0}}}


def test_a_variant_may_be_trained_on_phantoms_of_its_own(tmp_path):
    """Other training cases, the same tested ones; variants with the same phantoms share them."""
    both = {name: OWN_PHANTOMS["training_phantoms"]["dmaf"] for name in ("dmaf", "again")}
    profile = {**OWN_PHANTOMS, "variants": {**PROFILE["variants"], "again": {"objective": "plain"}},
               "training_phantoms": both}
    matrix = open_matrix(from_mapping(ExperimentSettings, profile), tmp_path, workers=0)
    ours, others, again = (matrix.training_set(matrix.settings.run(f"{name}-seed0"))
                           for name in ("baseline", "dmaf", "again"))
    assert list(ours.names) == list(matrix.split["train"]) and len(others.names) == 3
    assert others.cohort.folder == again.cohort.folder == tmp_path / "training" / "dmaf" / "prepared"
    outcomes = work(matrix, only=["dmaf-seed0"], device="cpu", progress=False)
    assert outcomes == {"dmaf-seed0": "finished"}
    assert set(collect(tmp_path)["case"]) == set(matrix.split["test"])
    assert read_card(matrix.run(matrix.settings.run("dmaf-seed0")).weights)["training_cases"] == 3


@pytest.mark.parametrize(("changes", "message"), [
    ({"training_phantoms": {"dmaff": {"seed": 1}}}, "dmaff, which is no variant"),
    ({"training_phantoms": {"dmaf": {"seed": 0}}}, "the test cases would be among them"),
    ({"training_phantoms": {"dmaf": {"seed": 1, "kind": "heart"}}}, "expected the same kind"),
    ({"protocol": "cv5"}, "leave one of them out"),
])
def test_phantoms_to_train_on_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(ExperimentSettings, {**OWN_PHANTOMS, **changes})


def test_phantoms_of_another_kind_than_the_given_cohort_are_refused(tiny_cohort, split, tmp_path, monkeypatch):
    matrix = open_matrix(from_mapping(ExperimentSettings, OWN_PHANTOMS), tmp_path, cohort=tiny_cohort.folder,
                         split=split)

    class Hearts:
        spec, names = MYOPS, []

    monkeypatch.setattr(module, "ready_cohort", lambda *args, **kwargs: (Hearts, {}))
    with pytest.raises(ValueError, match="expected the same kind of study"):
        matrix.trained_on("dmaf")
