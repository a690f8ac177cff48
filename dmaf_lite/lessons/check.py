"""Judge lessons without running them: the rules of a good source, and that the published notebook is its true run."""

from __future__ import annotations

import ast
import itertools
import json
import re
import statistics
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from dmaf_lite.lessons.execute import lesson_hash
from dmaf_lite.lessons.glossary_links import unlinked_terms
from dmaf_lite.lessons.profiles import DEFAULT, ParameterError, declared
from dmaf_lite.lessons.publish import committed, exercise_path
from dmaf_lite.lessons.source import BLANK_START, Lesson, Workspace, build_notebook, tags
from dmaf_lite.lessons.stubs import derive, has_exercises

MEDIAN, P90, LONGEST = 8, 20, 30  # code lines per cell: what a reader takes in at a glance, and in one go
LARGEST = 500_000  # bytes; above, GitHub is slow to show a notebook
CHECKS = 3
FOLDED_ANSWER = "<details><summary>Answer</summary>"
WIDEST = 110  # letters; a longer line of an output runs out of the book's column, and is broken on paper
DIGITS = re.compile(r"\d*\.\d{9,}")  # a number that nobody has rounded
BARE_PAGE = re.compile(r"`(?:\.\./)?docs/[\w/]+\.md`")
PRIVATE = {
    "a path of a machine": re.compile(
        r"(?<![\w.])/(?:home|root|Users|work|tmp|mnt|private)/\w|[A-Z]:\\\w|site-packages"),
    "an e-mail address": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+\.[a-z]{2,}"),
}


def check(workspace: Workspace, lesson: Lesson) -> list[str]:
    """What is wrong with a lesson, one sentence each; empty if nothing is."""
    problems = check_source(workspace, lesson)
    path = committed(workspace, lesson)
    if not path.is_file():
        return [*problems, f"notebooks/{path.name} is not there; run `make notebook NB={lesson.stem[:2]}`"]
    return problems + check_published(workspace, lesson, path)


def check_names(workspace: Workspace) -> list[str]:
    """Notebooks and exercises without a source."""
    stems = {lesson.stem for lesson in workspace.lessons()}
    with_exercises = {lesson.stem for lesson in workspace.lessons() if has_exercises(lesson)}
    strays = [p for p in workspace.notebooks.glob("[0-9][0-9]_*.ipynb") if p.stem not in stems]
    strays += [p for p in workspace.exercises.glob("*.ipynb") if p.stem not in with_exercises]
    return [f"{p.relative_to(workspace.root).as_posix()} has no source in notebooks/src" for p in sorted(strays)]


def check_source(workspace: Workspace, lesson: Lesson) -> list[str]:
    """Rules on the text: opening, parameters, short cells, checks that can fail, closing, pictures and links."""
    problems = []
    cells, stem = lesson.cells, lesson.stem
    words = re.findall(r"[a-z0-9]+", lesson.title.lower().replace("'", ""))
    if "_".join(words) != stem:
        problems.append(f"the title is '{lesson.title}'; expected the words of the file name, {stem}")
    problems += [f"the opening has no line **{w}**" for w in ("Question", "Do", "Learn", "Need")
                 if not re.search(rf"^\*\*{w}\*\*", cells[0].source, re.MULTILINE)]
    if not re.search(r"^Not here: ", cells[0].source, re.MULTILINE):
        problems.append("the opening does not say what is not here, and where it is ('Not here: ...')")
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    sections = ["In practice", "What we built", *(["Exercises"] if has_exercises(lesson) else []), "Next"]
    problems += [f"there is no section '## {s}'" for s in sections if not re.search(rf"^## {s}\b", text, re.MULTILINE)]
    if re.search(r"\d+ minutes?\b", lesson.opening("Need")):
        problems.append("the opening says how many minutes it takes; the table of lessons in the README does, measured")
    problems += _check_question(cells)
    problems += [f"'{prompt.source.splitlines()[0]}' does not say what to expect"
                 for prompt, fill in itertools.pairwise(cells)
                 if BLANK_START in fill.source and not re.search(r"\bExpect\b", prompt.source)]
    try:
        declared(lesson)
    except ParameterError as error:
        problems.append(str(error))
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    if not any("setup" in tags(cell) and "check_parameters(globals())" in cell.source for cell in code):
        problems.append("the setup cell does not call check_parameters(globals())")
    shown = [cell for cell in code if "setup" not in tags(cell)]  # imports are folded
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in shown]
    if lines:
        measured = (statistics.median(lines), sorted(lines)[max(0, -(-9 * len(lines) // 10) - 1)], max(lines))
        names, limits = ("median", "90th percentile", "longest"), (MEDIAN, P90, LONGEST)
        for name, value, limit in zip(names, measured, limits, strict=True):
            if value > limit:
                problems.append(f"code lines per cell: {name} is {value:g}, at most {limit} is allowed")
    checks = [cell for cell in code if "check" in tags(cell)]
    problems += [f"a check cell asserts nothing: {cell.source.splitlines()[0]}"
                 for cell in checks if not _assertions(cell.source)]
    if len(checks) < CHECKS:
        problems.append(f"there are {len(checks)} cells tagged check; expected at least {CHECKS}")
    if any("itkwidgets" in cell.source for cell in code):
        problems.append("itkwidgets is imported; it belongs into notebooks/optional only")
    problems += [f"the page {bare} is named, not linked" for bare in BARE_PAGE.findall(text)]
    problems += unlinked_terms(cells, workspace.root / "docs" / "glossary.md")
    return problems + _check_links(workspace.notebooks, text)


def check_published(workspace: Workspace, lesson: Lesson, path: Path) -> list[str]:
    """Rules on the committed notebook: made by this source and this code, in order, clean and small."""
    problems = []
    notebook = nbformat.read(path, 4)
    stamp = notebook.metadata.get("dmaf", {})
    again = f"run `make notebook NB={lesson.stem[:2]}`"
    if _texts(notebook) != _texts(build_notebook(lesson, workspace.lessons())):
        problems.append(f"the cells of notebooks/{path.name} are not those of its source; {again}")
    elif lesson.stem in pending(workspace):
        return problems + _check_exercises(workspace, lesson, path)
    elif stamp.get("profile") != DEFAULT or stamp.get("hash") != lesson_hash(lesson, {}):
        problems.append(f"notebooks/{path.name} was not made by this source and this package; {again}")
    run = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for cell in run] != list(range(1, len(run) + 1)):
        problems.append(f"the cells were not executed once each from top to bottom; {again}")
    for cell in run:
        for output in cell.outputs:
            problems += _check_output(cell, output)
    answer = answer_cell(notebook.cells)
    if answer is not None and not any(re.search(r"\d", output.get("text", "")) for output in answer.outputs):
        problems.append(f"the answer of the lesson shows no number; {again}")
    if "widgets" in notebook.metadata:
        problems.append("it stores the state of widgets, which GitHub refuses to show")
    size = path.stat().st_size
    if size > LARGEST:
        problems.append(f"it has {size / 1000:.0f} kB; at most {LARGEST / 1000:.0f} are allowed: use smaller figures")
    return problems + _check_exercises(workspace, lesson, path)


def pending(workspace: Workspace) -> set[str]:
    """Lessons that are published without outputs, or with those of an earlier state of the package, and say so in
    ``notebooks/pending.txt``; an empty or absent file is what a release needs."""
    path = workspace.notebooks / "pending.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _check_exercises(workspace: Workspace, lesson: Lesson, path: Path) -> list[str]:
    problems = []
    if has_exercises(lesson):
        stored = exercise_path(workspace, lesson)
        if not stored.is_file() or _texts(nbformat.read(stored, 4)) != _texts(derive(lesson, path)):
            problems.append("its exercises are not derived from this source; run `make exercises`")
        if not any(BLANK_START in cell.source for cell in lesson.cells):
            problems.append(f"no exercise has lines to fill (`{BLANK_START} ...`)")
    return problems


def _check_output(cell: NotebookNode, output: NotebookNode) -> list[str]:
    where = f"the output of `{cell.source.splitlines()[0][:60]}`"
    if output.output_type == "error":
        return [f"{where} is an error: {output.ename}"]
    problems = []
    if output.output_type == "stream" and output.name == "stderr":
        problems.append(f"{where} holds a warning: {output.text.strip()[:120]}")
    data: dict[str, Any] = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data and not output.metadata.get(kind, {}).get("alt"):
            problems.append(f"{where} is a picture without alt text; use figures.show(fig, alt=...)")
    text = output.get("text", "") + json.dumps({k: v for k, v in data.items() if not k.startswith("image/")})
    printed = output.get("text", "")
    widest = max(printed.splitlines(), key=len, default="")
    if len(widest) > WIDEST:
        problems.append(f"{where} has a line of {len(widest)} letters, at most {WIDEST} fit: {widest[:60]}...")
    if found := DIGITS.search(printed):
        problems.append(f"{where} shows a number that is not rounded: {found[0]}")
    return problems + [f"{where} shows {what}: {found[0]}" for what, pattern in PRIVATE.items()
                       if (found := pattern.search(text))]


def _check_question(cells: list[NotebookNode]) -> list[str]:
    """A lesson answers its question with a number, lets its reader guess twice, and asks five questions that a check
    holds to the lesson's own numbers."""
    problems = []
    if answer_cell(cells) is None:
        problems.append("there is no section '## The answer' that ends in a code cell which prints its number")
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    guesses = [bool(re.search(rf"{re.escape(FOLDED_ANSWER)}\s*\S", guess))
               for text in texts for guess in text.split("**Before you run**")[1:]]
    if sum(guesses) < 2 or not all(guesses):
        problems.append(f"the reader is asked to guess before a run {len(guesses)} times, with {sum(guesses)} folded "
                        "answers; expected at least twice, each with its answer")
    quiz, below = _section(cells, "Five questions")
    asked = len(re.findall(r"^\d\. ", quiz, re.MULTILINE))
    answered = quiz.count(FOLDED_ANSWER)
    if not asked == answered == 5:
        problems.append(f"'## Five questions' has {asked} questions and {answered} folded answers; expected 5 of each")
    held = _assertions(below.source) if below is not None and "check" in tags(below) else 0
    if held < 5:
        problems.append(f"the cell below '## Five questions' is a check of {held} assertions; expected one per answer")
    return problems


def answer_cell(cells: list[NotebookNode]) -> NotebookNode | None:
    """The code cell that prints the answer's number; None if there is none."""
    _, below = _section(cells, "The answer")
    return below if below is not None and "print(" in below.source else None


def _section(cells: list[NotebookNode], head: str) -> tuple[str, NotebookNode | None]:
    """The text below a heading up to the end of its cell or the next heading, and the code cell that follows it."""
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        found = re.search(rf"^## {head}$(.*?)(^## |\Z)", cell.source, re.MULTILINE | re.DOTALL)
        if cell.cell_type == "markdown" and found:
            return found[1], after if after is not None and after.cell_type == "code" and not found[2] else None
    return "", None


def _check_links(folder: Path, text: str) -> list[str]:
    problems = []
    for bang, label, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", text):
        if bang and not label.strip():
            problems.append(f"the picture {target} has no alt text")
        local = target.split("#")[0]
        elsewhere = "://" in target or target.startswith(("mailto:", "attachment:"))
        if local and not elsewhere and not (folder / local).exists():
            problems.append(f"the link {target} leads nowhere")
        elif local.endswith(".md") and "#" in target and target.split("#")[1] not in _anchors(folder / local):
            problems.append(f"the link {target} leads to no heading of that page")
    return problems


def _anchors(page: Path) -> set[str]:
    """The headings of a Markdown page as links name them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def _assertions(source: str) -> int:
    """How often code asserts, by the statement or by a call such as torch.testing.assert_close."""
    return sum(isinstance(node, ast.Assert)
               or (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1].startswith("assert"))
               for node in ast.walk(ast.parse(source)))


def _texts(notebook: NotebookNode) -> list[tuple]:
    return [(cell.id, cell.cell_type, cell.source, tags(cell)) for cell in notebook.cells]
