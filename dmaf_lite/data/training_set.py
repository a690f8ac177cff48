"""What a network is trained on: cases of a cohort, and for each of them the scans that training may see.

Taught in lesson 07.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.cohort import Cohort
from dmaf_lite.data.missing import missing_table, read_table


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Cases and, for the imbalanced conditions, their missing-rate table; checked when it is made.

    Attributes:
        cohort: A prepared cohort.
        names: The training cases, in the order that the draws of a run count on.
        table: Case name -> bool[M], True where training may see the scan; rows of other cases are left out. None:
            every scan that exists, for the condition complete.

    Raises:
        CaseError: A name that is not in the cohort, twice in the list, without a segmentation, without a row in the
            table, or left without any scan.
    """

    cohort: Cohort
    names: Sequence[str]
    table: Mapping[str, Sequence[bool]] | None = None
    allowed: dict[str, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = tuple(self.names)
        object.__setattr__(self, "names", names)
        if not names:
            raise self._error("no training case", "at least one", "check the list of cases")
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1] if len(set(names)) < len(names) else []
        self._refuse(twice, "twice among the training cases", "each once", "correct the list of cases")
        self._refuse([name for name in names if name not in self.cohort], "not in the cohort",
                     f"some of its {len(self.cohort)} cases", "check the list of cases, or prepare them")
        self._refuse([name for name in names if not self.cohort[name].meta["labelled"]], "without a segmentation",
                     "one to learn from", "take them out of the training cases")
        if self.table is not None:
            self._refuse([name for name in names if name not in self.table], "without a row in the missing-rate table",
                         "a row for every training case", "make the table for these cases "
                         "(data_scripts/make_missing_rates.py)")
            rows = {name: np.asarray(self.table[name]) for name in names}
            self._refuse([name for name, row in rows.items() if row.shape != (self.cohort.spec.M,)],
                         "with a row of another length",
                         f"one entry for each of {', '.join(self.cohort.spec.modalities)}", "make the table anew")
            object.__setattr__(self, "table", {name: tuple(map(bool, row)) for name, row in rows.items()})
        allowed = {name: self.cohort[name].available for name in names}
        if self.table is not None:
            allowed = {name: exists & np.array(self.table[name]) for name, exists in allowed.items()}
        self._refuse([name for name, mask in allowed.items() if not mask.any()], "left without any scan",
                     "at least one that exists", "correct their rows in the missing-rate table")
        object.__setattr__(self, "allowed", allowed)

    def _error(self, found: str, expected: str, do: str) -> CaseError:
        return CaseError(self.cohort.folder, found=found, expected=expected, do=do)

    def _refuse(self, names: Sequence[str], what: str, expected: str, do: str) -> None:
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise self._error(f"{shown} {what}", expected, do)

    @classmethod
    def from_file(cls, cohort: Cohort, names: Sequence[str], path: str | Path | None) -> TrainingSet:
        """With the missing-rate table of a CSV file, or without one."""
        if path is None:
            return cls(cohort, names)
        frame = read_table(path, spec=cohort.spec)
        return cls(cohort, names, {name: tuple(row) for name, row in zip(frame.index, frame.to_numpy(), strict=True)})

    def with_rates(self, rates: Mapping[str, float], seed: int) -> TrainingSet:
        """The same cases with a table drawn at exactly these missing rates (modality -> rate)."""
        frame = missing_table(list(self.names), rates, spec=self.cohort.spec, seed=seed)
        return TrainingSet(self.cohort, self.names, {name: tuple(row) for name, row in
                                                     zip(frame.index, frame.to_numpy(), strict=True)})

    def check_condition(self, condition: str) -> None:
        """Refuse a table that would not be used, and a condition whose table is not there.

        Raises:
            ValueError: In both cases.
        """
        if condition == "complete" and self.table is not None:
            raise ValueError("a missing-rate table was given, but the condition is complete, which drops scans at "
                             "random and uses none; set condition to imbalanced or imbalanced+drop, or give no table")
        if condition != "complete" and self.table is None:
            raise ValueError(f"condition {condition} needs a missing-rate table with a row for every training case; "
                             "give one, or missing_rates to draw it at")

    def availability_rates(self) -> np.ndarray:
        """Share of the training cases that have each modality for training, float[M]."""
        return np.mean([self.allowed[name] for name in self.names], axis=0)

    def frame(self) -> pd.DataFrame:
        """The table: bool, a row for each case, a column for each modality."""
        return pd.DataFrame.from_dict({name: list(self.allowed[name] if self.table is None else self.table[name])
                                       for name in self.names}, orient="index",
                                      columns=list(self.cohort.spec.modalities), dtype=bool)

    @cached_property
    def digest(self) -> str:
        """Identity of the prepared cases and of their rows: other files, preparation or table, another digest."""
        cases = {name: [self.cohort[name].identity, list(map(bool, self.table[name])) if self.table else None]
                 for name in self.names}
        text = json.dumps([self.cohort.spec.name, list(self.cohort.spec.modalities), list(self.names), cases])
        return hashlib.sha256(text.encode()).hexdigest()
