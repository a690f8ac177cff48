"""A committed table grows run by run."""

import json

import pandas as pd
import pytest

from dmaf_lite.base.settings import changed, from_mapping, to_plain
from dmaf_lite.experiment.committed import write_committed
from dmaf_lite.experiment.profile import ExperimentSettings

SETTINGS = from_mapping(ExperimentSettings, {
    "name": "tiny", "common": {"steps": 2}, "seeds": [0, 1],
    "variants": {"baseline": {"network": "baseline", "objective": "plain"}, "dmaf": {"objective": "plain"}}})
RUNS = [run.name for run in SETTINGS.runs]


def rows(*runs, value=0.5):
    """Two rows of each run."""
    return pd.DataFrame([{"run": run, "case": case, "value": value} for run in runs for case in ("a", "b")])


def card(*runs, settings=SETTINGS, hardware="one", data="phantom"):
    """A card as `experiment_card` makes it."""
    return {"profile": to_plain(settings), "data": data, "cases": {"test": 2}, "hardware": hardware, "commit": hardware,
            "torch": "2", "date": "today", "hours": 1.0, "curves": {run: {"step": [1], "score": [0.1]} for run in runs},
            "costs": {run: {"train_seconds": 1800.0, "hardware": hardware} for run in runs}}


def read(folder):
    """The table and the card that are there."""
    return pd.read_parquet(folder / "tiny.parquet"), json.loads((folder / "tiny.json").read_text())


def test_runs_of_another_machine_are_added_in_the_order_of_the_profile(tmp_path):
    write_committed(tmp_path, rows(RUNS[2], RUNS[1]), card(RUNS[2], RUNS[1]), SETTINGS)
    written = write_committed(tmp_path, rows(RUNS[0]), card(RUNS[0], hardware="two"), SETTINGS)
    table, described = read(tmp_path)
    pd.testing.assert_frame_equal(table, written)
    assert list(dict.fromkeys(table["run"])) == RUNS[:3] and len(table) == 6
    assert set(described["costs"]) == set(described["curves"]) == set(RUNS[:3])
    assert described["hardware"] == "one; two" and described["hours"] == 1.5
    assert [(one["commit"], sorted(one["runs"])) for one in described["made"]] == [("one", sorted(RUNS[1:3])),
                                                                                   ("two", RUNS[:1])]


def test_a_run_that_is_made_again_is_replaced(tmp_path):
    write_committed(tmp_path, rows(*RUNS[:2]), card(*RUNS[:2]), SETTINGS)
    write_committed(tmp_path, rows(RUNS[0], value=0.9), card(RUNS[0], hardware="two"), SETTINGS)
    table, described = read(tmp_path)
    assert table.groupby("run")["value"].mean().to_dict() == {RUNS[0]: 0.9, RUNS[1]: 0.5}
    assert described["costs"][RUNS[0]]["hardware"] == "two"
    assert [one["runs"] for one in described["made"]] == [[RUNS[1]], [RUNS[0]]]


def test_a_card_without_the_list_of_who_made_what_is_understood(tmp_path):
    write_committed(tmp_path, rows(RUNS[0]), card(RUNS[0]), SETTINGS)
    _, described = read(tmp_path)
    described.pop("made")
    (tmp_path / "tiny.json").write_text(json.dumps(described))
    write_committed(tmp_path, rows(RUNS[1]), card(RUNS[1], hardware="two"), SETTINGS)
    assert [one["runs"] for one in read(tmp_path)[1]["made"]] == [[RUNS[0]], [RUNS[1]]]


@pytest.mark.parametrize("other", [
    {"settings": changed(SETTINGS, {"common": {"steps": 3}})},
    {"settings": changed(SETTINGS, {"table_seed": 5})},
    {"settings": changed(SETTINGS, {"seeds": [1]})},
    {"data": "another cohort"},
])
def test_runs_of_another_profile_or_cohort_are_left_out_with_a_word(tmp_path, other):
    write_committed(tmp_path, rows(RUNS[0]), card(RUNS[0]), SETTINGS)
    said, settings = [], other.get("settings", SETTINGS)
    write_committed(tmp_path, rows(RUNS[3]), card(RUNS[3], **other), settings, say=said.append)
    table, described = read(tmp_path)
    assert set(table["run"]) == set(described["costs"]) == {RUNS[3]}
    assert len(said) == 1 and RUNS[0] in said[0] and "left out" in said[0]


def test_a_second_look_at_the_same_folder_changes_nothing(tmp_path):
    said = []
    first = write_committed(tmp_path, rows(*RUNS), card(*RUNS), SETTINGS)
    second = write_committed(tmp_path, rows(*RUNS), card(*RUNS), SETTINGS, say=said.append)
    pd.testing.assert_frame_equal(first, second)
    assert not said and len(read(tmp_path)[1]["made"]) == 1


@pytest.mark.parametrize("damage", ["", "{", None])
def test_a_table_whose_card_is_gone_or_damaged_is_not_dropped_without_a_word(tmp_path, damage):
    write_committed(tmp_path, rows(RUNS[0]), card(RUNS[0]), SETTINGS)
    (tmp_path / "tiny.json").unlink()
    if damage is not None:
        (tmp_path / "tiny.json").write_text(damage)
    said = []
    write_committed(tmp_path, rows(RUNS[1]), card(RUNS[1]), SETTINGS, say=said.append)
    assert set(read(tmp_path)[0]["run"]) == {RUNS[1]} and len(said) == 1 and RUNS[0] in said[0]
