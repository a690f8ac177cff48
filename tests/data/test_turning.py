"""Axes: 48 orders of one study are one study, and go back where they came from."""

import itertools
import warnings
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from tiny import lps_affine, tiny_images, write_nifti, write_tiny_case

from dmaf_lite.data.case import CaseFiles, load_case
from dmaf_lite.data.finding import files_in_folder
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.data.turning import NO_TURN, has_geometry, short_axis_turn, turn_back, turn_to, turned
from dmaf_lite.spec import MYOPS

LABELS = LAYOUTS["brats2020"].labels
CODES = ["".join(choice) for order in itertools.permutations(("LR", "PA", "SI"))
         for choice in itertools.product(*order)]


def reoriented(image, codes):
    return image.as_reoriented(nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))))


def test_there_are_48():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("codes", CODES)
def test_every_order_is_turned_and_turned_back(codes):
    data = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    image = nib.Nifti1Image(data.astype(np.int16), lps_affine(shape=data.shape))
    other = reoriented(image, codes)
    array = np.asarray(other.dataobj)
    turn = turn_to(other.affine, array.shape, "LPS")
    back, move = turned(array, turn)
    assert np.array_equal(back, data) and np.allclose(other.affine @ move, image.affine)
    assert np.array_equal(turn_back(back, turn), array)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "SPL", "AIR"])
def test_a_study_is_loaded_alike_from_any_order(tmp_path, codes):
    folder = write_tiny_case(tmp_path, "Case")
    before = load_case(files_in_folder(folder, "brats2020"), labels=LABELS)
    for path in folder.iterdir():
        nib.save(reoriented(nib.load(path), codes), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = load_case(files_in_folder(folder, "brats2020"), labels=LABELS)
    assert all(np.array_equal(after.images[m], before.images[m]) for m in before.images)
    assert np.array_equal(after.label, before.label) and np.allclose(after.affine, before.affine)
    assert after.orientation == "LPS" and after.spacing == pytest.approx(before.spacing)
    file_label = np.asarray(nib.load(folder / "Case_seg.nii.gz").dataobj)
    assert np.array_equal(after.in_file_order(after.label), np.array([0, 1, 2, 0, 3])[file_label])


def test_one_scan_in_another_order_is_brought_to_the_others(tmp_path):
    """T1ce in RAS beside LPS: same shape, and a wrong result before."""
    folder = write_tiny_case(tmp_path, "Case", shape=(24, 24, 24))
    before = load_case(files_in_folder(folder, "brats2020"), labels=LABELS)
    path = folder / "Case_t1ce.nii.gz"
    nib.save(reoriented(nib.load(path), "RAS"), path)
    after = load_case(files_in_folder(folder, "brats2020"), labels=LABELS)
    assert np.array_equal(after.images["T1ce"], before.images["T1ce"])


def test_an_identity_affine_says_that_it_cannot_know_and_turns_nothing(tmp_path):
    images, _ = tiny_images()
    files = CaseFiles("x", {"T1": write_nifti(tmp_path / "x_t1.nii.gz", images["T1"], np.eye(4))})
    with pytest.warns(UserWarning, match=r"x_t1.nii.gz: its affine is the identity.*taken for LPS"):
        case = load_case(files, labels=LABELS)
    assert np.array_equal(case.images["T1"], images["T1"]) and case.turn == NO_TURN


def test_a_file_without_geometry_has_the_order_of_the_others(tmp_path):
    images, _ = tiny_images()
    ras = reoriented(nib.Nifti1Image(images["T1"], lps_affine()), "RAS")
    nib.save(ras, tmp_path / "x_t1.nii.gz")
    flair = np.asarray(reoriented(nib.Nifti1Image(images["FLAIR"], lps_affine()), "RAS").dataobj)
    write_nifti(tmp_path / "x_flair.nii.gz", flair, np.eye(4))
    with pytest.warns(UserWarning, match="its affine differs"):
        case = load_case(files_in_folder(tmp_path, "brats2020"), labels=LABELS)
    assert all(np.array_equal(case.images[m], images[m]) for m in ("FLAIR", "T1")) and case.orientation == "LPS"


def oblique_stack():
    """The affine of a usual short axis: rows to the left and back, columns to the feet, slices to the base."""
    row, column = np.array([-0.58, -0.81, 0.0]), np.array([0.40, -0.29, -0.87])
    row /= np.linalg.norm(row)
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    slices = np.cross(row, column)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([1.5 * row, 1.5 * column, 14 * slices], axis=1)
    affine[:3, 3] = 20, -30, 40
    return affine


def in_order(data, affine, order, flips):
    """The same voxels with the axes of the file permuted and flipped."""
    ornt = np.array([[order.index(axis), flips[axis]] for axis in range(3)], float)
    return apply_orientation(data, ornt), affine @ inv_ornt_aff(ornt, data.shape)


@pytest.mark.parametrize("affine", [np.diag([-1.5, -1.5, 14.0, 1]), oblique_stack()], ids=["straight", "oblique"])
def test_a_stack_is_the_same_array_from_all_48_orders_of_its_axes(affine):
    data = np.random.default_rng(0).normal(size=(6, 5, 3))
    assert short_axis_turn(affine, data.shape) == NO_TURN, "as it is usually shown"
    for order in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            other, other_affine = in_order(data, affine, order, flips)
            turn = short_axis_turn(other_affine, other.shape)
            back, move = turned(other, turn)
            assert np.array_equal(back, data) and np.allclose(other_affine @ move, affine)
            assert np.array_equal(turn_back(back, turn), other)


def test_a_stack_of_cubes_keeps_its_last_axis_and_one_without_geometry_everything():
    assert short_axis_turn(np.diag([-1.0, -1.0, 1.2, 1]), (6, 5, 3)) == NO_TURN
    assert short_axis_turn(np.eye(4), (6, 5, 3)) == NO_TURN
    assert short_axis_turn(np.diag([14.0, -1.5, -1.5, 1]), (3, 6, 5))[0][0] == 2


def test_a_heart_without_geometry_is_said(tmp_path):
    folder = write_tiny_case(tmp_path, "a", "myops2020")
    for path in folder.iterdir():
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.eye(4)), path)
    with pytest.warns(UserWarning, match="does not tell where the axes point to.*slices along the last axis"):
        case = load_case(files_in_folder(folder, "myops2020"), spec=MYOPS, labels=LAYOUTS["myops2020"].labels)
    assert case.turn == NO_TURN


def test_the_identity_has_no_geometry():
    assert not has_geometry(np.eye(4)) and has_geometry(np.diag([2.0, 2, 2, 1])) and has_geometry(lps_affine())
