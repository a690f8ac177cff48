"""The command: from weights and studies to the file beside the weights, and from there into predict's answer."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import write_tiny_case

from dmaf_lite.__main__ import main
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.evaluation.calibrate import calibrate, phantoms_for
from dmaf_lite.evaluation.calibration import read_calibration
from dmaf_lite.evaluation.inference import WindowSettings
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import load_weights, save_weights, weights_digest
from dmaf_lite.spec import BRATS

TINY = {"width": 4, "levels": 2}
CARD = {"network": "dmaf_net", "network_options": TINY, "spec": "brats", "spacing": [1.0, 1.0, 1.0],
        "recipe": {}, "seed": 3, "commit": "0000000", "date": "2000-01-01", "window": [16, 16, 16]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, and ten tiny cases prepared and raw; the command has been run."""
    folder = tmp_path_factory.mktemp("calibrate")
    torch.manual_seed(3)
    save_weights(folder / "w.safetensors", build_network("dmaf_net", BRATS, **TINY), CARD)
    for i in range(10):
        write_tiny_case(folder / "raw", f"Case_{i:02d}", seed=i, shape=(16, 18, 14))
    assert not prepare_cohort(folder / "raw", folder / "store", layout="brats2020", minimum=14, workers=0).failed
    assert main(["calibrate", "--weights", str(folder / "w.safetensors"), "--cohort", str(folder / "store"),
                 "--work", str(folder / "work"), "--device", "cpu"]) == 0
    return folder


def test_the_file_belongs_to_the_weights(folder):
    net, _ = load_weights(folder / "w.safetensors")
    found = read_calibration(folder / "w.confidence.json", weights_digest(net))
    assert found.studies == 10 and len(found.subsets) == 15 and set(found.experience) == {"brain", *BRATS.modalities}
    assert (folder / "w.confidence.json").stat().st_size < 100_000
    assert set(found.quality["regions"]) == set(BRATS.regions)


def test_a_second_call_takes_up_what_was_seen(folder, monkeypatch):
    monkeypatch.setattr("dmaf_lite.evaluation.observed.observe", lambda *a, **k: pytest.fail("observed again"))
    before = (folder / "w.confidence.json").read_bytes()
    assert main(["calibrate", "--weights", str(folder / "w.safetensors"), "--cohort", str(folder / "store"),
                 "--work", str(folder / "work"), "--device", "cpu"]) == 0
    assert (folder / "w.confidence.json").read_bytes() == before


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_predict_says_how_sure_it_is(folder, tmp_path):
    study = folder / "raw" / "Case_03"
    assert main(["predict", "--weights", str(folder / "w.safetensors"), "--out", str(tmp_path), "--device", "cpu",
                 "--confidence-map", str(study)]) == 0
    sure = json.loads((tmp_path / "Case_03.json").read_text())["confidence"]
    for region in BRATS.regions:
        one = sure["regions"][region]
        assert 0 <= one["dice_interval"][0] <= one["expected_dice"] <= one["dice_interval"][1] <= 1
        assert one["volume_interval_ml"][0] <= one["volume_ml"] <= one["volume_interval_ml"][1]
    assert sure["next_scan"] == {} and "10 studies" in sure["calibrated_on"]
    shown = nib.load(tmp_path / "Case_03_confidence.nii.gz")
    values, scan = np.asarray(shown.dataobj), nib.load(study / "Case_03_t1.nii.gz")
    assert values.shape == scan.shape and np.allclose(shown.affine, scan.affine)
    assert 0 <= values.min() < values.max() <= 1


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_predict_names_the_scan_that_would_help(folder, tmp_path):
    study = tmp_path / "Case_04"
    study.mkdir()
    for ending in ("_t1.nii.gz", "_flair.nii.gz"):
        (study / f"Case_04{ending}").write_bytes((folder / "raw" / "Case_04" / f"Case_04{ending}").read_bytes())
    assert main(["predict", "--weights", str(folder / "w.safetensors"), "--out", str(tmp_path / "out"),
                 "--device", "cpu", str(study)]) == 0
    report = json.loads((tmp_path / "out" / "Case_04.json").read_text())
    gains = report["confidence"]["next_scan"]
    assert set(gains) == {"T1ce", "T2"} and list(gains.values()) == sorted(gains.values(), reverse=True)
    # A brain of a few millilitres is no brain, whatever the network says.
    assert not report["confidence"]["familiar"] and any("litres" in line for line in report["warnings"])
    assert not list((tmp_path / "out").glob("*_confidence.nii.gz"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_without_a_calibration_predict_says_so_and_goes_on(folder, tmp_path, capsys):
    alone = tmp_path / "w.safetensors"
    alone.write_bytes((folder / "w.safetensors").read_bytes())
    study = str(folder / "raw" / "Case_01")
    assert main(["predict", "--weights", str(alone), "--out", str(tmp_path), "--device", "cpu", study]) == 0
    assert "calibrate --weights" in capsys.readouterr().err
    assert json.loads((tmp_path / "Case_01.json").read_text())["confidence"] == {}
    # One of other weights is not taken.
    (tmp_path / "w.confidence.json").write_bytes((folder / "w.confidence.json").read_bytes())
    torch.manual_seed(4)
    save_weights(alone, build_network("dmaf_net", BRATS, **TINY), CARD)
    assert main(["predict", "--weights", str(alone), "--out", str(tmp_path), "--device", "cpu", study]) == 0
    assert "made for weights" in capsys.readouterr().err


def test_what_cannot_be_calibrated_on_is_refused(folder, tmp_path):
    net, _ = load_weights(folder / "w.safetensors")
    cohort, settings = Cohort(folder / "store"), WindowSettings(window=(16, 16, 16))
    with pytest.raises(ValueError, match="at least 10"):
        calibrate(net, cohort, cohort.names[:3], settings=settings, data="tiny")
    with pytest.raises(ValueError, match="name a prepared --cohort"):
        phantoms_for(CARD | {"spec": "myops"}, 10, tmp_path)
