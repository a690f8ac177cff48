"""The table of layouts: file names and label values are those of the published cohorts."""

import pytest

from dmaf_lite.data.layouts import LAYOUTS, Layout, layout_of, other_layouts
from dmaf_lite.data.scan_names import LABEL, role_of
from dmaf_lite.spec import BRATS


def test_file_names_and_label_values_are_those_of_the_published_cohorts():
    until_2021 = ({"FLAIR": "_flair", "T1ce": "_t1ce", "T1": "_t1", "T2": "_t2"}, "_seg", {0: 0, 1: 1, 2: 2, 4: 3})
    # t1c is the contrast-enhanced scan, t1n the native one, t2f is FLAIR, t2w is T2.
    from_2023 = ({"FLAIR": "-t2f", "T1ce": "-t1c", "T1": "-t1n", "T2": "-t2w"}, "-seg", {0: 0, 1: 1, 2: 2, 3: 3})
    for name in ("brats2018", "brats2020", "brats2021", "phantom"):
        layout = LAYOUTS[name]
        assert (dict(layout.suffixes), layout.label_suffix, dict(layout.labels)) == until_2021
    for name in ("brats2023", "brats2024", "mets2023", "ssa2023", "peds2023", "men2023"):
        layout = LAYOUTS[name]
        labels = from_2023[2] | ({4: 0} if name in ("brats2024", "mets2023") else {})
        assert (dict(layout.suffixes), layout.label_suffix, dict(layout.labels)) == (*from_2023[:2], labels)
    assert dict(LAYOUTS["ucsf_pdgm"].labels) == dict(LAYOUTS["upenn_gbm"].labels) == until_2021[2]
    assert dict(LAYOUTS["myops2020"].labels) == {0: 0, 200: 1, 500: 2, 600: 3, 1220: 4, 2221: 5}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_table_of_names_knows_every_layouts_own_names(layout):
    ends = {**layout.suffixes, **({LABEL: layout.label_suffix} if layout.label_suffix else {})}
    for what, end in ends.items():
        role = role_of(layout.example + end, layout.spec)
        assert role is not None and role.what == what, end


def test_unknown_names_and_kinds_are_refused():
    with pytest.raises(ValueError, match="choose one of brats2018"):
        layout_of("brats1066")
    with pytest.raises(ValueError, match="expected one of folder, flat, listed"):
        Layout("x", BRATS, {}, "", {}, "", kind="heap")


def test_other_layouts_are_those_whose_usual_name_it_is_and_whose_values_differ():
    assert other_layouts("BraTS2021_00001", LAYOUTS["brats2020"]) == []
    assert other_layouts("BraTS-GLI-00001-000", LAYOUTS["brats2020"]) == ["brats2023", "brats2024"]
    assert other_layouts("BraTS-GLI-00001-000", LAYOUTS["brats2023"]) == []
    assert other_layouts("anybody", LAYOUTS["mets2023"]) == []


def test_what_the_kit_draws_is_called_synthetic_and_nothing_else():
    assert {name: layout.synthetic for name, layout in LAYOUTS.items() if layout.synthetic} == {
        "heart_phantom": "heart phantom", "phantom": "brain phantom"}
