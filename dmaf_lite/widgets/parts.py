"""Small parts that the explorers share: sliders that change their range, legends, what lies under a click."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import ipywidgets as W
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from dmaf_lite.figures.planes import AXIS, PLANES, Plane, head_box, lps_spacing
from dmaf_lite.figures.raster import Frame, viridis
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.widgets.sources import Study

FONT = "font:13px/1.5 var(--jp-ui-font-family, sans-serif); color:var(--jp-ui-font-color1, #222)"


def text(words: str, *, css: str = "") -> str:
    """HTML in the font of the controls."""
    return f'<div class="{css}" style="{FONT}">{words}</div>'


def legend(colours: Mapping[str, str], note: str = "") -> str:
    """Names with their colours, in one line."""
    chips = "".join(f'<span style="white-space:nowrap;margin-right:12px"><span style="display:inline-block;width:11px;'
                    f'height:11px;margin-right:5px;border-radius:2px;background:{colour}"></span>{escape(name)}</span>'
                    for name, colour in colours.items())
    return text(chips + note, css="dmaf-legend")


def slice_slider(**options: object) -> W.IntSlider:
    """The slider of slices."""
    slider = W.IntSlider(description="slice", continuous_update=True, layout=W.Layout(width="310px"), **options)
    slider.add_class("dmaf-slice")
    return slider


def plane_buttons() -> W.ToggleButtons:
    """axial, coronal, sagittal."""
    return W.ToggleButtons(options=list(PLANES), style={"button_width": "78px"}, layout=W.Layout(width="auto"),
                           tooltips=[f"{plane} slices" for plane in PLANES])


def set_range(slider: W.IntSlider, first: int, last: int, value: int) -> None:
    """Move a slider to another range at once, without ever being out of range."""
    with slider.hold_trait_notifications():
        slider.min, slider.max, slider.value = first, last, min(max(value, first), last)


class Views:
    """The three frames of a study, and where a voxel of them lies in the file and in the scanner.

    Args:
        study: Decides grid and orientation.
        head: Anything [X, Y, Z] in LPS order that is 0 outside the head.
    """

    def __init__(self, study: Study, head: np.ndarray) -> None:
        spacing = lps_spacing(study.affine)
        self.frames = {name: Frame.around(head, Plane(name, spacing)) for name in PLANES}
        box = [part.indices(n) for part, n in zip(head_box(head, margin=0), head.shape, strict=True)]
        self.ends = {name: (box[axis][0], box[axis][1] - 1) for name, axis in AXIS.items()}
        shape = next(iter(study.images.values())).shape
        turn = ornt_transform(io_orientation(study.affine), axcodes2ornt("LPS"))
        self._to_file = inv_ornt_aff(turn, shape)  # LPS index -> index in the file
        self._affine = study.affine

    def index_in_file(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """The file's own index of a voxel in LPS order."""
        return tuple(round(v) for v in (self._to_file @ [*voxel, 1])[:3])

    def place(self, voxel: tuple[int, int, int]) -> str:
        """Where a voxel lies, in words: its index in the file, and mm from the file's own origin."""
        index = self.index_in_file(voxel)
        mm = (self._affine @ [*index, 1])[:3]
        return f"voxel {', '.join(map(str, index))} (at {', '.join(f'{v:.0f}' for v in mm)} mm)"


def weight_bars(weights: np.ndarray | None, modalities: tuple[str, ...]) -> str:
    """Mean modality weights [levels, M] as one stacked bar per level, with numbers; the full-size level on top."""
    if weights is None:
        return text("This network has no modality weights.", css="dmaf-weights")
    rows = []
    for level, values in enumerate(weights):
        parts = "".join(
            f'<span title="{escape(name)} {value:.3f}" style="width:{100 * value:.2f}%;'
            f'background:{MODALITY_COLOURS.get(name, "#444444")};color:white;text-align:center;overflow:hidden">'
            f'{f"{value:.2f}" if value >= 0.12 else "&nbsp;"}</span>'
            for name, value in zip(modalities, values, strict=True) if value > 0)
        size = "full size" if level == 0 else f"1/{2**level}"
        rows.append(f'<tr><td style="padding:2px 8px 2px 0;white-space:nowrap">{size}</td><td><div style="display:flex;'
                    f'width:190px;font-size:11px;line-height:18px">{parts}</div></td></tr>')
    colours = {name: MODALITY_COLOURS.get(name, "#444444") for name in modalities}
    return text(f"Mean weight of each scan, by level<table>{''.join(rows)}</table>", css="dmaf-weights") \
        + legend(colours)


def colour_bar(low: float, high: float) -> str:
    """The colours of a map, with what their ends stand for."""
    steps = ",".join(f"rgb{tuple(map(int, colour))}" for colour in viridis()[::51])
    css = "display:inline-block;width:150px;height:11px;margin:0 4px;border-radius:2px;" \
          f"background:linear-gradient(90deg,{steps})"
    return text(f'{low:.2f} <span style="{css}"></span> {high:.2f}', css="dmaf-scale")
