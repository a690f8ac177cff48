"""Lesson 10 in JupyterLab, used as a person uses it: keys, wheel, clicks, sliders, toggles, and how long they take."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

import nbformat
import pytest
from lab import LabPage

from dmaf_lite.lessons.execute import write_notebook
from dmaf_lite.lessons.profiles import read_profile
from dmaf_lite.lessons.source import Workspace, build_notebook, tags

pytestmark = pytest.mark.browser

# Targets on two free cores, in seconds; other machines are busy, so up to SLACK times as much passes.
KEY, TOGGLE, FIRST, SLACK = 0.150, 0.400, 10.0, 5
VOLUME, MODALITY, TRAINING = ".dmaf-volume-explorer", ".dmaf-modality-explorer", ".dmaf-training"
# Seconds from an event until the picture that follows from it has been drawn, for each of `times` events.
TIME = """async ([selector, events]) => {
  const [root, times] = [document.querySelector(selector), []]
  const image = root.querySelector('.dmaf-picture img')
  for (const [target, key] of events) {
    const element = root.querySelectorAll(target.css)[target.nth ?? 0], start = performance.now()
    const shown = new Promise((done, late) => {
      image.addEventListener('load', done, {once: true}); setTimeout(() => late(Error(`no picture: ${key}`)), 10000) })
    if (key) element.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}))
    else element.click()
    await shown
    await new Promise(requestAnimationFrame)
    times.push((performance.now() - start) / 1000)
    await new Promise(rest => setTimeout(rest, 50))
  }
  return times
}"""


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
    lab.page.locator(".dmaf-picture img").first.wait_for()
    lab.first = time.monotonic() - start
    lab.until(lab.finished)
    return lab


@pytest.fixture(autouse=True)
def nothing_went_wrong(lesson: LabPage):
    """After every test: no error in a cell, a callback or the console, and no external request."""
    yield
    assert lesson.faults(pictures=False) == []


def picture(lab: LabPage, root: str, nth: int = 0):
    """A picture of the first explorer of a kind, scrolled to."""
    found = lab.page.locator(root).first.locator(".dmaf-picture").nth(nth)
    found.scroll_into_view_if_needed()
    return found


def place(found) -> int:
    """The slice that a picture shows."""
    return int(found.get_attribute("aria-valuenow"))


def test_every_explorer_is_there_with_text_alternatives(lesson: LabPage) -> None:
    print(f"\nfirst picture {lesson.first:.1f} s after running (target {FIRST:.0f} s)")
    assert lesson.first < SLACK * FIRST
    assert lesson.faults() == []
    for root in (VOLUME, MODALITY, TRAINING):
        assert lesson.page.locator(root).first.is_visible(), root
    for image in lesson.page.locator(".dmaf-picture img").all():
        assert len(image.get_attribute("alt")) > 10
    assert "synthetic" in picture(lesson, VOLUME).get_attribute("aria-label")
    assert lesson.page.locator(".dmaf-legend").first.is_visible()


def test_every_slider_changes_a_picture(lesson: LabPage) -> None:
    assert len(lesson.sliders()) >= 4
    assert lesson.dead_sliders() == []


@pytest.mark.parametrize("root", [VOLUME, MODALITY])
def test_arrow_keys_and_wheel_move_slices(lesson: LabPage, root: str) -> None:
    shown, img = picture(lesson, root), f"{root} .dmaf-picture img"
    shown.focus()
    for key, step in (("ArrowUp", 1), ("ArrowLeft", -1), ("PageUp", 10), ("PageDown", -10)):
        before = place(shown)
        assert lesson.changes(lambda key=key: lesson.page.keyboard.press(key), img), key
        assert place(shown) == before + step, key
    before = place(shown)
    shown.locator("img").hover()
    lesson.page.wait_for_timeout(400)  # a scroll that began elsewhere would go on
    assert lesson.changes(lambda: lesson.page.mouse.wheel(0, -40), img), "wheel"
    assert place(shown) == before + 1
    slider = lesson.page.locator(f"{root} .dmaf-slice .noUi-handle").first
    assert int(float(slider.get_attribute("aria-valuenow"))) == place(shown), "slider and picture show the same slice"


def test_a_click_reads_the_voxel(lesson: LabPage) -> None:
    shown = picture(lesson, VOLUME)
    shown.locator("img").click()
    lesson.page.locator(VOLUME).first.get_by_text(re.compile(r"label .* voxel \d+, \d+, \d+ \(")).wait_for()
    assert shown.locator(".dmaf-cross").count() == 1


def test_modalities_of_the_volume_change_the_picture(lesson: LabPage) -> None:
    buttons = lesson.page.locator(f"{VOLUME} .dmaf-modality button")
    names = [button.inner_text().strip() for button in buttons.all()]
    assert len(set(names)) >= 4
    for button in [*buttons.all()[1:4], buttons.first]:
        assert lesson.changes(button.click, f"{VOLUME} .dmaf-picture img"), button.inner_text()


def test_switching_a_scan_off_changes_segmentation_and_weights(lesson: LabPage) -> None:
    first = lesson.page.locator(MODALITY).first
    weights = first.locator(".dmaf-weights").first
    button = first.locator("button.dmaf-modality").first
    weights.scroll_into_view_if_needed()
    before = weights.inner_text()
    assert "0." in before
    assert lesson.changes(button.click, f"{MODALITY} .dmaf-picture img", seconds=60)
    assert weights.inner_text() != before
    assert lesson.changes(button.click, f"{MODALITY} .dmaf-picture img", seconds=60)
    assert weights.inner_text() == before, "the same scans, the same weights"


def test_the_last_scan_stays(lesson: LabPage) -> None:
    first = lesson.page.locator(MODALITY).first
    buttons = first.locator("button.dmaf-modality").all()
    for button in buttons:
        button.click()
    first.get_by_text("At least one scan is needed").wait_for()
    assert buttons[-1].evaluate("e => e.classList.contains('mod-active')")
    for button in buttons[:-1]:
        button.click()


def test_a_row_of_the_table_chooses_its_subset(lesson: LabPage) -> None:
    first = lesson.page.locator(MODALITY).first
    rows = first.locator(".dmaf-subset-table tbody tr")
    assert rows.count() == 15
    chosen = first.locator(".dmaf-subset-table tr[aria-selected=true]")
    other = rows.nth(2) if rows.nth(3).get_attribute("aria-selected") == "true" else rows.nth(3)
    name = other.get_attribute("aria-label")
    assert lesson.changes(other.click, f"{MODALITY} .dmaf-picture img", seconds=60)
    assert chosen.count() == 1 and chosen.get_attribute("aria-label") == name
    active = [b.inner_text().strip() for b in first.locator("button.dmaf-modality.mod-active").all()]
    assert all(given in name for given in active) and 0 < len(active) < 4


def test_keys_are_answered_in_time(lesson: LabPage) -> None:
    for root in (VOLUME, MODALITY):
        picture(lesson, root)
        events = [[{"css": ".dmaf-picture"}, key] for key in ["ArrowUp"] * 10 + ["ArrowDown"] * 10]
        assert best_p95(lesson, f"key to picture in {root}", root, events, KEY) < SLACK * KEY


def test_cached_answers_come_in_time(lesson: LabPage) -> None:
    picture(lesson, MODALITY)
    events = [[{"css": "button.dmaf-modality", "nth": nth}, None] for nth in (0, 0, 1, 1)]
    lesson.page.evaluate(TIME, [MODALITY, events])  # each answer is in the cache now
    assert best_p95(lesson, "cached toggle", MODALITY, events * 2, TOGGLE) < SLACK * TOGGLE


def best_p95(lab: LabPage, what: str, root: str, events: list, target: float) -> float:
    """The better 95th percentile of two rounds (a machine may be busy for a moment), printed beside its target."""
    rounds = [lab.page.evaluate(TIME, [root, events]) for _ in range(2)]
    p95 = [statistics.quantiles(times, n=20, method="inclusive")[-1] for times in rounds]
    best = rounds[p95.index(min(p95))]
    print(f"\n{what}: median {statistics.median(best):.3f} s, p95 {min(p95):.3f} s (target {target:.3f} s)")
    return min(p95)


def test_the_volume_stands_in_three_dimensions_on_demand(lesson: LabPage) -> None:
    first = lesson.page.locator(VOLUME).first
    first.locator(".dmaf-3d").click()
    canvas = first.locator("canvas")
    lesson.until(lambda: canvas.count() > 0 and canvas.first.is_visible() and lesson.blank(f"{VOLUME} canvas") == [])
    assert lesson.blank(f"{VOLUME} canvas") == [] and canvas.count() >= 1
    first.locator(".dmaf-3d").click()
    lesson.until(lambda: canvas.count() == 0)
    assert canvas.count() == 0
