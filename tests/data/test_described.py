"""The Decathlon's and nnU-Net's cohorts: order and labels come from the names in dataset.json."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tiny import MSD_LABELS, MSD_NAMES, tiny_images, write_tiny_case, write_tiny_msd

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.finding import find_cohort
from dmaf_lite.spec import MYOPS


def prepared(folder, out, layout):
    report = prepare_cohort(folder, out, layout=layout, minimum=16, workers=0)
    assert not report.failed, report.failed
    return Cohort(out)


def test_an_msd_folder_gives_what_the_same_heads_give_as_brats2020(tmp_path):
    """4-D, RAS, labels in another order, channels in another order: bit for bit the same after preparing."""
    msd = write_tiny_msd(tmp_path / "msd", {"BRATS_001": 1, "BRATS_002": 2})
    (msd / "imagesTr" / "._BRATS_001.nii.gz").write_bytes(b"junk of an archive")
    for seed in (1, 2):
        write_tiny_case(tmp_path / "brats", f"BraTS20_Training_00{seed}", seed=seed)
    ours, theirs = prepared(tmp_path / "brats", tmp_path / "a", "brats2020"), prepared(msd, tmp_path / "b", "msd")
    for name, other in zip(ours.names, theirs.names, strict=True):
        (images, label), (images_b, label_b) = ours.read(name), theirs.read(other)
        assert np.array_equal(images, images_b) and np.array_equal(label, label_b)
        assert theirs.meta(other)["orientation"] == "RAS" and ours.meta(name)["orientation"] == "LPS"
        file_label = np.asarray(nib.load(msd / "labelsTr" / f"{other}.nii.gz").dataobj)
        assert np.array_equal(theirs.to_original(other, label_b), np.array([0, 2, 1, 3])[file_label])
    about = json.loads((tmp_path / "b" / "cohort.json").read_text())
    assert "t1gd" in about["evidence"][0] and about["labels"] == [[0, 0], [1, 2], [2, 1], [3, 3]]
    assert dict(theirs.layout.labels) == {0: 0, 1: 2, 2: 1, 3: 3}


def test_the_order_follows_the_names_in_the_json_not_the_habit(tmp_path):
    names = {"0": "Flair", "1": "T1c", "2": "T1n", "3": "T2w"}  # seen in the wild under the name BRATS
    found = find_cohort(write_tiny_msd(tmp_path, {"a": 0}, names=names), "msd")
    case = load_case(found.cases["a"], labels=found.layout.labels)
    images, _ = tiny_images()
    assert (case.images["T1ce"] == images["T1"]).all(), "channel 1, whatever lies in it"


def test_classes_follow_the_names_in_the_json(tmp_path):
    labels = MSD_LABELS | {"2": "enhancing tumour", "3": "non-enhancing tumor"}
    found = find_cohort(write_tiny_msd(tmp_path, {"a": 0}, labels=labels), "msd")
    _, label = tiny_images()
    case = load_case(found.cases["a"], labels=found.layout.labels)
    assert (case.label == np.array([0, 3, 2, 1])[label]).all()


@pytest.mark.parametrize(("change", "message"), [
    ({"modality": MSD_NAMES | {"1": "CT"}}, r"channels of unknown names \(1: CT\)"),
    ({"modality": MSD_NAMES | {"1": "T1gd"}}, r"two channels that are T1ce \(T1gd, t1gd\)"),
    ({"labels": MSD_LABELS | {"3": "tumour"}}, "3: tumour, which is not understood"),
    ({"labels": {"0": "background", "1": "edema", "2": "enhancing"}}, "no label for NCR/NET"),
    ({"labels": {"background": 0, "whole": [1, 2, 3]}}, "labels that are regions"),
    ({"modality": None}, "a description that cannot be read"),
    ({"tensorImageSize": "3D"}, "of layout nnunet; expected one of layout msd; ask for --layout nnunet"),
])
def test_a_json_that_is_not_understood_is_refused(tmp_path, change, message):
    path = write_tiny_msd(tmp_path, {"a": 0}) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CaseError, match=message) as caught:
        find_cohort(tmp_path, "msd")
    assert "dataset.json" in str(caught.value)


def test_a_bom_a_folder_above_and_a_stray_label_do_no_harm(tmp_path):
    msd = write_tiny_msd(tmp_path / "Task01_BrainTumour", {"a": 0})
    path = msd / "dataset.json"
    path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    shutil.copy(msd / "labelsTr" / "a.nii.gz", msd / "labelsTr" / "b.nii.gz")
    (msd / "imagesTs").mkdir()
    shutil.copy(msd / "imagesTr" / "a.nii.gz", msd / "imagesTs" / "c.nii.gz")
    found = find_cohort(tmp_path, "msd")
    assert found.names == ["a", "c"] and found.cases["c"].label is None
    assert any("1 segmentations belong to no case (b)" in note for note in found.notes)
    with pytest.raises(CaseError, match=r"no dataset.json; expected one there or one level down"):
        find_cohort(msd / "imagesTr", "msd")


def test_an_empty_channel_is_a_missing_scan_with_a_warning_and_a_lost_one_an_error(tmp_path):
    msd = write_tiny_msd(tmp_path, {"a": 0})
    image = nib.load(msd / "imagesTr" / "a.nii.gz")
    data = np.asarray(image.dataobj).copy()
    data[..., 2] = 0
    nib.save(nib.Nifti1Image(data, image.affine), msd / "imagesTr" / "a.nii.gz")
    found = find_cohort(tmp_path, "msd")
    with pytest.warns(UserWarning, match="the same value in every voxel of T1ce; taken as missing"):
        assert list(load_case(found.cases["a"], labels=found.layout.labels).images) == ["FLAIR", "T1", "T2"]
    nib.save(nib.Nifti1Image(data[..., :3], image.affine), msd / "imagesTr" / "a.nii.gz")
    with pytest.raises(CaseError, match="found 3 volumes; expected 4, one a channel"):
        load_case(found.cases["a"], labels=found.layout.labels)


def test_nnunet_has_one_file_a_channel(tmp_path):
    about = {"channel_names": {"0": "T1", "1": "T1c", "2": "T2", "3": "FLAIR"}, "file_ending": ".nii.gz",
             "labels": {"background": 0, "necrotic": 1, "enhancing": 2, "edema": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    for seed in (1, 2):
        case = write_tiny_case(tmp_path / "x", "c", seed=seed)
        for number, end in enumerate(("t1", "t1ce", "t2", "flair")):
            (tmp_path / "imagesTr").mkdir(exist_ok=True)
            (case / f"c_{end}.nii.gz").rename(tmp_path / "imagesTr" / f"P_{seed}_000{number}.nii.gz")
        (tmp_path / "labelsTr").mkdir(exist_ok=True)
        image = nib.load(case / "c_seg.nii.gz")
        values = np.array([0, 1, 3, 0, 2], np.uint8)[np.asarray(image.dataobj)]
        nib.save(nib.Nifti1Image(values, image.affine), tmp_path / "labelsTr" / f"P_{seed}.nii.gz")
    shutil.rmtree(tmp_path / "x")
    (tmp_path / "imagesTr" / "P_2_0001.nii.gz").unlink()
    (tmp_path / "imagesTr" / "readme.nii.gz").write_bytes(b"x")
    found = find_cohort(tmp_path, "nnunet")
    assert {n: tuple(f.images) for n, f in found.cases.items()} == {
        "P_1": ("FLAIR", "T1ce", "T1", "T2"), "P_2": ("FLAIR", "T1", "T2")}
    assert any("readme.nii.gz: not used" in note for note in found.notes)
    case = load_case(found.cases["P_1"], labels=found.layout.labels)
    images, label = tiny_images(1)
    assert (case.label == label).all() and all((case.images[m] == images[m]).all() for m in images)


def test_a_json_of_hearts_is_read_as_hearts(tmp_path):
    about = {"channel_names": {"0": "LGE", "1": "T2", "2": "C0"},
             "labels": {"background": 0, "myocardium": 1, "LV": 2, "RV": 3, "edema": 4, "scar": 5}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    case = write_tiny_case(tmp_path / "x", "a", "myops2020")
    (tmp_path / "imagesTr").mkdir()
    (case / "a_DE.nii.gz").rename(tmp_path / "imagesTr" / "a_0000.nii.gz")
    found = find_cohort(tmp_path, "nnunet")
    assert found.layout.spec is MYOPS and tuple(found.cases["a"].images) == ("LGE",)
