"""The log is cut back to the checkpoint, and a row cut short by a kill is dropped."""

import pytest

from dmaf_lite.training.runlog import RunLog, read_log


def test_rows_after_the_checkpoint_are_made_again(tmp_path):
    path = tmp_path / "log.csv"
    log = RunLog(path, 0)
    for step in (1, 3, 5):
        log.add({"step": step, "total": 0.1 * step})
    again = RunLog(path, 4)
    again.add({"step": 5, "total": 7.0})
    frame = read_log(path)
    assert frame["step"].tolist() == [1, 3, 5] and frame["total"].tolist() == [0.1, 0.1 * 3, 7.0]


def test_half_a_row_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,total,seg\n1,2.0,1.0\n3,1.0")
    RunLog(path, 10)
    assert read_log(path)["step"].tolist() == [1]


def test_columns_never_shift(tmp_path):
    log = RunLog(tmp_path / "log.csv", 0)
    log.add({"step": 1, "total": 2.0})
    with pytest.raises(ValueError):
        log.add({"step": 2, "total": 2.0, "new": 1.0})


def test_the_row_of_the_first_step_to_make_is_made_again(tmp_path):
    """After 4 steps, 0 to 3, the next is number 4: its row belongs to what the kill took away."""
    log = RunLog(tmp_path / "log.csv", 0)
    for step in (2, 3, 4, 5):
        log.add({"step": step, "total": 1.0})
    RunLog(tmp_path / "log.csv", 4)
    assert read_log(tmp_path / "log.csv")["step"].tolist() == [2, 3]
