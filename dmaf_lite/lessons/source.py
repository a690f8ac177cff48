"""From a percent source to a notebook: the same source always gives the same notebook, ids included."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dmaf_lite.lessons.fingerprint import PACKAGE

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
FOLDED = {"setup", "hide-input", "hide-cell", "solution"}
BLANK_START, BLANK_END = "# >>> your turn:", "# <<<"


@dataclass(frozen=True)
class Workspace:
    """Where everything of the lessons lies, relative to the checkout."""

    root: Path = PACKAGE.parent

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def sources(self) -> Path:
        return self.notebooks / "src"

    @property
    def profiles(self) -> Path:
        return self.notebooks / "profiles"

    @property
    def exercises(self) -> Path:
        return self.notebooks / "exercises"

    @property
    def build(self) -> Path:
        return self.root / "build"

    def lessons(self) -> list[Lesson]:
        """All lessons in order.

        Raises:
            FileNotFoundError: If there is no folder of sources.
        """
        if not self.sources.is_dir():
            raise FileNotFoundError(f"{self.sources} is not there; expected the lessons' sources. "
                                    "Run this in a checkout of the repository.")
        return [Lesson(path) for path in sorted(self.sources.glob("[0-9][0-9]_*.py"))]

    def select(self, beginnings: Sequence[str]) -> list[Lesson]:
        """Lessons whose name begins with one of `beginnings`; all if none is given.

        Raises:
            ValueError: If a beginning fits no lesson.
        """
        lessons = self.lessons()
        for beginning in beginnings:
            if not any(lesson.stem.startswith(beginning) for lesson in lessons):
                raise ValueError(f"no lesson begins with {beginning!r}; there are {[x.stem for x in lessons]}")
        return [x for x in lessons if not beginnings or x.stem.startswith(tuple(beginnings))]


@dataclass(frozen=True)
class Lesson:
    """One source file and what its opening says."""

    path: Path

    @property
    def stem(self) -> str:
        return self.path.stem

    @cached_property
    def cells(self) -> list[NotebookNode]:
        """The source's cells with stable ids, folded where tagged; no navigation yet."""
        import jupytext

        cells = jupytext.read(self.path, fmt="py:percent").cells
        for index, cell in enumerate(cells):
            cell.id = hashlib.sha1(f"{self.stem}:{index}".encode()).hexdigest()[:8]
            cell.metadata = NotebookNode({"tags": tags(cell)} if tags(cell) else {})
            if cell.cell_type == "code" and (FOLDED & set(tags(cell)) or BLANK_START in cell.source):
                cell.metadata["jupyter"] = {"source_hidden": True}
        return cells

    @cached_property
    def title(self) -> str:
        """The H1, such as ``04 · Align relations``; the stem where there is none."""
        found = re.search(r"^# (.+)$", self.cells[0].source if self.cells else "", re.MULTILINE)
        return found[1].strip() if found else self.stem

    def opening(self, word: str) -> str:
        """What follows ``**Do**``, ``**Learn**`` or ``**Need**`` on its line; empty if it is not there."""
        found = re.search(rf"^\*\*{word}\*\*[ :]*(.*)$", self.cells[0].source if self.cells else "", re.MULTILINE)
        return found[1].strip() if found else ""


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def build_notebook(lesson: Lesson, lessons: Sequence[Lesson]) -> NotebookNode:
    """The notebook of a source, not executed, with a navigation line to its neighbours at the end."""
    cells = [NotebookNode({**cell, "metadata": NotebookNode(cell.metadata)}) for cell in lesson.cells]
    cell = nbformat.v4.new_markdown_cell(navigation(lesson, lessons), metadata={"tags": ["navigation"]})
    cell.id = hashlib.sha1(f"{lesson.stem}:navigation".encode()).hexdigest()[:8]
    return nbformat.v4.new_notebook(cells=[*cells, cell], metadata={"kernelspec": dict(KERNELSPEC)})


def navigation(lesson: Lesson, lessons: Sequence[Lesson]) -> str:
    """Links to the lesson before, the list of lessons and the lesson after."""
    stems = [other.stem for other in lessons]
    place = stems.index(lesson.stem)
    before = [f"← [{lessons[place - 1].title}]({stems[place - 1]}.ipynb)"] if place else []
    after = [f"[{lessons[place + 1].title}]({stems[place + 1]}.ipynb) →"] if place + 1 < len(stems) else []
    return " | ".join([*before, "[all lessons](../README.md#lessons)", *after])
