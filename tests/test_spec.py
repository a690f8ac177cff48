"""The vocabulary: modalities, regions, subsets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmaf_lite.spec import BRATS, MYOPS, DatasetSpec, check_available

SPEC = st.sampled_from([BRATS, MYOPS])


def test_the_order_of_the_modalities_never_changes():
    assert BRATS.modalities == ("FLAIR", "T1ce", "T1", "T2")
    assert MYOPS.modalities == ("C0", "LGE", "T2")


@pytest.mark.parametrize("spec", [BRATS, MYOPS])
def test_subsets_are_all_non_empty_masks_by_size(spec):
    subsets = spec.subsets()
    assert len(set(subsets)) == len(subsets) == 2**spec.M - 1
    assert [sum(s) for s in subsets] == sorted(sum(s) for s in subsets)
    assert subsets[0] == (True, *[False] * (spec.M - 1)) and all(subsets[-1])


@given(SPEC, st.data())
def test_mask_and_names_are_inverse(spec, data):
    mask = data.draw(st.sampled_from(spec.subsets()))
    assert spec.mask_of(spec.subset_name(mask).lower().split("+")) == mask


def test_subset_name_is_readable():
    assert BRATS.subset_name((True, False, False, True)) == "FLAIR+T2"
    with pytest.raises(ValueError, match="4 entries"):
        BRATS.subset_name((True, False))


@pytest.mark.parametrize("names", [[], ["CT"], ["FLAIR", "CT"]])
def test_unknown_modalities_are_refused(names):
    with pytest.raises(ValueError, match="knows"):
        BRATS.mask_of(names)


@pytest.mark.parametrize("spec", [BRATS, MYOPS])
def test_nested_regions_lie_in_each_other_for_any_label(spec):
    label = np.random.default_rng(0).integers(0, len(spec.classes), (6, 7, 8))
    for inner, outer in spec.nested:
        assert not (spec.region_mask(label, inner) & ~spec.region_mask(label, outer)).any()


def test_brats_regions():
    label = np.arange(4)
    assert spec_rows(label) == {"WT": [0, 1, 1, 1], "TC": [0, 1, 0, 1], "ET": [0, 0, 0, 1]}


def spec_rows(label):
    return {region: BRATS.region_mask(label, region).astype(int).tolist() for region in BRATS.regions}


def test_a_spec_with_a_wrong_region_is_refused():
    with pytest.raises(ValueError, match="labels"):
        DatasetSpec("x", ("A",), ("bg", "a"), {"R": frozenset({2})}, ())
    with pytest.raises(ValueError, match="does not lie"):
        DatasetSpec("x", ("A",), ("bg", "a", "b"), {"R": frozenset({1}), "Q": frozenset({2})}, (("R", "Q"),))


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6))
def test_check_available_refuses_exactly_the_tables_with_an_empty_row(rows):
    table = np.array(rows, bool)
    if table.any(axis=1).all():
        check_available(table)
    else:
        with pytest.raises(ValueError, match="no modality at all"):
            check_available(table)


def test_check_available_names_the_study_and_wants_booleans():
    with pytest.raises(ValueError, match="anna"):
        check_available(np.array([[True, False], [False, False]]), ["otto", "anna"])
    with pytest.raises(ValueError, match="bool"):
        check_available(np.ones((2, 4)))
