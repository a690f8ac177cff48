"""Finding cases on disk, in every layout and with the oddities of real downloads."""

import shutil
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import tiny_images, write_tiny_case

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.finding import UnclearNames, files_in_folder, find_cases, find_cohort, one_case
from dmaf_lite.data.layouts import LAYOUTS

NAMES = {
    "brats2018": ("HGG/Brats18_2013_2_1", "LGG/Brats18_TCIA09_141_1"),
    "brats2020": ("TrainingData/BraTS20_Training_001", "TrainingData/BraTS20_Training_002"),
    "brats2021": ("BraTS2021_00000", "BraTS2021_01666"),
    "brats2023": ("BraTS-GLI-00000-000", "BraTS-GLI-00000-001"),
    "brats2024": ("a/b/BraTS-GLI-02063-103", "a/b/BraTS-GLI-02063-104"),
    "mets2023": ("BraTS-MET-00086-000", "BraTS-MET-00101-000"),
    "ssa2023": ("BraTS-SSA-00002-000", "BraTS-SSA-00007-000"),
    "peds2023": ("BraTS-PED-00002-000", "BraTS-PED-00003-000"),
    "men2023": ("BraTS-MEN-00004-000", "BraTS-MEN-00008-000"),
    "ucsf_pdgm": ("UCSF-PDGM-0004", "UCSF-PDGM-0005"),
    "upenn_gbm": ("images_structural/UPENN-GBM-00001_11", "images_structural/UPENN-GBM-00002_11"),
    "upenn_gbm_automated": ("images_structural/UPENN-GBM-00001_11", "images_structural/UPENN-GBM-00002_11"),
    "myops2020": ("train25/myops_training_101", "train25/myops_training_102"),
    "myopspp": ("CenterB/Case2001", "CenterC/Case3001"),
    "heart_phantom": ("HeartPhantom_000", "HeartPhantom_001"),
    "phantom": ("Phantom_000", "Phantom_001"),
}
LISTED = ("msd", "nnunet")


def test_every_layout_is_tried_here_or_in_test_described():
    assert set(NAMES) | set(LISTED) == set(LAYOUTS)
    assert all(layout.kind == "listed" or layout.is_usual(layout.example) for layout in LAYOUTS.values())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("layout", list(NAMES))
def test_every_layout_is_found_and_read_alike(tmp_path, layout, ending):
    for place in NAMES[layout]:
        write_tiny_case((tmp_path / place).parent, place.split("/")[-1], layout, ending=ending)
    found = find_cases(tmp_path, layout)
    assert [files.name for files in found] == sorted(place.split("/")[-1] for place in NAMES[layout])
    case = load_case(found[0], spec=LAYOUTS[layout].spec, labels=LAYOUTS[layout].labels)
    images, label = tiny_images()
    assert tuple(case.images) == LAYOUTS[layout].spec.modalities
    for found_image, image in zip(case.images.values(), images.values(), strict=False):
        assert (found_image == image).all(), "a modality was taken for another"
    assert (case.label == label).all()


def test_case_355_of_the_kaggle_copy_is_found_and_said_in_a_warning(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_355", ending=".nii")
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    with pytest.warns(UserWarning, match=r"BraTS20_Training_355.*unusual name, W39_1998.09.19_Segm.nii; it is used"):
        files = files_in_folder(folder, "brats2020")
    assert files.label.name == "W39_1998.09.19_Segm.nii" and len(files.images) == 4
    assert (load_case(files, labels=LAYOUTS["brats2020"].labels).label == tiny_images()[1]).all()


@pytest.mark.parametrize("modalities", [("T1",), ("FLAIR", "T2"), ("T1ce", "T1", "T2")])
def test_any_subset_of_modalities_without_a_label_is_fine(tmp_path, modalities):
    folder = write_tiny_case(tmp_path, "new_patient", modalities=modalities, label=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = files_in_folder(folder, "brats2020")
    assert tuple(files.images) == modalities and files.label is None


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


def test_a_folder_without_any_modality_says_which_names_are_known(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(CaseError, match=r"no modality at all .no NIfTI file.*FLAIR .flair, fla, t2f.*T1ce .t1ce, t1c"):
        files_in_folder(tmp_path / "x", "brats2020")
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
        find_cohort(tmp_path, "brats2018")


def test_an_archive_folder_around_a_case_of_the_same_name_is_looked_into(tmp_path):
    write_tiny_case(tmp_path / "BraTS2021_00000", "BraTS2021_00000", "brats2021")
    assert find_cohort(tmp_path, "brats2021").names == ["BraTS2021_00000"]


def test_loose_files_beside_the_cases_are_no_case_and_said(tmp_path):
    write_tiny_case(tmp_path, "BraTS20_Training_001")
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / "atlas_t1.nii.gz")
    found = find_cohort(tmp_path, "brats2020")
    assert found.names == ["BraTS20_Training_001"] and any("loose" in note for note in found.notes)


def test_an_empty_or_absent_cohort_says_what_was_expected(tmp_path):
    with pytest.raises(CaseError, match=r"no case; expected folders such as BraTS20_Training_001/.*_flair.nii.gz"):
        find_cohort(tmp_path, "brats2020")
    with pytest.raises(CaseError, match=r"no case; expected files such as myops_training_101_C0.nii.gz"):
        find_cohort(tmp_path, "myops2020")
    with pytest.raises(CaseError, match="no such folder"):
        find_cohort(tmp_path / "nowhere", "brats2020")


def test_the_usual_names_of_another_label_scheme_are_refused(tmp_path):
    """BraTS2021 read as metastases would lose every enhancing voxel: 4 is a cavity there."""
    write_tiny_case(tmp_path, "BraTS2021_00000", "brats2021")
    found = find_cohort(tmp_path, "mets2023")
    assert not found.cases and "ask for --layout brats2021" in str(found.bad["BraTS2021_00000"])
    assert find_cohort(tmp_path, "brats2020").cases, "the same values: no harm"
    assert files_in_folder(tmp_path / "BraTS2021_00000", "mets2023", with_label=False).label is None


def renamed(folder, ends):
    """The scans of a tiny case under other names: modality -> end of the stem."""
    write_tiny_case(folder.parent, folder.name, label=False)
    for modality, end in ends.items():
        path = folder / f"{folder.name}{LAYOUTS['brats2020'].suffixes[modality]}.nii.gz"
        path.rename(folder / f"{folder.name}{end}.nii.gz")
    return folder


@pytest.mark.parametrize("ends", [
    {"T1ce": "_T1c"}, {"T1ce": "_T1GD"}, {"T1ce": "_CT1"}, {"T1ce": "-t1c"}, {"FLAIR": "_fla"},
    {"T1": "_T1w", "T2": "_T2w", "FLAIR": "_FLAIR", "T1ce": "_ce-gadolinium_T1w"},
    {"FLAIR": "_T2_FLAIR", "T1ce": "_T1_post"}, {"FLAIR": "-t2f", "T1ce": "-t1c", "T1": "-t1n", "T2": "-t2w"},
], ids=str)
def test_no_scan_is_lost_by_another_of_its_names(tmp_path, ends):
    files = files_in_folder(renamed(tmp_path / "Case", ends), "brats2020")
    assert list(files.images) == ["FLAIR", "T1ce", "T1", "T2"] and not files.unused
    for modality, image in tiny_images()[0].items():
        assert (np.asarray(nib.load(files.images[modality]).dataobj) == image).all()


def test_every_file_is_used_or_named_as_unused(tmp_path):
    folder = renamed(tmp_path / "Case", {"T1ce": "_adc", "T2": "_dwi"})
    files = files_in_folder(folder, "brats2020")
    assert {p.name for p in files.unused} == {"Case_adc.nii.gz", "Case_dwi.nii.gz"}
    assert {*files.images.values(), *files.unused} == set(folder.iterdir())
    (line,) = [text for text in find_cohort(tmp_path, "brats2020").unused_lines() if "adc" in text]
    assert line.startswith("not used: ") and "Case_adc.nii.gz" in line
    without_label = files_in_folder(write_tiny_case(tmp_path, "B"), "brats2020", with_label=False)
    assert [p.name for p in without_label.unused] == ["B_seg.nii.gz"] and without_label.label is None


def test_the_layouts_own_name_counts_before_an_alias_which_is_named(tmp_path):
    folder = write_tiny_case(tmp_path, "Case")
    (folder / "Case_t2.nii.gz").rename(folder / "Case_t1c.nii.gz")
    files = files_in_folder(folder, "brats2020")
    assert files.images["T1ce"].name == "Case_t1ce.nii.gz" and [p.name for p in files.unused] == ["Case_t1c.nii.gz"]
    (folder / "Case_t1ce.nii.gz").rename(folder / "other_t1gd.nii.gz")
    (folder / "Case_t1c.nii.gz").rename(folder / "other_t1c.nii.gz")
    with pytest.raises(UnclearNames, match=r"2 files that could be T1ce .*take the others out"):
        files_in_folder(folder, "brats2020")


def test_where_no_name_is_known_the_reader_is_told_to_rename_and_of_no_option(tmp_path):
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(UnclearNames, match="rename the files so that they do") as error:
        one_case(tmp_path / "case", "brats2020")
    assert "--" not in str(error.value), "who has an option adds it: the explorer has none"


def test_two_segmentations_are_refused_unless_one_bears_the_layouts_name(tmp_path):
    folder = write_tiny_case(tmp_path, "Case")
    shutil.copy(folder / "Case_seg.nii.gz", folder / "other_seg.nii.gz")
    files = files_in_folder(folder, "brats2020")
    assert files.label.name == "Case_seg.nii.gz" and [p.name for p in files.unused] == ["other_seg.nii.gz"]
    (folder / "Case_seg.nii.gz").rename(folder / "third_seg.nii.gz")
    with pytest.raises(CaseError, match="2 files that could be the segmentation"):
        files_in_folder(folder, "brats2020")


def test_bare_names_are_found_by_every_door(tmp_path):
    folder = write_tiny_case(tmp_path, "Case")
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.removeprefix("Case_"))
    assert len(find_cohort(tmp_path, "brats2020").cases["Case"].images) == 4
    assert files_in_folder(folder, "brats2020").label is not None


def test_a_link_that_was_never_fetched_is_no_missing_scan(tmp_path):
    folder = write_tiny_case(tmp_path, "Case")
    (folder / "Case_t1ce.nii.gz").unlink()
    (folder / "Case_t1ce.nii.gz").symlink_to(tmp_path / "annex" / "objects" / "SHA256E-s1")
    with pytest.raises(CaseError, match=r"Case_t1ce.nii.gz: found a link whose file was not fetched.*git annex get"):
        files_in_folder(folder, "brats2020")
    assert "Case" in find_cohort(tmp_path, "brats2020").bad


def test_a_folder_in_a_files_place_counts_as_the_one_file_in_it_or_is_refused(tmp_path):
    folder = write_tiny_case(tmp_path, "Case", ending=".nii")
    inside = folder / "Case_t1ce.nii.gz"
    inside.mkdir()
    (folder / "Case_t1ce.nii").rename(inside / "00000057_brain_t1ce.nii")
    with pytest.warns(UserWarning, match="is a folder; the one file in it, 00000057_brain_t1ce.nii, counts"):
        files = files_in_folder(folder, "brats2020")
    assert files.images["T1ce"].name == "00000057_brain_t1ce.nii"
    assert find_cohort(tmp_path, "brats2020").names == ["Case"]
    shutil.copy(inside / "00000057_brain_t1ce.nii", inside / "another.nii")
    with pytest.raises(CaseError, match="a folder with 2 NIfTI files in a file's place"):
        files_in_folder(folder, "brats2020")


def test_one_folder_a_scan_is_one_case(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS2021_00495", "brats2021")
    for path in list(folder.iterdir()):
        place = folder / path.name.removesuffix(".nii.gz")
        place.mkdir()
        path.rename(place / "0001.nii.gz")
    found = find_cohort(tmp_path, "brats2021")
    assert found.names == ["BraTS2021_00495"] and len(found.cases["BraTS2021_00495"].images) == 4
    assert found.cases["BraTS2021_00495"].label is not None
    assert files_in_folder(folder, "brats2021").images.keys() == found.cases["BraTS2021_00495"].images.keys()


def test_bids_names_its_cases_by_subject_and_session(tmp_path):
    for subject in ("sub-01", "sub-02"):
        source = renamed(tmp_path / "x" / f"{subject}_ses-1", {"T1": "_T1w", "T2": "_T2w"})
        (tmp_path / "bids" / subject / "ses-1").mkdir(parents=True)
        source.rename(tmp_path / "bids" / subject / "ses-1" / "anat")
    found = find_cohort(tmp_path / "bids", "brats2020")
    assert found.names == ["sub-01_ses-1", "sub-02_ses-1"] and all(len(f.images) == 4 for f in found.cases.values())
    assert files_in_folder(tmp_path / "bids" / "sub-02", "brats2020").name == "sub-02_ses-1"
    with pytest.raises(CaseError, match=r"2 cases .sub-01_ses-1"):
        files_in_folder(tmp_path / "bids", "brats2020")


def flat_hearts(folder, ends=("_C0", "_DE", "_T2")):
    """Two cases as MyoPS2020 lays them out: scans together, labels in a folder beside, a test case without."""
    parts = {"myops_training_101": "train25", "myops_training_102": "train25", "myops_test_201": "test20"}
    for name, part in parts.items():
        case = write_tiny_case(folder / "x", name, "myops2020", seed=int(name[-3:]))
        for end, new in zip(("_C0", "_DE", "_T2"), ends, strict=True):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (case / f"{name}{end}.nii.gz").rename(folder / part / f"{name}{new}.nii.gz")
        labels = folder / ("train25_myops_gd" if part == "train25" else "byYourself/test_data_gd")
        labels.mkdir(parents=True, exist_ok=True)
        end = "_gd" if part == "train25" else "_gdencrypt"
        (case / f"{name}_gd.nii.gz").rename(labels / f"{name}{end}.nii.gz")
        case.rmdir()
    (folder / "x").rmdir()
    return folder


@pytest.mark.parametrize("ends", [("_C0", "_DE", "_T2"), ("_C0", "_LGE", "_T2")])
def test_flat_hearts_find_their_labels_beside_and_encrypted_ones_are_never_read(tmp_path, ends):
    found = find_cohort(flat_hearts(tmp_path / "m", ends), "myops2020")
    assert found.names == ["myops_test_201", "myops_training_101", "myops_training_102"] and not found.bad
    labels = {name: files.label for name, files in found.cases.items()}
    assert labels["myops_test_201"] is None
    assert labels["myops_training_102"].name == "myops_training_102_gd.nii.gz"
    assert any("encrypted" in note for note in found.notes)
    files = found.cases["myops_training_101"]
    case = load_case(files, spec=LAYOUTS["myops2020"].spec, labels=found.layout.labels)
    images, label = tiny_images(101)
    assert all((a == b).all() for a, b in zip(case.images.values(), images.values(), strict=False))
    assert (case.label == label).all() and list(case.images) == ["C0", "LGE", "T2"]
    only = find_cohort(tmp_path / "m" / "test20", "myops2020")
    assert only.names == ["myops_test_201"]


def test_hearts_with_really_missing_scans(tmp_path):
    write_tiny_case(tmp_path / "CenterA", "Case1001", "myopspp", modalities=("LGE",))
    write_tiny_case(tmp_path / "CenterB", "Case2001", "myopspp")
    found = find_cohort(tmp_path, "myopspp")
    assert {name: tuple(f.images) for name, f in found.cases.items()} == {
        "Case1001": ("LGE",), "Case2001": ("C0", "LGE", "T2")}
    assert all(files.label for files in found.cases.values())


def test_ucsf_takes_the_segmentation_of_the_tumour_and_names_the_rest(tmp_path):
    folder = write_tiny_case(tmp_path, "UCSF-PDGM-0004", "ucsf_pdgm")
    for end in ("brain_segmentation", "brain_parenchyma_segmentation", "T1c_bias", "ADC"):
        shutil.copy(folder / "UCSF-PDGM-0004_T1.nii.gz", folder / f"UCSF-PDGM-0004_{end}.nii.gz")
    found = find_cohort(tmp_path, "ucsf_pdgm")
    files = found.cases["UCSF-PDGM-0004"]
    assert files.label.name == "UCSF-PDGM-0004_tumor_segmentation.nii.gz" and len(files.unused) == 4
    assert files.images["T1ce"].name == "UCSF-PDGM-0004_T1c.nii.gz"


def test_upenn_never_mixes_manual_and_automatic_segmentations(tmp_path):
    for number in (1, 2):
        name = f"UPENN-GBM-0000{number}_11"
        write_tiny_case(tmp_path / "images_structural", name, "upenn_gbm", label=False)
        write_tiny_case(tmp_path / "images_structural_unstripped", name, "upenn_gbm", label=False)
        case = write_tiny_case(tmp_path / "x", name, "upenn_gbm_automated")
        by_hand = [("images_segm", "_segm")] if number == 1 else []
        for folder, end in (("automated_segm", "_automated_approx_segm"), *by_hand):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(case / f"{name}_automated_approx_segm.nii.gz", tmp_path / folder / f"{name}{end}.nii.gz")
    shutil.rmtree(tmp_path / "x")
    manual, automatic = find_cohort(tmp_path, "upenn_gbm"), find_cohort(tmp_path, "upenn_gbm_automated")
    assert manual.names == automatic.names == ["UPENN-GBM-00001_11", "UPENN-GBM-00002_11"]
    assert [f.label and f.label.parent.name for f in manual.cases.values()] == ["images_segm", None]
    assert [f.label.parent.name for f in automatic.cases.values()] == ["automated_segm"] * 2
    assert any("unstripped: not looked into" in note for note in manual.notes)


def test_a_prepared_cohort_below_is_not_looked_into(tmp_path):
    write_tiny_case(tmp_path, "BraTS20_Training_001")
    store = tmp_path / "prepared" / "BraTS20_Training_001"
    store.mkdir(parents=True)
    (tmp_path / "prepared" / "cohort.json").write_text("{}")
    assert find_cohort(tmp_path, "brats2020").names == ["BraTS20_Training_001"]
    with pytest.raises(CaseError, match="a prepared cohort; expected a cohort as downloaded"):
        find_cohort(tmp_path / "prepared", "brats2020")


def test_a_persons_word_on_a_file_wins(tmp_path):
    layout = LAYOUTS["brats2020"]
    folder = renamed(tmp_path / "Case", {"T1ce": "_odd"})
    files = files_in_folder(folder, layout)
    assert "T1ce" not in files.images
    named = one_case(folder, layout, with_label=False, named={"t1CE": Path("Case_odd.nii.gz")})
    assert list(named.images) == ["FLAIR", "T1ce", "T1", "T2"] and not named.unused
    swapped = one_case(folder, layout, named={"T2": folder / "Case_flair.nii.gz"})
    assert swapped.images["T2"].name == "Case_flair.nii.gz" and "FLAIR" not in swapped.images
    assert {p.name for p in swapped.unused} == {"Case_t2.nii.gz", "Case_odd.nii.gz"}
    with pytest.raises(CaseError, match=r"one of FLAIR, T1ce, T1, T2; correct the name before the ="):
        one_case(folder, layout, named={"T3": Path("Case_odd.nii.gz")})
    with pytest.raises(CaseError, match="no such file; expected the T1ce of Case"):
        one_case(folder, layout, named={"T1ce": Path("nowhere.nii.gz")})
    shutil.copy(folder / "Case_odd.nii.gz", folder / "a_t1c.nii.gz")
    shutil.copy(folder / "Case_odd.nii.gz", folder / "b_t1c.nii.gz")
    with pytest.raises(CaseError, match="2 files that could be T1ce"):
        one_case(folder, layout)
    chosen = one_case(folder, layout, named={"T1ce": Path("b_t1c.nii.gz")})
    assert chosen.images["T1ce"].name == "b_t1c.nii.gz" and len(chosen.unused) == 2
