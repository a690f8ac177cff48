"""One answer against another, a guess before the answer, and where things stand: in the page that needs no Python."""

from __future__ import annotations

import base64
import gzip

import pytest
from driver import Browser
from test_browser_page import PIXELS, VIEWS, changes, open_page, page, says, settle  # noqa: F401 page is a fixture

from dmaf_lite.widgets import phantom_study
from dmaf_lite.widgets.scene import Scene, scene_bytes
from dmaf_lite.widgets.standalone import standalone

pytestmark = pytest.mark.browser

# Colours of the differences: how many pixels of the first picture have each hue, on any grey.
DIFFERENT = """() => {
  const canvas = document.querySelector('.dmaf-x-view canvas')
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
  const count = [0, 0, 0]
  for (let i = 0; i < data.length; i += 4) {
    const [r, g, b] = data.subarray(i, i + 3)
    if (r > g + 60 && b > g + 40 && r > b + 20) count[0] += 1
    if (b > r + 100 && b > g + 10 && g > r) count[1] += 1 // the cross-hair is paler
    if (r > b + 60 && g > b + 30 && r > g + 20 && g > 90) count[2] += 1
  }
  return count }"""


def legend(page) -> str:  # noqa: F811
    return page.locator(".dmaf-x-legend").first.inner_text()


def compare(page, value: str) -> None:  # noqa: F811
    page.get_by_label("differences").select_option(value)
    settle(page)


def test_differences_against_all_scans_and_against_the_reference(page) -> None:  # noqa: F811
    page.keyboard.press("r")  # without the outline of the reference, which is white
    page.keyboard.press("2")
    compare(page, "full")
    assert "Against all scans:" in legend(page) and "lost" in legend(page) and sum(page.evaluate(DIFFERENT)) > 100
    of_all = page.evaluate(PIXELS, VIEWS)
    compare(page, "reference")
    assert "Against the reference:" in legend(page) and "missed" in legend(page) and "too much" in legend(page)
    assert sum(page.evaluate(DIFFERENT)) > 100 and page.evaluate(PIXELS, VIEWS) != of_all
    page.keyboard.press("2")
    compare(page, "full")
    assert sum(page.evaluate(DIFFERENT)) == 0, "an answer does not differ from itself"


def test_differences_against_a_pinned_subset(page) -> None:  # noqa: F811
    page.keyboard.press("r")
    choice = page.get_by_label("differences")
    last = choice.locator("option").last
    assert last.is_disabled(), "nothing is pinned yet"
    tiles = page.locator(".dmaf-x-tile")
    tiles.nth(1).click()  # T1ce alone
    page.keyboard.press("p")
    settle(page)
    assert choice.input_value() == "pinned" and last.inner_text() == "against T1ce" and last.is_enabled()
    assert page.locator(".dmaf-x-pinned").count() == 1 and "pinned" in tiles.nth(1).get_attribute("aria-label")
    assert sum(page.evaluate(DIFFERENT)) == 0 and "Against T1ce:" in legend(page)
    tiles.nth(0).click()  # FLAIR alone
    settle(page)
    assert sum(page.evaluate(DIFFERENT)) > 100 and "Against T1ce:" in legend(page)
    page.keyboard.press("p")  # another one is pinned: the comparison goes on
    settle(page)
    assert "Against FLAIR:" in legend(page) and choice.input_value() == "pinned"
    page.keyboard.press("p")  # the same once more: it is let go
    settle(page)
    assert choice.input_value() == "" and page.locator(".dmaf-x-pinned").count() == 0
    assert "Against" not in legend(page)


def test_an_address_that_pins_nonsense_compares_with_nothing(browser: Browser) -> None:
    browser.renew()
    open_page(browser, hash_="#pinned=%22zz%22&compare=%22pinned%22")
    assert "Against" not in legend(browser.page) and browser.faults() == []


def test_a_guess_hides_the_answers(page) -> None:  # noqa: F811
    page.get_by_label("guess first").check()
    page.locator(".dmaf-x-pill").nth(1).click()
    hidden = "() => getComputedStyle(document.querySelector('.dmaf-x-tile')).filter"
    assert "blur" in page.evaluate(hidden), "the numbers below the tiles are the answer"
    page.get_by_label("I guess WT").click()
    assert page.evaluate(hidden) == "none"
    assert ". You guessed WT" in says(page)
    assert "−0.00" not in page.locator(".dmaf-x-side").inner_text()


def test_zoom_keeps_the_cross_hair_where_it_is(page) -> None:  # noqa: F811
    box = page.locator(VIEWS).first.bounding_box()
    place = box["x"] + 0.35 * box["width"], box["y"] + 0.6 * box["height"]
    page.mouse.click(*place)
    settle(page)
    read = page.locator(".dmaf-x-readout")
    before = read.inner_text()
    assert changes(page, lambda: [page.keyboard.press("+") for _ in range(5)]) == [0, 1, 2]
    page.wait_for_timeout(600)  # or it would be a double click, which goes back
    page.mouse.click(*place)
    settle(page)
    assert read.inner_text() == before, "what lies under the cross-hair has not moved"


def test_a_phone_shows_the_picture_first_and_tools_when_asked(browser: Browser) -> None:
    browser.renew()
    open_page(browser, 390)
    page = browser.page  # noqa: F811
    views, zoom = page.locator(VIEWS), page.get_by_label("zoom in")
    assert views.first.bounding_box()["y"] < 400 and not zoom.is_visible()
    tools = page.get_by_label("show or hide the tools")
    tools.click()
    assert zoom.is_visible() and tools.get_attribute("aria-expanded") == "true"
    tools.click()
    assert not zoom.is_visible()
    page.set_viewport_size({"width": 1024, "height": 768})
    settle(page)
    assert zoom.is_visible() and not tools.is_visible()


def test_a_scan_that_is_not_chosen_is_not_struck_out_where_nothing_is_left_out(browser: Browser, tmp_path) -> None:
    scene = scene_bytes(Scene.of(phantom_study(5, 0, spacing=6.0)))
    data = {"scene": base64.b64encode(gzip.compress(scene)).decode(), "answers": {}}
    (tmp_path / "study.html").write_text(standalone("study", data))
    struck = "() => getComputedStyle(document.querySelectorAll('.dmaf-x-pill')[1]).textDecorationLine"
    browser.renew()
    browser.page.goto((tmp_path / "study.html").as_uri())
    browser.page.locator("html[data-ready=true]").wait_for()
    assert browser.page.evaluate(struck) == "none"
    open_page(browser, hash_="#on=%221011%22")
    assert browser.page.evaluate(struck) == "line-through"


def test_the_views_fill_their_place(page) -> None:  # noqa: F811
    def sizes(width: int, layout: str) -> list[dict]:
        page.set_viewport_size({"width": width, "height": 1000})
        page.get_by_title(layout).first.click()
        settle(page)
        return [page.locator(VIEWS).nth(i).bounding_box() for i in range(page.locator(VIEWS).count())]
    first, second, third = sizes(1024, "three planes (g)")
    assert first["width"] > 1.3 * second["width"] and second["x"] == third["x"], "one large, two beside it"
    heights = [one["height"] for one in sizes(1920, "three planes (g)")]
    assert max(heights) - min(heights) < 2, "three of one height"
    tops = {round(one["y"]) for one in sizes(1920, "all scans in one plane (g)")}
    assert len(tops) == 1, "four in a row"
