"""Where does a part help?  Differences of two variants of a matrix, under each kind of missing rates.

The unit is the case: subsets, regions and seeds are averaged within a case, and the interval is over cases.  A part
*helps* where the interval lies above 0 and every seed has the same sign, *hurts* likewise below 0, if there are two
seeds or more; a single seed cannot agree with another, so that is said instead.  Everything else is *not shown*, which
is not the same as no effect.  Taught in lesson 09, read again in lesson 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from dmaf_lite.evaluation.statistics import bootstrap_interval
from dmaf_lite.evaluation.tables import select
from dmaf_lite.experiment.summary import with_axes

ALL = "mean"  # of the regions
HELPS, HURTS, ONE_SEED, NOT_SHOWN, MISSING = "helps", "hurts", "one seed only", "not shown", "missing"


def effects(rows: pd.DataFrame, pairs: Iterable[tuple[str, str]], *, regions: Sequence[str], metric: str = "dice",
            convention: str | None = None) -> pd.DataFrame:
    """Each pair's difference for each region, and for their mean, under each kind of missing rates.

    Args:
        rows: Long table with the columns of an experiment.
        pairs: Variants (one, before); the difference is one minus before, over the seeds that both have finished.
        regions: Which; the mean over them is added.
        metric, convention: As in `tables.select`.

    Returns:
        Columns rates, one, before, region, difference, low, high, seeds (how many), verdict.  Where no seed is shared
        the numbers are NaN and the verdict is ``missing``.
    """
    found = with_axes(select(rows, metric, convention))
    found = found[found["region"].isin(regions)]
    cells = found.groupby(["rates", "variant", "seed", "case", "region"], sort=False)["value"].mean()
    table = cells.unstack("region").reindex(columns=list(regions))
    table[ALL] = table.mean(axis=1)
    lines, nothing = [], (np.nan, np.nan, np.nan, 0, MISSING)
    for rates in dict.fromkeys(found["rates"]):
        variants = set(table.loc[rates].index.get_level_values("variant"))
        for one, before in pairs:
            paired = None
            if {one, before} <= variants:
                paired = (table.loc[rates, one] - table.loc[rates, before]).dropna()  # index seed, case
            for region in table.columns:
                numbers = _judged(paired[region]) if paired is not None and len(paired) else nothing
                lines.append((rates, one, before, region, *numbers))
    return pd.DataFrame(lines, columns=["rates", "one", "before", "region", "difference", "low", "high", "seeds",
                                        "verdict"])


def _judged(paired: pd.Series) -> tuple[float, float, float, int, str]:
    """Mean, interval, seeds and verdict of differences with the index (seed, case)."""
    cases, seeds = paired.groupby(level="case").mean(), paired.groupby(level="seed").mean()
    low, high = bootstrap_interval(cases.to_numpy())
    verdict = HELPS if low > 0 and (seeds > 0).all() else HURTS if high < 0 and (seeds < 0).all() else NOT_SHOWN
    if verdict != NOT_SHOWN and len(seeds) == 1:
        verdict = ONE_SEED
    return cases.mean(), low, high, len(seeds), verdict
