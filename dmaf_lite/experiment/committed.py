"""The small committed table of an experiment, which grows run by run, also from several folders and machines.

Long matrices are made in parts: what one machine has finished stands in the table, and another goes on in a folder of
its own.  So the runs of a committed table stay when others are added, as long as they are runs of the same profile;
a run that is there again is replaced.  The card says of every run what it cost, and of every batch of runs by which
commit and on what hardware it was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.base.settings import SettingsError, from_mapping
from dmaf_lite.experiment.profile import ExperimentSettings

DATA = ("data", "cases")  # of a card: on what its runs were made
MADE = ("commit", "date", "torch", "hardware")  # of a card: how its runs were made


def write_committed(folder: str | Path, rows: pd.DataFrame, card: Mapping[str, Any], settings: ExperimentSettings, *,
                    say: Callable[[str], None] = lambda text: None) -> pd.DataFrame:
    """Write FOLDER/<name>.parquet and .json: these rows, and those of other runs that are there already.

    Args:
        folder: Where tables are committed.
        rows: The small long table of what is finished (`matrix.results`).
        card: Its card (`matrix.experiment_card`).
        settings: The profile of both.
        say: Is told what is left out of the table that was there.

    Returns:
        The rows that were written, in the order of the profile.
    """
    table, described = Path(folder) / f"{settings.name}.parquet", Path(folder) / f"{settings.name}.json"
    card = {**card, "made": [_made(card, rows)]}
    if table.is_file():
        before, kept = _card_of(described), pd.read_parquet(table)
        same = _same_runs(before, settings) if all(before.get(key) == card[key] for key in DATA) else set()
        lost = sorted(set(kept["run"]) - same - set(rows["run"]))
        if lost:
            say(f"{table}: {len(lost)} runs are not of this profile and data any more, or their card is gone, and are "
                f"left out: {', '.join(lost[:4])}")
        kept = kept[kept["run"].isin(same - set(rows["run"]))]
        if len(kept):
            card, rows = _joined(card, before, set(kept["run"])), pd.concat([kept, rows], ignore_index=True)
    order = {run.name: number for number, run in enumerate(settings.runs)}
    rows = rows.sort_values("run", key=lambda runs: runs.map(order), kind="stable", ignore_index=True)
    with atomic_path(table) as partial:
        rows.to_parquet(partial, index=False)
    write_text(described, json.dumps(card, indent=1))
    return rows


def _card_of(path: Path) -> dict[str, Any]:
    """The card of a table that is there; empty where it is gone or damaged: nobody can tell then what its runs are."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _made(card: Mapping[str, Any], rows: pd.DataFrame) -> dict[str, Any]:
    return {**{key: card[key] for key in MADE}, "runs": list(dict.fromkeys(rows["run"]))}


def _same_runs(card: Mapping[str, Any], now: ExperimentSettings) -> set[str]:
    """Names of the runs of an earlier card that the profile still has, with the same settings and data."""
    try:
        before = from_mapping(ExperimentSettings, card["profile"])
    except (SettingsError, ValueError, KeyError):
        return set()  # of an earlier version: nobody can tell what its runs are
    decided = ("phantom", "protocol", "table_seed", "choice", "validation_cases")
    if any(getattr(before, name) != getattr(now, name) for name in decided):
        return set()
    names = {run.name for run in before.runs} & {run.name for run in now.runs}
    return {name for name in names if before.train_settings(before.run(name)) == now.train_settings(now.run(name))}


def _joined(card: Mapping[str, Any], before: Mapping[str, Any], kept: set[str]) -> dict[str, Any]:
    """One card for both: costs and curves of all runs, the hours of all, every kind of hardware once."""
    made = before.get("made") or [{**{key: before[key] for key in MADE}, "runs": list(before["costs"])}]
    earlier = [{**one, "runs": [run for run in one["runs"] if run in kept]} for one in made]
    made = [one for one in earlier if one["runs"]] + card["made"]
    both = {key: {**{run: value for run, value in before.get(key, {}).items() if run in kept}, **card[key]}
            for key in ("costs", "curves")}
    hours = sum(cost.get("train_seconds", 0) + cost.get("evaluate_seconds", 0) for cost in both["costs"].values())
    return {**card, **both, "made": made, "hours": round(hours / 3600, 2),
            "hardware": "; ".join(dict.fromkeys(one["hardware"] for one in made))}
