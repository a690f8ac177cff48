"""Variants x seeds by one command, run by run, and a small table to commit."""

import json

import pandas as pd
import pytest
import yaml

from dmaf_lite.base.settings import from_mapping
from dmaf_lite.experiment import matrix as experiment
from dmaf_lite.experiment.matrix import ExperimentSettings, add_arguments, main, results, run_experiment
from dmaf_lite.methods.weights import read_card

PROFILE = {
    "name": "tiny",
    "phantom": {"train": 3, "val": 0, "test": 1, "spacing": 6.0},
    "common": {"network_options": {"width": 4, "levels": 2}, "crop": [16, 16, 16], "steps": 2, "log_every": 1,
               "condition": "imbalanced", "missing_rates": {"FLAIR": 0.5, "T1ce": 0.2, "T1": 0.2, "T2": 0.5}},
    "variants": {"baseline": {"network": "baseline", "objective": "plain"}, "dmaf": {}},
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    settings = from_mapping(ExperimentSettings, PROFILE)
    return folder, settings, run_experiment(settings, folder, workers=0, progress=False)


def test_every_run_is_there_under_the_same_table(done):
    folder, _, rows = done
    names = ["baseline-seed0", "dmaf-seed0", "baseline-seed1", "dmaf-seed1"]  # balanced when interrupted
    assert list(dict.fromkeys(rows["run"])) == names
    tables = {(folder / "runs" / name / "missing_rates.csv").read_text() for name in names}
    assert len(tables) == 1
    card = json.loads((folder / "card.json").read_text())
    assert {"hardware", "commit", "date", "profile", "torch"} <= card.keys() and "synthetic" in card["data"]


def test_a_finished_run_is_not_repeated(done, monkeypatch):
    folder, settings, rows = done
    monkeypatch.setattr(experiment, "train", None)  # would raise if called
    again = run_experiment(settings, folder, workers=0, progress=False)
    pd.testing.assert_frame_equal(again, rows)


def test_several_processes_can_share_a_matrix(done):
    folder, settings, rows = done
    one = run_experiment(settings, folder, only=["dmaf-seed1"], workers=0, progress=False)
    assert set(one["run"]) == {"dmaf-seed1"} and len(one) == len(rows) / 4
    with pytest.raises(ValueError, match=r"no run \['dmaf-seed7'\]"):
        run_experiment(settings, folder, only=["dmaf-seed7"], workers=0, progress=False)


def test_the_small_table_keeps_cases_seeds_and_variants(done):
    small = results(done[2])
    assert set(small["variant"]) == {"baseline", "dmaf"} and set(small["seed"]) == {0, 1}
    assert set(small["metric"]) == {"dice", "hd95"}
    dice = small[small["metric"] == "dice"]
    assert dice.groupby(["run", "case", "region"])["subset"].nunique().eq(15).all()


def test_the_command_writes_results_and_prints_tables(done, tmp_path, capsys):
    import argparse

    profile = tmp_path / "tiny.yaml"
    profile.write_text(yaml.safe_dump(PROFILE))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args([str(profile), "--out", str(done[0]), "--results", str(tmp_path / "results"),
                              "--ship", "dmaf-seed1", str(tmp_path / "shipped.safetensors")])
    assert main(args) == 0
    card = json.loads((tmp_path / "shipped.json").read_text())
    assert read_card(tmp_path / "shipped.safetensors") == card
    dice = done[2].query("run == 'dmaf-seed1' and metric == 'dice' and subset == 'T1' and region == 'WT'")["value"]
    assert card["dice"]["T1"]["WT"] == pytest.approx(dice.mean(), abs=1e-4) and card["seed"] == 1
    assert "baseline, Dice on synthetic phantoms" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"tiny.parquet", "tiny.json"}
    dry = parser.parse_args([str(profile), "--out", "x", "--dry-run"])
    assert main(dry) == 0 and capsys.readouterr().out.split() == list(dict.fromkeys(done[2]["run"]))


@pytest.mark.parametrize("change", [{"variants": {"a": {"netwrok": "x"}}}, {"common": {"stepz": 3}}, {"sedes": [1]}])
def test_a_misspelt_setting_stops_before_the_first_run(change):
    with pytest.raises(ValueError, match=r"netwrok|stepz|sedes"):
        from_mapping(ExperimentSettings, PROFILE | change)
