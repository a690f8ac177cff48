"""One table says which scan a file is; what it does not know has no role."""

import pytest

from dmaf_lite.data.scan_names import ALIASES, class_of, modality_of, role_of
from dmaf_lite.spec import BRATS, MYOPS, SPECS


@pytest.mark.parametrize(("stem", "what", "rest"), [
    ("BraTS20_Training_001_t1ce", "T1ce", "BraTS20_Training_001"),
    ("BraTS-GLI-00000-000-t1n", "T1", "BraTS-GLI-00000-000"),
    ("Patient_T1c", "T1ce", "Patient"), ("Patient_T1GD", "T1ce", "Patient"), ("CT1", "T1ce", ""),
    ("Patient_t1_gd", "T1ce", "Patient"), ("x_T1-post", "T1ce", "x"), ("x_fla", "FLAIR", "x"),
    ("x_T2_FLAIR", "FLAIR", "x"), ("x_T2-FLAIR", "FLAIR", "x"), ("sub-01_ses-2_T1w", "T1", "sub-01_ses-2"),
    ("sub-01_ce-gadolinium_T1w", "T1ce", "sub-01_ce-gadolinium"), ("sub-01_acq-post_T1w", "T1ce", "sub-01_acq-post"),
    ("sub-01_ce-none_T1w", "T1", "sub-01_ce-none"), ("t2", "T2", ""),
    ("W39_1998.09.19_Segm", "label", "W39_1998.09.19"),
    ("UCSF-PDGM-0004_tumor_segmentation", "label", "UCSF-PDGM-0004"),
    # Parts of a patient's name that look like words of contrast.
    ("TCGA-CE-1234_t1", "T1", "TCGA-CE-1234"), ("TCGA-GD-0001_t1", "T1", "TCGA-GD-0001"),
])
def test_names_of_brain_scans(stem, what, rest):
    role = role_of(stem, BRATS)
    assert (role.what, role.rest) == (what, rest)


@pytest.mark.parametrize("stem", ["x_adc", "x_t1c_bias", "x_brain_segmentation", "t1ce_of_x", "x_swi", "xt1", "x_t12",
                                  "myops_test_201_gdencrypt", "x_brain_seg", ""])
def test_what_the_table_does_not_know_has_no_role(stem):
    assert role_of(stem, BRATS) is None


def test_hearts_have_their_own_names():
    for stem, what in (("a_C0", "C0"), ("a_DE", "LGE"), ("a_LGE", "LGE"), ("a_T2", "T2"), ("a_gd", "label")):
        assert role_of(stem, MYOPS).what == what
    assert role_of("a_gdencrypt", MYOPS) is None and role_of("a_flair", MYOPS) is None


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_no_alias_means_two_things_and_every_modality_has_its_own_name(spec):
    table = ALIASES[spec.name]
    aliases = [alias for several in table.values() for alias in several]
    assert len(set(aliases)) == len(aliases) and all(alias.isalnum() and alias.islower() for alias in aliases)
    assert all(modality_of(modality, spec) == modality for modality in spec.modalities)


def test_words_of_a_dataset_json():
    assert [modality_of(name, BRATS) for name in ("FLAIR", "T1w", "t1gd", "T2w", "T1c", "T1n", "CT", "my T1")] \
        == ["FLAIR", "T1", "T1ce", "T2", "T1ce", "T1", None, None]
    assert [class_of(name, BRATS) for name in ("background", "edema", "non-enhancing tumor", "enhancing tumour",
                                               "Necrosis", "resection cavity", "tumour")] == [0, 2, 1, 3, 1, 0, None]
    hearts = ("background", "LV myocardium", "LV blood pool", "RV", "oedema", "scar")
    assert [class_of(name, MYOPS) for name in hearts] \
        == [0, 1, 2, 3, 4, 5]
