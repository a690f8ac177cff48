"""What looks wrong is said: a skull, and classes that are not as bright as their names."""

import nibabel as nib
import numpy as np
import pytest
from tiny import MSD_LABELS, write_tiny_case, write_tiny_msd

from dmaf_lite.data.case import Case, load_case
from dmaf_lite.data.cohort import prepare_cohort
from dmaf_lite.data.finding import files_in_folder, find_cases
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.data.plausibility import border_notes, brightness, label_notes, skull_note, touching
from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain_case
from dmaf_lite.spec import MYOPS


def ball(radius_mm, spacing=4.0, noise=0.0):
    """A case of one scan: a ball of tissue."""
    grid = np.indices((64, 64, 64)) * spacing - 126
    inside = (grid**2).sum(0) < radius_mm**2
    rng = np.random.default_rng(0)
    image = np.where(inside, rng.normal(300, 60, inside.shape), rng.rayleigh(noise, inside.shape) if noise else 0)
    return Case("x", {"T1": image.astype(np.float32)}, None, np.diag([-spacing, -spacing, spacing, 1]), (spacing,) * 3)


def test_a_head_of_four_litres_is_one_with_a_skull_and_a_brain_is_not():
    assert skull_note(ball(74)) is None  # 1.7 litres
    assert "HD-BET" in skull_note(ball(99)) and "4.1 litres of T1" in skull_note(ball(99))
    assert skull_note(ball(74, noise=9.0)) is not None, "noise around the head is not what the networks know"
    assert skull_note(ball(99), MYOPS) is None


def test_phantoms_and_patients_have_no_skull(patient):
    for index in range(2):
        assert skull_note(make_brain_case(0, index, BrainSettings(spacing=4.0))) is None
    case = load_case(files_in_folder(patient, "brats2020"), labels=LAYOUTS["brats2020"].labels)
    assert skull_note(case) is None


def test_a_skull_is_said_by_prepare(tmp_path):
    case = ball(99)
    (tmp_path / "c" / "x").mkdir(parents=True)
    nib.save(nib.Nifti1Image(case.images["T1"], case.affine), tmp_path / "c" / "x" / "x_t1.nii.gz")
    with pytest.warns(UserWarning, match="is the skull still there"):
        report = prepare_cohort(tmp_path / "c", tmp_path / "s", layout="brats2020", workers=0)
    assert "HD-BET" in str(report)


def enhancing(folder):
    """Make class 3 (1 and 2 stay) the brightest on T1ce in an MSD folder: label 3 of the files."""
    for path in (folder / "imagesTr").iterdir():
        image = nib.load(path)
        data = np.asarray(image.dataobj).copy()
        label = np.asarray(nib.load(folder / "labelsTr" / path.name).dataobj)
        data[..., 2] += (400 * (label == 3)).astype(data.dtype)
        nib.save(nib.Nifti1Image(data, image.affine), path)
    return folder


def test_exchanged_labels_are_noticed_by_the_brightness_of_enhancing_tumour(tmp_path):
    """2 and 3 the other way round, as the most copied tutorial has them."""
    seeds = {"a": 1, "b": 2}
    wrong = MSD_LABELS | {"2": "enhancing tumour", "3": "non-enhancing tumor"}
    for labels, expected in ((MSD_LABELS, False), (wrong, True)):
        folder = enhancing(write_tiny_msd(tmp_path / f"m{expected}", seeds, labels=labels))
        report = prepare_cohort(folder, tmp_path / f"s{expected}", layout="msd", minimum=16, workers=0)
        assert any("ET is darker than NCR/NET on T1ce over 2 cases" in note for note in report.notes) is expected
        again = prepare_cohort(folder, tmp_path / f"s{expected}", layout="msd", minimum=16, workers=0)
        assert again.notes == report.notes and len(again.skipped) == 2


def test_brightness_needs_t1ce_a_label_and_enough_voxels(tmp_path):
    write_tiny_case(tmp_path, "x")
    case = load_case(find_cases(tmp_path, "brats2020")[0], labels=LAYOUTS["brats2020"].labels)
    assert set(brightness(case.images, case.label)) == {1, 2, 3}
    assert brightness({"T1": case.images["T1"]}, case.label) == {} == brightness(case.images, None)
    few = np.zeros_like(case.label)
    few[0, 0, :5] = 3
    assert brightness(case.images, few) == {} and label_notes([{}, {3: 1.0}]) == []


def test_exchanged_labels_are_noticed_by_where_oedema_lies(tmp_path):
    """1 and 2 the other way round: oedema would then be the middle of the tumour."""
    wrong = MSD_LABELS | {"1": "non-enhancing tumor", "2": "edema"}
    for labels, expected in ((MSD_LABELS, False), (wrong, True)):
        folder = write_tiny_msd(tmp_path / f"m{expected}", {"a": 1, "b": 2}, labels=labels)
        report = prepare_cohort(folder, tmp_path / f"s{expected}", layout="msd", minimum=16, workers=0)
        assert any("NCR/NET lies further out than ED over 2 cases" in note for note in report.notes) is expected


def test_touching_counts_faces_and_the_border_of_the_volume():
    label = np.zeros((7, 7, 7), np.uint8)
    label[1:6, 1:6, 1:6] = 2
    label[2:5, 2:5, 2:5] = 3
    assert touching(label) == {2: 1.0, 3: 0.0} and touching(None) == {}
    cube = np.full((4, 4, 4), 1, np.uint8)
    assert touching(cube) == {1: 1 - 8 / 64}
    assert border_notes([touching(label)]) == [] and "ET lies further out" in border_notes([{2: 0.1, 3: 0.5}])[0]
    assert touching(label, MYOPS) == {} and border_notes([{2: 0.0, 3: 1.0}], MYOPS) == []


@pytest.mark.parametrize("preset", [False, True])
def test_phantoms_give_no_note_about_their_labels(preset):
    cases = [make_brain_case(0, index, BrainSettings(spacing=4.0, metastases=preset)) for index in range(3)]
    assert border_notes([touching(case.label) for case in cases]) == []
    assert label_notes([brightness(case.images, case.label) for case in cases]) == []
