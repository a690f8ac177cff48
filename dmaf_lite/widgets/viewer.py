"""What both explorers are: one canvas drawn by the browser, from bytes that are sent once."""

from __future__ import annotations

from typing import Any

import anywidget
import numpy as np
import traitlets

from dmaf_lite.figures.planes import AXIS
from dmaf_lite.widgets.assets import script, styles
from dmaf_lite.widgets.scene import Scene, mask_of
from dmaf_lite.widgets.sources import Study
from dmaf_lite.widgets.static import Pictured


class Viewer(Pictured, anywidget.AnyWidget):
    """A study in the browser.

    Attributes:
        scene: The message that opens it (`scene_bytes`).
        answer: The answer that is shown first; empty without a network.
        network: Whether scans can be switched off.
        on: The subset that is chosen, such as ``"1011"``.
        at: The voxel of the scene under the cross-hair.
        view: What else a reader has set: scan, plane, layout, opacity ...; the page sets it, and follows it.
    """

    _esm = script("widget")
    _css = styles()
    scene = traitlets.Bytes().tag(sync=True)
    answer = traitlets.Bytes().tag(sync=True)
    network = traitlets.Bool(False).tag(sync=True)
    on = traitlets.Unicode("").tag(sync=True)
    at = traitlets.List(traitlets.Int()).tag(sync=True)
    view = traitlets.Dict().tag(sync=True)

    def __init__(self, study: Study, frame: Scene, **traits: Any) -> None:
        self.study, self.frame = study, frame
        self.scans = {name: frame.crop(image) for name, image in study.images.items()}
        self.label = None if study.label is None else frame.crop(study.label)
        super().__init__(at=frame.middle, **traits)

    @property
    def plane(self) -> str:
        """The plane that keys move."""
        return self.frame.planes[self.view.get("plane", 0)]

    @property
    def index(self) -> int:
        """The slice of that plane."""
        return self.at[AXIS[self.plane]]

    @property
    def scan(self) -> str:
        """The scan under the labels: what is chosen, else the first that is given."""
        chosen = self.view.get("scan", "")
        given = mask_of(self.on) if self.network else (True,) * self.study.spec.M
        first = (m for m, is_given in zip(self.study.spec.modalities, given, strict=True)
                 if is_given and m in self.scans)
        return chosen if chosen in self.scans else next(first)

    def look(self, **changes: Any) -> None:
        """Set parts of `view`: ``look(scan="T2", layout="scans")``."""
        self.view = {**self.view, **changes}

    def go(self, axis: int, index: int) -> None:
        """Move the cross-hair along one axis of the scene, no further than its ends."""
        at = list(self.at)
        at[axis] = int(np.clip(index, 0, self.frame.shape[axis] - 1))
        self.at = at

    def place(self) -> str:
        """Where the cross-hair is, in words: the file's own index, and mm from the file's origin."""
        index = (self.frame.to_file @ [*self.at, 1])[:3].round().astype(int)
        mm = (self.study.affine @ self.frame.to_array @ [*self.at, 1])[:3]
        return f"voxel {', '.join(map(str, index))} (at {', '.join(f'{v:.0f}' for v in mm)} mm)"
