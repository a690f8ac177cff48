"""One prepared study in a store, from which any crop is read without reading the whole case."""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dmaf_lite.data.case import CaseError, to_original
from dmaf_lite.data.turning import NO_TURN
from dmaf_lite.data.volume import Box, overlap, paste
from dmaf_lite.spec import DatasetSpec

WILL_NEED = getattr(mmap, "MADV_WILLNEED", None)  # not on Windows
AGAIN = "prepare the cohort again with data_scripts/prepare_cohort.py"


class StoredCase:
    """A case of a prepared cohort; `Cohort` gives it by name.

    Args:
        folder: Its folder in the store.
        spec: Modalities and classes.
        of: Number of cases in the store, for the error message.

    Attributes:
        name: Name of the case.
        meta: name; shape, spacing (mm), affine of the stored arrays; box [[start, stop] x 3] of the stored arrays in
            the grid of grid_shape (the original grid, or the resampled one); boxes: modality -> box of its own
            foreground in the stored arrays; original_shape, original_affine of the files, with their axes turned;
            turn: how, and orientation: where they pointed to before; modalities; labelled; classes: internal labels
            present; foreground: internal label -> int64[n, 3], at most 512 voxels of it, evenly spread;
            label_outside: internal label -> voxels outside the box, not stored; intensity: modality -> (mean,
            deviation) taken out; sources; warnings.
        available: Which modalities exist, bool[M].

    Raises:
        CaseError: The case is not in the store.
    """

    def __init__(self, folder: Path, spec: DatasetSpec, *, of: int) -> None:
        self.folder, self.name, self.spec = folder, folder.name, spec
        path = folder / "case.json"
        try:
            meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CaseError(path, found="no prepared case of this name", expected=f"one of the {of} cases",
                            do="check the name, or " + AGAIN) from error
        wanted = spec.orientation
        if wanted and "turn" not in meta and meta.get("orientation", wanted) != wanted:
            raise CaseError(path, found=f"axes that point to {meta['orientation']}, prepared by an earlier version",
                            expected=wanted, do=AGAIN)
        for key in ("shape", "spacing", "grid_shape", "original_shape"):
            meta[key] = tuple(meta[key])
        for key in ("affine", "original_affine"):
            meta[key] = np.array(meta[key])
        meta["turn"] = tuple((axis, flip) for axis, flip in meta.get("turn", NO_TURN))
        meta["foreground"] = {int(c): np.stack(np.unravel_index(np.array(flat, np.int64), meta["shape"]), axis=1)
                              for c, flat in meta["foreground"].items()}
        meta["label_outside"] = {int(c): count for c, count in meta["label_outside"].items()}
        self.meta = meta
        self.available = np.array([modality in meta["modalities"] for modality in spec.modalities])
        self.available.flags.writeable = False

    def __repr__(self) -> str:
        return f"StoredCase({self.name}, {' x '.join(map(str, self.meta['shape']))})"

    @cached_property
    def identity(self) -> list[Any]:
        """What changes when the case is prepared anew from other files or in another way; plain values."""
        meta = self.meta
        return [{role: source[:2] for role, source in meta["sources"].items()}, list(meta["shape"]),
                list(meta["spacing"]), meta["box"], meta["modalities"], meta["intensity"]]

    def read(self, start: Sequence[int] | None = None, size: Sequence[int] | None = None,
             available: Sequence[bool] | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a crop, and only it: the arrays are memory-mapped, and modalities not asked for are not opened.

        Args:
            start: First voxel; may be negative. None: the corner.
            size: (D, H, W). None: up to the far corner. What lies beyond the stored arrays is 0.
            available: bool[M], the modalities to read; None reads all that exist.

        Returns:
            images float32[M, D, H, W], exact 0 where not read; label uint8[D, H, W] or None for a case without one.

        Raises:
            ValueError: `available` asks for a modality that the case does not have.
            CaseError: The stored files are damaged.
        """
        wanted = self.available if available is None else np.asarray(available, bool)
        if wanted.shape != self.available.shape or (wanted & ~self.available).any():
            raise ValueError(f"{self.name}: asked for the modalities {wanted.tolist()} of "
                             f"{list(self.spec.modalities)}, but it has {self.meta['modalities']}")
        shape = self.meta["shape"]
        start = (0, 0, 0) if start is None else tuple(int(s) for s in start)
        size = tuple(n - s for n, s in zip(shape, start, strict=True)) if size is None else tuple(size)
        inside, within = overlap(start, size, shape)
        stored = {m: self._mapped(self.spec.modalities[m]) for m in np.flatnonzero(wanted)}
        truth = self._mapped("label") if self.meta["labelled"] else None
        for array in [*stored.values(), *([] if truth is None else [truth])]:
            ask_for(array, inside[0])
        images = np.zeros((self.spec.M, *size), np.float32)
        for m, array in stored.items():
            images[m][within] = array[inside]
        label = None
        if truth is not None:
            label = np.zeros(size, np.uint8)
            label[within] = truth[inside]
        return images, label

    def _mapped(self, what: str) -> np.ndarray:
        path = self.folder / f"{what}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CaseError(path, found=f"a damaged or missing array ({error})", expected="a whole .npy",
                            do=f"delete the folder {path.parent} and {AGAIN}") from error
        if array.shape != self.meta["shape"]:
            raise CaseError(path, found=f"the shape {array.shape}", expected=f"{self.meta['shape']}",
                            do=f"delete the folder {path.parent} and {AGAIN}")
        return array

    def truth(self) -> np.ndarray:
        """The segmentation of a resampled case as its file has it, with the axes turned: uint8 of original_shape.

        Raises:
            CaseError: The case has none, or it was prepared by a version that did not keep it.
        """
        if "truth_box" not in self.meta:
            raise CaseError(self.folder, found="no segmentation on the grid of the files",
                            expected="one, as this version keeps it for resampled cases",
                            do=f"{AGAIN} --again, or score on the grid of the store (setting grid: store)")
        path = self.folder / "truth.npy"
        try:
            inside = np.load(path, allow_pickle=False)
            return paste(inside, tuple(slice(*pair) for pair in self.meta["truth_box"]), self.meta["original_shape"])
        except (OSError, ValueError) as error:
            raise CaseError(path, found=f"a damaged or missing array ({error})", expected="a whole .npy",
                            do=f"delete the folder {path.parent} and {AGAIN}") from error

    @property
    def box(self) -> Box:
        """Where the stored arrays lie in the grid of `grid_shape`."""
        return tuple(slice(*pair) for pair in self.meta["box"])

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """The grid of the files with its axes turned, or the resampled one."""
        return self.meta["grid_shape"]

    @property
    def original_shape(self) -> tuple[int, ...]:
        """The grid of the files with its axes turned."""
        return self.meta["original_shape"]

    def to_original(self, label: np.ndarray) -> np.ndarray:
        """Put a label map (D, H, W) back on the grid of the files, 0 outside the box."""
        return to_original(label, box=self.box, grid_shape=self.grid_shape, original_shape=self.original_shape,
                           turn=self.meta["turn"])


def ask_for(array: np.ndarray, planes: slice) -> None:
    """Tell the system which planes of a memory-mapped array (D, H, W) are read next; it then begins to load them.

    A crop is many short rows. Without a word each is waited for by itself, so that one from a cold disk took longer
    than the whole file.
    """
    pages = array.base
    told = WILL_NEED is not None and isinstance(pages, mmap.mmap) and array.flags.c_contiguous
    if not told or planes.stop <= planes.start:
        return
    before = len(pages) - array.nbytes  # the file's header
    start = before + planes.start * array.strides[0]
    start -= start % mmap.PAGESIZE
    stop = before + planes.stop * array.strides[0]
    with suppress(OSError):  # a disk that takes no advice is read all the same
        pages.madvise(WILL_NEED, start, stop - start)
