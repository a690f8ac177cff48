"""Bad studies among good ones: each gets one sentence, and the good ones are prepared all the same."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import lps_affine, write_nifti, write_tiny_case, write_tiny_msd

from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.evaluation.predict import predict_case, study_files, write_prediction
from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import MYOPS

STACK = {"shape": (24, 28, 4), "spacing": (2.0, 2.0, 14.0)}
AFFINE = lps_affine(STACK["spacing"], STACK["shape"])


def stored(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def four_dimensions(folder: Path) -> None:
    path = folder / "bad_T2.nii.gz"
    write_nifti(path, np.stack([stored(path)] * 2, axis=-1), AFFINE)


def wrapped(folder: Path) -> None:
    path = folder / "bad_gd.nii.gz"
    write_nifti(path, stored(path).astype(np.uint8), AFFINE)


def renumbered(folder: Path) -> None:
    path = folder / "bad_gd.nii.gz"
    values = np.zeros(2222, np.uint8)
    values[[200, 500, 600, 1220, 2221]] = 1, 2, 3, 4, 5
    write_nifti(path, values[stored(path)], AFFINE)


def two_segmentations(folder: Path) -> None:
    (folder / "bad_gd.nii.gz").rename(folder / "bad_seg.nii.gz")
    write_nifti(folder / "bad_label.nii.gz", stored(folder / "bad_seg.nii.gz"), AFFINE)


def other_grid(folder: Path) -> None:
    path = folder / "bad_T2.nii.gz"
    write_nifti(path, stored(path)[..., :-1], AFFINE)


@pytest.mark.parametrize(("damage", "message"), [
    (four_dimensions, r"bad_T2.nii.gz: found 4 dimensions \(24x28x4x2\); expected one 3-D volume"),
    (wrapped, r"bad_gd.nii.gz: found unknown label values .*wrapped around by storing them in 8 bits"),
    (renumbered, r"bad_gd.nii.gz: found unknown label values .*a converted label: which numbering\?"),
    (two_segmentations, "2 files that could be the segmentation"),
    (other_grid, r"bad_T2.nii.gz: found 24 x 28 x 3 voxels .*expected the shape of bad_C0.nii.gz, 24 x 28 x 4"),
])
def test_one_bad_heart_costs_no_other(tmp_path, damage, message):
    write_tiny_case(tmp_path / "c", "good", "myops2020", **STACK)
    folder = write_tiny_case(tmp_path / "c", "bad", "myops2020", seed=1, **STACK)
    damage(folder)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "c").rglob("*.nii.gz"))}
    report = prepare_cohort(tmp_path / "c", tmp_path / "s", layout="myops2020", workers=0)
    assert report.prepared == ["good"] and list(report.failed) == ["bad"]
    assert report.failed["bad"].count("; expected ") == 1
    assert re.search(message, report.failed["bad"]), report.failed["bad"]
    assert Cohort(tmp_path / "s").names == ["good"]
    assert before == {path: path.read_bytes() for path in sorted((tmp_path / "c").rglob("*.nii.gz"))}, "nothing is lost"


def test_one_volume_where_the_json_names_four(tmp_path):
    folder = write_tiny_msd(tmp_path / "c", {"BRATS_001": 0, "BRATS_002": 1})
    path = folder / "imagesTr" / "BRATS_002.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[..., 0], image.affine), path)
    report = prepare_cohort(folder, tmp_path / "s", layout="msd", minimum=16, workers=0)
    assert report.prepared == ["BRATS_001"]
    assert "BRATS_002.nii.gz: found 1 volumes; expected 4, one a channel" in report.failed["BRATS_002"]


def test_files_of_macos_beside_hearts_do_not_count(tmp_path):
    folder = write_tiny_case(tmp_path / "c", "good", "myops2020", **STACK)
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"\0\5\26\7")
    report = prepare_cohort(tmp_path / "c", tmp_path / "s", layout="myops2020", workers=0)
    assert report.prepared == ["good"] and not report.failed


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_stack_of_one_slice_is_prepared_and_predicted(tmp_path, kernel):
    folder = write_tiny_case(tmp_path / "c", "one", "myops2020", **STACK)
    for path in folder.iterdir():
        write_nifti(path, stored(path)[..., 2:3], AFFINE)
    assert prepare_cohort(tmp_path / "c", tmp_path / "s", layout="myops2020", workers=0).prepared == ["one"]
    assert Cohort(tmp_path / "s").meta("one")["shape"][2] == 1
    options = {"width": 2, "levels": 2, "through_plane": False, "kernel_through": kernel}
    card = {"network": "baseline", "network_options": options, "spec": "myops", "spacing": [2.0, 2.0, 14.0],
            "recipe": {}, "seed": 0, "commit": "0000000", "date": "2000-01-01", "window": [16, 16, 1]}
    files = study_files(folder, "myops2020")
    result = predict_case(build_network("baseline", MYOPS, **options).eval(), card, files, layout="myops2020")
    written = nib.load(write_prediction(tmp_path / "out", result, files, card, layout="myops2020"))
    assert written.shape == (24, 28, 1)
