"""From lessons, exercises and documents to the pages of the book: what is folded or left out, where links lead."""

from __future__ import annotations

import os
import re
from collections.abc import Set
from pathlib import PurePosixPath

import nbformat
from nbformat import NotebookNode

from dmaf_lite.lessons.source import BLANK_START, KERNELSPEC, Lesson, tags
from dmaf_lite.lessons.stubs import imports_for, stub

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
DISPLAY = re.compile(r"^(\$\$.+?\$\$)[ \t]*$\n?", re.MULTILINE | re.DOTALL)
EXERCISES = "## Exercises"


def page_text(text: str, page: str, book: Set[str]) -> str:
    """Markdown of the repository as a page of the book shows it; arguments as of `with_links`."""
    return with_displays(with_links(text, page, book))


def with_displays(text: str) -> str:
    """Text whose displayed formulas stand by themselves: MyST takes one inside a paragraph for a part of the line."""
    return DISPLAY.sub(r"\n\1\n\n", text)


def with_links(text: str, page: str, book: Set[str]) -> str:
    """Text whose links lead to pages of the book; what is not in the book is named, not linked.

    Args:
        text: Markdown.
        page: Where it stands, relative to the repository, such as ``notebooks/03_x.ipynb``.
        book: Files of the book, relative to the repository.
    """

    def lead(found: re.Match[str]) -> str:
        bang, words, target = found.groups()
        path, hash_, anchor = target.partition("#")
        if "://" in target or target.startswith(("mailto:", "attachment:")) or not path:
            return found[0]
        place = os.path.normpath(PurePosixPath(page).parent / path).replace(os.sep, "/")
        here = PurePosixPath(page).parent
        if place == "README.md":
            return f"{bang}[{words}]({os.path.relpath('index.md', here)}{hash_}{anchor})"
        if place in book:
            return found[0]
        named = words.strip("`").rstrip("/") in (place, PurePosixPath(place).name)
        if named:
            return f"`{place}`"
        return f"{words}: `{place}`" if text[:found.start()].endswith("(") else f"{words} (`{place}`)"

    return LINK.sub(lead, text)


def lesson_page(notebook: NotebookNode, page: str, book: Set[str]) -> NotebookNode:
    """An executed lesson without its navigation line and exercises, code folded where its source says so."""
    cells = []
    for cell in notebook.cells:
        if {"navigation", "exercise", "remove-cell"} & set(tags(cell)):
            continue
        new = NotebookNode({**cell, "metadata": NotebookNode(_metadata(cell))})
        if cell.cell_type == "markdown":
            new.source = page_text(cell.source, page, book)
            if EXERCISES in new.source:
                stem = PurePosixPath(page).stem
                new.source += f"\n\nThey have [a page of their own](exercises/{stem}.ipynb), with folded solutions."
        cells.append(new)
    return _notebook(cells)


def exercise_page(lesson: Lesson, page: str, book: Set[str]) -> NotebookNode:
    """The exercises of a lesson: task, stub, check, and the solution folded below."""
    opening = (f"# Exercises {lesson.title}\n\nTo solve them, open `notebooks/exercises/{lesson.stem}.ipynb` in "
               "JupyterLab; here are the tasks, and the solutions to unfold. "
               f"Back to [the lesson](../{lesson.stem}.ipynb).")
    cells = [nbformat.v4.new_markdown_cell(opening)]
    imports = imports_for(lesson)
    if imports:
        cells.append(nbformat.v4.new_code_cell(imports, metadata={"tags": ["hide-input"]}))
    for cell in lesson.cells:
        if "exercise" not in tags(cell):
            continue
        if cell.cell_type == "markdown":
            cells.append(nbformat.v4.new_markdown_cell(page_text(cell.source, page, book)))
        elif BLANK_START in cell.source:
            solution = "\n".join(line for line in cell.source.splitlines()
                                 if not line.strip().startswith((BLANK_START, "# <<<")))
            folded = f":::{{dropdown}} Solution\n```python\n{solution}\n```\n:::"
            cells += [nbformat.v4.new_code_cell(stub(cell.source)), nbformat.v4.new_markdown_cell(folded)]
        else:
            cells.append(nbformat.v4.new_code_cell(cell.source))
    for number, cell in enumerate(cells):
        cell.id = f"exercise-{number}"
    return _notebook(cells)


def _metadata(cell: NotebookNode) -> dict:
    """Tags as MyST-NB knows them, and the text alternative of a cell's pictures."""
    found = set(tags(cell))
    known = ["hide-input"] if found & {"setup", "hide-input", "solution"} else []
    alts = [output.metadata.get("image/png", {}).get("alt", "") for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})]
    metadata: dict = {"tags": known} if known else {}
    if any(alts):
        metadata["mystnb"] = {"image": {"alt": "; ".join(filter(None, alts))}}
    return metadata


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": dict(KERNELSPEC), "language_info": {"name": "python"}})
