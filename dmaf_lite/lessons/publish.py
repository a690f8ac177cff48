"""Put executed lessons, their exercises and the table of lessons where readers find them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import nbformat

from dmaf_lite.base.atomic import write_text
from dmaf_lite.lessons.execute import output_path, write_notebook
from dmaf_lite.lessons.profiles import DEFAULT
from dmaf_lite.lessons.source import Lesson, Workspace, navigation, tags
from dmaf_lite.lessons.stubs import derive, has_exercises

TABLE_START, TABLE_END = "<!-- lessons: written by `make lessons` -->", "<!-- end of lessons -->"


def committed(workspace: Workspace, lesson: Lesson) -> Path:
    """Where the published notebook of a lesson lies."""
    return workspace.notebooks / f"{lesson.stem}.ipynb"


def publish(workspace: Workspace, lesson: Lesson) -> Path:
    """Copy a lesson's run of the default profile to ``notebooks/``."""
    target = committed(workspace, lesson)
    write_notebook(target, nbformat.read(output_path(workspace, lesson, DEFAULT), 4))
    return target


def refresh(workspace: Workspace) -> None:
    """Bring up to date what depends on several lessons: navigation lines, exercises, the table in the README."""
    lessons = workspace.lessons()
    for lesson in lessons:
        path = committed(workspace, lesson)
        if path.is_file():
            notebook = nbformat.read(path, 4)
            notebook.cells[-1].source = navigation(lesson, lessons)
            write_notebook(path, notebook)
        if has_exercises(lesson):
            write_notebook(exercise_path(workspace, lesson), derive(lesson, path))
    readme = workspace.root / "README.md"
    if readme.is_file():
        write_text(readme, with_table(readme.read_text(encoding="utf-8"), lesson_table(workspace, lessons)))


def exercise_path(workspace: Workspace, lesson: Lesson) -> Path:
    """Where the derived exercise notebook of a lesson lies."""
    return workspace.exercises / f"{lesson.stem}.ipynb"


def expected_seconds(workspace: Workspace, lesson: Lesson) -> float | None:
    """What the published run of a lesson took; None where there is none."""
    path = committed(workspace, lesson)
    return nbformat.read(path, 4).metadata.get("dmaf", {}).get("seconds") if path.is_file() else None


def reading_minutes(lesson: Lesson) -> int:
    """How long a lesson is read: 180 words a minute, 4 seconds for a line of code, 15 for a displayed formula."""
    text = "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")
    code = [line for cell in lesson.cells if cell.cell_type == "code" and "setup" not in tags(cell)
            for line in cell.source.splitlines() if line.strip()]
    seconds = len(text.split()) / 3 + 4 * len(code) + 15 * (text.count("$$") // 2)
    return max(5, 5 * round(seconds / 300))


def lesson_table(workspace: Workspace, lessons: Sequence[Lesson]) -> str:
    """Markdown table of the lessons: what is built in each, minutes to read it, and what the published run took."""
    lines = ["| lesson | what you do | minutes to read | to run, on a laptop CPU |", "|---|---|---:|---:|"]
    for lesson in lessons:
        seconds = expected_seconds(workspace, lesson)
        minutes = "-" if seconds is None else "< 1" if seconds < 60 else str(math.ceil(seconds / 60))
        name = f"[{lesson.title}](notebooks/{lesson.stem}.ipynb)"
        lines.append(f"| {name} | {lesson.opening('Do')} | {reading_minutes(lesson)} | {minutes} |")
    return "\n".join(lines)


def with_table(readme: str, table: str) -> str:
    """The README with the table between its two markers replaced.

    Raises:
        ValueError: If the markers are not there.
    """
    if TABLE_START not in readme or TABLE_END not in readme:
        raise ValueError(f"README.md has no place for the table of lessons; "
                         f"expected the lines {TABLE_START} and {TABLE_END}")
    before, _, rest = readme.partition(TABLE_START)
    return f"{before}{TABLE_START}\n{table}\n{TABLE_END}{rest.partition(TABLE_END)[2]}"
