"""The same patients under other names are found, whatever the axes, the channels and the label numbers."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from tiny import load_script, tiny_images, write_nifti, write_tiny_case, write_tiny_msd

from dmaf_lite.data.finding import find_cohort
from dmaf_lite.data.overlap import fingerprint, fingerprints, overlaps


@pytest.fixture
def two(tmp_path):
    """Cohorts of BraTS 2020 and the Decathlon, with other axes and label numbers and with two heads in both."""
    for number, seed in ((1, 0), (2, 1), (3, 2)):
        write_tiny_case(tmp_path / "brats", f"BraTS20_Training_{number:03d}", seed=seed)
    write_tiny_msd(tmp_path / "msd", {"BRATS_007": 2, "BRATS_008": 0, "BRATS_009": 5})
    return tmp_path / "brats", tmp_path / "msd"


def pairs(brats, msd):
    ones, others = (fingerprints(find_cohort(folder, layout), progress=False)[0]
                    for folder, layout in ((brats, "brats2020"), (msd, "msd")))
    return overlaps(ones, others)


def test_renamed_turned_and_renumbered_studies_are_found(two):
    found = pairs(*two)
    assert [(pair.one, pair.other) for pair in found] == [("BraTS20_Training_001", "BRATS_008"),
                                                         ("BraTS20_Training_003", "BRATS_007")]
    assert all(pair.equal == ("FLAIR", "T1ce", "T1", "T2", "the voxels of every class") for pair in found)


def test_a_revised_segmentation_hides_nothing_and_a_lost_scan_little(two):
    brats, msd = two
    case = brats / "BraTS20_Training_001"
    label = np.asarray(nib.load(case / "BraTS20_Training_001_seg.nii.gz").dataobj).copy()
    label[label == 4] = 1
    write_nifti(case / "BraTS20_Training_001_seg.nii.gz", label)
    (case / "BraTS20_Training_001_t1.nii.gz").unlink()
    assert pairs(brats, msd)[0].equal == ("FLAIR", "T1ce", "T2")


def test_few_labelled_voxels_say_nothing():
    images, label = tiny_images(0)
    assert len(fingerprint(images, label).labels) == 3
    label[:] = 0
    label[0, 0, :5] = 1
    assert fingerprint(images, label).labels == () and fingerprint(images, None).labels == ()


def test_the_script_names_the_pairs_and_what_could_not_be_read(two, capsys):
    brats, msd = two
    script = load_script("inspect_cohort")
    assert script.main([str(brats), "--layout", "brats2020", "--overlap", str(msd)]) == 1
    said = capsys.readouterr().out
    assert "BraTS20_Training_001 = BRATS_008: equal are FLAIR" in said and "2 of 3 cases" in said
    (msd / "imagesTr" / "BRATS_007.nii.gz").write_bytes(b"nothing")
    (msd / "imagesTr" / "BRATS_008.nii.gz").unlink()
    named = [str(brats), "--layout", "brats2020", "--overlap", str(msd), "--overlap-layout", "msd"]
    assert script.main(named) == 1, "one could not be compared"
    said = capsys.readouterr().out
    assert "0 of 3 cases" in said and "not compared BRATS_007" in said
    (msd / "imagesTr" / "BRATS_007.nii.gz").unlink()
    assert script.main([str(brats), "--layout", "brats2020", "--overlap", str(msd)]) == 0
