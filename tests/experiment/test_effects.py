"""Which part helps where: intervals over cases, seeds that have to agree, and gaps that stay gaps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dmaf_lite.evaluation.statistics import compare
from dmaf_lite.experiment.effects import ALL, effects

CASES = 8


def rows(variant, rates="complete", seeds=(0, 1, 2), shift=0.0, by_seed=(0.0, 0.0, 0.0), noise=0.002):
    """Rows of one variant: two subsets, two regions; `shift` is what it is better by."""
    rng = np.random.default_rng(1)
    return [{"run": f"{variant}-{rates}-seed{seed}", "variant": variant, "rates": rates, "seed": seed, "choice": "last",
             "case": f"c{case}", "subset": subset, "region": region, "metric": "dice", "convention": "",
             "value": 0.5 + 0.03 * case + shift * (region == "WT") + by_seed[seed] + noise * rng.standard_normal()}
            for seed in seeds for case in range(CASES) for subset in ("A", "B") for region in ("WT", "TC")]


def table(*parts, pairs=(("one", "before"),)):
    """Effects of the given rows, index (rates, region)."""
    found = effects(pd.DataFrame([line for part in parts for line in part]), pairs, regions=["WT", "TC"])
    return found.set_index(["rates", "region"])


def test_a_part_helps_where_interval_and_seeds_say_so():
    found = table(rows("before"), rows("one", shift=0.05)).loc["complete"]
    assert found["verdict"].to_dict() == {"WT": "helps", "TC": "not shown", ALL: "helps"}
    assert found.loc["WT", "difference"] == pytest.approx(0.05) and found.loc[ALL, "difference"] == pytest.approx(0.025)
    turned = table(rows("before", shift=0.05), rows("one")).loc["complete"]
    assert turned.loc["WT", "verdict"] == "hurts" and turned.loc["WT", "high"] < 0


def test_a_seed_that_says_the_opposite_leaves_it_open():
    found = table(rows("before"), rows("one", shift=0.05, by_seed=(0.1, 0.1, -0.06))).loc[("complete", "WT")]
    assert found["low"] > 0 and found["verdict"] == "not shown"


def test_a_single_seed_is_said():
    found = table(rows("before"), rows("one", seeds=(1,), shift=0.05)).loc["complete"]
    assert found["seeds"].eq(1).all() and found.loc["WT", "verdict"] == "one seed only"
    assert found.loc["TC", "verdict"] == "not shown"


def test_only_seeds_that_both_have_are_compared():
    unequal = rows("before", by_seed=(0.0, 0.2, 0.4)), rows("one", seeds=(0,), shift=0.05)
    assert table(*unequal).loc[("complete", "WT"), "difference"] == pytest.approx(0.05, abs=0.01)


def test_a_cell_without_runs_is_missing_and_not_nothing():
    found = table(rows("before"), rows("one"), rows("before", rates="rare"), rows("one", rates="other", seeds=(0,)),
                  rows("before", rates="other", seeds=(1,)))
    for rates in ("rare", "other"):
        assert found.loc[rates, "verdict"].eq("missing").all() and found.loc[rates, "difference"].isna().all()
    assert found.loc["complete", "seeds"].eq(3).all()


def test_the_numbers_are_those_of_the_paired_comparison():
    ours, other = pd.DataFrame(rows("one", shift=0.03, noise=0.01)), pd.DataFrame(rows("before", noise=0.02))
    found = effects(pd.concat([ours, other]), [("one", "before")], regions=["WT", "TC"]).set_index("region")
    expected = compare(ours, other).set_index("region")
    columns = ["difference", "low", "high"]
    pd.testing.assert_frame_equal(found.loc[["WT", "TC"], columns], expected.loc[["WT", "TC"], columns])


def test_the_numbers_of_the_readme_are_those_of_the_committed_table():
    repository = Path(__file__).parents[2]
    parts = pd.read_parquet(repository / "notebooks" / "results" / "parts.parquet")
    found = effects(parts, [("dmaf", "baseline")], regions=["WT", "TC", "ET"]).set_index(["rates", "region"])
    readme = " ".join((repository / "README.md").read_text(encoding="utf-8").split())
    for region in ("TC", "ET"):
        line = found.loc[("mr2468", region)]
        assert f"{region} by {line['difference']:.3f} [{line['low']:.3f}, {line['high']:.3f}]" in readme
        assert line["verdict"] == "helps" and line["seeds"] == 3
