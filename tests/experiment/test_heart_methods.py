"""The paper's network, its baseline and its peers on three scans and six classes, through the same command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import REPOSITORY

from dmaf_lite.__main__ import main
from dmaf_lite.base.settings import read_settings
from dmaf_lite.data.cohort import Cohort, prepare_cohort, write_split
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.phantom.heart.heart_cohort import write_heart_cohort
from dmaf_lite.phantom.heart.hearts import HeartSettings
from dmaf_lite.spec import MYOPS
from dmaf_lite.training.run import try_out

PROFILE = REPOSITORY / "notebooks" / "profiles" / "experiments" / "hearts_peers.yaml"
FLAT = {"through_plane": False, "kernel_through": 1, "width": 4, "levels": 2}
SMALL = {"baseline": FLAT, "DMAF-Net": FLAT | {"grid": 2, "depth": 1}, "RFNet": {"through_plane": False, "width": 4}}
TRANSFORMER = {"through_plane": False, "width": 4, "grid": 3, "token_width": 16, "heads": 2, "hidden": 16}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hearts")
    write_heart_cohort(folder / "raw", count=4, settings=HeartSettings(spacing=4.0), workers=0)
    prepare_cohort(folder / "raw", folder / "store", layout="myops2020", workers=0)
    return folder / "store"


def test_all_methods_train_and_are_scored_on_hearts(store, tmp_path):
    content = yaml.safe_load(PROFILE.read_text())
    for name, variant in content["variants"].items():
        variant["network_options"] = SMALL.get(name, TRANSFORMER)
    content |= {"seeds": [0], "rates": {"357": content["rates"]["357"]},
                "common": {"crop": [48, 48, 1], "batch": 2, "steps": 2, "log_every": 1}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    names = Cohort(store).names
    write_split(tmp_path / "split", {"train": names[:3], "val": [], "test": names[3:]})
    assert main(["experiment", str(tmp_path / "p.yaml"), "--cohort", str(store), "--split", str(tmp_path / "split"),
                 "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    rows = pd.read_parquet(tmp_path / "out" / "rows.parquet")
    assert list(dict.fromkeys(rows["variant"])) == ["baseline", "DMAF-Net", "RFNet", "mmFormer", "PASSION"]
    counts = rows[rows["metric"] == "dice"].groupby("variant").size()
    assert set(counts) == {len(MYOPS.subsets()) * len(MYOPS.regions)} and np.isfinite(
        rows.loc[rows["metric"] == "dice", "value"]).all()
    for run in (tmp_path / "out" / "runs").iterdir():
        log = pd.read_csv(run / "log.csv")
        assert np.isfinite(log["total"]).all() and len(log) == 2, run.name


def test_the_profile_fits_together_at_its_full_size(store):
    settings = read_settings(ExperimentSettings, PROFILE)
    cases = TrainingSet(Cohort(store), Cohort(store).names)
    for key in settings.runs:
        if key.seed == 0 and key.rates == "complete":
            try_out(settings.train_settings(key), cases)
