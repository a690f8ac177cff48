"""Many studies: a prepared cohort, from which any crop is read without reading the whole case.

This is also the door to its neighbours: layouts (find cases on disk), prepare (make the store), splits.

Taught in lesson 01.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.finding import files_in_folder, find_cases, find_cohort
from dmaf_lite.data.layouts import LAYOUTS, Layout, layout_of
from dmaf_lite.data.prepare import FORMAT, PrepareReport, prepare_cohort
from dmaf_lite.data.splits import patient_of, plain_name, read_names, read_split, split_cases, write_split
from dmaf_lite.data.stored_case import AGAIN, StoredCase
from dmaf_lite.spec import SPECS, DatasetSpec

__all__ = ["LAYOUTS", "Cohort", "Layout", "PrepareReport", "files_in_folder", "find_cases", "find_cohort", "layout_of",
           "patient_of", "plain_name", "prepare_cohort", "read_names", "read_split", "split_cases", "write_split"]


class Cohort:
    """A prepared cohort.

    Args:
        folder: The store that `prepare_cohort` made.

    Attributes:
        folder: The store.
        layout: How the original files were laid out.
        spec: Modalities and classes.
        names: Sorted names of the whole cases.
        preparation: ``"own"`` or ``"published"``, see `normalise_case`.

    Raises:
        CaseError: No store, an empty one, or one of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "cohort.json"
        try:
            self.recipe = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CaseError(path, found="no prepared cohort", expected="the folder that preparing made",
                            do=AGAIN) from error
        if self.recipe.get("format") != FORMAT or self.recipe.get("layout") not in LAYOUTS:
            raise CaseError(path, found=f"format {self.recipe.get('format')}, layout {self.recipe.get('layout')}",
                            expected=f"format {FORMAT} and a known layout", do=AGAIN)
        self.layout: Layout = layout_of(self.recipe["layout"])
        if self.layout.kind == "listed":  # dataset.json decided, when the cohort was prepared
            self.layout = replace(self.layout, spec=SPECS[self.recipe["spec"]], labels=dict(self.recipe["labels"]))
        self.spec: DatasetSpec = self.layout.spec
        self.preparation: str = self.recipe.get("preparation", "own")
        # A case that is being written has a hidden name until it is whole.
        self.names: list[str] = sorted(p.parent.name for p in self.folder.glob("[!.]*/case.json"))
        if not self.names:
            raise CaseError(self.folder, found="no prepared case", expected="at least one", do=AGAIN)
        self._cases: dict[str, StoredCase] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._cases or name in self.names

    def __getitem__(self, name: str) -> StoredCase:
        """A case by name; what is known about it is read once.

        Raises:
            CaseError: The case is not in the store.
        """
        if name not in self._cases:
            self._cases[name] = StoredCase(self.folder / name, self.spec, of=len(self))
        return self._cases[name]

    def __repr__(self) -> str:
        return f"Cohort({self.layout.name}, {len(self)} cases)"

    # The same by the name of a case.
    def meta(self, name: str) -> dict:
        """What is known about a case, see `StoredCase.meta`."""
        return self[name].meta

    def available(self, name: str) -> np.ndarray:
        """Which modalities exist: bool[M]."""
        return self[name].available

    def read(self, name: str, start: Sequence[int] | None = None, size: Sequence[int] | None = None,
             available: Sequence[bool] | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a crop, see `StoredCase.read`."""
        return self[name].read(start, size, available)

    def to_original(self, name: str, label: np.ndarray) -> np.ndarray:
        """Put a label map back on the grid of the files, see `StoredCase.to_original`."""
        return self[name].to_original(label)
