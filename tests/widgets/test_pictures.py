"""Pictures of slices: the same planes as the figures, true proportions, colours of the labels, clicks that fit."""

import nibabel as nib
import numpy as np
import pytest
from widget_cases import AFFINE, FRONT, LEFT, SHAPE, TOP, pixels, small_study

from dmaf_lite import figures
from dmaf_lite.figures.planes import AXIS, PLANES, Plane, lps_spacing, to_lps
from dmaf_lite.figures.raster import CLASS_RGB, Frame, map_picture, png, slice_picture, viridis
from dmaf_lite.widgets.parts import Views
from dmaf_lite.widgets.sources import Study


@pytest.fixture(scope="module")
def study():
    return small_study()


def frame_of(study, plane, longest=240):
    head = next(iter(study.images.values()))
    return Frame.around(head, Plane(plane, lps_spacing(study.affine)), longest)


@pytest.mark.parametrize("plane", PLANES)
def test_the_tumour_is_where_the_figures_draw_it(study, plane):
    index = (LEFT, FRONT, TOP)[AXIS[plane]]
    frame = frame_of(study, plane)
    picture = slice_picture(frame, study.images["T1"], index, limits=(100, 200), label=study.label, opacity=1)
    coloured = np.ptp(picture.astype(int), axis=-1) > 20
    rows, columns = np.nonzero(coloured)
    if plane != "sagittal":
        assert columns.mean() > frame.width / 2, "the patient's left is right in the picture"
    else:
        assert columns.mean() < frame.width / 2, "the front is left"
    assert rows.mean() < frame.height / 2, "front (axial) and top (other planes) are up"
    whole = np.ones(SHAPE, np.uint8)
    assert frame.cut(whole, index).sum() <= Plane(plane, (1, 2, 3)).cut(whole, index).sum(), "columns aside are empty"


@pytest.mark.parametrize("plane", PLANES)
def test_proportions_are_those_of_the_patient(study, plane):
    frame = frame_of(study, plane)
    edges = [edge for axis, edge in enumerate((1, 2, 3)) if axis != AXIS[plane]]
    wide, tall = (frame.columns[1] - frame.columns[0]) * edges[0], (frame.rows[1] - frame.rows[0]) * edges[1]
    assert frame.height / frame.width == pytest.approx(tall / wide, rel=0.02)
    assert max(frame.height, frame.width) == 240


@pytest.mark.parametrize("plane", PLANES)
def test_a_click_and_a_voxel_are_each_others_way_back(study, plane):
    frame = frame_of(study, plane)
    voxel = (LEFT, FRONT, TOP)
    index = voxel[AXIS[plane]]
    assert frame.voxel(*frame.point(voxel), index) == voxel
    picture = slice_picture(frame, study.images["T1"], index, limits=(100, 200), label=study.label, opacity=1)
    x, y = frame.point(voxel)
    seen = picture[int(y * frame.height), int(x * frame.width)]
    assert np.abs(seen - CLASS_RGB[3]).max() <= 1, "the one voxel of ET has its colour where the cross would be"
    corner = frame.voxel(0.0, 0.0, index)
    assert all(0 <= v < n for v, n in zip(corner, SHAPE, strict=True)), "a click beside the volume stays in it"


def test_labels_colour_only_themselves_and_as_much_as_asked(study):
    frame = frame_of(study, "axial")
    plain = slice_picture(frame, study.images["T1"], TOP, limits=(100, 200))
    assert (np.ptp(plain.astype(int), axis=-1) == 0).all(), "a scan is grey"
    assert np.array_equal(plain, slice_picture(frame, study.images["T1"], TOP, limits=(100, 200), label=study.label,
                                               opacity=0))
    there = frame.enlarge(frame.cut(study.label, TOP), smooth=False) > 0
    half = slice_picture(frame, study.images["T1"], TOP, limits=(100, 200), label=study.label, opacity=0.5)
    assert np.array_equal((half != plain).any(-1) | there, there), "nothing changes outside the label"
    assert (half[there] != plain[there]).any(-1).mean() > 0.95
    lined = slice_picture(frame, study.images["T1"], TOP, limits=(100, 200), outline=study.label)
    drawn = (lined != plain).any(-1)
    assert 0 < drawn.sum() < 0.6 * there.sum() and (lined[drawn] == 255).all(-1).any(), "a line, no filling"


def test_background_stays_darker_than_the_darkest_tissue(study):
    frame = frame_of(study, "axial")
    picture = slice_picture(frame, study.images["T1"], TOP, limits=(700, 900))  # everything below the window
    head = frame.enlarge((frame.cut(study.images["T1"], TOP) != 0).astype(np.uint8), smooth=False) > 0
    assert picture[head].max() <= 20 and np.median(picture[head]) > 10 and picture[:3, :3].max() == 0


def test_a_map_has_the_colours_of_its_scale_and_nothing_outside(study):
    frame = frame_of(study, "axial")
    inside = study.images["T1"] != 0
    picture = map_picture(frame, np.full(SHAPE, 3.0), TOP, inside=inside, limits=(1, 5))
    there = frame.enlarge(frame.cut(inside, TOP).astype(np.uint8), smooth=False) > 0
    assert np.abs(picture[there].astype(int) - viridis()[127]).max() <= 4
    assert (picture[~there] == 0).all()


def test_a_png_holds_the_picture():
    picture = np.random.default_rng(0).integers(0, 255, (7, 5, 3), np.uint8)
    assert np.array_equal(pixels(png(picture)), picture)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL"])
def test_a_voxel_is_told_by_the_index_of_its_file(study, codes):
    image = nib.Nifti1Image(study.label, AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes))
    turned = image.as_reoriented(turn)
    label = np.asarray(turned.dataobj)
    other = Study("turned", study.spec, {"T1": label.astype(np.float32)}, label, turned.affine)
    lps = to_lps(label, turned.affine)
    views = Views(other, lps)
    index = views.index_in_file((LEFT, FRONT, TOP))
    assert label[index] == 3, "the only voxel of ET"
    mm = nib.affines.apply_affine(AFFINE, (LEFT, FRONT, TOP))
    assert f"(at {', '.join(f'{v:.0f}' for v in mm)} mm)" in views.place((LEFT, FRONT, TOP))


def test_static_figures_of_the_explorers():
    picture = np.zeros((40, 30, 3), np.uint8)
    weights = np.array([[0.5, 0.5, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    fig = figures.explored_subset({"segmentation": picture, "confidence": picture}, "axial", title="a case",
                                  legend={"ET": "#F0E442"}, weights=weights, modalities=("FLAIR", "T1ce", "T1", "T2"),
                                  dice={"WT": 0.5}, unit=("confidence", 0.25, 1))
    words = {t.get_text() for ax in fig.axes for t in ax.texts} | {ax.get_title() for ax in fig.axes}
    assert {"R", "L", "segmentation", "confidence", "0.50", "0.25", "Dice  WT 0.50"} <= words
    bars = [patch.get_width() for patch in fig.axes[2].patches]
    assert sum(bars) == pytest.approx(2), "each level's bar is 1 long"
    none = figures.explored_subset({"segmentation": picture}, "axial", title="", legend={}, weights=None,
                                   modalities=("T1",), dice={})
    assert any("no modality weights" in t.get_text() for t in none.axes[-1].texts)
