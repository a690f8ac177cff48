"""One study: every trap of real files, one named test each."""

import pickle
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from tiny import lps_affine, tiny_images, write_nifti, write_tiny_case

from dmaf_lite.data.case import CaseError, CaseFiles, foreground, load_case, normalise_case, save_label
from dmaf_lite.data.finding import files_in_folder
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.data.nifti import read_nifti

LABELS = LAYOUTS["brats2020"].labels


@pytest.fixture
def files(tmp_path):
    return files_in_folder(write_tiny_case(tmp_path, "BraTS20_Training_001"), "brats2020")


def load(files):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_case(files, labels=LABELS)


def test_case_error_says_all_four_things_and_survives_pickling():
    error = CaseError("a.nii", found="one thing", expected="another", do="do this")
    for part in ("a.nii", "found one thing", "expected another", "do this"):
        assert part in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.do == "do this" and isinstance(again, ValueError)


def test_load_gives_images_and_internal_labels_on_one_grid(files):
    case = load(files)
    images, label = tiny_images()
    assert list(case.images) == ["FLAIR", "T1ce", "T1", "T2"] and case.available() == (True,) * 4
    for name, image in images.items():
        assert case.images[name].dtype == np.float32 and (case.images[name] == image).all()
    assert case.label.dtype == np.uint8 and (case.label == label).all() and case.label.max() == 3
    assert case.shape == (24, 28, 20) and case.spacing == (1, 1, 1) and case.orientation == "LPS"
    assert (case.affine == lps_affine()).all() and set(case.files) == {*images, "label"}


def test_a_missing_modality_is_a_normal_state(files):
    case = load(CaseFiles("x", {"T1": files.images["T1"]}))
    assert case.available() == (False, False, True, False) and case.label is None


def test_no_modality_at_all_is_an_error(files):
    with pytest.raises(CaseError, match="no modality at all"):
        load(replace(files, images={}))


def test_masks_stored_as_scaled_floats_are_rounded_never_truncated(files):
    _, label = tiny_images()
    values = np.array([0, 1, 2, 4])[label]
    image = nib.Nifti1Image(values.astype(np.float32) * np.float32(0.99999997) - np.float32(1e-6), lps_affine())
    nib.save(image, files.label)
    assert (load(files).label == label).all()


def test_masks_with_a_scaling_slope_are_read(files):
    _, label = tiny_images()
    path = files.label.with_name("BraTS20_Training_001_seg.nii")
    write_nifti(path, np.array([0, 1, 2, 4], np.int16)[label] * 47)
    raw = bytearray(path.read_bytes())
    raw[112:116] = np.float32(1 / 47).tobytes()  # scl_slope: 47 reads back as a little less than 1
    path.write_bytes(raw)
    stored = np.asarray(nib.load(path).dataobj)
    assert stored[label == 1].max() < 1, "the file must hold values just below whole numbers"
    assert (load(replace(files, label=path)).label == label).all()


def test_unknown_label_values_are_listed(files):
    write_nifti(files.label, np.where(tiny_images()[1] == 3, 7, tiny_images()[1]).astype(np.uint8))
    with pytest.raises(CaseError, match=r"unknown label values 7; expected only the label values 0, 1, 2, 4"):
        load(files)


def test_a_scan_in_place_of_the_mask_is_an_error_and_not_a_flood(files):
    write_nifti(files.label, tiny_images()[0]["T1"])
    with pytest.raises(CaseError, match=r"unknown label values .* more") as caught:
        load(files)
    assert len(str(caught.value)) < 500


def test_an_interpolated_mask_is_an_error(files):
    write_nifti(files.label, (tiny_images()[1] * 0.5).astype(np.float32))
    with pytest.raises(CaseError, match="away from a whole number"):
        load(files)


def test_the_label_scheme_comes_from_the_layout_not_from_the_values(tmp_path):
    old = files_in_folder(write_tiny_case(tmp_path / "a", "BraTS20_Training_001"), "brats2020")
    new = files_in_folder(write_tiny_case(tmp_path / "b", "BraTS-GLI-00001-000", "brats2024"), "brats2024")
    values = np.asarray(nib.load(new.label).dataobj).copy()
    values[0, 0, :5] = 4
    write_nifti(new.label, values)
    assert (load_case(old, labels=LAYOUTS["brats2020"].labels).label == tiny_images()[1]).all()
    assert (load_case(new, labels=LAYOUTS["brats2024"].labels).label == tiny_images()[1]).all(), "a cavity is no tumour"
    with pytest.raises(CaseError, match="unknown label values 4"):
        load_case(new, labels=LAYOUTS["brats2023"].labels)
    with pytest.raises(CaseError, match="unknown label values 3"):
        load_case(new, labels=LAYOUTS["brats2020"].labels)


@pytest.mark.parametrize("which", ["T2", "label"])
def test_a_shape_mismatch_names_both_files(files, which):
    path = files.label if which == "label" else files.images[which]
    data = np.asarray(nib.load(path).dataobj)[:, :, :-1]
    write_nifti(path, data, lps_affine())
    with pytest.raises(CaseError) as caught:
        load(files)
    assert path.name in str(caught.value) and files.images["FLAIR"].name in str(caught.value)
    assert "24 x 28 x 19" in str(caught.value) and "24 x 28 x 20" in str(caught.value)


@pytest.mark.parametrize("shape", [(24, 28, 10), (24, 28, 20)], ids=["other shape", "same shape"])
def test_native_space_scans_are_refused_with_what_to_do(files, shape):
    data = np.asarray(nib.load(files.images["T2"]).dataobj)[:, :, : shape[2]]
    write_nifti(files.images["T2"], data, lps_affine() @ np.diag([1, 1, 2, 1]))
    with pytest.raises(CaseError, match=r"native spaces: co-register .*docs/native_scans.md"):
        load(files)


def test_an_affine_mismatch_is_a_warning_with_the_largest_difference(files):
    moved = lps_affine()
    moved[0, 3] = 2.5
    write_nifti(files.images["T1"], tiny_images()[0]["T1"], moved)
    with pytest.warns(UserWarning, match=r"_t1.nii.gz: its affine differs from .*_flair.nii.gz by up to 2.5 mm"):
        case = load_case(files, labels=LABELS)
    assert (case.affine == lps_affine()).all()


def test_a_segmentation_with_an_identity_affine_on_the_same_voxels_is_a_warning(files):
    write_nifti(files.label, np.asarray(nib.load(files.label).dataobj), np.eye(4))
    with pytest.warns(UserWarning, match=r"_seg.nii.gz: its affine differs .* up to 27 mm"):
        case = load_case(files, labels=LABELS)
    assert (case.label == tiny_images()[1]).all()


def test_minus_zero_in_an_affine_equals_zero(files):
    affine = lps_affine()
    affine[0, 3] = -0.0
    write_nifti(files.images["T1ce"], tiny_images()[0]["T1ce"], affine)
    load(files)  # warnings are errors here


@pytest.mark.parametrize(("damage", "message"), [
    (lambda d: d.astype(np.float32) * np.nan, "NaN or Inf"),
    (lambda d: np.where(d == d.max(), np.inf, d).astype(np.float32), "1 NaN or Inf voxels"),
    (lambda d: np.full_like(d, 5), "the same value 5 in every voxel"),
    (lambda d: np.stack([d, d], axis=-1), r"4 dimensions \(24x28x20x2\)"),
    (lambda d: d[:, :, 0], "2 dimensions"),
    (lambda d: (d > 0).astype(np.int16) + (d > 300), "only 2 different values"),
    (lambda d: d.astype(np.complex64), "voxels of type complex64"),
    (lambda d: d.astype(np.float64) * 1e300, "numbers that float32 can hold"),
])
def test_an_implausible_scan_is_refused(files, damage, message):
    data = damage(np.asarray(nib.load(files.images["T1ce"]).dataobj))
    nib.save(nib.Nifti1Image(data, lps_affine()), files.images["T1ce"])
    with pytest.raises(CaseError, match=message) as caught:
        load(files)
    assert files.images["T1ce"].name in str(caught.value)


def test_zero_spacing_is_refused_although_nibabel_repairs_it(files):
    image = nib.Nifti1Image(tiny_images()[0]["T1"], lps_affine())
    path = files.images["T1"].with_name("BraTS20_Training_001_t1.nii")
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[80:84] = b"\0\0\0\0"  # pixdim[1]
    path.write_bytes(raw)
    assert nib.load(path).header.get_zooms()[0] == 1
    with pytest.raises(CaseError, match="voxel size 0 x 1 x 1 mm"):
        read_nifti(path)


def test_what_nibabel_repairs_in_silence_is_not_printed(tmp_path, caplog):
    path = write_nifti(tmp_path / "a.nii", tiny_images()[0]["T1"])
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(-1).tobytes()  # pixdim[1]
    path.write_bytes(raw)
    nib.load(path)
    assert "pixdim" in caplog.text, "nibabel must have something to say"
    caplog.clear()
    assert read_nifti(path).spacing == (1, 1, 1) and not caplog.records


def test_a_corrupt_checksum_is_noticed_although_nibabel_reads_the_file(files):
    path = files.images["FLAIR"]
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(CaseError, match="truncated or corrupt gzip"):
        read_nifti(path)


def test_compression_is_read_from_the_file_not_from_its_name(tmp_path):
    image = tiny_images()[0]["T2"]
    plain = write_nifti(tmp_path / "a.nii", image)
    plain.rename(tmp_path / "b.nii.gz")
    write_nifti(tmp_path / "c.nii.gz", image).rename(tmp_path / "d.nii")
    for name in ("b.nii.gz", "d.nii"):
        assert (read_nifti(tmp_path / name).data == image).all()


def test_nifti_2_is_read(tmp_path):
    nib.save(nib.Nifti2Image(tiny_images()[0]["T2"], lps_affine()), tmp_path / "a.nii.gz")
    assert (read_nifti(tmp_path / "a.nii.gz").data == tiny_images()[0]["T2"]).all()


def test_values_of_one_modality_do_not_depend_on_what_else_exists(files):
    full = normalise_case(load(files))
    alone = normalise_case(load(CaseFiles("x", {"T1": files.images["T1"]})))
    whole = np.zeros(alone.grid_shape, np.float32)
    for case, expected in ((full, None), (alone, full)):
        whole = np.zeros(case.grid_shape, np.float32)
        whole[case.box] = case.images["T1"]
        if expected is None:
            reference = whole
    assert (whole == reference).all()


def test_the_box_comes_from_the_available_modalities_only(files):
    data = np.asarray(nib.load(files.images["T2"]).dataobj).copy()
    data[:2, :2, :2] = 900  # T2 alone reaches into the corner
    data[0, 0, 1] = 901
    write_nifti(files.images["T2"], data)
    with_t2 = normalise_case(load(files), minimum=1)
    without = normalise_case(load(replace(files, images={"T1": files.images["T1"]})), minimum=1)
    assert with_t2.box[0].start == 0 and without.box[0].start > 0
    head = np.argwhere(tiny_images()[0]["T1"] != 0)
    assert [s.start for s in without.box] == head.min(0).tolist()
    assert [s.stop for s in without.box] == (head.max(0) + 1).tolist()
    assert with_t2.boxes["T2"][0].start == 0 and with_t2.boxes["T1"][0].start == without.box[0].start


def test_masks_that_differ_between_modalities_are_kept_apart(files):
    data = np.asarray(nib.load(files.images["T1"]).dataobj).copy()
    data[:, :14] = 0
    write_nifti(files.images["T1"], data)
    normal = normalise_case(load(files))
    assert (normal.images["T1"][data[normal.box] == 0] == 0).all()
    inside = normal.images["T1"][data[normal.box] != 0]
    assert abs(inside.mean()) < 1e-5 and abs(inside.std() - 1) < 1e-5
    assert (normal.images["FLAIR"][:, :10] != 0).any()


def test_a_thirteen_fold_intensity_scale_makes_no_difference(files):
    before = normalise_case(load(files))
    write_nifti(files.images["FLAIR"], (tiny_images()[0]["FLAIR"].astype(np.float32) * 13))
    np.testing.assert_allclose(normalise_case(load(files)).images["FLAIR"], before.images["FLAIR"], atol=1e-5)


def test_label_voxels_outside_the_brain_are_kept_in_the_box_and_counted_outside(files):
    label = tiny_images()[1]
    normal = normalise_case(load(files), minimum=1)
    box = normal.box
    edge = (box[0].start, box[1].start, box[2].start)  # a corner of the box: outside the ellipsoid
    values = np.array([0, 1, 2, 4], np.uint8)[label]
    values[edge], values[0, 0, 0] = 2, 4
    assert not foreground(tiny_images()[0]["FLAIR"])[edge]
    write_nifti(files.label, values)
    again = normalise_case(load(files), minimum=1)
    assert again.label[0, 0, 0] == 2 and again.label_outside == {3: 1}


def test_a_case_without_enhancing_tumour_is_normal(files):
    write_nifti(files.label, np.where(tiny_images()[1] == 3, 0, tiny_images()[1]).astype(np.uint8))
    points = normalise_case(load(files)).label_points(100)
    assert sorted(points) == [1, 2] and all(len(p) <= 100 for p in points.values())


def test_label_points_lie_in_their_class(files):
    normal = normalise_case(load(files))
    for internal, flat in normal.label_points(50).items():
        assert (normal.label.ravel()[flat] == internal).all() and 0 < len(flat) <= 50


@pytest.mark.parametrize("minimum", [1, 16, (24, 5, 64)])
def test_a_cropped_label_goes_back_to_its_place(files, minimum):
    case = load(files)
    normal = normalise_case(case, minimum=minimum)
    assert (normal.to_original(normal.label) == case.label).all()
    corner = normal.affine @ [0, 0, 0, 1]
    assert (corner == case.affine @ [*[s.start for s in normal.box], 1]).all()


def test_resampling_is_optional_and_goes_back(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_001", shape=(48, 50, 40))
    case = load(files_in_folder(folder, "brats2020"))
    normal = normalise_case(case, spacing=2.0)
    assert normal.grid_shape == (24, 25, 20) and normal.spacing == (2, 2, 2)
    back = normal.to_original(normal.label)
    assert back.shape == case.shape and (back == case.label).mean() > 0.97
    outside = normal.images["T1"][:2, :2, :2]
    assert (outside == 0).all()


def test_save_label_writes_file_values_on_the_original_grid(files, tmp_path):
    _, label = tiny_images()
    path = save_label(tmp_path / "p.nii.gz", label, lps_affine(), LABELS, like=files.images["T1"])
    image, source = nib.load(path), nib.load(files.images["T1"])
    assert image.get_data_dtype() == np.uint8 and (image.affine == source.affine).all()
    assert set(np.unique(image.dataobj)) == {0, 1, 2, 4}
    assert image.header["sform_code"] == source.header["sform_code"]
    again = load(replace(files, label=path))
    assert (again.label == label).all()
    other = save_label(tmp_path / "q.nii.gz", label, lps_affine(), LABELS, like=files.images["T1"])
    assert other.read_bytes() == path.read_bytes() and len(list(tmp_path.glob("*.nii.gz"))) == 2


def test_save_label_never_writes_the_cavity_for_background(tmp_path):
    path = save_label(tmp_path / "p.nii.gz", tiny_images()[1], lps_affine(), LAYOUTS["brats2024"].labels)
    assert set(np.unique(nib.load(path).dataobj)) == {0, 1, 2, 3}


def test_save_label_refuses_what_it_cannot_write_and_leaves_nothing(files, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"labels \[9\]"):
        save_label(out / "p.nii.gz", np.full((4, 4, 4), 9, np.uint8), np.eye(4), LABELS)
    with pytest.raises(ValueError, match="on the grid of"):
        save_label(out / "p.nii.gz", np.zeros((4, 4, 4), np.uint8), np.eye(4), LABELS, like=files.images["T1"])
    assert not out.exists() or not list(out.iterdir())


def test_a_clinical_study_loads(patient):
    case = load(files_in_folder(patient, "brats2020"))
    assert case.orientation == "LPS" and case.available() == (True,) * 4
    assert min(image.min() for image in case.images.values()) < 0, "x > 0 is not the brain"
    normal = normalise_case(case)
    # Over the foreground of each scan alone, not over the union of all.
    flair = case.images["FLAIR"]
    assert normal.intensity["FLAIR"] == pytest.approx((flair[flair != 0].mean(), flair[flair != 0].std()), rel=1e-3)
    assert (normal.to_original(normal.label) == case.label).all() and normal.label_outside == {}
    assert all(small < large for small, large in zip(normal.shape, case.shape, strict=True))
    if case.shape == (240, 240, 155):  # the real one
        assert normal.shape == (145, 171, 130)
        assert normal.intensity["FLAIR"][1] == pytest.approx(53.38, abs=0.01)
