"""What a matrix says, also while it is unfinished: method x missing rates with intervals, seeds, costs, curves.

The unit is the case: subsets, regions and seeds are averaged within a case before an interval over cases is taken.
A cell without a run stays empty; nothing is filled in.  Taught in lesson 16.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dmaf_lite.evaluation.statistics import bootstrap_interval
from dmaf_lite.evaluation.tables import select
from dmaf_lite.experiment.profile import OWN, ExperimentSettings
from dmaf_lite.experiment.protocol import ON_TEST
from dmaf_lite.spec import SPECS, DatasetSpec
from dmaf_lite.training.runlog import read_log

FLAT = 0.01  # of Dice: less than the spread over seeds


def with_axes(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of earlier versions with the columns that they lack: one kind of rates, the last weights."""
    missing = {"rates": OWN, "choice": "last"}
    return rows.assign(**{name: value for name, value in missing.items() if name not in rows.columns})


def spec_of(rows: pd.DataFrame) -> DatasetSpec | None:
    """The kind of study that rows are about, told by their regions; None where there are no rows."""
    found = set(rows["region"])
    return next((spec for spec in SPECS.values() if found & set(spec.regions)), None)


def per_case(rows: pd.DataFrame, metric: str = "dice", convention: str | None = None) -> pd.Series:
    """One number for each (variant, rates, seed, case): the mean over subsets and regions, without ``ET_post``.

    Of runs whose test cases also chose weights, the last weights count.
    """
    found = with_axes(select(rows, metric, convention))
    found = found[~found["region"].str.endswith("_post") & (found["choice"] != ON_TEST)]
    return found.groupby(["variant", "rates", "seed", "case"], sort=False)["value"].mean()


def score_table(rows: pd.DataFrame, settings: ExperimentSettings | None = None, *, metric: str = "dice",
                convention: str | None = None) -> pd.DataFrame:
    """Method x rates: the mean, its 95 % interval over cases, and how many seeds stand behind it.

    Args:
        rows: Long table with the columns of an experiment; may be empty.
        settings: The profile, so that cells without any finished run are there, too, with 0 seeds.
        metric, convention: As in `tables.select`.

    Returns:
        Index variant, rates; columns mean, low, high, seeds, cases. NaN where there is no run.
    """
    lines = {}
    if settings is not None:
        lines = {(run.variant, run.rates): (np.nan, np.nan, np.nan, 0, 0) for run in settings.runs}
    if len(rows):
        for cell, values in per_case(rows, metric, convention).groupby(level=["variant", "rates"], sort=False):
            cases = values.groupby(level="case").mean()
            low, high = bootstrap_interval(cases.to_numpy())
            lines[cell] = (cases.mean(), low, high, values.index.get_level_values("seed").nunique(), len(cases))
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["mean", "low", "high", "seeds", "cases"])
    table.index = pd.MultiIndex.from_tuples(table.index, names=["variant", "rates"])
    return table.astype({"seeds": int, "cases": int})


def region_intervals(rows: pd.DataFrame, regions: Sequence[str] | None = None, *, metric: str = "dice",
                     convention: str | None = None) -> pd.DataFrame:
    """Variant x rates x choice against regions, as text: the mean and its 95 % interval over patients.

    Subsets and seeds are averaged within a patient first, so rows of a cross-validation give one interval over all
    patients, each tested by networks that have not seen it.

    Args:
        rows: Long table with the columns of an experiment.
        regions: Which and in what order; default the order of the rows.
        metric, convention: As in `tables.select`.
    """
    found = with_axes(select(rows, metric, convention))
    cells = found.groupby(["variant", "rates", "choice", "region", "case"], sort=False)["value"].mean()

    def cell(values: pd.Series) -> str:
        low, high = bootstrap_interval(values.to_numpy())
        return f"{values.mean():.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")

    text = {key: cell(values) for key, values in cells.groupby(level=["variant", "rates", "choice", "region"],
                                                               sort=False)}
    table = pd.Series(text).rename_axis(["variant", "rates", "choice", "region"]).unstack("region")
    order = list(dict.fromkeys(found["region"])) if regions is None else list(regions)
    lines = list(dict.fromkeys(key[:3] for key in text))
    return table.loc[lines, order]


def seed_means(rows: pd.DataFrame, metric: str = "dice") -> pd.Series:
    """The mean of each seed, index variant, rates, seed: the points beside an interval."""
    return per_case(rows, metric).groupby(level=["variant", "rates", "seed"], sort=False).mean()


def pivot(table: pd.DataFrame) -> pd.DataFrame:
    """`score_table` as text, a column for each kind of rates: ``.712 [.690, .731] (3 seeds)``, or ``missing``."""

    def cell(line: pd.Series) -> str:
        if not line["seeds"]:
            return "missing"
        seeds = f"{line['seeds']:.0f} seed" + ("s" if line["seeds"] > 1 else "")
        if np.isnan(line["low"]):
            return f"{line['mean']:.3f} ({seeds}, one case)"
        return f"{line['mean']:.3f} [{line['low']:.3f}, {line['high']:.3f}] ({seeds})"

    text = table.apply(cell, axis=1)
    order = list(dict.fromkeys(table.index.get_level_values("variant")))
    return text.unstack("rates", fill_value="missing").loc[order]


def costs(folder: str | Path) -> pd.DataFrame:
    """Hours and hardware of every run that was begun; index run."""
    return costs_of({"costs": {path.parent.name: json.loads(path.read_text(encoding="utf-8"))
                               for path in sorted(Path(folder).glob("runs/*/cost.json"))}})


def costs_of(card: Mapping[str, Any]) -> pd.DataFrame:
    """The same from the card of a committed table; empty where it has none."""
    lines = {run: (cost.get("train_seconds", 0) / 3600, cost.get("evaluate_seconds", 0) / 3600, cost["hardware"])
             for run, cost in card.get("costs", {}).items()}
    return pd.DataFrame.from_dict(lines, orient="index", columns=["training, h", "scoring, h", "hardware"])


def curves(folder: str | Path) -> dict[str, pd.DataFrame]:
    """Run -> its looks at the validation cases (step, score), where it has any."""
    return {path.parent.name: read_log(path) for path in sorted(Path(folder).glob("runs/*/validation.csv"))}


def curves_of(card: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The same from the card of a committed table; empty where it has none."""
    return {run: pd.DataFrame(looks) for run, looks in card.get("curves", {}).items()}


def is_flat(scores: Sequence[float], *, share: float = 0.2, within: float = FLAT) -> bool:
    """Whether a curve has flattened: the last `share` of its looks is on average less than `within` above the looks
    before them (as many).  A curve of fewer than ten looks is not judged flat."""
    count = round(share * len(scores))
    if len(scores) < 10:
        return False
    late, before = np.mean(scores[-count:]), np.mean(scores[-2 * count: -count])
    return bool(late - before < within)
