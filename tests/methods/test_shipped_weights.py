"""The weights that come with the kit: small, described, and good on phantoms that they have not seen."""

import json
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from dmaf_lite.__main__ import main, run
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.evaluation.evaluate import EvaluationSettings, evaluate
from dmaf_lite.evaluation.inference import WindowSettings
from dmaf_lite.lessons.reproduced import committed_table
from dmaf_lite.methods import weights
from dmaf_lite.methods.weights import NAMES, PRETRAINED, WeightsError, load_weights, read_card, shipped, weights_file
from dmaf_lite.phantom.brain import write_brain_cohort
from dmaf_lite.spec import SPECS

REPOSITORY = Path(__file__).parents[2]
PLAIN = shipped("dmaf_net_phantom")


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """Three phantoms of another cohort seed than the training's."""
    folder = tmp_path_factory.mktemp("unseen")
    assert read_card(PLAIN)["recipe"]["seed"] != 77
    write_brain_cohort(folder / "raw", count=3, seed=77, spacing=3.0, workers=0)
    prepare_cohort(folder / "raw", folder / "prepared", layout="phantom", minimum=32, workers=0)
    return folder


def test_the_card_says_what_they_are():
    card = read_card(PLAIN)
    assert PLAIN.stat().st_size < 10e6
    assert json.loads(PLAIN.with_suffix(".json").read_text()) == card
    assert "synthetic" in card["data"] and "not a medical device" in card["note"]
    assert {"recipe", "seed", "commit", "hardware", "date", "test_cases"} <= card.keys()
    assert len(card["dice"]) == 16 and "mean over subsets" in card["dice"]


def test_the_card_has_the_numbers_of_the_committed_table():
    rows = pd.read_parquet(REPOSITORY / "notebooks" / "results" / "complete.parquet")
    rows = rows[(rows["run"] == "dmaf_net-seed0") & (rows["metric"] == "dice")]
    means = rows.groupby(["subset", "region"])["value"].mean()
    written = read_card(PLAIN)["dice"]
    for subset, region in means.index:
        assert written[subset][region] == pytest.approx(means[subset, region], abs=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if (PRETRAINED / f"{name}.safetensors").exists()])
def test_every_file_that_is_shipped_is_small_and_described(name):
    path, card = shipped(name), read_card(shipped(name))
    assert path.stat().st_size < 10e6 and json.loads(path.with_suffix(".json").read_text()) == card
    scans = SPECS[card["spec"]].modalities
    assert "synthetic" in card["data"] and {scans[2], "+".join(scans[1:]), "+".join(scans)} < card["dice"].keys()
    assert all(torch.isfinite(value).all() for value in load_weights(path)[0].state_dict().values())


def test_without_a_name_the_first_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PRETRAINED", tmp_path)
    with pytest.raises(WeightsError, match="full checkout"):
        shipped()
    (tmp_path / "dmaf_net_phantom.safetensors").touch()
    assert shipped().name == "dmaf_net_phantom.safetensors"
    with pytest.raises(WeightsError, match="dmaf_net_randomised"):
        shipped("dmaf_net_randomised")
    (tmp_path / "dmaf_net_randomised.safetensors").touch()
    assert shipped().name == "dmaf_net_randomised.safetensors"
    assert shipped("dmaf_net_phantom").name == "dmaf_net_phantom.safetensors"
    with pytest.raises(WeightsError, match="dmaf_net_phantom"):
        shipped("dmaf_net")


def test_weights_are_named_or_given_as_a_file(tmp_path, monkeypatch):
    assert weights_file("dmaf_net_hearts") == shipped("dmaf_net_hearts")
    assert weights_file(tmp_path / "dmaf_net_hearts") == tmp_path / "dmaf_net_hearts"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dmaf_net_hearts").touch()  # a file of that name is meant as the file
    assert weights_file("dmaf_net_hearts") == Path("dmaf_net_hearts")
    with pytest.raises(WeightsError, match="or one of the kit's own by name: dmaf_net_randomised"):
        load_weights("dmaf_net_randomized")


@pytest.mark.parametrize(("module", "words"), [
    ("evaluation.predict", ["predict", "--out", "out", "study"]),
    ("evaluation.evaluate", ["evaluate", "--cohort", "cohort", "--out", "out"]),
    ("evaluation.calibrate", ["calibrate"]),
])
def test_every_command_takes_the_name_of_the_kits_own_weights(module, words, monkeypatch, tmp_path):
    def caught(path, device="cpu"):
        raise ValueError(f"asked for {Path(path).name}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module(f"dmaf_lite.{module}"), "load_weights", caught)
    with pytest.raises(ValueError, match=r"asked for dmaf_net_phantom\.safetensors"):
        run(words[0], [*words[1:], "--weights", "dmaf_net_phantom"])


def test_dice_on_unseen_phantoms(unseen):
    net, card = load_weights(PLAIN)
    cohort = Cohort(unseen / "prepared")
    settings = EvaluationSettings(windows=WindowSettings(window=tuple(card["window"]), overlap=0.25))
    rows = evaluate(net, cohort, cohort.names, settings=settings, progress=False)
    dice = rows[(rows["metric"] == "dice") & rows["region"].isin(["WT", "TC", "ET"])]
    everything = dice[dice["subset"] == "FLAIR+T1ce+T1+T2"].groupby("region")["value"].mean()
    assert everything["WT"] >= 0.75
    assert dice.groupby(["subset", "region"])["value"].mean().mean() >= 0.55


def test_predict_works_at_once(unseen, tmp_path):
    study = unseen / "raw" / "Phantom_000"
    assert main(["predict", "--weights", str(PLAIN), "--out", str(tmp_path), str(study)]) == 0
    found = nib.load(tmp_path / "Phantom_000_seg.nii.gz")
    truth = nib.load(study / "Phantom_000_seg.nii.gz")
    assert found.shape == truth.shape and np.allclose(found.affine, truth.affine)
    p, g = np.asarray(found.dataobj) > 0, np.asarray(truth.dataobj) > 0
    assert 2 * (p & g).sum() / (p.sum() + g.sum()) > 0.7
    report = json.loads((tmp_path / "Phantom_000.json").read_text())
    assert sum(report["modality_weights"].values()) == pytest.approx(1, abs=1e-2)


def test_the_table_that_make_reproduce_prints_is_the_committed_one_and_says_so():
    text = committed_table(REPOSITORY / "notebooks")
    assert "committed longer run" in text and "synthetic" in text
    mean = read_card(PLAIN)["dice"]["mean over subsets"]
    assert f"| mean over subsets | {mean['WT']:.3f} | {mean['TC']:.3f} | {mean['ET']:.3f} |" in text
