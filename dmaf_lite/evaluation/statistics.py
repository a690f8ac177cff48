"""Comparing runs: paired over cases, with an interval, and over seeds.

The unit is the case: subsets of one case and seeds of one method are not independent, so they are
averaged within the case before anything is tested.

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 10_000  # the interval's ends are then stable to about 1 % of its width


def bootstrap_interval(values: Sequence[float], *, level: float = 0.95, resamples: int = RESAMPLES,
                       seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values` (one per case).

    Returns:
        Lower and upper end; NaN, NaN for fewer than two cases.
    """
    from scipy.stats import bootstrap

    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    result = bootstrap((values,), np.mean, confidence_level=level, n_resamples=resamples, method="percentile",
                       batch=1000, rng=np.random.default_rng(seed))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Two-sided Wilcoxon signed-rank p of paired differences; 1 where all are 0, NaN for none."""
    from scipy.stats import wilcoxon

    differences = np.asarray(differences, dtype=float)
    if not len(differences):
        return float("nan")
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction; NaN stays NaN and does not count as a test.

    p_(i) of n sorted p values becomes max_{j <= i} min(1, (n - j + 1) p_(j)).
    """
    p = np.asarray(p_values, dtype=float)
    corrected = np.full_like(p, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = np.minimum(1.0, p[order] * np.arange(len(order), 0, -1))
    corrected[order] = np.maximum.accumulate(steps)
    return corrected


def compare(ours: pd.DataFrame, other: pd.DataFrame, *, metric: str = "dice", convention: str | None = None,
            by: Sequence[str] = ("region",), level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Paired comparison of two long tables, `ours` minus `other`.

    Args:
        ours: Long table of one method; several runs in it are its seeds.
        other: Long table of the other.
        metric: Row to compare.
        convention: Needed where the metric is there under several.
        by: One line per combination of these columns (``("region",)``, ``("subset", "region")``); every
            other column is averaged within the case.
        level: Of the interval.
        seed: Of the bootstrap.

    Returns:
        Columns `by`, cases, ours, other, difference, low, high, p, p_holm (over all lines of this table) and `clear`:
        the interval does not hold 0. Differences that are not clear are not to be put in bold.

    Raises:
        ValueError: If the tables share no case, or do not hold the same (case, subset, region) rows.
    """
    import pandas as pd

    from dmaf_lite.evaluation.tables import select

    sides = []
    for rows in (ours, other):
        chosen = select(rows, metric, convention)
        sides.append(chosen.groupby(["case", "subset", "region"], sort=False)["value"].mean())
    cases = [set(side.index.get_level_values("case")) for side in sides]
    if not cases[0] & cases[1]:
        raise ValueError("the two tables share no case; a paired comparison needs the same cases in both")
    if set(sides[0].index) != set(sides[1].index):
        raise ValueError("the two tables do not hold the same cases, subsets and regions "
                         f"({len(sides[0])} and {len(sides[1])} values); evaluate both on the same")
    pairs = pd.concat(sides, axis=1, keys=["ours", "other"]).dropna()  # a convention may leave a case out
    lines = []
    for key, group in pairs.groupby(list(by), sort=False):
        per_case = group.groupby("case").mean()
        difference = (per_case["ours"] - per_case["other"]).to_numpy()
        low, high = bootstrap_interval(difference, level=level, seed=seed)
        lines.append({**dict(zip(by, key, strict=True)), "cases": len(per_case), "ours": per_case["ours"].mean(),
                      "other": per_case["other"].mean(), "difference": difference.mean(), "low": low, "high": high,
                      "p": wilcoxon_p(difference)})
    table = pd.DataFrame(lines)
    table["p_holm"] = holm(table["p"])
    table["clear"] = (table["low"] > 0) | (table["high"] < 0)
    return table


def over_seeds(rows: pd.DataFrame, methods: Mapping[str, Sequence[str]], *, metric: str = "dice",
               convention: str | None = None, by: Sequence[str] = ("region",)) -> pd.DataFrame:
    """Mean and spread over seeds of each method.

    Args:
        rows: Long table of all runs.
        methods: Method -> its runs (one per seed), names as in the column `run`.
        metric: Row to summarise.
        convention: Needed where the metric is there under several.
        by: Lines besides the method.

    Returns:
        Columns method, `by`, seeds, mean, sd (n - 1; NaN for one seed), lowest, highest; each seed's value is
        its mean over cases and subsets.

    Raises:
        ValueError: If a run is not in the table.
    """
    import pandas as pd

    from dmaf_lite.evaluation.tables import select

    chosen = select(rows, metric, convention)
    absent = sorted({run for runs in methods.values() for run in runs} - set(chosen["run"]))
    if absent:
        raise ValueError(f"no rows of the runs {absent}; the table holds {sorted(set(chosen['run']))}")
    per_run = chosen.groupby([*by, "run"], sort=False)["value"].mean().reset_index()
    parts = []
    for method, runs in methods.items():
        grouped = per_run[per_run["run"].isin(runs)].groupby(list(by), sort=False)["value"]
        part = grouped.agg(seeds="count", mean="mean", sd="std", lowest="min", highest="max").reset_index()
        part.insert(0, "method", method)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
