"""Splits: disjoint, by patient, the same from the same seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.splits import BRATS2020_COUNTS, PARTS, patient_of, plain_name, read_split, split_cases, write_split

NAMES = [f"BraTS20_Training_{i:03d}" for i in range(1, 370)]


def everybody(split):
    return sorted(name for part in split.values() for name in part)


def test_the_published_counts_of_brats2020_are_met():
    split = split_cases(NAMES, counts=BRATS2020_COUNTS, seed=0)
    assert {part: len(names) for part, names in split.items()} == BRATS2020_COUNTS
    assert everybody(split) == NAMES


@given(st.integers(1, 40), st.integers(0, 5), st.data())
def test_counts_are_met_and_parts_are_disjoint_whatever_the_order_of_the_names(n, seed, data):
    first = data.draw(st.integers(0, n))
    counts = {"train": first, "val": data.draw(st.integers(0, n - first))}
    split = split_cases(NAMES[:n], counts=counts, seed=seed)
    assert [len(split[part]) for part in PARTS] == [counts["train"], counts["val"], 0]
    assert len(set(split["train"]) | set(split["val"])) == sum(counts.values())
    assert split == split_cases(NAMES[:n][::-1], counts=counts, seed=seed)


@given(st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_fractions_use_every_case_to_within_one(n, a, b):
    fractions = {"train": a, "val": (1 - a) * b, "test": (1 - a) * (1 - b)}
    split = split_cases(NAMES[:n], fractions=fractions, seed=1)
    assert everybody(split) == NAMES[:n]
    assert all(abs(len(split[part]) - fractions[part] * n) < 1 for part in PARTS)


def test_another_seed_gives_another_split():
    assert split_cases(NAMES, counts=BRATS2020_COUNTS, seed=0) != split_cases(NAMES, counts=BRATS2020_COUNTS, seed=1)


@given(st.lists(st.integers(1, 5), min_size=3, max_size=25), st.integers(0, 5))
def test_all_visits_of_a_patient_stay_in_one_part(visits, seed):
    names = [f"BraTS-GLI-{p:05d}-{v:03d}" for p, count in enumerate(visits) for v in range(count)]
    split = split_cases(names, fractions={"train": 0.6, "val": 0.2, "test": 0.2}, seed=seed)
    where = {part: {patient_of(name) for name in split[part]} for part in PARTS}
    assert not (where["train"] & where["val"] or where["train"] & where["test"] or where["val"] & where["test"])
    assert everybody(split) == sorted(names)
    assert patient_of("BraTS-GLI-00003-001") == "BraTS-GLI-00003" and patient_of(NAMES[0]) == NAMES[0]


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_met_exactly_where_patients_with_one_visit_can_fill_up(seed):
    many = [f"BraTS-GLI-{p:05d}-{v:03d}" for p in range(4) for v in range(5)]
    single = [f"BraTS-GLI-{p:05d}-000" for p in range(4, 30)]
    split = split_cases(many + single, counts={"train": 30, "val": 6, "test": 10}, seed=seed)
    assert [len(split[part]) for part in PARTS] == [30, 6, 10]


@pytest.mark.parametrize(("names", "options", "message"), [
    (["a", "a"], {"counts": {"train": 1}}, "repeated"),
    (["a"], {"counts": {"train": 2}}, "2 cases asked for"),
    (["a"], {"counts": {"training": 1}}, "parts are"),
    (["a"], {"counts": {"train": 2, "val": -1}}, "parts are"),
    (["a"], {"fractions": {"train": 0.5}}, "add up to 1"),
    (["a"], {}, "either counts or fractions"),
])
def test_impossible_splits_are_refused(names, options, message):
    with pytest.raises(ValueError, match=message):
        split_cases(names, seed=0, **options)


def test_a_written_split_reads_back(tmp_path):
    split = split_cases(NAMES, counts=BRATS2020_COUNTS, seed=3)
    write_split(tmp_path, split)
    assert read_split(tmp_path) == split
    assert (tmp_path / "val.txt").read_bytes().count(b"\n") == 50 and b"\r" not in (tmp_path / "val.txt").read_bytes()


def test_reading_refuses_a_shared_case_and_a_missing_file(tmp_path):
    write_split(tmp_path, {"train": ["a", "b"], "val": ["c"], "test": ["d"]})
    (tmp_path / "test.txt").write_text("b\n")
    with pytest.raises(CaseError, match="b in train and in test"):
        read_split(tmp_path)
    (tmp_path / "test.txt").unlink()
    with pytest.raises(CaseError, match=r"test\.txt: found no such file"):
        read_split(tmp_path)
    with pytest.raises(CaseError, match="in train and in train"):
        write_split(tmp_path, {"train": ["a", "a"]})


def test_a_split_in_the_published_form_is_read_with_plain_names(tmp_path):
    """The published lists put the grade before each name: HG_ or LG_."""
    for part, names in split_cases(NAMES, counts=BRATS2020_COUNTS, seed=0).items():
        lines = [f"{'LG' if 260 <= int(name[-3:]) <= 335 else 'HG'}_{name}" for name in names]
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    split = read_split(tmp_path, plain=True)
    assert {part: len(names) for part, names in split.items()} == BRATS2020_COUNTS
    assert everybody(split) == NAMES
    assert plain_name("HG_BraTS20_Training_002") == "BraTS20_Training_002" and plain_name("HGB_1") == "HGB_1"
