"""The log of a run: one CSV row every few steps, cut back to the checkpoint when a run resumes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from dmaf_lite.base.atomic import atomic_path


class RunLog:
    """Append rows to a CSV file; the first row decides the columns.

    Args:
        path: The file.
        first: Rows of steps >= `first` are dropped: they will be made again.
    """

    def __init__(self, path: Path, first: int) -> None:
        self.path = path
        self.columns: list[str] = []
        if not path.exists():
            return
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            # a row cut short by a kill has None in its last columns
            kept = [row for row in reader if None not in row.values() and int(row["step"]) < first]
            self.columns = list(reader.fieldnames or [])
        with atomic_path(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: Mapping[str, float]) -> None:
        """Append one row.

        Raises:
            ValueError: If its columns are not those of the rows before.
        """
        if not self.columns:
            self.columns = list(row)
            with self.path.open("w", newline="") as file:
                csv.DictWriter(file, self.columns).writeheader()
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow({k: repr(v) for k, v in row.items()})


def read_log(path: str | Path):
    """The log as a DataFrame, one row per logged step."""
    import pandas as pd

    return pd.read_csv(path)
