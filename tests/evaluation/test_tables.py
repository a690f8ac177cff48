"""Pivots of the long table, worked out by hand on made-up rows."""

import numpy as np
import pandas as pd
import pytest

from dmaf_lite.evaluation.tables import (
    MEAN,
    case_table,
    empty_table,
    markdown,
    select,
    size_table,
    subset_table,
    written_tables,
)
from dmaf_lite.spec import BRATS, MYOPS

NAMES = [BRATS.subset_name(mask) for mask in BRATS.subsets()]


def rows(run="a", cases=("c1", "c2"), metric="dice", convention="both_empty_1", value=lambda c, s, r: 0.0, names=NAMES):
    return pd.DataFrame([
        {"run": run, "case": case, "subset": subset, "region": region, "metric": metric, "convention": convention,
         "value": value(c, s, r)}
        for c, case in enumerate(cases) for s, subset in enumerate(names) for r, region in enumerate(("WT", "TC"))
    ])


def test_subset_table_means_over_cases_then_over_subsets():
    table = subset_table(rows(value=lambda c, s, r: 10 * s + 2 * c + 100 * r).sample(frac=1, random_state=1))
    assert list(table.index) == [*NAMES, MEAN]  # also after shuffling the rows
    assert table.loc["T2", "WT"] == 10 * NAMES.index("T2") + 1
    assert table.loc[MEAN, "TC"] == pytest.approx(10 * 7 + 1 + 100)


def test_the_mean_over_subsets_is_not_weighted_by_cases():
    """A case that lacks a modality has fewer subsets; the printed mean stays the mean of the printed subsets."""
    some = pd.concat([rows(cases=("c1",), value=lambda c, s, r: 1.0),
                      rows(cases=("c2", "c3"), value=lambda c, s, r: 4.0, names=["T1"])])
    table = subset_table(some)
    assert table.loc["T1", "WT"] == 3.0
    assert table.loc[MEAN, "WT"] == pytest.approx(table.drop(index=MEAN)["WT"].mean()) == pytest.approx(17 / 15)


def test_size_table():
    table = size_table(rows(value=lambda c, s, r: float(NAMES[s].count("+"))))
    assert table.index.tolist() == [1, 2, 3, 4] and table["WT"].tolist() == [0, 1, 2, 3]


def test_several_runs_stand_side_by_side():
    both = pd.concat([rows("b"), rows("a", value=lambda c, s, r: 1.0)])
    table = subset_table(both, regions=["TC"])
    assert list(table.columns) == [("b", "TC"), ("a", "TC")]
    assert table.loc[MEAN].tolist() == [0.0, 1.0]


def test_two_conventions_never_share_a_table():
    both = pd.concat([rows(metric="hd95", convention=c) for c in ("pooled/one", "pooled/diagonal")])
    with pytest.raises(ValueError, match="pooled/diagonal"):
        subset_table(both, "hd95")
    assert len(subset_table(both, "hd95", "pooled/one")) == 16
    with pytest.raises(ValueError, match="no rows of hd95"):
        select(both, "hd95", "max_directed/one")
    with pytest.raises(ValueError, match="no rows of dice"):
        select(both, "dice")
    with pytest.raises(ValueError, match="myops"):
        subset_table(rows(), spec=MYOPS)


def test_excluded_cases_are_left_out_of_the_mean():
    table = subset_table(rows(value=lambda c, s, r: np.nan if c else 5.0))
    assert (table == 5.0).all().all()


def test_empty_table_counts():
    both = pd.concat([rows(metric="missed", convention="-", value=lambda c, s, r: float(c == 0 and s < 3)),
                      rows(metric="invented", convention="-", value=lambda c, s, r: float(r == 1 and s == 0))])
    table = empty_table(both)
    assert list(table.columns) == [("WT", "missed"), ("WT", "invented"), ("TC", "missed"), ("TC", "invented")]
    assert table.loc[NAMES[0]].tolist() == [1, 0, 1, 2] and table.to_numpy().sum() == 6 + 2
    two = empty_table(pd.concat([both, both.assign(run="b")]))
    assert two.columns[-1] == ("b", "TC", "invented") and two.to_numpy().sum() == 16


def test_case_table_has_the_worst_case_first():
    assert case_table(rows(value=lambda c, s, r: float(-c))).index.tolist() == ["c2", "c1"]
    far = rows(metric="hd95", convention="x", value=lambda c, s, r: float(c))
    assert case_table(far, "hd95").index.tolist() == ["c2", "c1"]


def test_markdown():
    table = subset_table(rows(value=lambda c, s, r: np.nan if r else 0.12345)).iloc[:1]
    assert markdown(table) == "| subset | WT | TC |\n| --- | ---: | ---: |\n| FLAIR | 0.123 | - |\n"
    both = pd.concat([rows(metric="missed", convention="-"), rows(metric="invented", convention="-")])
    assert "| FLAIR | 0 | 0 | 0 | 0 |" in markdown(empty_table(both))
    assert "WT invented" in markdown(empty_table(both))


def test_tables_say_how_many_cases_stand_behind_a_row_and_show_the_complete_ones_beside():
    """One case has FLAIR alone: its row is about other patients than the rows below."""
    spec, rows = BRATS, []
    for case, subsets, value in (("a", spec.subsets(), 0.8), ("b", spec.subsets()[:1], 0.2)):
        rows += [{"run": "r", "case": case, "subset": spec.subset_name(mask), "region": "WT", "metric": metric,
                  "convention": convention, "grid": "files", "value": value if metric == "dice" else 0.0}
                 for mask in subsets for metric, convention in (
                     ("dice", "d"), ("hd95", "h"), ("missed", "-"), ("invented", "-"))]
    table = written_tables(pd.DataFrame(rows))
    titles = list(table)
    assert "each row over the cases that have its scans, on the grid of the files" in titles[0]
    assert titles[2] == "dice, d, only the 1 cases that have all scans, on the grid of the files"
    assert table[titles[0]].loc["FLAIR"].tolist() == ["2", 0.5] and table[titles[0]].loc["T1"].tolist() == ["1", 0.8]
    assert table[titles[2]].loc["FLAIR"].tolist() == ["1", 0.8] and table[titles[0]].loc[MEAN, "cases"] == "-"
    whole = written_tables(pd.DataFrame(rows).query("case == 'a'"))
    assert list(whole)[:2] == ["dice, d, mean over 1 cases, on the grid of the files",
                               "hd95 in mm, h, mean over 1 cases, on the grid of the files"]
    assert "| FLAIR | 2 | 0.500 |" in markdown(table[titles[0]])
