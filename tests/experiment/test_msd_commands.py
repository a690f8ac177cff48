"""Brains in the files of the Medical Segmentation Decathlon, written from phantoms, through the same commands."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import MSD_LABELS, MSD_NAMES, load_script

from dmaf_lite.__main__ import main
from dmaf_lite.data.cohort import Cohort, prepare_cohort, write_split
from dmaf_lite.data.described import read_description
from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain, write_brain_cohort

SPACING = 6.0
NETWORK = {"network": "baseline", "objective": "plain", "network_options": {"width": 2, "levels": 2},
           "crop": [16, 16, 16], "batch": 1, "steps": 2}


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    """Three phantoms as Task01_BrainTumour has its cases: 4-D, RAS, other channels, other labels, a file of macOS."""
    folder = tmp_path_factory.mktemp("msd") / "Task01_BrainTumour"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    about = {"name": "BRATS", "tensorImageSize": "4D", "modality": MSD_NAMES, "labels": MSD_LABELS}
    (folder / "dataset.json").write_text(json.dumps(about))
    (folder / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"\0\5\26\7")
    to_ras = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt("RAS"))
    for index in range(3):
        brain = make_brain(0, index, BrainSettings(spacing=SPACING))
        scans = np.stack([brain[m] for m in ("FLAIR", "T1", "T1ce", "T2")], axis=-1).astype(np.float32)
        label = np.array([0, 2, 1, 0, 3], np.uint8)[brain["seg"]]  # oedema 1, core 2, enhancing 3
        for part, data in (("imagesTr", scans), ("labelsTr", label)):
            nib.save(nib.Nifti1Image(data, brain["affine"]).as_reoriented(to_ras),
                     folder / part / f"BRATS_{index + 1:03d}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def store(task, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("store") / "prepared"
    assert load_script("prepare_cohort").main([str(task), str(out), "--layout", "msd", "--minimum", "16", "--workers",
                                               "0"]) == 0
    return out


def test_a_decathlon_folder_is_prepared_as_the_same_heads_in_brats_files(store, tmp_path):
    write_brain_cohort(tmp_path / "raw", count=3, settings=BrainSettings(spacing=SPACING), workers=0)
    prepare_cohort(tmp_path / "raw", tmp_path / "same", layout="phantom", minimum=16, workers=0)
    found, wanted = Cohort(store), Cohort(tmp_path / "same")
    assert found.names == ["BRATS_001", "BRATS_002", "BRATS_003"]
    for one, other in zip(found.names, wanted.names, strict=True):
        (images, label), (images2, label2) = found.read(one), wanted.read(other)
        assert np.array_equal(label, label2) and label.any() and np.allclose(images, images2, atol=1e-5)


def test_it_is_trained_on_scored_and_predicted(task, store, tmp_path, capsys):
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(NETWORK | {
        "condition": "imbalanced", "missing_rates": {"FLAIR": 0.3, "T1ce": 0.0, "T1": 0.3, "T2": 0.3}}))
    run = tmp_path / "run"
    assert main(["train", "--cohort", str(store), "--out", str(run), "--profile", str(profile), "--device", "cpu"]) == 0
    weights = str(run / "weights.safetensors")
    (tmp_path / "one.txt").write_text("BRATS_001\n")
    assert main(["evaluate", "--weights", weights, "--cohort", str(store), "--out", str(tmp_path / "scores"),
                 "--cases", str(tmp_path / "one.txt"), "--device", "cpu"]) == 0
    rows = pd.read_parquet(tmp_path / "scores" / "rows.parquet")
    assert rows["subset"].nunique() == 15 and set(rows["case"]) == {"BRATS_001"}
    out = tmp_path / "out"
    assert main(["predict", str(task), "--weights", weights, "--layout", "msd", "--out", str(out), "--device",
                 "cpu"]) == 0
    values = {name: value for value, name in MSD_LABELS.items()}
    for number in (1, 2, 3):
        found, scan = (nib.load(folder / f"BRATS_{number:03d}{end}.nii.gz")
                       for folder, end in ((out, "_seg"), (task / "imagesTr", "")))
        assert found.shape == scan.shape[:3] and np.allclose(found.affine, scan.affine), "on the grid of the file"
        assert set(np.unique(np.asarray(found.dataobj))) <= set(range(4))
    said = json.loads((out / "BRATS_001.json").read_text())["label_values"]
    assert said == {"ED": int(values["edema"]), "NCR/NET": int(values["non-enhancing tumor"]),
                    "ET": int(values["enhancing tumour"])}, "the numbers of dataset.json"
    assert read_description(task / "dataset.json").channels["T1ce"] == 2
    assert load_script("score_cases").main([str(task), "--weights", weights, "--layout", "msd", "--out",
                                            str(tmp_path / "native"), "--device", "cpu"]) == 0
    assert pd.read_parquet(tmp_path / "native" / "rows.parquet")["case"].nunique() == 3
    capsys.readouterr()
    assert main(["predict", str(task), "--weights", weights, "--layout", "msd", "--out", str(out), "--device", "cpu",
                 "--modality", "T1ce=BRATS_001.nii.gz"]) == 2
    assert "dataset.json says which scan is which" in capsys.readouterr().err


def test_an_experiment_runs_on_it(store, tmp_path, capsys):
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"name": "msd", "common": NETWORK, "variants": {"baseline": {}}}))
    write_split(tmp_path / "split", {"train": ["BRATS_001", "BRATS_002"], "val": [], "test": ["BRATS_003"]})
    assert main(["experiment", str(profile), "--cohort", str(store), "--split", str(tmp_path / "split"), "--out",
                 str(tmp_path / "out"), "--results", str(tmp_path / "results"), "--device", "cpu"]) == 0
    assert "Dice on msd" in capsys.readouterr().out
    assert set(pd.read_parquet(tmp_path / "results" / "msd.parquet")["case"]) == {"BRATS_003"}
    assert json.loads((tmp_path / "results" / "msd.json").read_text())["data"] == "msd, prepared"
