"""One file at the door: what is no file yet, what contradicts itself, what unpacks without end."""

import gzip
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from tiny import lps_affine, tiny_images, write_nifti, write_tiny_case

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.finding import find_cohort
from dmaf_lite.data.inventory import inspect_cohort
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.data.nifti import internal_label, read_channels, read_header, read_nifti, save_label

IMAGE = tiny_images()[0]["T1"]


def test_a_fourth_axis_of_length_one_does_not_count(tmp_path):
    for number, shape in enumerate([(*IMAGE.shape, 1), (*IMAGE.shape, 1, 1)]):
        path = write_nifti(tmp_path / f"{number}.nii.gz", IMAGE.reshape(shape), lps_affine())
        assert (read_nifti(path).data == IMAGE).all()
        label = save_label(tmp_path / "l.nii.gz", np.zeros(IMAGE.shape, np.uint8), lps_affine(), {0: 0}, like=path)
        assert nib.load(label).shape == IMAGE.shape
    two = write_nifti(tmp_path / "two.nii.gz", np.stack([IMAGE, IMAGE + 1], -1), lps_affine())
    with pytest.raises(CaseError, match=r"4 dimensions \(24x28x20x2\).*layout msd"):
        read_nifti(two)
    assert [(v.data - IMAGE).max() for v in read_channels(two, [1, 0])] == [1, 0]
    with pytest.raises(CaseError, match="found 2 volumes; expected 4"):
        read_channels(two, [0], of=4)


def test_a_git_lfs_pointer_is_a_file_that_was_not_fetched(tmp_path):
    path = tmp_path / "x_t1.nii.gz"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    for read in (read_nifti, read_header):
        with pytest.raises(CaseError, match=r"x_t1.nii.gz: found a Git LFS pointer.*not fetched.*git lfs pull"):
            read(path)


@pytest.mark.parametrize("size", [3.0, 0.3])
def test_an_affine_and_a_pixdim_that_contradict_each_other_are_shown_and_refused(tmp_path, size):
    """sform 1 mm with pixdim 3 mm: 0.0 ml in place of 94 before."""
    folder = write_tiny_case(tmp_path, "x", ending=".nii")
    path = folder / "x_t1.nii"
    raw = bytearray(path.read_bytes())
    raw[80:92] = np.full(3, size, "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(CaseError, match=rf"1 x 1 x 1 mm in its sform and {size:g} x {size:g} x {size:g} mm in pixdim"):
        read_nifti(path)
    assert (read_nifti(path, is_label=True).data == IMAGE).all(), "a label takes its geometry from the scans"
    (record,) = inspect_cohort(tmp_path, "brats2020")
    assert "in pixdim" in record.problem


def test_a_gzip_bomb_is_stopped_at_what_its_header_promises(tmp_path):
    path = write_nifti(tmp_path / "x.nii.gz", IMAGE)
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw + bytes(100 * 2**20)))
    assert path.stat().st_size < 2**20
    with pytest.raises(CaseError, match=rf"more than {len(raw)} bytes when unpacked; expected the number"):
        read_nifti(path)


def test_a_header_that_promises_too_much_is_refused_before_anything_is_unpacked(tmp_path):
    path = write_nifti(tmp_path / "x.nii", IMAGE)
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([2000, 2000, 2000], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(CaseError, match=r"promises 14.9 GB of voxels"):
        read_nifti(path)


def test_a_file_of_several_gzip_members_and_padding_is_read(tmp_path):
    path = write_nifti(tmp_path / "x.nii.gz", IMAGE)
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]) + bytes(7))
    assert (read_nifti(path).data == IMAGE).all()


@pytest.mark.parametrize(("values", "message"), [
    ([0, 200, 244, 88, 196, 173], r"wrapped around by storing them in 8 bits .*write the label again as int16"),
    ([0, 1, 2, 3, 4, 5], "a converted label: which numbering"),
    ([0, 200, 7], "check that this is the segmentation"),
])
def test_renumbered_and_wrapped_labels_of_hearts_get_their_own_sentence(values, message):
    with pytest.raises(CaseError, match=message):
        internal_label(np.array(values), LAYOUTS["myops2020"].labels, "a_gd.nii.gz")


def test_brain_labels_1_to_5_are_listed():
    with pytest.raises(CaseError, match="unknown label values 3, 5; expected only the label values 0, 1, 2, 4"):
        internal_label(np.arange(6), LAYOUTS["brats2020"].labels, "x_seg.nii.gz")


def test_labels_of_hearts_are_written_wide_enough(tmp_path):
    labels = LAYOUTS["myops2020"].labels
    internal = np.arange(6, dtype=np.uint8).reshape(6, 1, 1)
    path = save_label(tmp_path / "p.nii.gz", internal, np.diag([2.0, 2, 2, 1]), labels)
    written = np.asarray(nib.load(path).dataobj)
    assert written.ravel().tolist() == [0, 200, 500, 600, 1220, 2221]
    assert (internal_label(written, labels, path) == internal).all()


def test_scans_of_one_heart_on_different_grids_are_refused_by_inspect(tmp_path):
    folder = write_tiny_case(tmp_path, "a", "myops2020")
    write_nifti(folder / "a_T2.nii.gz", IMAGE[:, :, :-1], lps_affine())
    (record,) = inspect_cohort(tmp_path, "myops2020")
    assert "a_T2.nii.gz" in record.problem and find_cohort(tmp_path, "myops2020").cases


def test_a_large_mask_is_translated_a_slab_at_a_time():
    values = np.random.default_rng(0).choice([0, 1, 2, 4], (64, 64, 160)).astype(np.uint8)
    tracemalloc.start()
    label = internal_label(values, LAYOUTS["brats2020"].labels, "x_seg.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(label, np.where(values == 4, 3, values))
    assert peak < 3 * values.nbytes, "an index of 8 bytes for each voxel of 512^3 would be a gigabyte"
