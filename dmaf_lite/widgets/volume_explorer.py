"""Look through a study: three linked planes or all scans, any window, labels on top, what lies under the cross-hair."""

from __future__ import annotations

from dmaf_lite.figures.explorers import class_colours, explored_planes
from dmaf_lite.widgets.scene import Scene, scene_bytes
from dmaf_lite.widgets.sources import Study
from dmaf_lite.widgets.viewer import Viewer


class VolumeExplorer(Viewer):
    """A study under the hand.

    Args:
        study: From the phantom, a prepared cohort or a folder of files.

    The first view is the slice with the most label (the middle of the head where there is none). Keys and mouse are
    listed in the page on ``?``.
    """

    def __init__(self, study: Study) -> None:
        scene = Scene.of(study)
        super().__init__(study, scene, scene=scene_bytes(scene))
        self.add_class("dmaf-volume-explorer")

    def read(self) -> str:
        """What the voxel under the cross-hair holds, in words."""
        at = tuple(self.at)
        values = " · ".join(f"{name} {scan[at]:.4g}" for name, scan in self.scans.items())
        label = "" if self.label is None else f" · label {self.study.spec.classes[self.label[at]]}"
        return f"{values}{label} · {self.place()}"

    def describe(self) -> str:
        return f"{self.study.title}, {self.scan}, {self.plane} slice {self.index}. {self.read()}{self.banner}"

    def figure(self):
        return explored_planes(self.scans[self.scan], self.frame.spacing, self.at, label=self.label,
                               title=f"{self.study.title}, {self.scan}", note=self.banner.strip() or self.read(),
                               legend={} if self.label is None else class_colours(self.study.spec.classes))
