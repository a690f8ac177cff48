"""Five folds and the published split of hearts, as experiments."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import REPOSITORY

from dmaf_lite.__main__ import main
from dmaf_lite.base.settings import SettingsError, changed, from_mapping, read_settings
from dmaf_lite.data.cohort import prepare_cohort, write_split
from dmaf_lite.data.protocols import PASSION_TEST, PASSION_TRAIN, passion_split, published_names
from dmaf_lite.experiment.matrix import open_matrix
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.experiment.summary import region_intervals, score_table
from dmaf_lite.phantom.heart.heart_cohort import write_heart_cohort
from dmaf_lite.phantom.heart.hearts import HeartSettings

COMMON = {"network": "baseline", "objective": "plain", "crop": [48, 48, 1], "steps": 4, "batch": 1, "lr": 0.02,
          "network_options": {"through_plane": False, "kernel_through": 1, "width": 2, "levels": 2}}
RATES = {"C0": 0.3, "LGE": 0.5, "T2": 0.7}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory) -> Path:
    """25 small synthetic hearts."""
    folder = tmp_path_factory.mktemp("hearts")
    write_heart_cohort(folder / "raw", count=25, settings=HeartSettings(spacing=4.0), workers=0)
    return folder


@pytest.fixture(scope="module")
def store(hearts) -> Path:
    """All of them, prepared."""
    assert len(prepare_cohort(hearts / "raw", hearts / "store", layout="heart_phantom", workers=0).prepared) == 25
    return hearts / "store"


@pytest.fixture(scope="module")
def few(hearts) -> Path:
    """Ten of them, prepared."""
    prepare_cohort(hearts / "raw", hearts / "few", layout="heart_phantom", workers=0,
                   names=[f"HeartPhantom_{i:03d}" for i in range(10)])
    return hearts / "few"


def profile(folder: Path, **more) -> Path:
    content = {"name": "tiny", "common": COMMON, "variants": {"baseline": {}}} | more
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_five_folds_test_every_patient_once_and_give_one_interval(few, tmp_path, capsys):
    command = ["experiment", str(profile(tmp_path, protocol="cv5")), "--cohort", str(few), "--out",
               str(tmp_path / "out"), "--results", str(tmp_path), "--device", "cpu"]
    assert main(command) == 0
    rows = pd.read_parquet(tmp_path / "tiny.parquet")
    assert rows.groupby("case")["fold"].nunique().eq(1).all() and rows["case"].nunique() == 10
    assert set(rows["run"]) == {f"baseline-seed0-fold{fold}" for fold in range(5)}
    for fold in range(5):
        seen = (tmp_path / "out" / "runs" / f"baseline-seed0-fold{fold}" / "cases.txt").read_text().split()
        assert len(seen) == 8 and not set(seen) & set(rows.loc[rows["fold"] == fold, "case"])
    said = capsys.readouterr().out
    assert "interval over 10 patients" in said and "| all" not in said and "seed 0" not in said
    (line,) = score_table(rows).to_dict("records")
    assert line["cases"] == 10 and line["seeds"] == 1 and line["low"] < line["mean"] < line["high"]
    cell = region_intervals(rows).loc[("baseline", "as set", "last"), "LV"]
    lv = rows.query("metric == 'dice' and region == 'LV'").groupby("case")["value"].mean()
    assert cell.startswith(f"{lv.mean():.3f} [")
    assert json.loads((tmp_path / "tiny.json").read_text())["cases"] == {"all": 10}
    assert main(command) == 0, "a second time nothing is left to do"


def test_the_published_protocol_shows_last_and_best_on_test_side_by_side(store, tmp_path, capsys):
    common = COMMON | {"condition": "imbalanced"}
    path = profile(tmp_path, protocol="passion", validate_every=1, common=common, rates={"357": RATES})
    assert main(["experiment", str(path), "--cohort", str(store), "--out", str(tmp_path / "out"), "--device",
                 "cpu"]) == 0
    run = tmp_path / "out" / "runs" / "baseline-357-seed0"
    rows = pd.read_parquet(run / "rows.parquet")
    assert set(rows["choice"]) == {"last", "best-on-test"} and rows["case"].nunique() == 5
    looks = pd.read_csv(run / "validation.csv")["score"]
    dice = rows[rows["metric"] == "dice"].groupby("choice")["value"].mean()
    assert dice["best-on-test"] == pytest.approx(looks.max(), abs=1e-6) and dice["last"] == \
        pytest.approx(looks.iloc[-1], abs=1e-6), "chosen by the very cases that are scored"
    table = pd.read_csv(run / "missing_rates.csv")
    assert len(table) == 20 and (table["mask"].str.count("False") == 0).sum() == 3, "the published table"
    assert table["mask"].str.split(", ").str[1].eq("False").sum() == 9, "LGE is missing in 9 of 20"
    said = capsys.readouterr().out
    assert "| baseline, 357, last |" in said and "| baseline, 357, best-on-test |" in said
    assert "chosen among checkpoints by the very cases" in said
    assert score_table(rows)["mean"].iloc[0] == pytest.approx(
        rows.query("metric == 'dice' and choice == 'last'").groupby("case")["value"].mean().mean())


def test_phantoms_stand_in_for_patients_in_the_order_of_their_names():
    hearts = [f"HeartPhantom_{i:03d}" for i in range(25)]
    split = passion_split(hearts[::-1], synthetic=True)
    numbers = {name: published[-3:] for name, published in published_names(hearts, synthetic=True).items()}
    assert [numbers[name] for name in split["test"]] == list(PASSION_TEST)
    assert [numbers[name] for name in split["train"]] == list(PASSION_TRAIN)
    for wrong in ((hearts, False), (hearts[:24], True)):
        with pytest.raises(ValueError, match="expected exactly those"):
            passion_split(wrong[0], synthetic=wrong[1])


@pytest.mark.parametrize(("change", "message"), [
    ({"protocol": "cv5", "validate_every": 5}, "cv5 has no cases to look at"),
    ({"protocol": "passion"}, "looks at its test cases every few steps"),
    ({"protocol": "passion", "validate_every": 2, "choice": "best-on-validation"}, "has no validation cases"),
])
def test_protocols_refuse_what_they_cannot_mean(change, message):
    with pytest.raises(SettingsError, match=message):
        from_mapping(ExperimentSettings, {"name": "x", "common": COMMON, "variants": {"a": {}}} | change)


def test_a_protocol_makes_its_own_split(store, tmp_path):
    settings = from_mapping(ExperimentSettings, {"name": "x", "common": COMMON, "variants": {"a": {}},
                                                 "protocol": "cv5"})
    write_split(tmp_path / "split", {"train": ["a"], "val": [], "test": ["b"]})
    with pytest.raises(ValueError, match="leave --split out"):
        open_matrix(settings, tmp_path / "out", cohort=store, split=tmp_path / "split")
    matrix = open_matrix(settings, tmp_path / "out", cohort=store)
    tested = np.concatenate([matrix.parts(key)["test"] for key in settings.runs])
    assert sorted(tested) == matrix.cohort.names
    with pytest.raises(ValueError, match="other protocol"):
        open_matrix(changed(settings, {"protocol": "passion", "validate_every": 1}), tmp_path / "out", cohort=store)


@pytest.mark.parametrize("name", ["hearts_cv5", "hearts_passion"])
def test_the_profiles_are_read(name):
    settings = read_settings(ExperimentSettings, REPOSITORY / "notebooks" / "profiles" / "experiments" / f"{name}.yaml")
    assert settings.name == name and len(settings.runs) == {"hearts_cv5": 10, "hearts_passion": 6}[name]
