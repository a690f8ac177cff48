"""Look through a study: any modality, plane, slice and window, labels on top, and what lies under a click."""

from __future__ import annotations

from html import escape

import ipywidgets as W
import numpy as np

from dmaf_lite.figures.explorers import class_colours, explored_slice
from dmaf_lite.figures.planes import AXIS, SIDES, fullest_slice
from dmaf_lite.figures.raster import png, slice_picture
from dmaf_lite.widgets.parts import Views, legend, plane_buttons, set_range, slice_slider, text
from dmaf_lite.widgets.picture import Picture
from dmaf_lite.widgets.sources import Study
from dmaf_lite.widgets.static import Pictured
from dmaf_lite.widgets.volume_3d import Volume3D

WINDOW = (1.0, 99.5)  # percentiles of the head: the window of every figure of the kit
HINT = "Click in the picture to read a voxel. Arrow keys and wheel move the slices; Page Up and Down by ten."


class VolumeExplorer(Pictured, W.VBox):
    """A study under the hand.

    Args:
        study: From the phantom, a prepared cohort or a folder of files.
        width: Of the picture in CSS pixels.

    The first view is the slice with the most label (the middle of the head where there is none).
    """

    def __init__(self, study: Study, *, width: int = 420) -> None:
        self.study = study
        self.scans, self.label = study.lps()
        head = np.logical_or.reduce([scan != 0 for scan in self.scans.values()])
        self.views = Views(study, head)
        self.percentiles = {name: _percentiles(scan) for name, scan in self.scans.items()}
        self._fullest = head if self.label is None or not self.label.any() else self.label
        self._read: tuple[int, int, int] | None = None

        self.modality = W.ToggleButtons(options=list(self.scans), style={"button_width": "78px"})
        self.modality.add_class("dmaf-modality")
        self.plane, self.index = plane_buttons(), slice_slider()
        self.window = W.FloatRangeSlider(value=WINDOW, min=0, max=100, step=0.5, description="window",
                                         readout_format=".1f", layout=W.Layout(width="310px"))
        self.window.tooltip = "darkest and brightest grey, in percentiles of the head"
        self.opacity = W.FloatSlider(value=0.45, min=0, max=1, step=0.05, description="labels",
                                     disabled=self.label is None, layout=W.Layout(width="310px"))
        self.picture = Picture(width=width)
        self.readout = W.HTML(text(HINT))
        self.legend = W.HTML(self._legend())
        self.volume = Volume3D(self)

        self.plane.observe(lambda _: self._plane_changed(), "value")
        self.index.observe(lambda _: self._draw(), "value")
        self.picture.observe(lambda change: setattr(self.index, "value", change["new"]), "index")
        self.picture.observe(self._clicked, "clicked")
        self.modality.observe(lambda _: (self._draw(), self._tell()), "value")
        for control in (self.window, self.opacity):
            control.observe(lambda _: self._draw(), "value")
        side = W.VBox([self.plane, self.index, self.window, self.opacity, self.legend, self.readout,
                       self.volume.button], layout=W.Layout(width="340px", margin="0 0 0 16px"))
        super().__init__([self.modality, W.HBox([self.picture, side], layout=W.Layout(flex_flow="row wrap")),
                          self.volume])
        self.add_class("dmaf-volume-explorer")
        self._plane_changed()

    @property
    def frame(self):
        """Plane, size and position of the picture."""
        return self.views.frames[self.plane.value]

    def pixels(self) -> np.ndarray:
        """The picture: uint8 [H, W, 3]."""
        name = self.modality.value
        limits = np.interp(self.window.value, *self.percentiles[name])
        return slice_picture(self.frame, self.scans[name], self.index.value, limits=tuple(limits), label=self.label,
                             opacity=self.opacity.value)

    def read(self, voxel: tuple[int, int, int]) -> str:
        """What a voxel (LPS order) holds, in words."""
        values = " · ".join(f"{name} {scan[voxel]:.4g}" for name, scan in self.scans.items())
        label = "" if self.label is None else f" · label {self.study.spec.classes[self.label[voxel]]}"
        return f"{values}{label} · {self.views.place(voxel)}"

    def describe(self) -> str:
        shown = self._in_slice()
        overlay = f" Labels in this slice: {', '.join(shown)}." if shown else ""
        return f"{self._caption()}.{overlay}"

    def figure(self):
        plane, cross = self.plane.value, self.picture.cross
        colours = {name: c for name, c in class_colours(self.study.spec.classes).items() if name in self._in_slice()}
        return explored_slice(self.pixels(), plane, title=self._caption(), legend=colours, cross=cross,
                              note=self.read(self._read) if self._read and cross else "")

    def _caption(self) -> str:
        return f"{self.study.title}, {self.modality.value}, {self.plane.value} slice {self.index.value}"

    def _in_slice(self) -> list[str]:
        if self.label is None:
            return []
        found = np.unique(self.frame.cut(self.label, self.index.value))
        return [self.study.spec.classes[c] for c in found if c]

    def _legend(self) -> str:
        if self.label is None:
            return text("no labels in this study", css="dmaf-legend")
        return legend(class_colours(self.study.spec.classes))

    def _plane_changed(self) -> None:
        """Another plane starts where a voxel was read, else at the slice with the most label."""
        plane = self.plane.value
        start = fullest_slice(self._fullest, plane) if self._read is None else self._read[AXIS[plane]]
        set_range(self.index, *self.views.ends[plane], start)
        self._draw()

    def _clicked(self, change: dict) -> None:
        x, y, _ = change["new"]
        self._read = self.frame.voxel(x, y, self.index.value)
        self._draw()
        self._tell()

    def _tell(self) -> None:
        if self._read is not None:
            self.readout.value = text(escape(self.read(self._read)))

    def _draw(self) -> None:
        here = self._read is not None and self._read[AXIS[self.plane.value]] == self.index.value
        with self.picture.hold_sync():  # one message
            self.picture.png = png(self.pixels())
            self.picture.first, self.picture.last = self.index.min, self.index.max
            self.picture.index = self.index.value
            self.picture.sides = list(SIDES[self.plane.value])
            self.picture.cross = list(self.frame.point(self._read)) if here else []
            self.picture.caption, self.picture.alt = self._caption(), self.describe()


def _percentiles(scan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentile -> intensity, over a part of the voxels of the head that is large enough."""
    inside = scan[scan != 0][::17] if (scan != 0).any() else np.zeros(1, np.float32)
    steps = np.linspace(0, 100, 201)
    return steps, np.percentile(inside, steps)
