"""Intervals, signed ranks, Holm's correction and seeds: against hand calculation, scipy and simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmaf_lite.evaluation.statistics import bootstrap_interval, compare, holm, over_seeds, wilcoxon_p


def rows(values: np.ndarray, run: str = "a") -> pd.DataFrame:
    """Long table from values [case, subset, region]."""
    return pd.DataFrame([
        {"run": run, "case": f"c{c:03d}", "subset": subset, "region": region, "metric": "dice",
         "convention": "both_empty_1", "value": values[c, s, r]}
        for c in range(values.shape[0])
        for s, subset in enumerate(("FLAIR", "T1"))
        for r, region in enumerate(("WT", "ET"))
    ])


def test_bootstrap_interval_is_the_normal_one_for_many_cases():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert bootstrap_interval(values) == (low, high)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert all(np.isnan(bootstrap_interval([1.0]))) and bootstrap_interval([2.0, 2.0]) == (2.0, 2.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(1.0, 1.0, 40), resamples=500, seed=k) for k in range(200)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.99


def test_wilcoxon_by_hand():
    # Six differences of one sign: of 2^6 sign patterns the two extreme ones are as far out.
    assert wilcoxon_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert wilcoxon_p([0.0, 0.0]) == 1.0 and np.isnan(wilcoxon_p([]))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, np.nan, 0.6]) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)


@settings(max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni(p):
    p, corrected = np.array(p), holm(p)
    assert (corrected >= p).all() and (corrected <= np.minimum(1, p * len(p)) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= 0).all()


def test_compare_finds_the_difference_and_its_sign():
    rng = np.random.default_rng(2)
    base = rng.uniform(0.3, 0.9, (30, 2, 2))
    better = base + rng.normal(0, 0.02, base.shape)
    better[..., 0] += 0.05  # only WT
    table = compare(rows(better), rows(base)).set_index("region")
    assert table.loc["WT", "difference"] == pytest.approx((better - base)[..., 0].mean())
    assert table.loc["WT", "low"] < table.loc["WT", "difference"] < table.loc["WT", "high"]
    assert table.loc["WT", "clear"] and table.loc["WT", "p_holm"] < 0.001 and not table.loc["ET", "clear"]
    assert (table["cases"] == 30).all() and (table["p_holm"] >= table["p"]).all()
    assert compare(rows(base), rows(better)).set_index("region").loc["WT", "difference"] < 0
    assert len(compare(rows(better), rows(base), by=("subset", "region"))) == 4


def test_subsets_and_seeds_of_a_case_do_not_count_as_more_cases():
    rng = np.random.default_rng(3)
    base, other = rng.uniform(0, 1, (8, 2, 2)), rng.uniform(0, 1, (8, 2, 2))
    once = compare(rows(base), rows(other))
    copies = [pd.concat([rows(values, f"seed{k}") for k in range(5)]) for values in (base, other)]
    pd.testing.assert_frame_equal(compare(*copies), once)
    assert (once["cases"] == 8).all()


def test_compare_refuses_tables_that_are_not_paired():
    values = np.zeros((3, 2, 2))
    with pytest.raises(ValueError, match="share no case"):
        compare(rows(values), rows(values).assign(case="other"))
    with pytest.raises(ValueError, match="same cases"):
        compare(rows(values), rows(values[:2]))


def test_excluded_values_leave_the_pair_out():
    base = np.random.default_rng(4).uniform(0, 1, (6, 2, 2))
    holed = base + 0.1
    holed[0] = np.nan
    table = compare(rows(holed), rows(base))
    assert (table["cases"] == 5).all() and table["difference"].to_numpy() == pytest.approx(0.1)


def test_over_seeds():
    long = pd.concat([rows(np.full((2, 2, 2), v), run) for run, v in (("b0", 0.1), ("b1", 0.3), ("d0", 0.7))])
    table = over_seeds(long, {"base": ["b0", "b1"], "dmaf": ["d0"]}).set_index(["method", "region"])
    line = table.loc[("base", "ET")]
    assert line["seeds"] == 2 and line["mean"] == pytest.approx(0.2) and line["sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert (line["lowest"], line["highest"]) == pytest.approx((0.1, 0.3))
    assert np.isnan(table.loc[("dmaf", "WT"), "sd"])
    with pytest.raises(ValueError, match="b9"):
        over_seeds(long, {"base": ["b9"]})
