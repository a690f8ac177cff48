"""Figures: orientation is right, pixels keep their shape, and nothing is shown twice."""

import matplotlib
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from dmaf_lite import figures
from dmaf_lite.figures.planes import Plane, fullest_slice, head_box, lps_spacing, to_lps, window
from dmaf_lite.spec import BRATS

matplotlib.use("Agg")


def head_with_a_lesion_on_the_left(codes):
    """A volume whose lesion lies on the patient's left, at the front and top, stored in the axis order `codes`."""
    lps = np.zeros((12, 14, 10), np.float32)
    lps[2:10, 2:12, 2:8] = 1.0
    lps[8, 3, 6] = 9.0  # left, front, top
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])  # LPS with edges of 1, 2, 3 mm
    image = nib.Nifti1Image(lps, affine)
    wanted = nib.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), wanted))
    return np.asarray(turned.dataobj), turned.affine


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL", "AIR"])
def test_a_slice_looks_the_same_whatever_order_the_file_has(codes):
    volume, affine = head_with_a_lesion_on_the_left(codes)
    lps = to_lps(volume, affine)
    assert lps_spacing(affine) == pytest.approx((1, 2, 3))
    assert np.argwhere(lps == 9).tolist() == [[8, 3, 6]]
    axial = Plane("axial", (1, 2, 3))
    row, column = np.argwhere(axial.cut(lps, 6) == 9)[0]
    assert column > 6 and row < 7  # patient's left is right in the picture, the front is up
    coronal = Plane("coronal", (1, 2, 3)).cut(lps, 3)
    row, column = np.argwhere(coronal == 9)[0]
    assert column > 6 and row < 5  # up is up
    row, column = np.argwhere(Plane("sagittal", (1, 2, 3)).cut(lps, 8) == 9)[0]
    assert column < 7 and row < 5  # the front is left
    assert (axial.aspect, Plane("coronal", (1, 2, 3)).aspect, Plane("sagittal", (1, 2, 3)).aspect) == (2, 3, 1.5)


def test_an_unknown_plane_is_refused():
    with pytest.raises(ValueError, match="plane 'oblique' is not known"):
        Plane("oblique", (1, 1, 1))


def test_the_first_view_is_the_fullest_slice():
    label = np.zeros((4, 5, 6), int)
    label[1:3, 1:4, 4] = 1
    label[0, 0, 2] = 2
    assert fullest_slice(label) == 4
    assert fullest_slice(np.zeros((4, 5, 6))) == 3


def test_the_head_box_holds_everything_and_little_more():
    volume = np.zeros((20, 20, 20))
    volume[5:9, 10:12, 18:20] = 1
    assert head_box(volume) == (slice(3, 11), slice(8, 14), slice(16, 20))


def test_the_window_ignores_background_and_survives_constants():
    image = np.concatenate([np.zeros(1000), np.linspace(1, 101, 1000)])
    assert window(image) == pytest.approx((2, 100.5), abs=0.1)
    low, high = window(np.zeros(5))
    assert high > low


@pytest.fixture(scope="module")
def scans():
    volume, affine = head_with_a_lesion_on_the_left("RAS")
    label = (volume == 9).astype(np.uint8) * 3
    return {m: volume * (i + 1) for i, m in enumerate(BRATS.modalities)}, label, affine


def texts(fig):
    return {text.get_text() for ax in fig.axes for text in ax.texts} | {ax.get_title() for ax in fig.axes}


def test_modalities_side_by_side(scans):
    images, label, affine = scans
    fig = figures.show_modalities(images, affine, label=label, missing=["T1"], classes=BRATS.classes)
    assert texts(fig) >= {"FLAIR", "T1ce", "T1", "T2", "labels", "missing", "L", "R"}
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["ET"]
    assert len(fig.axes[0].images) == 1 and not fig.axes[2].images  # the missing one shows no scan


def test_letters_of_the_sides_lie_beside_the_head():
    x, y, z = np.ogrid[-1:1:40j, -1:1:50j, -1:1:36j]
    head = (x**2 + y**2 + z**2 < 1).astype(np.float32)
    fig = figures.show_planes(head, np.diag([-2.0, -2.0, 2.0, 1.0]), label=head.astype(np.uint8))
    fig.canvas.draw()
    for ax in fig.axes:
        outside = np.asarray(ax.images[-1].get_array().mask)
        assert {text.get_text() for text in ax.texts} in ({"R", "L"}, {"A", "P"})
        for text in ax.texts:
            box = ax.transData.inverted().transform(text.get_window_extent())
            (left, right), (top, bottom) = np.sort(box, axis=0).T
            under = outside[int(top + 0.5):int(bottom + 0.5) + 1, int(left + 0.5):int(right + 0.5) + 1]
            assert under.size and under.all(), f"{text.get_text()} lies on the head"


def test_three_planes_labels_and_maps(scans):
    images, label, affine = scans
    assert len(figures.show_planes(images["T1"], affine, label=label).axes) == 3
    assert len(figures.show_labels(images["T1"], {"truth": label, "all": label}, affine).axes) == 2
    fig = figures.show_maps({"FLAIR": images["FLAIR"] * 0.1}, affine, index=3, image=images["T1"])
    assert len(fig.axes) == 3  # scan, map, colour bar


def test_result_figures():
    table = pd.DataFrame(np.linspace(0, 1, 45).reshape(15, 3), columns=list(BRATS.regions),
                         index=[BRATS.subset_name(s) for s in BRATS.subsets()])
    shown = texts(figures.subset_heatmap(table, title="Dice"))
    assert {"Dice", "0.00", "1.00"} <= shown
    log = pd.DataFrame({"step": [0, 1], "seg": [2.0, 1.0], **{f"beta/{m}": [1.0, 1.1] for m in BRATS.modalities}})
    assert figures.training_curves(log, ["seg"]).axes[0].lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert len(figures.modality_curves(log, ["beta"], BRATS.modalities).axes[0].lines) == 4
    rates = pd.DataFrame([[True, False, True, True]] * 4, columns=BRATS.modalities)
    labels = figures.availability_picture(rates).axes[0].get_yticklabels()
    assert [t.get_text() for t in labels][1] == "T1ce (100% missing)"
    lines = pd.DataFrame({"name": ["a"], "difference": [0.1], "low": [-0.1], "high": [0.3], "region": ["WT"]})
    fig = figures.interval_plot(lines, value="difference", low="low", high="high", label="name", group="region")
    assert fig.axes[0].lines[0].get_alpha() == 0.35  # holds 0: pale


def test_every_figure_comes_closed(scans):
    before = plt.get_fignums()
    figures.show_planes(scans[0]["T1"], scans[2])
    assert plt.get_fignums() == before


def test_regions_and_modalities_have_fixed_distinct_colours():
    assert len({figures.MODALITY_COLOURS[m] for m in BRATS.modalities}) == 4
    assert len({figures.REGION_COLOURS[r] for r in BRATS.regions}) == 3
