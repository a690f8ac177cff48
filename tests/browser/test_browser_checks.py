"""The checks themselves: a good notebook passes, and each kind of fault is found by its name."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from lab import LabPage

pytestmark = pytest.mark.browser

LIVE = '''
import io
import ipywidgets
from PIL import Image

def draw(level):
    """A square whose grey follows the slider."""
    memory = io.BytesIO()
    square = Image.new("RGB", (60, 60), (20 * level,) * 3)
    square.paste((200, 40, 40), (10, 10, 30, 30))
    square.save(memory, "PNG")
    return memory.getvalue()

slider = ipywidgets.IntSlider(value=2, max=10)
picture = ipywidgets.Image(value=draw(2))
slider.observe(lambda change: setattr(picture, "value", draw(change["new"])), "value")
ipywidgets.VBox([slider, picture])
'''
CANVAS = '''
import anywidget

class Canvas(anywidget.AnyWidget):
    _esm = """export default { render({el}) {
      const c = document.createElement("canvas"); c.width = c.height = 60; el.append(c)
      const g = c.getContext("2d"); g.fillStyle = "#a03030"; g.fillRect(5, 5, 20, 20) } }"""

Canvas()
'''
FROM_CDN = '''
from IPython.display import HTML
HTML('<img src="https://cdn.jsdelivr.net/npm/logo.png" alt="from elsewhere">')
'''


def open_and_run(lab: LabPage, served: Path, name: str, *cells: str) -> LabPage:
    """A notebook of these cells, opened and run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, served / name)
    lab.open(name).run()
    return lab


def test_a_good_notebook_has_no_fault(lab: LabPage, served: Path) -> None:
    open_and_run(lab, served, "good.ipynb", LIVE, CANVAS)
    assert lab.faults() == []
    assert len(lab.pixels()) == 2, "one picture and one canvas"
    assert len(lab.sliders()) == 1 and lab.dead_sliders() == []


def test_a_cut_slider_is_found(lab: LabPage, served: Path) -> None:
    cut = LIVE.replace('slider.observe(lambda change: setattr(picture, "value", draw(change["new"])), "value")', "")
    assert cut != LIVE
    open_and_run(lab, served, "cut.ipynb", cut)
    assert lab.faults() == []
    assert lab.dead_sliders(seconds=3) == [0]


def test_an_error_in_a_callback_is_found(lab: LabPage, served: Path) -> None:
    open_and_run(lab, served, "callback.ipynb", LIVE.replace("20 * level", "20 * level // (level - 3)"))
    assert lab.faults() == []
    lab.nudge(lab.sliders()[0], times=1)
    lab.until(lambda: lab.faults(pictures=False) != [])
    assert any("a callback raised" in fault and "ZeroDivisionError" in fault for fault in lab.faults()), lab.faults()


@pytest.mark.parametrize(("name", "cells", "message"), [
    ("raises", ("1 / 0", "2"), "a cell raised: ZeroDivisionError"),
    ("stops", ("1 / 0", "2"), "code cell 1 did not run"),
    ("blank", (CANVAS.replace("g.fillRect(5, 5, 20, 20)", ""),), "picture 0 is blank"),
    ("script", (CANVAS.replace("g.fillRect", "nothing.fillRect"),), "nothing is not defined"),
    ("cdn", (FROM_CDN,), "external request: https://cdn.jsdelivr.net"),
])
def test_each_fault_is_found(lab: LabPage, served: Path, name: str, cells: tuple[str, ...], message: str) -> None:
    open_and_run(lab, served, f"{name}.ipynb", *cells)
    found = lab.faults()
    assert any(message in fault.replace("\n", " ") for fault in found), found
