"""The book: what goes onto its pages, and that a dead link stops it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from dmaf_lite.lessons import book
from dmaf_lite.lessons.book import made_from, write_book
from dmaf_lite.lessons.execute import write_notebook
from dmaf_lite.lessons.pages import exercise_page, lesson_page, with_displays, with_links
from dmaf_lite.lessons.publish import TABLE_END, TABLE_START
from dmaf_lite.lessons.source import Workspace, build_notebook

DOT = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")

SOURCE = '''# %% [markdown]
# # 01 · Add
#
# Words with a [link](../docs/more.md#a-part) and $x^2$.
# $$ y = x^2 . $$
# More words.

# %% tags=["setup"]
import math
import os

# %% tags=["hide-input"]
os.getcwd()

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 1.1 · Add

# %% tags=["exercise"]
def add(a, b):
    """The sum."""
    # >>> your turn: 1.1 add
    return math.fsum((a, b))
    # <<<
'''


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path)
    for folder in (place.sources, place.root / "docs"):
        folder.mkdir(parents=True)
    (place.sources / "01_add.py").write_text(SOURCE)
    (place.root / "README.md").write_text(f"# Kit\n\n{TABLE_START}\n{TABLE_END}\n")
    (place.root / "docs" / "more.md").write_text("# More\n\n## A part\n\nSee [the readme](../README.md).\n")
    (lesson,) = place.lessons()
    notebook = build_notebook(lesson, [lesson])
    notebook.cells[2].outputs = [nbformat.v4.new_output("display_data", {"image/png": DOT},
                                                        metadata={"image/png": {"alt": "a <dot>"}})]
    write_notebook(place.notebooks / "01_add.ipynb", notebook)
    return place


def test_links_lead_to_pages_or_are_named() -> None:
    book = {"docs/more.md", "notebooks/02_x.ipynb"}
    text = "[a](../docs/more.md#b) [c](../README.md#d) [e](../LICENSE) [f](https://g.h) [i](02_x.ipynb)"
    assert with_links(text, "notebooks/01_x.ipynb", book) == (
        "[a](../docs/more.md#b) [c](../index.md#d) e (`LICENSE`) [f](https://g.h) [i](02_x.ipynb)")
    assert with_links("[LICENSE](LICENSE), [notebooks/results](notebooks/results)", "README.md", book) == (
        "`LICENSE`, `notebooks/results`"), "a name is said once"
    assert with_links("weights ([card](x/card.json), here)", "README.md", book) == "weights (card: `x/card.json`, here)"


def test_a_displayed_formula_stands_by_itself() -> None:
    assert with_displays("as in\n$$ a\n   = b . $$\nand $c$") == "as in\n\n$$ a\n   = b . $$\n\nand $c$"
    assert with_displays("the sum $$ a $$ of") == "the sum $$ a $$ of"


def test_code_is_folded_and_exercises_move_to_a_page(workspace: Workspace) -> None:
    page = lesson_page(nbformat.read(workspace.notebooks / "01_add.ipynb", 4), "notebooks/01_add.ipynb", set())
    assert [cell.metadata.get("tags") for cell in page.cells] == [None, ["hide-input"], ["hide-input"], None]
    assert page.cells[2].metadata["mystnb"] == {"image": {"alt": "a <dot>"}}
    assert "(exercises/01_add.ipynb)" in page.cells[-1].source and "fsum" not in str(page)


def test_the_solution_is_folded_below_its_stub(workspace: Workspace) -> None:
    (lesson,) = workspace.lessons()
    cells = exercise_page(lesson, "notebooks/exercises/01_add.ipynb", set()).cells
    assert cells[1].source == "import math", "what no exercise uses is not imported"
    assert "NotImplementedError" in cells[3].source and "fsum" not in cells[3].source
    assert "{dropdown} Solution" in cells[4].source and "return math.fsum((a, b))" in cells[4].source
    assert ">>>" not in cells[4].source


def test_the_book_needs_no_network(workspace: Workspace) -> None:
    index = write_book(workspace)
    assert [path.name for path in workspace.build.iterdir()] == ["book"], "and leaves nothing beside it"
    page = index.parent / "notebooks" / "01_add.html"
    html = page.read_text(encoding="utf-8")
    sources = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)="([^"]*)"', html)
    assert any("mathjax/MathJax.js" in source for source in sources) and 'alt="a &lt;dot&gt;"' in html
    assert [source for source in sources if "//" in source] == []
    assert all((page.parent / re.sub(r"[?#].*", "", s)).exists() for s in sources if s and not s.startswith("data:"))
    assert 'href="../docs/more.html#a-part"' in html and "Show the code" in html
    assert '<div class="math' in html and "$" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


@pytest.mark.parametrize("link", ["[x](../docs/more.md#no-such-part)", "{doc}`gone`"])
def test_a_dead_link_stops_the_book(workspace: Workspace, link: str) -> None:
    path = workspace.notebooks / "01_add.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source += f"\n\n{link}"
    write_notebook(path, notebook)
    with pytest.raises(RuntimeError, match=r"leads nowhere[\s\S]*01_add"):
        write_book(workspace)


def test_a_lesson_that_has_not_run_is_named(workspace: Workspace) -> None:
    (workspace.notebooks / "01_add.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match=r"no executed notebook of .'01_add'"):
        write_book(workspace)


def test_a_whole_book_of_the_same_files_is_left_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def pages(source: Path, out: Path, doctrees: Path) -> None:
        built.append((source / "docs" / "more.md").read_text())
        out.mkdir(parents=True)
        (out / "index.html").write_text("page")

    monkeypatch.setattr(book, "build", pages)
    page = write_book(workspace)
    assert write_book(workspace) == page and len(built) == 1
    write_book(workspace, force=True)
    page.write_text("cut")
    write_book(workspace)
    page.unlink()
    write_book(workspace)
    assert len(built) == 4 and page.is_file(), "asked for; shortened; gone"
    (workspace.root / "docs" / "more.md").write_text("# Less\n")
    write_book(workspace)
    assert built[-1] == "# Less\n" and len(built) == 5

    def stopped(*_: Path) -> None:
        raise RuntimeError("a dead link")

    monkeypatch.setattr(book, "build", stopped)
    for force in (True, False):  # a book that was not finished is never taken for whole
        with pytest.raises(RuntimeError, match="dead link"):
            write_book(workspace, force=force)


@pytest.mark.parametrize("changed", ["README.md", "notebooks/src/01_add.py", "notebooks/01_add.ipynb",
                                     "notebooks/results/reproduce.parquet", "docs/more.md"])
def test_whatever_a_book_is_made_from_counts(workspace: Workspace, changed: str) -> None:
    before = made_from(workspace)
    path = workspace.root / changed
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")
    assert made_from(workspace) != before


def test_a_report_counts_what_its_run_has_left(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMAF_ARTIFACTS", raising=False)
    seen = [made_from(workspace), made_from(workspace, "p")]
    for name in ("p/01_add.ipynb", "artifacts/p/shipped-subsets/rows.parquet"):
        path = workspace.build / name
        path.parent.mkdir(parents=True)
        path.write_text("x")
        seen.append(made_from(workspace, "p"))
    assert len(set(seen)) == 3, "no run yet | the same | pages | rows"
    (workspace.build / "p" / "jupyter_execute").mkdir()
    (workspace.build / "p" / "jupyter_execute" / "of_the_book.png").write_text("x")
    (workspace.build / "p" / "01_add.running.ipynb").write_text("x")
    assert made_from(workspace, "p") == seen[-1], "what lies beside the runs"
    monkeypatch.setattr(book, "code_digest", lambda _: "other code")
    assert made_from(workspace, "p") not in seen
