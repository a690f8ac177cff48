"""A picture that keys, wheel and mouse move through: an `anywidget` around one PNG, all of its code beside it."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent / "page"


class Picture(anywidget.AnyWidget):
    """One PNG with lines over it, and an index that arrow keys and wheel change.

    Attributes:
        png: The picture.
        index, first, last: What keys and wheel move, and its ends; the page changes `index`, Python draws.
        width: In CSS pixels.
        lines: Vertical lines [x, top, bottom] from 0 to 1.
        clicked: [x, y, count], set by the page; the count makes two clicks on one spot two changes.
        caption: Above the picture.
        alt: What it shows, for readers who do not see it.
        unit: What the index counts, for screen readers.
    """

    _esm = (HERE / "picture.js").read_text(encoding="utf-8")
    _css = (HERE / "picture.css").read_text(encoding="utf-8")
    png = traitlets.Bytes().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    last = traitlets.Int(0).tag(sync=True)
    width = traitlets.Int(400).tag(sync=True)
    lines = traitlets.List().tag(sync=True)
    clicked = traitlets.List().tag(sync=True)
    caption = traitlets.Unicode("").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    unit = traitlets.Unicode("row").tag(sync=True)
