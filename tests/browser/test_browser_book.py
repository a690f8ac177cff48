"""The book as a reader without network opens it: from disk, formulas set, every picture there, every page reached."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from driver import Browser, is_blank
from tiny import REPOSITORY

from dmaf_lite.lessons.book import write_book
from dmaf_lite.lessons.source import Workspace

pytestmark = pytest.mark.browser

MATH_IS_SET = """async () => {
  if (!document.querySelector('.math')) return ''
  if (!window.MathJax?.Hub) return 'MathJax did not load'
  await new Promise(done => MathJax.Hub.Queue(done))
  const wrong = [...document.querySelectorAll('.MathJax_Error, .merror, .noError, .mtext[style*="red"]')]
  return wrong.length ? 'wrong formulas: ' + wrong.map(e => e.textContent).join('; ') : ''
}"""
RAW = """() => { const copy = document.querySelector('main').cloneNode(true)
  copy.querySelectorAll('pre, code, script, .MathJax_Preview').forEach(e => e.remove())
  return (copy.textContent.match(/\\$|\\\\(?:frac|sum|mathcal|begin)\\b/g) ?? []).join(' ') }"""
EMPTY = """() => [...document.images].filter(i => !i.complete || !i.naturalWidth)
  .map(i => i.alt || i.src.slice(0, 80))"""
TOO_WIDE = "() => Math.max(0, document.documentElement.scrollWidth - innerWidth)"
FOLDED = "() => document.querySelectorAll('main details:not([open])').length"


@pytest.fixture(scope="module")
def book(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the book of the published notebooks, written apart from the checkout's own."""
    browser.renew()
    place = tmp_path_factory.mktemp("checkout")
    shutil.copytree(REPOSITORY / "notebooks", place / "notebooks")
    shutil.copytree(REPOSITORY / "docs", place / "docs")
    shutil.copy(REPOSITORY / "README.md", place)
    return write_book(Workspace(place)).parent


def pages_of(book: Path) -> list[Path]:
    """What a reader reads: everything but the page of searching and the empty index of terms."""
    return [page for page in sorted(book.rglob("*.html")) if page.name not in ("genindex.html", "search.html")
            and "_static" not in page.parts]


def open_page(browser: Browser, page: Path) -> list[str]:
    """What is wrong with a page, one sentence each."""
    browser.forget()
    browser.page.goto(page.as_uri(), wait_until="load")
    faults = [browser.page.evaluate(MATH_IS_SET)]
    faults += [f"not set: {raw}" for raw in [browser.page.evaluate(RAW)] if raw]
    faults += [f"an empty picture: {name}" for name in browser.page.evaluate(EMPTY)]
    pictures = browser.page.locator(".cell_output img")
    faults += [f"picture {i} is blank" for i in range(pictures.count()) if is_blank(pictures.nth(i).screenshot())]
    # To see whether a font has loaded, MathJax names an empty one at about:blank, which Chromium comments on.
    return [fault for fault in [*faults, *browser.faults()] if fault and "about:blank" not in fault]


def test_every_page_opens_from_disk_complete(browser: Browser, book: Path) -> None:
    pages = pages_of(book)
    assert len(pages) > 10
    found = {}
    for page in pages:
        found[page.name] = open_page(browser, page) + too_wide(browser)
        notebook = REPOSITORY / "notebooks" / f"{page.stem}.ipynb"
        if page.parent.name == "notebooks":
            found[page.name] += compare(browser, notebook)
    assert {name: faults for name, faults in found.items() if faults} == {}


def too_wide(browser: Browser) -> list[str]:
    """The widths, from a telephone to a desk, at which the open page is wider than the window."""
    place = browser.page
    before, found = place.viewport_size, []
    for width in (390, 905, 1440):
        place.set_viewport_size({"width": width, "height": 900})
        pixels = place.evaluate(TOO_WIDE)
        found += [f"{pixels} pixels too wide at {width}"] if pixels else []
    place.set_viewport_size(before)
    return found


def compare(browser: Browser, path: Path) -> list[str]:
    """What the open page lacks of a notebook's pictures, those of widgets included, and formulas."""
    cells = [cell for cell in nbformat.read(path, 4).cells if "exercise" not in cell.metadata.get("tags", [])]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    expected = sum("image/png" in output.get("data", {}) for output in outputs)
    shown = browser.page.locator(".cell_output img").count()
    formulas = any("$$" in cell.source for cell in cells if cell.cell_type == "markdown")
    return [*([f"{shown} pictures; the notebook has {expected}"] if shown != expected else []),
            *(["no formula is set"] if formulas and not browser.page.locator(".MathJax_Display").count() else [])]


@pytest.mark.parametrize(("text", "message"), [
    ('<img src="https://cdn.jsdelivr.net/npm/logo.png" alt="a logo">', "external request: https://cdn.jsdelivr.net"),
    ('<img src="gone.png" alt="a brain">', "an empty picture: a brain"),
    (r'<div class="math">\[\frac{1}{2\]</div>', "wrong formulas"),
    (r'<div class="math">\[\unheardof{1}\]</div>', "wrong formulas"),
    ("<script>nothing.here()</script>", "page error"),
])
def test_each_fault_of_a_page_is_found(browser: Browser, book: Path, text: str, message: str) -> None:
    page = book / "notebooks" / "wrong.html"
    source = (book / "notebooks" / "03_let_attention_choose.html").read_text(encoding="utf-8")
    page.write_text(source.replace('<article class="bd-article"', f'{text}<article class="bd-article"'),
                    encoding="utf-8")
    found = open_page(browser, page)
    page.unlink()
    assert any(message in fault for fault in found), found


def test_next_walks_through_all_pages_and_previous_back(browser: Browser, book: Path) -> None:
    place = browser.page
    place.goto((book / "index.html").as_uri(), wait_until="domcontentloaded")
    walked = [place.url]
    while place.locator("a.right-next").count():
        place.goto(place.locator("a.right-next").get_attribute("href") and place.locator("a.right-next").evaluate(
            "a => a.href"), wait_until="domcontentloaded")
        walked.append(place.url)
        assert len(walked) < 200
    assert set(walked) == {page.as_uri() for page in pages_of(book)}, "every page is on the way"
    back = place.locator("a.left-prev").evaluate("a => a.href")
    assert back == walked[-2]


def test_search_finds_what_a_reader_asks_for(browser: Browser, book: Path) -> None:
    place = browser.page
    place.goto((book / "search.html").as_uri() + "?q=prototype", wait_until="load")
    first = place.locator("#search-results li a").first
    first.wait_for(timeout=20_000)
    found = place.locator("#search-results li a").evaluate_all("links => links.map(a => a.href).join(' ')")
    assert "05_align_prototypes.html" in found
    assert browser.external == []


def test_letters_of_a_formula_stand_on_the_line_of_the_words(browser: Browser, book: Path) -> None:
    open_page(browser, book / "notebooks" / "02_segment_with_what_is_there.html")
    apart = browser.page.evaluate("""() => {
      const line = (place, how) => {  // where letters stand there, in pixels
        const mark = document.createElement('span')
        mark.style.cssText = 'display: inline-block; width: 1px; height: 0'
        place[how](mark)
        const found = mark.getBoundingClientRect().bottom
        mark.remove()
        return found
      }
      return [...document.querySelectorAll('main p > span.math')]
        .filter(e => e.getClientRects().length === 1 && e.querySelector('.mrow'))
        .map(e => Math.abs(line(e, 'before') - line(e.querySelector('.mrow'), 'prepend'))) }""")
    assert len(apart) > 5
    assert sorted(apart)[len(apart) // 2] < 1.5, "most formulas of a line do not float above its words"


def test_a_full_stop_stays_on_the_line_of_its_formula(browser: Browser, book: Path) -> None:
    alone, joined = [], 0
    for name in ("02_segment_with_what_is_there", "06_watch_the_training"):
        open_page(browser, book / "notebooks" / f"{name}.html")
        for width in (390, 905, 1440):
            browser.page.set_viewport_size({"width": width, "height": 900})
            alone += browser.page.evaluate("""() => [...document.querySelectorAll('main span.math.notranslate')]
                .filter(e => /^[.,;:!?)]/.test(e.nextSibling?.data ?? '')).filter(e => {
                  const sign = document.createRange()
                  sign.setStart(e.nextSibling, 0)
                  sign.setEnd(e.nextSibling, 1)
                  const [place, formula] = [sign.getBoundingClientRect(), e.getBoundingClientRect()]
                  return place.left < formula.left && place.top > formula.top
                }).map(e => e.previousSibling?.data)""")
        joined += browser.page.locator("main .unbroken").count()
    browser.page.set_viewport_size({"width": 1250, "height": 1000})
    assert alone == [] and joined > 10


def test_pictures_keep_their_contrast_in_the_dark(browser: Browser, book: Path) -> None:
    open_page(browser, book / "notebooks" / "03_let_attention_choose.html")
    filters = browser.page.evaluate("""() => { document.documentElement.dataset.theme = 'dark'
      const found = [...document.querySelectorAll('main img')].map(i => getComputedStyle(i).filter)
      document.documentElement.dataset.theme = 'light'
      return found }""")
    assert filters and not [text for text in filters if "contrast" in text]


def test_headings_have_no_empty_line(browser: Browser, book: Path) -> None:
    open_page(browser, book / "notebooks" / "05_align_prototypes.html")
    browser.page.set_viewport_size({"width": 905, "height": 900})
    empty = browser.page.evaluate("""() => [...document.querySelectorAll('main h2')].filter(head => {
      const words = document.createRange()
      words.selectNodeContents(head.firstChild)
      return head.getBoundingClientRect().bottom - words.getBoundingClientRect().bottom > 15
    }).map(head => head.textContent)""")
    assert empty == []


def test_a_table_on_a_telephone_breaks_no_name(browser: Browser, book: Path) -> None:
    browser.page.goto((book / "docs" / "getting_brats.html").as_uri(), wait_until="load")
    before = browser.page.viewport_size
    browser.page.set_viewport_size({"width": 390, "height": 900})
    broken = browser.page.evaluate("""() => [...document.querySelectorAll('main table code')]
        .filter(e => /^\\w+$/.test(e.textContent) && e.getClientRects().length > 1).map(e => e.textContent)""")
    browser.page.set_viewport_size(before)
    assert broken == []


def test_the_names_of_the_next_pages_are_whole_on_a_telephone(browser: Browser, book: Path) -> None:
    browser.page.set_viewport_size({"width": 390, "height": 900})
    cut = []
    for page in pages_of(book):
        browser.page.goto(page.as_uri(), wait_until="domcontentloaded")
        cut += browser.page.evaluate("""() => [...document.querySelectorAll('.prev-next-area a')]
            .filter(a => a.scrollWidth > a.clientWidth).map(a => a.textContent.trim())""")
    browser.page.set_viewport_size({"width": 1250, "height": 1000})
    assert cut == []


def test_print_loses_no_code(browser: Browser, book: Path) -> None:
    place = browser.page
    place.goto((book / "notebooks" / "exercises" / "03_let_attention_choose.html").as_uri(), wait_until="load")
    assert place.evaluate(FOLDED) > 0
    place.emulate_media(media="print")
    place.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert place.evaluate(FOLDED) == 0, "what is folded on the screen is open on paper"
    cut = place.evaluate("""() => [...document.querySelectorAll('main pre')]
        .filter(p => p.scrollWidth > p.clientWidth + 1).length""")
    boxes = place.evaluate("""() => [...document.querySelectorAll('main pre, main [class*="highlight"]')]
        .filter(p => getComputedStyle(p).breakInside !== 'auto').length""")
    labels = place.evaluate("""() => [...document.querySelectorAll('main details.hide > summary')]
        .filter(s => s.offsetHeight).length""")
    faint = place.evaluate("""() => [...document.querySelectorAll('main details > summary ~ *')]
        .filter(part => getComputedStyle(part).animationName !== 'none').length""")
    # A frame would begin at the end of one page, empty, and hold its code on the next.
    frames = place.evaluate("""() => [...document.querySelectorAll('main :is(.cell_input, details.hide, .sd-card)')]
        .filter(box => box.offsetHeight && getComputedStyle(box).borderTopWidth !== '0px').length""")
    place.evaluate("() => dispatchEvent(new Event('afterprint'))")
    place.emulate_media(media="screen")
    assert cut == faint == boxes == labels == frames == 0 and place.evaluate(FOLDED) > 0
