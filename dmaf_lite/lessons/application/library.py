"""Which studies and trainings the application offers, by short names that the page uses: it never sees a path."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmaf_lite.data.case import CaseError, CaseFiles
from dmaf_lite.data.cohort import Layout, layout_of
from dmaf_lite.data.detect import detect_layout
from dmaf_lite.data.finding import SeveralCases, find_cohort, one_case
from dmaf_lite.widgets.standalone import page_data

SHIPPED = Path(__file__).parent / "phantom.html"  # by `explore --export`; it is shown before torch is there
PHANTOM = {"kind": "phantom", "seed": 1000, "index": 0, "spacing": 1.5}
MOST_FILES = 5  # of one study that is dropped: four scans and a segmentation
MOST_BYTES = 2 * 1024**3  # of one file
ENDINGS = (".nii", ".nii.gz")
USUAL = "brats2020"  # where the names of the files do not tell


def layout_in(folder: str | Path, given: str | None) -> Layout:
    """The layout that was given, else the one whose names the files bear; with the labels that a dataset.json names."""
    layout = layout_of(given or detect_layout(folder, inside=False).layout or USUAL)
    return find_cohort(folder, layout).layout if layout.kind == "listed" else layout


@dataclass(frozen=True)
class Entry:
    """One line of the list.

    Attributes:
        name: What the page calls it.
        title: What a reader reads.
        kind: ``study``, ``training``, ``shipped`` (the phantom that comes with the kit) or ``problem``.
        source: For the computing process.
        words: Of a problem: one sentence.
    """

    name: str
    title: str
    kind: str
    source: dict[str, Any]
    words: str = ""


class Library:
    """The folders of the command line, the phantom, and what was dropped since.

    Args:
        folders: Of studies, cohorts or trainings.
        layout: How the files are named, and which label values they have; None, where each folder's names tell.
    """

    def __init__(self, folders: Iterable[str | Path], layout: str | None = None) -> None:
        self.layout = layout
        self.entries: dict[str, Entry] = {}
        self._dropped = tempfile.TemporaryDirectory(prefix="explore-")
        for folder in folders:
            self._add_folder(Path(folder))
        if SHIPPED.is_file():
            self._add("phantom of the kit (synthetic)", "shipped", page_data(SHIPPED)["source"])
        self._add("another phantom, made now (synthetic)", "study", {**PHANTOM, "index": 1})

    def close(self) -> None:
        """Remove what was dropped."""
        self._dropped.cleanup()

    def listing(self) -> list[dict[str, str]]:
        """What the page shows."""
        return [{"name": e.name, "title": e.title, "kind": e.kind, "words": e.words} for e in self.entries.values()]

    def place_for(self, batch: str, file: str, size: int) -> Path:
        """Where a dropped file goes.

        Raises:
            ValueError: No NIfTI by its name, too large, or too many.
        """
        file = Path(file.replace("\\", "/")).name
        if not file.lower().endswith(ENDINGS) or file.startswith("."):
            raise ValueError(f"{file}: found another ending; expected .nii or .nii.gz; drop the NIfTI files of a study")
        if size > MOST_BYTES:
            raise ValueError(f"{file}: found {size / 1024**3:.1f} GB; expected at most 2 GB; name its folder on the "
                             "command line: explore FOLDER")
        folder = Path(self._dropped.name) / re.sub(r"\W", "", batch)[:40] / "dropped"
        folder.mkdir(parents=True, exist_ok=True)
        stored = [path.name for path in folder.iterdir() if path.name != file]
        if len(stored) >= MOST_FILES:
            raise ValueError(f"{file}: found {len(stored) + 1} files; expected at most {MOST_FILES}, the scans of one "
                             "study and its segmentation; drop one study at a time")
        return folder / file

    def add_dropped(self, batch: str) -> Entry:
        """The study of the files that were dropped together.

        Raises:
            CaseError: Names that say nothing, or two files for one scan.
        """
        folder = Path(self._dropped.name) / re.sub(r"\W", "", batch)[:40] / "dropped"
        layout = layout_in(folder, self.layout)
        return self._add_files(one_case(folder, layout), layout)

    def _add_folder(self, folder: Path) -> None:
        if (folder / "log.csv").is_file():
            self._add(f"training {folder.name}", "training", {"path": str(folder)})
            return
        try:
            layout = layout_in(folder, self.layout)
            self._add_files(one_case(folder, layout), layout)
        except SeveralCases:
            found = find_cohort(folder, layout)
            for files in found.cases.values():
                self._add_files(files, layout)
            for name, error in found.bad.items():
                self._add(name, "problem", {}, str(error))
        except (CaseError, OSError) as error:
            self._add(folder.name, "problem", {}, str(error))

    def _add_files(self, files: CaseFiles, layout: Layout) -> Entry:
        return self._add(files.name, "study", {
            "kind": "files", "name": files.name, "images": {m: str(path) for m, path in files.images.items()},
            "label": None if files.label is None else str(files.label), "channels": dict(files.channels),
            "notes": list(files.notes), "layout": layout.name,
            "labels": {str(value): label for value, label in layout.labels.items()}})

    def _add(self, title: str, kind: str, source: dict[str, Any], words: str = "") -> Entry:
        name = f"s{len(self.entries)}"
        self.entries[name] = Entry(name, title, kind, source, words)
        return self.entries[name]
