"""A table of all subsets: a row is chosen by a click, or by keys."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent


class SubsetTable(anywidget.AnyWidget):
    """One row per subset.

    Attributes:
        head: Titles of the columns: first the modalities, then the regions.
        colours: One per modality.
        rows: ``{"there": [bool], "values": [number or None], "name": words}``.
        chosen: Number of the chosen row; the page sets it, too.  -1: none.
        caption: Above the table.
    """

    _esm = HERE / "table.js"
    _css = HERE / "table.css"
    head = traitlets.List().tag(sync=True)
    colours = traitlets.List().tag(sync=True)
    rows = traitlets.List().tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
