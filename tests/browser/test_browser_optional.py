"""The optional notebook without network: the probe finds it out, and something else is shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from driver import is_blank
from lab import LabPage
from tiny import REPOSITORY

pytestmark = pytest.mark.browser
NAME = "itkwidgets.ipynb"


def test_without_network_the_explorer_is_shown_and_the_kernel_stays_free(lab: LabPage, served: Path) -> None:
    shutil.copy(REPOSITORY / "notebooks" / "optional" / NAME, served)
    lab.open(NAME)
    setup, probe, look = (i for i, cell in enumerate(nbformat.read(served / NAME, 4).cells) if cell.cell_type == "code")
    lab.run_cell(setup)
    lab.run_cell(probe)
    lab.wait_text("can be reached: false")
    lab.run_cell(look)
    canvas = lab.page.locator(".dmaf-x-view:not([hidden]) canvas").first
    lab.until(lambda: canvas.is_visible() and not is_blank(canvas.screenshot(timeout=30_000)))
    assert not is_blank(canvas.screenshot(timeout=30_000))
    elsewhere = [fault for fault in lab.faults() if "ipfs" not in fault and "ERR_NAME_NOT_RESOLVED" not in fault]
    assert elsewhere == [], "only the probe asks outside"
    said = lab.kernel("import sys; print('itkwidgets' in sys.modules, type(shown).__name__)")
    assert said == "False VolumeExplorer\n"
