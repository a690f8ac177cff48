"""The report: this run, the committed one, and the difference."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dmaf_lite.lessons.profiles import declared
from dmaf_lite.lessons.reproduced import COMMITTED, SUBSET_ROWS, compared, keep_rows, report
from dmaf_lite.lessons.source import Workspace
from dmaf_lite.spec import BRATS


def rows(shift: float = 0.0, cases: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    return pd.DataFrame([
        {"run": "r", "case": case, "subset": BRATS.subset_name(mask), "region": region, "metric": "dice",
         "convention": "undefined_1", "value": 0.1 * sum(mask) + shift}
        for case in cases for mask in BRATS.subsets() for region in BRATS.regions])


def test_the_difference_is_this_run_minus_the_committed_one() -> None:
    table = compared(rows(0.02), rows())
    assert table.loc[2, ("WT", "this run")] == pytest.approx(0.22)
    assert table.loc[2, ("WT", "difference")] == pytest.approx(0.02)
    assert list(table.index) == [1, 2, 3, 4]


def test_other_cases_are_never_compared() -> None:
    with pytest.raises(ValueError, match="another case"):
        compared(rows(cases=("a", "c")), rows())


def test_the_report_of_a_run(tmp_path: Path) -> None:
    notebooks, artifacts = tmp_path / "notebooks", tmp_path / "artifacts"
    (notebooks / "results").mkdir(parents=True)
    (artifacts / SUBSET_ROWS).mkdir(parents=True)
    rows().to_parquet(artifacts / SUBSET_ROWS / "rows.parquet")
    keep_rows(artifacts, notebooks)
    assert (notebooks / COMMITTED).is_file()
    rows(0.5).to_parquet(artifacts / SUBSET_ROWS / "rows.parquet")
    text = report(artifacts, notebooks)
    assert "largest difference to the committed run: 0.5000" in text and "this run" in text
    rows(cases=("a",)).to_parquet(artifacts / SUBSET_ROWS / "rows.parquet")
    assert "its cases are not the committed ones" in report(artifacts, notebooks)


def test_the_committed_rows_are_those_of_lesson_09_as_it_is_published() -> None:
    workspace = Workspace()
    committed = pd.read_parquet(workspace.notebooks / COMMITTED)
    (lesson,) = workspace.select(["09"])
    assert committed["case"].nunique() == declared(lesson)["cases"]
    assert set(committed["subset"]) == {BRATS.subset_name(mask) for mask in BRATS.subsets()}
