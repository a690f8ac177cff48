"""The volume explorer without a browser: traits are set as the page sets them."""

import base64
from dataclasses import replace

import numpy as np
import pytest
from widget_cases import AFFINE, FRONT, LEFT, SHAPE, TOP, pixels, small_study

from dmaf_lite.figures.planes import AXIS, PLANES
from dmaf_lite.widgets import VolumeExplorer, folder_study
from dmaf_lite.widgets.volume_3d import NO_WEBGL, niivue


@pytest.fixture
def explorer():
    return VolumeExplorer(small_study())


def test_the_first_view_is_the_slice_with_the_most_tumour(explorer):
    assert explorer.index.value in (TOP - 1, TOP, TOP + 1) and explorer.plane.value == "axial"
    explorer.plane.value = "sagittal"
    assert LEFT - 2 <= explorer.index.value <= LEFT + 2
    unlabelled = VolumeExplorer(small_study(labelled=False))
    assert unlabelled.opacity.disabled and 4 < unlabelled.index.value < 12, "the widest part of the head"
    assert "no labels" in unlabelled.legend.value


@pytest.mark.parametrize("control", ["index", "opacity", "modality", "window", "plane"])
def test_every_control_changes_the_picture(explorer, control):
    before = explorer.picture.png
    new = {"index": explorer.index.value + 1, "opacity": 0.9, "modality": "T2", "window": (40, 60),
           "plane": "coronal"}[control]
    getattr(explorer, control).value = new
    assert explorer.picture.png != before and explorer.picture.png[:8] == b"\x89PNG\r\n\x1a\n"


def test_keys_and_slider_move_together(explorer):
    at = explorer.index.value
    explorer.picture.index = at + 2  # what a key in the picture does
    assert explorer.index.value == at + 2 and f"slice {at + 2}" in explorer.picture.alt
    explorer.index.value = at - 1
    assert explorer.picture.index == at - 1
    assert (explorer.picture.first, explorer.picture.last) == (explorer.index.min, explorer.index.max)


def test_one_move_draws_once(explorer, monkeypatch):
    drawn = []
    draw = explorer.pixels
    monkeypatch.setattr(explorer, "pixels", lambda: (drawn.append(1), draw())[1])
    explorer.picture.index += 1
    explorer.index.value += 1
    assert len(drawn) == 2


@pytest.mark.parametrize("plane", PLANES)
def test_no_slice_of_any_plane_is_out_of_range(explorer, plane):
    for start in PLANES:
        explorer.plane.value = start
        explorer.index.value = explorer.index.max
        explorer.plane.value = plane
        for end in (explorer.index.min, explorer.index.max):
            explorer.index.value = end
            assert pixels(explorer.picture.png).max() > 0, "the head reaches to both ends"
    assert 0 <= explorer.index.min <= explorer.index.max < SHAPE[AXIS[plane]]


def test_a_click_reads_all_scans_and_the_label(explorer):
    explorer.index.value = TOP
    x, y = explorer.frame.point((LEFT, FRONT, TOP))
    explorer.picture.clicked = [x, y, 1]
    words = explorer.readout.value
    for name, scan in explorer.study.images.items():
        assert f"{name} {scan[LEFT, FRONT, TOP]:.4g}" in words
    assert "label ET" in words and f"voxel {LEFT}, {FRONT}, {TOP}" in words
    assert explorer.picture.cross == pytest.approx([x, y])
    explorer.index.value += 1
    assert explorer.picture.cross == [], "the cross belongs to its slice"
    explorer.plane.value = "coronal"
    assert explorer.index.value == FRONT and len(explorer.picture.cross) == 2, "other planes open where one has clicked"


def test_letters_follow_the_plane(explorer):
    sides = []
    for plane in PLANES:
        explorer.plane.value = plane
        sides.append("".join(explorer.picture.sides))
    assert sides == ["RL", "RL", "AP"]


def test_the_window_is_in_percentiles_of_the_head(explorer):
    explorer.opacity.value = 0
    wide = pixels(explorer.picture.png)
    explorer.window.value = (95, 100)
    assert pixels(explorer.picture.png).mean() < wide.mean() / 2, "a window of the brightest voxels darkens the rest"


def test_a_picture_for_pages_without_a_kernel(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"]["alt"] == data["text/plain"] == explorer.describe()
    assert "small, FLAIR, axial slice" in data["text/plain"] and "ED" in data["text/plain"]
    explorer.modality.value = "T2"
    assert explorer._repr_mimebundle_()[0]["image/png"] != data["image/png"], "the present state, not the first"


def test_classes_for_the_page_are_there(explorer):
    assert "dmaf-slice" in explorer.index._dom_classes and "dmaf-modality" in explorer.modality._dom_classes
    assert "dmaf-legend" in explorer.legend.value and "dmaf-picture" in str(explorer.picture._esm)
    for asset in ("_esm", "_css"):
        assert "http" not in str(getattr(explorer.picture, asset)), "nothing from elsewhere"


def test_three_dimensions_ask_the_browser_first(explorer):
    volume = explorer.volume
    volume.button.click()
    assert explorer.picture.probe == 1 and volume.viewer is None and "Asking" in volume.note.value
    explorer.picture.webgl2 = False  # what the page answers
    assert volume.viewer is None and NO_WEBGL in volume.note.value
    volume.button.click()
    assert NO_WEBGL in volume.note.value, "asked again, it says so again"


def test_three_dimensions_come_and_go(explorer):
    volume = explorer.volume
    volume.button.click()
    explorer.picture.webgl2 = True
    assert volume.viewer in volume.children and volume.button.description == "close 3-D"
    assert [v.name for v in volume.viewer.volumes] == ["FLAIR.nii", "labels.nii"]
    volume.button.click()
    assert volume.viewer is None and len(volume.children) == 1


def test_the_volume_in_3d_is_small_and_lies_as_the_patient_does(explorer):
    import nibabel as nib

    scan, label = (nib.Nifti1Image.from_bytes(v.data) for v in niivue(explorer).volumes)
    assert scan.get_data_dtype() == np.uint8 and nib.aff2axcodes(scan.affine) == ("L", "P", "S")
    assert nib.affines.voxel_sizes(label.affine) == pytest.approx((1, 2, 3))
    assert (np.asarray(label.dataobj) == 3).sum() == 1 and np.asarray(scan.dataobj).max() > 200
    assert np.prod(scan.shape) <= np.prod(SHAPE), "cropped to the head"


def test_a_turned_file_looks_the_same():
    study = small_study()
    turned = replace(study, images={m: i[::-1] for m, i in study.images.items()}, label=study.label[::-1],
                     affine=AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert VolumeExplorer(turned).picture.png == VolumeExplorer(study).picture.png


def test_a_folder_of_files(tiny_folder):
    explorer = VolumeExplorer(folder_study(tiny_folder / "BraTS20_Training_004"))
    assert list(explorer.modality.options) == ["FLAIR", "T1ce"], "two scans are enough"
    assert "BraTS20_Training_004" in explorer.describe() and "synthetic" not in explorer.describe()
