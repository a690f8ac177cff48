"""The volume in three dimensions, by NiiVue, built when somebody asks for it and the browser can show it."""

from __future__ import annotations

import ipywidgets as W
import numpy as np

from dmaf_lite.figures.planes import head_box, lps_spacing
from dmaf_lite.figures.style import CLASS_COLOURS
from dmaf_lite.widgets.parts import text

NO_WEBGL = ("This browser offers no WebGL2, so there is no 3-D view here: try another browser, or switch on hardware "
            "acceleration. The slices above need none.")
WAITING = "Asking the browser whether it can show 3-D …"
BUILDING = "Loading the volume into the browser; without a graphics card this takes some ten seconds."


class Volume3D(W.VBox):
    """A button, and below it, on demand, the scan and its labels in NiiVue.

    The browser is asked first: without WebGL2 NiiVue would be an empty space that says nothing.
    """

    def __init__(self, explorer: W.VBox) -> None:
        self.explorer, self.viewer = explorer, None
        self.button = W.Button(description="3-D", icon="cube", tooltip="three planes and a rendering, by NiiVue",
                               layout=W.Layout(width="110px"))
        self.button.add_class("dmaf-3d")
        self.note = W.HTML()
        self.button.on_click(lambda _: self._ask())
        explorer.picture.observe(lambda change: self._answered(), "webgl2")
        super().__init__([self.note])

    def _ask(self) -> None:
        if self.viewer is not None:  # the button also closes it again
            self.viewer.close()
            self.viewer, self.children = None, (self.note,)
            self.note.value, self.button.description = "", "3-D"
        elif self.explorer.picture.webgl2 is None:
            self.note.value = text(WAITING)
            self.explorer.picture.probe += 1
        else:
            self._answered()

    def _answered(self) -> None:
        if self.explorer.picture.webgl2 is False:
            self.note.value = text(NO_WEBGL)
        elif self.explorer.picture.webgl2 and self.viewer is None:
            self.viewer = niivue(self.explorer)
            self.children = (self.note, self.viewer)
            self.note.value, self.button.description = text(BUILDING), "close 3-D"
            self.viewer.on_image_loaded(lambda _: setattr(self.note, "value", ""))


def niivue(explorer: W.VBox):
    """NiiVue with the modality that is shown and the labels, cropped to the head and in one byte a voxel.

    The browser sends what it has loaded back to the kernel, so the arrays are made small first.
    """
    from ipyniivue import NiiVue, ShowRender, Volume

    name = explorer.modality.value
    scan, label = explorer.scans[name], explorer.label
    box = head_box(scan)
    low, high = np.interp(explorer.window.value, *explorer.percentiles[name])
    grey = np.where(scan == 0, 0, np.clip((scan - low) * (240 / max(high - low, 1e-6)) + 15, 15, 255))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.diag([*lps_spacing(explorer.study.affine), 1.0])
    volumes = [Volume(name=f"{name}.nii", data=_nifti(grey[box], affine), colormap="gray")]
    if label is not None:
        volumes.append(Volume(name="labels.nii", data=_nifti(label[box], affine), opacity=0.5))
        volumes[-1].set_colormap_label(_label_colours(explorer.study.spec.classes))
    # left and right, front and back as in the slices above
    viewer = NiiVue(height=420, back_color=(0, 0, 0, 1), is_radiological_convention=True, sagittal_nose_left=True,
                    multiplanar_show_render=ShowRender.ALWAYS, multiplanar_force_render=True, crosshair_width=0.3)
    viewer.load_volumes(volumes)
    return viewer


def _nifti(array: np.ndarray, affine: np.ndarray) -> bytes:
    import nibabel as nib

    return nib.Nifti1Image(np.ascontiguousarray(array.astype(np.uint8)), affine).to_bytes()


def _label_colours(classes: tuple[str, ...]) -> dict:
    rgb = [[int(colour[i : i + 2], 16) for colour in CLASS_COLOURS[: len(classes)]] for i in (1, 3, 5)]
    return {"R": rgb[0], "G": rgb[1], "B": rgb[2], "A": [0, *(255 for _ in classes[1:])],
            "I": list(range(len(classes))), "labels": list(classes)}
