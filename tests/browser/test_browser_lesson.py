"""Lesson 10 in JupyterLab, used as a person uses it: keys, toggles, and what Python learns of them."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from driver import is_blank
from lab import LabPage

from dmaf_lite.lessons.execute import write_notebook
from dmaf_lite.lessons.profiles import read_profile
from dmaf_lite.lessons.source import Workspace, build_notebook, tags

pytestmark = pytest.mark.browser

LONGEST = 400.0  # seconds for all cells, some of which train: a busy machine takes its time
FIRST = 10.0  # seconds to the first picture on two free cores; printed, since other machines are busy
VOLUME, MODALITY, TRAINING = ".dmaf-volume-explorer", ".dmaf-modality-explorer", ".dmaf-training"
VIEWS = ".dmaf-x-view:not([hidden]) canvas"


@pytest.fixture(scope="module")
def lesson(lab: LabPage, served: Path) -> LabPage:
    """Lesson 10 with the parameters of the profile for continuous integration, run once."""
    workspace = Workspace()
    (source,) = workspace.select(["10"])
    notebook = build_notebook(source, workspace.lessons())
    overrides = read_profile(workspace, "ci-smoke")[source.stem]
    place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in tags(cell)) + 1
    given = "\n".join(f"{name} = {value!r}" for name, value in overrides.items())
    notebook.cells.insert(place, nbformat.v4.new_code_cell(given))
    write_notebook(served / "10.ipynb", notebook)
    lab.open("10.ipynb")
    start = time.monotonic()
    lab.command("notebook:run-all-cells", wait=False)
    lab.page.locator(VIEWS).first.wait_for()
    lab.first = time.monotonic() - start
    assert lab.until(lab.finished, seconds=LONGEST), lab.faults(pictures=False)
    return lab


@pytest.fixture(autouse=True)
def nothing_went_wrong(lesson: LabPage):
    """After every test: no error in a cell, a callback or the console, and no external request."""
    yield
    assert lesson.faults(pictures=False) == []


def view(lab: LabPage, root: str, nth: int = 0):
    """A view of the first explorer of a kind, scrolled to."""
    found = lab.page.locator(root).first.locator(VIEWS).nth(nth)
    found.scroll_into_view_if_needed()
    return found


def words(lab: LabPage) -> str:
    return lab.page.locator(f"{MODALITY} .dmaf-x-says").first.inner_text()


def test_every_explorer_is_there_with_text_alternatives(lesson: LabPage) -> None:
    print(f"\nfirst picture {lesson.first:.1f} s after running (target {FIRST:.0f} s)")
    for root in (VOLUME, MODALITY, TRAINING):
        assert lesson.page.locator(root).first.is_visible(), root
    for root in (VOLUME, MODALITY):
        shown = view(lesson, root)
        assert "synthetic" in shown.get_attribute("aria-label") and not is_blank(shown.screenshot())
    assert len(lesson.page.locator(f"{TRAINING} img").first.get_attribute("alt")) > 10


@pytest.mark.parametrize("root", [VOLUME, MODALITY])
def test_keys_move_slices_and_lab_keeps_its_cells(lesson: LabPage, root: str) -> None:
    shown = view(lesson, root)
    cells = lesson.page.locator(".jp-Cell").count()
    before = shown.get_attribute("aria-label")
    shown.focus()
    for key in ("ArrowUp", "PageUp"):
        lesson.page.keyboard.press(key)
    lesson.until(lambda: shown.get_attribute("aria-label") != before)
    assert shown.get_attribute("aria-label") != before
    for part in (VIEWS, ".dmaf-x-slices", ".dmaf-x-pill", ".dmaf-x-select"):
        lesson.page.locator(root).first.locator(part).first.focus()
        for key in ("x", "d", "d"):  # x and d d would cut or delete the cell
            lesson.page.keyboard.press(key)
    lesson.page.wait_for_timeout(500)
    assert lesson.page.locator(".jp-Cell").count() == cells, "the explorer has gone"


def test_python_follows_the_page(lesson: LabPage) -> None:
    view(lesson, VOLUME).focus()
    lesson.page.keyboard.press("Home")
    lesson.until(lambda: lesson.kernel("print(explorer.at[2])").strip() == "0")
    assert lesson.kernel("print(explorer.at[2])").strip() == "0"
    lesson.kernel("explorer.go(2, 7)")
    lesson.until(lambda: "axial slice 7" in view(lesson, VOLUME).get_attribute("aria-label"))
    assert "axial slice 7" in view(lesson, VOLUME).get_attribute("aria-label"), "and the page follows Python"


def test_switching_a_scan_off_asks_the_network(lesson: LabPage) -> None:
    pill = lesson.page.locator(f"{MODALITY} .dmaf-x-pill").first
    pill.scroll_into_view_if_needed()
    before = words(lesson)
    pill.click()
    lesson.until(lambda: "computing" not in words(lesson) and words(lesson) != before)
    assert "Given: T1ce + T1 + T2." in words(lesson) and "WT 0." in words(lesson)
    pill.click()
    lesson.until(lambda: words(lesson) == before)
    assert words(lesson) == before, "the same scans, the same answer"


def test_the_line_moves_through_the_training(lesson: LabPage) -> None:
    shown = lesson.page.locator(f"{TRAINING} .dmaf-picture").first
    shown.scroll_into_view_if_needed()
    shown.focus()
    before = shown.get_attribute("aria-valuenow")
    lesson.page.keyboard.press("ArrowLeft")
    lesson.until(lambda: shown.get_attribute("aria-valuenow") != before)
    assert shown.get_attribute("aria-valuenow") != before
