"""Words of the glossary: each is linked where a lesson uses it first, as each lesson can be opened alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nbformat import NotebookNode

from dmaf_lite.lessons.source import tags

# How a word looks in a sentence, where it is more than the heading and an s.
FORMS = {
    "study": r"stud(?:y|ies)",
    "modality": r"modalit(?:y|ies)",
    "class": r"(?<!\*)class(?:es)?",  # the name of a button stands between stars
    "available and missing": r"(?<!\*)(?:missing|available)(?![- ](?:rate|edge|cell))",
    "missing rate": r"missing[- ]rates?",
    "attention": r"(?<!graph )attention",
    "DMAF": r"DMAF(?!-)",  # the name of the network holds it, too
    "ours": r"(?<=is )ours|(?<=are )ours|(?<=\()ours",  # not "our results"
    "calibrated": r"(?:un)?calibrated|overconfident",
}
NO_PROSE = re.compile(  # a link there would be lost, or would not be seen as one
    r"(?s:<details>.*?</details>|```.*?```|\$\$.*?\$\$|^\*\*(?:Question|Do)\*\*.*?(?=\n\n|\Z))"
    r"|`[^`\n]*(?:\n[^`\n]+)?`|\$[^$\n]*(?:\n[^$\n]+)?\$|^#+ .*$|^\|.*$|<[^>]*>", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)]*)\)")


def glossary_terms(page: Path) -> list[str]:
    """The headings of the glossary's words; none if the page is not there."""
    return re.findall(r"^### (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE) if page.is_file() else []


def target(term: str) -> str:
    """Where a lesson's link to a word leads."""
    return f"../docs/glossary.md#{term.lower().replace(' ', '-')}"


def first_use(term: str, cells: Sequence[NotebookNode]) -> tuple[int, int, int, bool] | None:
    """The first sentence of a lesson that holds a word of the glossary: cell, start, end, and whether it is linked.

    Headings, code, formulas, tables, folded answers, exercises and other links are passed over.
    """
    form = FORMS.get(term, re.escape(term) + "s?")
    word = re.compile(rf"(?<![\w-]){form}(?!\w)", 0 if term[:2].isupper() else re.IGNORECASE)
    for number, cell in enumerate(cells):
        if cell.cell_type != "markdown" or "exercise" in tags(cell):
            continue
        prose = NO_PROSE.sub(_blank, cell.source)
        linked = [found.span() for found in LINK.finditer(prose) if found[1] == target(term)]
        prose = LINK.sub(lambda found: found[0] if found[1] == target(term) else _blank(found), prose)
        places = [(*found.span(), False) for found in word.finditer(prose)]
        if linked and not any(start < linked[0][0] for start, _, _ in places):
            return number, *linked[0], True
        if places:
            return number, *places[0]
    return None


def unlinked_terms(cells: Sequence[NotebookNode], page: Path) -> list[str]:
    """What is wrong with the links of a lesson to the glossary, one sentence each."""
    problems = []
    for term in glossary_terms(page):
        found = first_use(term, cells)
        if found is not None and not found[3]:
            number, start, end, _ = found
            words = " ".join(cells[number].source[max(0, start - 30):end + 10].split())
            problems.append(f"the first use of '{term}' has no link to {target(term)}: ...{words}...")
    return problems


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
