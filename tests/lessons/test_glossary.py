"""Every word of the glossary is linked where a lesson uses it first, and no link of a lesson misses its heading."""

from __future__ import annotations

import re

import pytest

from dmaf_lite.lessons.check import _anchors, check_source
from dmaf_lite.lessons.source import Workspace

WORKSPACE = Workspace()
PAGE = WORKSPACE.root / "docs" / "glossary.md"
TERMS = re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
TEXT = "\n".join(lesson.path.read_text(encoding="utf-8") for lesson in WORKSPACE.lessons())


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_linked_from_a_lesson(term: str) -> None:
    slug = term.lower().replace(" ", "-")
    assert slug in _anchors(PAGE) and f"docs/glossary.md#{slug})" in TEXT


def test_no_link_of_a_lesson_leads_nowhere() -> None:
    problems = {lesson.stem: [p for p in check_source(WORKSPACE, lesson) if "link" in p]
                for lesson in WORKSPACE.lessons()}
    assert not any(problems.values()), problems
