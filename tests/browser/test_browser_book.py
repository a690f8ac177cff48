"""The HTML book as a reader without network opens it: from disk, formulas set, every picture there."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from driver import Browser, is_blank
from tiny import REPOSITORY

from dmaf_lite.lessons.book import make_exporter, write_book, write_page
from dmaf_lite.lessons.source import Workspace

pytestmark = pytest.mark.browser

MATH_IS_SET = """async () => {
  if (!window.MathJax?.Hub) return 'MathJax did not load'
  await new Promise(done => MathJax.Hub.Queue(done))
  const wrong = [...document.querySelectorAll('.MathJax_Error, .merror, .noError, .mtext[style*="red"]')]
  return wrong.length ? 'wrong formulas: ' + wrong.map(e => e.textContent).join('; ') : ''
}"""
RAW = """() => { const copy = document.querySelector('main').cloneNode(true)
  copy.querySelectorAll('pre, code, script, .MathJax_Preview').forEach(e => e.remove())
  return (copy.textContent.match(/\\$\\$|\\\\(?:frac|sum|mathcal|begin)\\b/g) ?? []).join(' ') }"""
EMPTY = """() => [...document.images].filter(i => !i.complete || !i.naturalWidth)
  .map(i => i.alt || i.src.slice(0, 80))"""


@pytest.fixture(scope="module")
def book(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the book of the published notebooks, written apart from the checkout's own."""
    browser.renew()
    place = tmp_path_factory.mktemp("checkout")
    shutil.copytree(REPOSITORY / "notebooks", place / "notebooks")
    shutil.copytree(REPOSITORY / "docs", place / "docs")
    shutil.copy(REPOSITORY / "README.md", place)
    return write_book(Workspace(place)).parent


def open_page(browser: Browser, page: Path) -> list[str]:
    """What is wrong with a page, one sentence each."""
    browser.forget()
    browser.page.goto(page.as_uri(), wait_until="load")
    faults = [browser.page.evaluate(MATH_IS_SET)]
    faults += [f"not set: {raw}" for raw in [browser.page.evaluate(RAW)] if raw]
    faults += [f"an empty picture: {name}" for name in browser.page.evaluate(EMPTY)]
    pictures = browser.page.locator(".jp-OutputArea-output img")
    faults += [f"picture {i} is blank" for i in range(pictures.count()) if is_blank(pictures.nth(i).screenshot())]
    # To see whether a font has loaded, MathJax names an empty one at about:blank, which Chromium comments on.
    return [fault for fault in [*faults, *browser.faults()] if fault and "about:blank" not in fault]


def test_every_page_opens_from_disk_complete(browser: Browser, book: Path) -> None:
    pages = sorted(book.glob("*.html"))
    assert len(pages) > 10
    stems = {lesson.stem for lesson in Workspace().lessons()}
    found = {}
    for page in pages:
        found[page.name] = open_page(browser, page)
        if page.stem in stems:
            found[page.name] += compare(browser, Workspace().notebooks / f"{page.stem}.ipynb")
    assert {name: faults for name, faults in found.items() if faults} == {}


def compare(browser: Browser, path: Path) -> list[str]:
    """What the open page lacks of a notebook's pictures, those of widgets included, and formulas."""
    cells = nbformat.read(path, 4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    expected = sum("image/png" in output.get("data", {}) for output in outputs)
    shown = browser.page.locator(".jp-OutputArea-output img").count()
    formulas = any("$$" in cell.source for cell in cells if cell.cell_type == "markdown")
    return [*([f"{shown} pictures; the notebook has {expected}"] if shown != expected else []),
            *(["no formula is set"] if formulas and not browser.page.locator(".MathJax_Display").count() else [])]


@pytest.mark.parametrize(("text", "message"), [
    ('<img src="https://cdn.jsdelivr.net/npm/logo.png" alt="a logo">', "external request: https://cdn.jsdelivr.net"),
    ('<img src="gone.png" alt="a brain">', "an empty picture: a brain"),
    (r"$$\frac{1}{2$$", "wrong formulas"),
    (r"$$\unheardof{1}$$", "wrong formulas"),
    ("<script>nothing.here()</script>", "page error"),
])
def test_each_fault_of_a_page_is_found(browser: Browser, book: Path, text: str, message: str) -> None:
    page = book / "wrong.html"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    write_page(make_exporter(Workspace()), page, notebook, "Wrong")
    found = open_page(browser, page)
    page.unlink()
    assert any(message in fault for fault in found), found


def test_a_page_whose_formulas_come_from_elsewhere_is_found(browser: Browser, book: Path) -> None:
    page = book / "elsewhere.html"
    source = (book / "03_let_attention_choose.html").read_text(encoding="utf-8")
    page.write_text(source.replace("assets/mathjax/", "https://cdn.jsdelivr.net/npm/mathjax@2/"), encoding="utf-8")
    found = open_page(browser, page)
    page.unlink()
    assert any("MathJax did not load" in fault for fault in found), found
    assert any("external request: https://cdn.jsdelivr.net/npm/mathjax" in fault for fault in found), found
