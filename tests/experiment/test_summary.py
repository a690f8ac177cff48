"""The report: intervals over cases, seeds counted, holes kept."""

import json

import numpy as np
import pandas as pd
import pytest

from dmaf_lite.experiment.profile import OWN, ExperimentSettings
from dmaf_lite.experiment.summary import (
    costs,
    costs_of,
    curves,
    curves_of,
    is_flat,
    per_case,
    pivot,
    score_table,
    seed_means,
    spec_of,
    with_axes,
)
from dmaf_lite.spec import BRATS, MYOPS

RATES = {"FLAIR": 0.5, "T1ce": 0, "T1": 0, "T2": 0}
PLAN = ExperimentSettings(name="x", variants={"a": {}, "b": {}}, rates={"complete": {}, "rare": RATES}, seeds=(0, 1))


def rows(cells, cases=6):
    """Long rows: (variant, rates, seed) -> base value; a case adds 0.01 of its number, ET_post is far away."""
    lines = []
    for (variant, rates, seed), value in cells.items():
        for case in range(cases):
            for subset in ("T1", "T1 T2"):
                for region, shift in (("WT", 0.1), ("TC", 0.0), ("ET", -0.1), ("ET_post", 5.0)):
                    lines.append((f"{variant}-{rates}-seed{seed}", variant, rates, seed, "last", f"c{case}", subset,
                                  region, "dice", "smooth", value + 0.01 * case + shift))
    return pd.DataFrame(lines, columns=["run", "variant", "rates", "seed", "choice", "case", "subset", "region",
                                        "metric", "convention", "value"])


PARTIAL = {("a", "complete", 0): 0.5, ("a", "complete", 1): 0.6, ("b", "complete", 0): 0.7}


def test_the_mean_of_a_cell_and_its_interval_over_cases():
    table = score_table(rows(PARTIAL), PLAN)
    a = table.loc[("a", "complete")]
    assert a["mean"] == pytest.approx(0.55 + 0.025) and a["seeds"] == 2 and a["cases"] == 6
    assert a["low"] < a["mean"] < a["high"] and 0.55 <= a["low"] and a["high"] <= 0.60  # not the seeds' distance
    assert seed_means(rows(PARTIAL)).to_dict() == pytest.approx({key: value + 0.025 for key, value in PARTIAL.items()})
    assert len(per_case(rows(PARTIAL))) == 18


def test_a_cell_without_a_run_is_called_missing_and_changes_nothing_else():
    table = score_table(rows(PARTIAL), PLAN)
    assert list(table.index) == [("a", "complete"), ("b", "complete"), ("a", "rare"), ("b", "rare")]
    text = pivot(table)
    assert text.loc["b", "rare"] == text.loc["a", "rare"] == "missing"
    assert text.loc["a", "complete"].startswith("0.575 [") and text.loc["b", "complete"].endswith("(1 seed)")
    empty = score_table(rows(PARTIAL).iloc[:0], PLAN)
    assert (empty["seeds"] == 0).all() and (pivot(empty) == "missing").all(axis=None)


def test_rows_of_earlier_versions_are_read():
    old = rows({("a", OWN, 0): 0.5}).drop(columns=["rates", "choice"])
    assert set(with_axes(old)["rates"]) == {OWN}
    assert pivot(score_table(old)).loc["a", OWN].startswith("0.525")


def test_rows_say_what_kind_of_study_they_are_about():
    brains = rows(PARTIAL)
    assert spec_of(brains) is BRATS and spec_of(brains.assign(region="scar")) is MYOPS
    assert spec_of(brains.iloc[:0]) is None


def test_a_curve_is_flat_when_it_has_stopped_rising():
    rising = np.linspace(0, 1, 20)
    assert not is_flat(rising) and is_flat([*rising, *[1.0] * 20]) and not is_flat([0.5] * 9)
    assert is_flat(0.7 + 0.02 * (-1.0) ** np.arange(20))  # noise is no rise


def test_costs_and_curves_are_read_from_the_folders(tmp_path):
    run = tmp_path / "runs" / "a-seed0"
    run.mkdir(parents=True)
    (run / "cost.json").write_text(json.dumps({"train_seconds": 1800, "evaluate_seconds": 360, "hardware": "a GPU"}))
    (run / "validation.csv").write_text("step,score\n10,0.5\n")
    assert costs(tmp_path).loc["a-seed0"].tolist() == [0.5, 0.1, "a GPU"]
    assert curves(tmp_path)["a-seed0"]["score"].tolist() == [0.5]
    assert curves_of({}) == {}
    assert curves_of({"curves": {"a": {"step": [5], "score": [0.5]}}})["a"]["step"].tolist() == [5]
    assert costs(tmp_path / "nothing").empty and curves(tmp_path / "nothing") == {}


def test_costs_from_a_card_are_those_of_the_folder(tmp_path):
    cost = {"train_seconds": 3600.0, "evaluate_seconds": 1800.0, "hardware": "one"}
    (tmp_path / "runs" / "a-seed0").mkdir(parents=True)
    (tmp_path / "runs" / "a-seed0" / "cost.json").write_text(json.dumps(cost))
    pd.testing.assert_frame_equal(costs(tmp_path), costs_of({"costs": {"a-seed0": cost}}))
    assert costs(tmp_path).loc["a-seed0"].tolist() == [1.0, 0.5, "one"] and costs_of({}).empty
