"""`explore` in a real browser: first picture, own studies, a process that dies, two tabs, errors in a sentence."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from driver import Browser, is_blank
from test_browser_page import CUT, PIXELS, VIEWS, says, settle
from tiny import REPOSITORY

from dmaf_lite.data.cohort import layout_of
from dmaf_lite.widgets import phantom_study

pytestmark = pytest.mark.browser
FIRST = 5.0  # seconds to the first picture on two free cores; printed, since other machines are busy


def write_study(folder: Path, scans: tuple[str, ...], *, label: bool = False, axes: str = "LPS",
                codes: bool = True) -> Path:
    """A small synthetic study as files, with the axes and the header asked for."""
    study = phantom_study(5, 0, spacing=6.0)
    folder.mkdir(parents=True)
    suffixes = layout_of("brats2020").suffixes
    files = {suffixes[m]: study.images[m].astype(np.int16) for m in scans}
    if label:
        files["_seg"] = np.array([0, 1, 2, 4], np.uint8)[study.label]
    for suffix, array in files.items():
        image = nib.Nifti1Image(array, study.affine)
        turn = nib.orientations.ornt_transform(nib.io_orientation(study.affine), nib.orientations.axcodes2ornt(axes))
        image = image.as_reoriented(turn)
        if not codes:
            image.header["qform_code"] = image.header["sform_code"] = 0
            image = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
        nib.save(image, folder / f"{folder.name}{suffix}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application on a few studies. (It needs no browser, but without one there is nothing to test.)"""
    place = tmp_path_factory.mktemp("studies")
    folders = [write_study(place / "lps", ("FLAIR", "T1ce"), label=True),
               write_study(place / "ras", ("FLAIR", "T1ce"), label=True, axes="RAS"),
               write_study(place / "psr", ("FLAIR", "T1ce"), label=True, axes="PSR"),
               write_study(place / "bare", ("T1",), codes=False), place / "gone"]
    folders[-1].mkdir()
    command = [sys.executable, "-m", "dmaf_lite", "explore", *map(str, folders), "--no-browser"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)
    yield re.match(r"Open (http://127\.0\.0\.1:\d+/\?token=[0-9a-f]+)", process.stdout.readline())[1]
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(20)


def show(browser: Browser, address: str, title: str | None = None):
    """The application in a new tab, with a study of this title."""
    browser.renew()
    page = browser.page
    page.set_viewport_size({"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(address)
    page.locator("html[data-ready=true], .dmaf-x-card:visible").first.wait_for()
    if title:
        page.get_by_label("study", exact=True).select_option(label=title)
        page.locator(f"html[data-ready=true] .dmaf-x-head h2:has-text('{title.split(',')[0]}')").wait_for()
        settle(page)
    return page


def test_the_first_picture_comes_soon_and_whole(browser: Browser, address: str) -> None:
    browser.renew()
    page, start = browser.page, time.monotonic()
    page.set_default_timeout(120_000)
    page.goto(f"{address}#s=s5")  # after four studies and a problem
    page.locator("html[data-ready=true] h2:has-text('synthetic')").wait_for()
    settle(page)
    print(f"\nfirst picture after {time.monotonic() - start:.1f} s (target {FIRST:.0f} s)")
    assert not is_blank(page.locator(VIEWS).first.screenshot()) and page.locator(".dmaf-x-tile").count() == 15
    assert "…" not in page.locator(".dmaf-x-tiles").inner_text(), "all fifteen are there"
    assert not any("notebook" in text.lower() for text in page.locator("button").all_inner_texts())
    assert browser.faults() == []


def test_any_order_of_axes_is_one_picture(browser: Browser, address: str) -> None:
    seen = []
    for name in ("lps", "ras", "psr"):
        page = show(browser, address, name)
        page.keyboard.press("l")  # the scan alone
        settle(page)
        seen.append(page.evaluate(PIXELS, VIEWS))
        assert "not a medical device" in page.locator(".dmaf-x-banner").inner_text()
    assert seen[0] == seen[1] == seen[2]


def test_one_scan_without_label_and_without_orientation(browser: Browser, address: str) -> None:
    page = show(browser, address, "bare")
    page.get_by_text("left and right are not known").wait_for()
    page.locator(".dmaf-x-says", has_text="cm³").wait_for()
    assert page.locator(".dmaf-x-tile").count() == 1 and page.locator(".dmaf-x-pill").count() == 1
    page.set_viewport_size({"width": 390, "height": 844})
    settle(page)
    assert page.evaluate(CUT) == []
    with page.expect_download() as waiting:
        page.get_by_label("save this segmentation as a NIfTI file").click()
    saved = waiting.value.path()
    assert saved.read_bytes()[:2] == b"\x1f\x8b" and waiting.value.suggested_filename.endswith("_seg.nii.gz")


def test_an_error_is_a_card_with_one_sentence(browser: Browser, address: str) -> None:
    page = show(browser, address)
    page.get_by_label("study", exact=True).select_option(label="! gone")
    page.locator(".dmaf-x-card", has_text="found no modality").wait_for()
    assert "Traceback" not in page.locator(".dmaf-x-card").inner_text()
    page.locator("input[type=file]").first.set_input_files({"name": "notes.txt", "mimeType": "text/plain",
                                                           "buffer": b"x"})
    page.locator(".dmaf-x-card", has_text="found no NIfTI file").wait_for()


def test_it_goes_on_after_the_process_has_died_in_two_tabs(browser: Browser, address: str) -> None:
    page = show(browser, address, "lps")
    page.locator(".dmaf-x-says", has_text="WT").wait_for()
    other = browser.context.new_page()
    other.goto(address)
    other.locator("html[data-ready=true]").wait_for()
    page.evaluate("() => fetch('/cancel', {method: 'POST', headers: {'X-Explore': '1'}, body: '{}'})")
    page.get_by_text("A bad scan, or no scan?").click()  # asks the process, which has to be made again
    page.locator(".dmaf-x-bad .dmaf-x-says", has_text="Kept").wait_for()
    before = says(page)
    page.reload()
    page.locator(".dmaf-x-says", has_text="WT").wait_for()
    assert says(page) == before, "the address keeps study and subset"
    assert says(other) != "" and browser.faults() == []
    other.close()
