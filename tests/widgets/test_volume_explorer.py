"""The volume explorer without a browser: traits are set as the page sets them."""

import base64
import gc
import weakref

import pytest
from widget_cases import FRONT, LEFT, TOP, small_study

from dmaf_lite.widgets import VolumeExplorer, folder_study
from dmaf_lite.widgets.scene import unpack


@pytest.fixture
def explorer():
    return VolumeExplorer(small_study())


def test_the_first_view_is_the_slice_with_the_most_tumour(explorer):
    header, volumes = unpack(explorer.scene)
    assert explorer.at == header["start"] and explorer.plane == "axial"
    assert volumes["reference"][tuple(explorer.at)] > 0, "the cross-hair stands in the tumour"
    unlabelled = VolumeExplorer(small_study(labelled=False))
    assert unlabelled.at == [n // 2 for n in unlabelled.frame.shape] and unlabelled.label is None


def test_it_reads_all_scans_and_the_label(explorer):
    first = explorer.frame.start
    explorer.at = [LEFT - first[0], FRONT - first[1], TOP - first[2]]  # what a click does
    words = explorer.read()
    for name, scan in explorer.study.images.items():
        assert f"{name} {scan[LEFT, FRONT, TOP]:.4g}" in words
    assert "label ET" in words and f"voxel {LEFT}, {FRONT}, {TOP}" in words


def test_the_cross_hair_stays_in_the_volume(explorer):
    for axis, n in enumerate(explorer.frame.shape):
        explorer.go(axis, 10_000)
        assert explorer.at[axis] == n - 1
        explorer.go(axis, -3)
        assert explorer.at[axis] == 0


def test_a_picture_for_pages_without_a_kernel(explorer):
    data, metadata = explorer._repr_mimebundle_()
    assert base64.b64decode(data["image/png"])[:4] == b"\x89PNG"
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"]["alt"] == data["text/plain"] == explorer.describe()
    assert "small, FLAIR, axial slice" in data["text/plain"] and "not a medical device" in data["text/plain"]
    explorer.look(scan="T2")
    assert explorer.scan == "T2" and explorer._repr_mimebundle_()[0]["image/png"] != data["image/png"]


def test_the_page_asks_nobody_for_anything(explorer):
    for asset in (explorer._esm, explorer._css):
        assert isinstance(asset, str) and len(asset) > 1000
        assert "http:" not in asset and "https:" not in asset and "import " not in asset.replace("// import", "")


def test_it_is_freed_when_it_is_closed(explorer):
    gone = weakref.ref(VolumeExplorer(small_study()))
    gone().close()
    gc.collect()
    assert gone() is None
    gone = weakref.ref(VolumeExplorer(small_study()))
    gc.collect()
    assert gone() is not None, "what is on a page stays"
    gone().close()


def test_a_folder_of_files(tiny_folder):
    explorer = VolumeExplorer(folder_study(tiny_folder / "BraTS20_Training_004"))
    assert list(explorer.scans) == ["FLAIR", "T1ce"], "two scans are enough"
    assert "BraTS20_Training_004" in explorer.describe() and "synthetic)" not in explorer.describe()
