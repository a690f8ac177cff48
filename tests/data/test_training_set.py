"""A training set is checked when it is made, and knows what it is."""

import json
import shutil

import numpy as np
import pytest

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.cohort import Cohort
from dmaf_lite.data.missing import write_table
from dmaf_lite.data.training_set import TrainingSet

ALL = (True,) * 4


@pytest.fixture
def copy(tiny_cohort, tmp_path):
    """The tiny cohort, to be changed."""
    shutil.copytree(tiny_cohort.folder, tmp_path / "store")
    return tmp_path / "store"


def change(folder, name, **values):
    path = folder / name / "case.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_training_may_see_what_exists_and_what_the_table_leaves(tiny_cohort):
    names = tiny_cohort.names
    whole = TrainingSet(tiny_cohort, names)
    assert whole.allowed[names[0]].all() and whole.allowed[names[3]].tolist() == [True, True, False, False]
    table = {name: (False, True, True, True) for name in names} | {"somebody else": (False,) * 4}
    some = TrainingSet(tiny_cohort, names, table)
    assert some.allowed[names[3]].tolist() == [False, True, False, False] and "somebody else" not in some.table
    assert some.availability_rates().tolist() == [0, 1, 0.75, 0.75]


@pytest.mark.parametrize("names, table, words", [
    ([0, 1, 0], None, "twice"), ([], None, "no training case"), (["x"], None, "x not in the cohort"),
    ([0, 1], {0: ALL}, "without a row in the missing-rate table"), ([0], {0: (True,)}, "row of another length"),
    ([3], {3: (False, False, True, True)}, "left without any scan"),
])
def test_what_does_not_fit_is_said_with_the_name_of_the_case(tiny_cohort, names, table, words):
    of = {i: name for i, name in enumerate(tiny_cohort.names)}
    given = [of.get(i, i) for i in names]
    with pytest.raises(CaseError, match=words) as caught:
        TrainingSet(tiny_cohort, given, table and {of[i]: row for i, row in table.items()})
    if table:
        assert given[-1] in str(caught.value)


def test_a_case_without_a_segmentation_is_refused_by_name(copy):
    """Fault 10: it used to fail after some steps, without a name."""
    name = Cohort(copy).names[1]
    change(copy, name, labelled=False)
    with pytest.raises(CaseError, match=f"{name} without a segmentation"):
        TrainingSet(Cohort(copy), Cohort(copy).names)


def test_a_table_that_would_not_be_used_is_refused(tiny_cohort):
    """Fault 3."""
    table = {name: ALL for name in tiny_cohort.names}
    with pytest.raises(ValueError, match="the condition is complete"):
        TrainingSet(tiny_cohort, tiny_cohort.names, table).check_condition("complete")
    with pytest.raises(ValueError, match="needs a missing-rate table"):
        TrainingSet(tiny_cohort, tiny_cohort.names).check_condition("imbalanced")
    TrainingSet(tiny_cohort, tiny_cohort.names, table).check_condition("imbalanced+drop")
    TrainingSet(tiny_cohort, tiny_cohort.names).check_condition("complete")


def test_a_table_is_drawn_or_read(tiny_cohort, tmp_path):
    rates = {"FLAIR": 0.5, "T1ce": 0.25, "T1": 0.25, "T2": 0.5}
    drawn = TrainingSet(tiny_cohort, tiny_cohort.names).with_rates(rates, seed=3)
    assert np.isclose(1 - drawn.frame().mean(), list(rates.values())).all()
    write_table(tmp_path / "t.csv", drawn.frame())
    assert TrainingSet.from_file(tiny_cohort, tiny_cohort.names, tmp_path / "t.csv").digest == drawn.digest
    assert TrainingSet.from_file(tiny_cohort, tiny_cohort.names, None).table is None


def test_the_digest_changes_with_cases_table_and_preparation_only(tiny_cohort, copy):
    names = tiny_cohort.names
    whole, table = TrainingSet(tiny_cohort, names), {name: ALL for name in names}
    same = TrainingSet(Cohort(copy), names)
    assert whole.digest == same.digest == TrainingSet(tiny_cohort, tuple(names)).digest
    other_row = table | {names[0]: (True, True, True, False)}
    digests = {whole.digest, TrainingSet(tiny_cohort, names[:3]).digest, TrainingSet(tiny_cohort, names[::-1]).digest,
               TrainingSet(tiny_cohort, names, table).digest, TrainingSet(tiny_cohort, names, other_row).digest}
    change(copy, names[2], intensity={"T1": [1.0, 2.0]})
    assert len({*digests, TrainingSet(Cohort(copy), names).digest}) == 6
