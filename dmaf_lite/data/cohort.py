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

from dmaf_lite.data.case import CaseError, to_original
from dmaf_lite.data.finding import files_in_folder, find_cases, find_cohort
from dmaf_lite.data.layouts import LAYOUTS, Layout, layout_of
from dmaf_lite.data.prepare import FORMAT, PrepareReport, prepare_cohort
from dmaf_lite.data.splits import patient_of, plain_name, read_split, split_cases, write_split
from dmaf_lite.data.turning import NO_TURN
from dmaf_lite.data.volume import overlap
from dmaf_lite.spec import SPECS, DatasetSpec

__all__ = ["LAYOUTS", "Cohort", "Layout", "PrepareReport", "files_in_folder", "find_cases", "find_cohort", "layout_of",
           "patient_of", "plain_name", "prepare_cohort", "read_split", "split_cases", "write_split"]

_AGAIN = "prepare the cohort again with data_scripts/prepare_cohort.py"


class Cohort:
    """A prepared cohort.

    Args:
        folder: The store that `prepare_cohort` made.

    Attributes:
        folder: The store.
        layout: How the original files were laid out.
        spec: Modalities and classes.
        names: Sorted names of the whole cases.

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
                            do=_AGAIN) from error
        if self.recipe.get("format") != FORMAT or self.recipe.get("layout") not in LAYOUTS:
            raise CaseError(path, found=f"format {self.recipe.get('format')}, layout {self.recipe.get('layout')}",
                            expected=f"format {FORMAT} and a known layout", do=_AGAIN)
        self.layout: Layout = layout_of(self.recipe["layout"])
        if self.layout.kind == "listed":  # dataset.json decided, when the cohort was prepared
            self.layout = replace(self.layout, spec=SPECS[self.recipe["spec"]], labels=dict(self.recipe["labels"]))
        self.spec: DatasetSpec = self.layout.spec
        # A case that is being written has a hidden name until it is whole.
        self.names: list[str] = sorted(p.parent.name for p in self.folder.glob("[!.]*/case.json"))
        if not self.names:
            raise CaseError(self.folder, found="no prepared case", expected="at least one", do=_AGAIN)
        self._meta: dict[str, dict] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Cohort({self.layout.name}, {len(self)} cases)"

    def meta(self, name: str) -> dict:
        """What is known about a case without reading its voxels.

        Returns:
            name; shape, spacing (mm), affine of the stored arrays; box [[start, stop] x 3] of the stored arrays in the
            grid of grid_shape (the original grid, or the resampled one); boxes: modality -> box of its own foreground
            in the stored arrays; original_shape, original_affine of the files, with their axes turned; turn: how, and
            orientation: where they pointed to before; modalities; labelled;
            classes: internal labels present; foreground: internal label -> int64[n, 3], at most 512 voxels of it,
            evenly spread; label_outside: internal label -> voxels outside the box, not stored; intensity: modality ->
            (mean, deviation) taken out; sources; warnings.

        Raises:
            CaseError: The case is not in the store.
        """
        if name not in self._meta:
            path = self.folder / name / "case.json"
            try:
                meta = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise CaseError(path, found="no prepared case of this name", expected=f"one of the {len(self)} cases",
                                do="check the name, or " + _AGAIN) from error
            wanted = self.spec.orientation
            if wanted and "turn" not in meta and meta.get("orientation", wanted) != wanted:
                raise CaseError(path, found=f"axes that point to {meta['orientation']}, prepared by an earlier version",
                                expected=wanted, do=_AGAIN)
            for key in ("shape", "spacing", "grid_shape", "original_shape"):
                meta[key] = tuple(meta[key])
            for key in ("affine", "original_affine"):
                meta[key] = np.array(meta[key])
            meta["turn"] = tuple((axis, flip) for axis, flip in meta.get("turn", NO_TURN))
            meta["foreground"] = {int(c): np.stack(np.unravel_index(np.array(flat, np.int64), meta["shape"]), axis=1)
                                  for c, flat in meta["foreground"].items()}
            meta["label_outside"] = {int(c): count for c, count in meta["label_outside"].items()}
            self._meta[name] = meta
        return self._meta[name]

    def available(self, name: str) -> np.ndarray:
        """Which modalities exist: bool[M]."""
        there = self.meta(name)["modalities"]
        return np.array([modality in there for modality in self.spec.modalities])

    def read(self, name: str, start: Sequence[int] | None = None, size: Sequence[int] | None = None,
             available: Sequence[bool] | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a crop, and only it: the arrays are memory-mapped, and modalities not asked for are not opened.

        Args:
            name: The case.
            start: First voxel; may be negative. None: the corner.
            size: (D, H, W). None: up to the far corner. What lies beyond the stored arrays is 0.
            available: bool[M], the modalities to read; None reads all that exist.

        Returns:
            images float32[M, D, H, W], exact 0 where not read; label uint8[D, H, W] or None for a case without one.

        Raises:
            ValueError: `available` asks for a modality that the case does not have.
            CaseError: The stored files are damaged.
        """
        meta = self.meta(name)
        exists = self.available(name)
        wanted = exists if available is None else np.asarray(available, bool)
        if wanted.shape != exists.shape or (wanted & ~exists).any():
            raise ValueError(f"{name}: asked for the modalities {wanted.tolist()} of {list(self.spec.modalities)}, "
                             f"but it has {meta['modalities']}")
        start = (0, 0, 0) if start is None else tuple(int(s) for s in start)
        size = tuple(n - s for n, s in zip(meta["shape"], start, strict=True)) if size is None else tuple(size)
        inside, within = overlap(start, size, meta["shape"])
        images = np.zeros((self.spec.M, *size), np.float32)
        for m in np.flatnonzero(wanted):
            images[m][within] = self._mapped(name, self.spec.modalities[m])[inside]
        label = None
        if meta["labelled"]:
            label = np.zeros(size, np.uint8)
            label[within] = self._mapped(name, "label")[inside]
        return images, label

    def _mapped(self, name: str, what: str) -> np.ndarray:
        path = self.folder / name / f"{what}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CaseError(path, found=f"a damaged or missing array ({error})", expected="a whole .npy",
                            do=f"delete the folder {path.parent} and {_AGAIN}") from error
        if array.shape != self.meta(name)["shape"]:
            raise CaseError(path, found=f"the shape {array.shape}", expected=f"{self.meta(name)['shape']}",
                            do=f"delete the folder {path.parent} and {_AGAIN}")
        return array

    def to_original(self, name: str, label: np.ndarray) -> np.ndarray:
        """Put a label map (D, H, W) of a case back on the grid of its files, 0 outside the box."""
        meta = self.meta(name)
        return to_original(label, box=tuple(slice(*pair) for pair in meta["box"]), grid_shape=meta["grid_shape"],
                           original_shape=meta["original_shape"], turn=meta["turn"])
