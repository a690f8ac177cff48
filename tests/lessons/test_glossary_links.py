"""Each lesson links a word of the glossary where it uses it first, and no link of a lesson misses its heading."""

from __future__ import annotations

import nbformat
import pytest

from dmaf_lite.lessons.check import _anchors, check_source
from dmaf_lite.lessons.glossary_links import FORMS, first_use, glossary_terms, unlinked_terms
from dmaf_lite.lessons.source import Lesson, Workspace

WORKSPACE = Workspace()
PAGE = WORKSPACE.root / "docs" / "glossary.md"
TERMS = glossary_terms(PAGE)
TEXT = "\n".join(lesson.path.read_text(encoding="utf-8") for lesson in WORKSPACE.lessons())


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_linked_from_a_lesson(term: str) -> None:
    slug = term.lower().replace(" ", "-")
    assert slug in _anchors(PAGE) and f"docs/glossary.md#{slug})" in TEXT


def test_no_link_of_a_lesson_leads_nowhere() -> None:
    problems = {lesson.stem: [p for p in check_source(WORKSPACE, lesson) if "link" in p]
                for lesson in WORKSPACE.lessons()}
    assert not any(problems.values()), problems


@pytest.mark.parametrize("lesson", WORKSPACE.lessons(), ids=lambda lesson: lesson.stem[:2])
def test_a_lesson_links_each_word_at_its_first_use(lesson: Lesson) -> None:
    assert unlinked_terms(lesson.cells, PAGE) == []


def test_forms_are_of_words_in_the_glossary() -> None:
    assert len(TERMS) > 30 and set(FORMS) <= set(TERMS)


LINK = "[prototypes](../docs/glossary.md#prototype)"


@pytest.mark.parametrize(("texts", "linked"), [
    ([f"The {LINK} of a prototype."], True),
    (["A prototype.", f"The {LINK}."], False),
    ([f"A prototype and {LINK}."], False),
    (["# Prototype\n\n**Do** draw a\nprototype.\n\n`a prototype`", f"All {LINK}."], True),
    (["<details><summary>Answer</summary>One prototype.</details>", "[a prototype](x.md)", LINK], True),
    (["A prototypical `prototype` of $p_c$."], None),
])
def test_the_first_use_is_the_first_in_a_sentence(texts: list[str], linked: bool | None) -> None:
    found = first_use("prototype", [nbformat.v4.new_markdown_cell(text) for text in texts])
    assert (found and found[3]) == linked


@pytest.mark.parametrize(("term", "words", "not_words"), [
    ("study", "two studies", "a student"), ("DMAF", "by DMAF.", "DMAF-Net"), ("ours", "these are ours", "course"),
    ("available and missing", "a missing scan", "a missing-rate table"), ("attention", "Attention", "graph attention"),
])
def test_forms_of_a_word(term: str, words: str, not_words: str) -> None:
    assert first_use(term, [nbformat.v4.new_markdown_cell(words)])
    assert not first_use(term, [nbformat.v4.new_markdown_cell(not_words)])


def test_a_word_without_its_link_is_named_with_its_sentence() -> None:
    cells = [nbformat.v4.new_markdown_cell(f"Every {LINK} has\na class.")]
    (problem,) = unlinked_terms(cells, PAGE)
    assert "'class'" in problem and "has a class." in problem
