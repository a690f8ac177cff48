"""Hearts through the same commands as brains: train, evaluate and predict on a folder laid out as MyoPS 2020."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from dmaf_lite.__main__ import main
from dmaf_lite.base.settings import from_mapping
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.experiment.matrix import open_matrix, results, work, write_tables
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.phantom.heart.heart_cohort import write_heart_cohort
from dmaf_lite.phantom.heart.hearts import HeartSettings
from dmaf_lite.training.anisotropy import anisotropy_of, network_options
from dmaf_lite.training.loop import TrainSettings, train


@pytest.mark.parametrize(("network", "options", "objective"), [
    ("dmaf_net", {"through_plane": False, "kernel_through": 1, "width": 4, "levels": 3, "depth": 1}, "dmaf"),
    ("rfnet", {"through_plane": False, "width": 4}, "passion"),
])
def test_a_folder_of_hearts_is_trained_on_scored_and_predicted(tmp_path: Path, network, options, objective):
    write_heart_cohort(tmp_path / "raw", count=2, settings=HeartSettings(spacing=4.0), workers=0)
    prepare_cohort(tmp_path / "raw", tmp_path / "store", layout="myops2020", workers=0)
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"network": network, "network_options": options, "objective": objective,
                                       "crop": [32, 32, 1], "batch": 2, "steps": 2, "condition": "imbalanced",
                                       "missing_rates": {"C0": 0.0, "LGE": 0.5, "T2": 0.5}}))
    run, store = tmp_path / "run", str(tmp_path / "store")
    assert main(["train", "--cohort", store, "--out", str(run), "--profile", str(profile), "--device", "cpu"]) == 0
    weights = str(run / "weights.safetensors")
    assert main(["evaluate", "--weights", weights, "--cohort", store, "--out", str(tmp_path / "scores"),
                 "--device", "cpu"]) == 0
    rows = pd.read_parquet(tmp_path / "scores" / "rows.parquet")
    assert rows["subset"].nunique() == 7 and "pooled/diagonal/slice_mean" in set(rows["convention"])
    study = tmp_path / "study"
    study.mkdir()
    for end in ("C0", "T2"):  # LGE was not acquired
        scan = tmp_path / "raw" / "train" / f"HeartPhantom_001_{end}.nii.gz"
        (study / scan.name).write_bytes(scan.read_bytes())
    assert main(["predict", str(study), "--weights", weights, "--layout", "myops2020", "--out", str(tmp_path / "out"),
                 "--device", "cpu"]) == 0
    found = nib.load(next((tmp_path / "out").glob("*_seg.nii.gz")))
    assert found.shape == nib.load(scan).shape
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 200, 500, 600, 1220, 2221}


def test_kernels_follow_the_spacing_of_the_prepared_cases(tmp_path: Path):
    """nnU-Net's rule on what was prepared: slices 12 to 23 mm apart over pixels of 4 mm."""
    write_heart_cohort(tmp_path / "raw", count=3, settings=HeartSettings(spacing=4.0), workers=0)
    prepare_cohort(tmp_path / "raw", tmp_path / "store", layout="heart_phantom", workers=0)
    cases = TrainingSet(Cohort(tmp_path / "store"), Cohort(tmp_path / "store").names)
    apart = [cases.cohort.meta(name)["spacing"][2] / 4 for name in cases.names]
    assert anisotropy_of(cases) == pytest.approx(sorted(apart)[1], abs=0.01)
    settings = TrainSettings(network="baseline", network_options={"through_plane": False, "width": 2, "levels": 3},
                             objective="plain", crop=(32, 32, 4), batch=1, steps=1)
    filled = network_options(settings, cases)["anisotropy"]
    assert filled == anisotropy_of(cases)
    net = train(cases, tmp_path / "run", settings, device="cpu", progress=False)
    assert [k[2] for k in net.settings.kernels] == [3 if filled / 2**level <= 2 else 1 for level in range(3)]
    assert net.settings.kernels[0][2] == 1 and net.settings.kernels[2][2] == 3
    again, card = load_weights(tmp_path / "run" / "weights.safetensors")
    assert card["network_options"]["anisotropy"] == filled and again.settings == net.settings
    for word in ({"kernel_through": 1}, {"anisotropy": 1.0}):  # a person's word wins
        said = replace(settings, network_options=settings.network_options | word)
        assert network_options(said, cases) == said.network_options
    assert "anisotropy" not in network_options(replace(settings, origin="0" * 64), cases)


def test_an_experiment_on_hearts_counts_in_the_way_of_stacks_and_says_that_they_are_synthetic(tmp_path: Path):
    settings = from_mapping(ExperimentSettings, {
        "name": "hearts", "phantom": {"kind": "heart", "train": 1, "val": 1, "test": 1, "spacing": 4.0},
        "common": {"network": "baseline", "objective": "plain", "crop": [32, 32, 1], "steps": 1,
                   "network_options": {"through_plane": False, "kernel_through": 1, "width": 2, "levels": 2}},
        "variants": {"complete": {}},
    })
    matrix = open_matrix(settings, tmp_path, workers=0)
    assert work(matrix, device="cpu", progress=False) == {"complete-seed0": "finished"}
    rows = results(write_tables(matrix, "cpu"))
    assert rows["subset"].nunique() == 7  # three scans
    assert set(rows.loc[rows["metric"] == "hd95", "convention"]) == {"pooled/diagonal/slice_mean"}
    assert not rows["region"].str.endswith("_post").any()
    assert json.loads((tmp_path / "card.json").read_text())["data"] == "heart phantom (synthetic)"
