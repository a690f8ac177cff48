"""Derive the exercise notebook from the solved lesson: only the lines of the idea are missing."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dmaf_lite.lessons.source import BLANK_END, BLANK_START, KERNELSPEC, Lesson, tags

KEPT = ("exercise",)


def has_exercises(lesson: Lesson) -> bool:
    """Whether any cell of the lesson is tagged ``exercise``."""
    return any("exercise" in tags(cell) for cell in lesson.cells)


def stub(source: str) -> str:
    """A solved cell with each block between ``# >>> your turn: 3.2 text`` and ``# <<<`` replaced by the stub.

    Raises:
        ValueError: If the markers do not pair or a block has no number.
    """
    lines: list[str] = []
    inside = False
    for line in source.splitlines():
        text = line.strip()
        if text.startswith(BLANK_START):
            found = re.fullmatch(r"(\d+\.\d+) (.+)", text.removeprefix(BLANK_START).strip())
            if inside or not found:
                raise ValueError(f"`{text}`: expected `{BLANK_START} 3.2 what to do`, closed by `{BLANK_END}`")
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}# your turn: {found[2]}",
                      f'{indent}raise NotImplementedError("{found[1]}: {found[2]}")']
            inside = True
        elif text == BLANK_END:
            if not inside:
                raise ValueError(f"a `{BLANK_END}` without a `{BLANK_START}` before it")
            inside = False
        elif not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"a `{BLANK_START}` without its `{BLANK_END}`")
    return "\n".join(lines)


def derive(lesson: Lesson, executed: Path | None = None) -> NotebookNode:
    """The exercise notebook of a lesson, without outputs.

    Args:
        lesson: The solved lesson.
        executed: Its executed notebook: pictures of cells tagged ``expected`` are kept as what right looks like.
    """
    pictures = _pictures(executed) if executed and executed.is_file() else {}
    opening = (f"# Exercises to {lesson.title}\n\nWrite the lines that are missing, then run the check below them. "
               "An untouched exercise stops nothing. Nothing but the first cell is needed before an exercise. "
               f"The solutions are in [the lesson](../{lesson.stem}.ipynb), folded.")
    cells = [nbformat.v4.new_markdown_cell(opening), nbformat.v4.new_code_cell(imports_for(lesson))]
    cells[1].metadata = {"tags": ["setup"], "jupyter": {"source_hidden": True}}
    for cell in lesson.cells:
        if "expected" in tags(cell) and cell.id in pictures:
            alt, png = pictures[cell.id]
            new = nbformat.v4.new_markdown_cell(f"What right looks like:\n\n![{alt}](attachment:expected.png)")
            new["attachments"] = {"expected.png": {"image/png": png}}
            cells.append(new)
        elif set(KEPT) & set(tags(cell)):
            make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
            new = make(stub(cell.source) if BLANK_START in cell.source else cell.source)
            new.metadata["tags"] = tags(cell)
            cells.append(new)
    for index, cell in enumerate(cells):
        cell.id = hashlib.sha1(f"{lesson.stem}:exercise:{index}".encode()).hexdigest()[:8]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": dict(KERNELSPEC)})


def imports_for(lesson: Lesson) -> str:
    """The lesson's imports of which an exercise uses a name, one a line, in the lesson's order."""
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    used = {node.id for cell in code if "exercise" in tags(cell)
            for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)}
    lines = []
    for cell in code:
        for node in ast.parse(cell.source).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                node.names = [alias for alias in node.names if (alias.asname or alias.name.split(".")[0]) in used]
                if node.names and ast.unparse(node) not in lines:
                    lines.append(ast.unparse(node))
    return "\n".join(lines)


def _pictures(executed: Path) -> dict[str, tuple[str, str]]:
    """Cell id -> (alt text, base64 PNG) of the first picture."""
    found = {}
    for cell in nbformat.read(executed, 4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "expected result")
                found.setdefault(cell.id, (alt, output.data["image/png"]))
    return found
