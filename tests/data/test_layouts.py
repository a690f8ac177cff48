"""Finding cases on disk, in every layout and with the oddities of real downloads."""

import warnings

import nibabel as nib
import numpy as np
import pytest
from tiny import tiny_images, write_tiny_case

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.layouts import LAYOUTS, case_folders, files_in_folder, find_cases, layout_of

NAMES = {
    "brats2018": ("HGG/Brats18_2013_2_1", "LGG/Brats18_TCIA09_141_1"),
    "brats2020": ("TrainingData/BraTS20_Training_001", "TrainingData/BraTS20_Training_002"),
    "brats2021": ("BraTS2021_00000", "BraTS2021_01666"),
    "brats2023": ("BraTS-GLI-00000-000", "BraTS-GLI-00000-001"),
    "brats2024": ("a/b/BraTS-GLI-02063-103", "a/b/BraTS-GLI-02063-104"),
    "phantom": ("Phantom_000", "Phantom_001"),
}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_is_found_and_read_alike(tmp_path, layout, ending):
    for place in NAMES[layout]:
        write_tiny_case((tmp_path / place).parent, place.split("/")[-1], layout, ending=ending)
    found = find_cases(tmp_path, layout)
    assert [files.name for files in found] == sorted(place.split("/")[-1] for place in NAMES[layout])
    case = load_case(found[0], spec=LAYOUTS[layout].spec, labels=LAYOUTS[layout].labels)
    images, label = tiny_images()
    assert list(case.images) == list(images)
    for name, image in images.items():
        assert (case.images[name] == image).all(), "a modality was taken for another"
    assert (case.label == label).all()


def test_file_names_and_label_values_are_those_of_the_published_cohorts():
    assert set(NAMES) == set(LAYOUTS)
    until_2021 = ({"FLAIR": "_flair", "T1ce": "_t1ce", "T1": "_t1", "T2": "_t2"}, "_seg", {0: 0, 1: 1, 2: 2, 4: 3})
    # t1c is the contrast-enhanced scan, t1n the native one, t2f is FLAIR, t2w is T2.
    from_2023 = ({"FLAIR": "-t2f", "T1ce": "-t1c", "T1": "-t1n", "T2": "-t2w"}, "-seg", {0: 0, 1: 1, 2: 2, 3: 3})
    for name, layout in LAYOUTS.items():
        suffixes, label, labels = from_2023 if name in ("brats2023", "brats2024") else until_2021
        labels = labels | ({4: 0} if name == "brats2024" else {})
        assert (dict(layout.suffixes), layout.label_suffix, dict(layout.labels)) == (suffixes, label, labels)


def test_case_355_of_the_kaggle_copy_is_found_and_said_in_a_warning(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_355", ending=".nii")
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    with pytest.warns(UserWarning, match=r"BraTS20_Training_355.*unusual name, W39_1998.09.19_Segm.nii; it is used"):
        files = files_in_folder(folder, "brats2020")
    assert files.label.name == "W39_1998.09.19_Segm.nii" and len(files.images) == 4
    assert (load_case(files, labels=LAYOUTS["brats2020"].labels).label == tiny_images()[1]).all()


@pytest.mark.parametrize("there", [("T1",), ("FLAIR", "T2"), ("T1ce", "T1", "T2")])
def test_any_subset_of_modalities_without_a_label_is_fine(tmp_path, there):
    folder = write_tiny_case(tmp_path, "new_patient", modalities=there, label=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = files_in_folder(folder, "brats2020")
    assert tuple(files.images) == there and files.label is None


def test_files_need_not_bear_the_name_of_the_folder(tmp_path):
    write_tiny_case(tmp_path, "BraTS20_Training_001").rename(tmp_path / "renamed")
    files = files_in_folder(tmp_path / "renamed", "brats2020")
    assert files.name == "renamed" and len(files.images) == 4 and files.label is not None


def test_hidden_files_of_macos_do_not_count(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_001").rename(tmp_path / "renamed")
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"junk")
    assert len(files_in_folder(folder, "brats2020").images) == 4


def test_a_file_that_is_there_twice_is_said(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_001")
    write_tiny_case(tmp_path, "BraTS20_Training_001", modalities=("T1",), label=False, ending=".nii")
    with pytest.warns(UserWarning, match=r"_t1.nii and BraTS20_Training_001_t1.nii.gz are both there"):
        files_in_folder(folder, "brats2020")


def test_a_folder_without_any_modality_is_an_error_with_a_hint(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS-GLI-00000-000", "brats2023")
    with pytest.raises(CaseError, match=r"no modality at all.*layout brats2023 or brats2024"):
        files_in_folder(folder, "brats2020")
    with pytest.raises(CaseError, match="no such folder"):
        files_in_folder(tmp_path / "nowhere", "brats2020")


def test_several_cases_in_one_folder_are_refused(tmp_path):
    for name in ("BraTS20_Training_001", "BraTS20_Training_002"):
        for path in list(write_tiny_case(tmp_path, name).iterdir()):
            path.rename(tmp_path / path.name)
    with pytest.raises(CaseError, match="2 files that could be FLAIR"):
        files_in_folder(tmp_path, "brats2020")


def test_find_cases_goes_on_past_a_bad_case(tmp_path):
    write_tiny_case(tmp_path, "BraTS20_Training_001")
    (tmp_path / "BraTS20_Training_002").mkdir()
    with pytest.warns(UserWarning, match=r"left out: .*BraTS20_Training_002: found no modality"):
        assert [files.name for files in find_cases(tmp_path, "brats2020")] == ["BraTS20_Training_001"]


def test_the_same_name_twice_is_refused(tmp_path):
    write_tiny_case(tmp_path / "HGG", "Brats18_2013_2_1", "brats2018")
    write_tiny_case(tmp_path / "LGG", "Brats18_2013_2_1", "brats2018")
    with pytest.raises(CaseError, match="second case of this name"):
        case_folders(tmp_path, "brats2018")


def test_an_archive_folder_around_a_case_of_the_same_name_is_looked_into(tmp_path):
    write_tiny_case(tmp_path / "BraTS2021_00000", "BraTS2021_00000", "brats2021")
    assert list(case_folders(tmp_path, "brats2021")) == ["BraTS2021_00000"]


def test_loose_files_beside_the_cases_are_no_case(tmp_path):
    write_tiny_case(tmp_path, "BraTS20_Training_001")
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / "atlas_t1.nii.gz")
    with pytest.warns(UserWarning, match="loose"):
        assert list(case_folders(tmp_path, "brats2020")) == ["BraTS20_Training_001"]


def test_an_empty_or_absent_cohort_says_what_was_expected(tmp_path):
    with pytest.raises(CaseError, match=r"no case; expected folders such as BraTS20_Training_001/.*_flair.nii.gz"):
        case_folders(tmp_path, "brats2020")
    write_tiny_case(tmp_path, "BraTS2021_00000", "brats2021")
    with pytest.raises(CaseError, match="these names are of the layout brats2018 or brats2020 or brats2021"):
        case_folders(tmp_path, "brats2023")
    with pytest.raises(CaseError, match="no such folder"):
        case_folders(tmp_path / "nowhere", "brats2020")
    with pytest.raises(ValueError, match="choose one of brats2018"):
        layout_of("brats1066")
