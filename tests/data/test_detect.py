"""Votes: every layout is found by its files, mixtures are refused with their counts, a person sees why."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tiny import load_script, write_nifti, write_tiny_case, write_tiny_msd

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.detect import detect_layout
from dmaf_lite.data.layouts import LAYOUTS

# Told by names; upenn and nnunet have their own tests.
BY_NAME = [name for name, layout in LAYOUTS.items() if layout.kind != "listed" and not name.startswith("upenn")]


@pytest.mark.parametrize("layout", BY_NAME)
def test_every_layout_is_found_by_its_own_files(tmp_path, layout):
    case = write_tiny_case(tmp_path, LAYOUTS[layout].example, layout)
    if layout == "brats2024":  # the names of 2023: a cavity tells
        path = next(case.glob("*-seg.nii.gz"))
        values = np.asarray(nib.load(path).dataobj).copy()
        values[0, 0, :5] = 4
        write_nifti(path, values)
    told = detect_layout(tmp_path)
    assert told.layout == layout and f"--layout {layout}" in str(told) and told.votes[layout] == told.files


def test_a_dataset_json_decides(tmp_path):
    told = detect_layout(write_tiny_msd(tmp_path, {"BRATS_001": 0}))
    assert told.layout == "msd" and "axes point to RAS" in told.evidence and "t1gd" in str(told)
    about = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(about | {"modality": {"0": "CT"}}))
    with pytest.raises(CaseError, match="unknown names"):
        detect_layout(tmp_path)
    (tmp_path / "dataset.json").unlink()
    assert "is 4-D and there is no dataset.json" in detect_layout(tmp_path).problem


def test_a_mixture_is_refused_with_both_counts(tmp_path):
    write_tiny_case(tmp_path, "BraTS20_Training_001")
    write_tiny_case(tmp_path, "BraTS2021_00001", "brats2021")
    told = detect_layout(tmp_path)
    assert told.layout is None
    assert "5 of 10 files bear names of brats2020, 5 of brats2021" in told.problem
    shutil.rmtree(tmp_path / "BraTS2021_00001")
    write_nifti(tmp_path / "BraTS20_Training_001" / "other.nii.gz", np.zeros((2, 2, 2), np.int16))
    assert "not understood are other.nii.gz" in detect_layout(tmp_path).problem


def test_unknown_names_and_an_empty_folder_are_said(tmp_path):
    assert detect_layout(tmp_path).problem == "there is no NIfTI file"
    write_tiny_case(tmp_path, "somebody")
    assert "of no known data set" in detect_layout(tmp_path).problem
    with pytest.raises(CaseError, match="no such folder"):
        detect_layout(tmp_path / "nowhere")


def test_label_values_of_another_layout_are_named(tmp_path):
    case = write_tiny_case(tmp_path, "BraTS20_Training_001")
    path = case / "BraTS20_Training_001_seg.nii.gz"
    write_nifti(path, np.where(np.asarray(nib.load(path).dataobj) == 4, 3, nib.load(path).dataobj).astype(np.uint8))
    told = detect_layout(tmp_path)
    assert any("label values [3] are not of this layout; those found would fit brats2023" in e for e in told.evidence)


def test_upenn_is_told_by_which_segmentations_are_there(tmp_path):
    name = "UPENN-GBM-00001_11"
    write_tiny_case(tmp_path / "images_structural", name, "upenn_gbm", label=False)
    case = write_tiny_case(tmp_path / "x", name, "upenn_gbm_automated")
    (tmp_path / "automated_segm").mkdir()
    (case / f"{name}_automated_approx_segm.nii.gz").rename(
        tmp_path / "automated_segm" / f"{name}_automated_approx_segm.nii.gz")
    shutil.rmtree(tmp_path / "x")
    assert detect_layout(tmp_path).layout == "upenn_gbm_automated"


def test_the_script_prints_the_votes_and_the_command(tmp_path, capsys):
    write_tiny_case(tmp_path, "BraTS-MET-00086-000", "mets2023")
    inspect = load_script("inspect_cohort").main
    assert inspect([str(tmp_path), "--detect"]) == 0
    output = capsys.readouterr().out
    assert "5 bear names of mets2023" in output and "--layout mets2023" in output
    with pytest.raises(SystemExit):
        inspect([str(tmp_path)])
    assert "--layout" in capsys.readouterr().err
    write_tiny_case(tmp_path, "BraTS20_Training_001")
    assert inspect([str(tmp_path), "--detect"]) == 1
