"""Files that are whole or not there, and what killed processes left."""

import os
import time

import pytest

from dmaf_lite.base.atomic import atomic_path, sweep, write_text


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ValueError, match="half"), atomic_path(tmp_path / "a.txt") as partial:
        partial.write_text("ne")
        raise ValueError("half way")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_only_left_overs_that_are_old_enough_are_swept(tmp_path):
    left = [".0123abcd.partial.run", ".89abcdef.old.run"]
    for name in left:
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint").write_text("half")
    for name in ("run", ".hidden", ".0123abcd.partial"):
        (tmp_path / name).write_text("somebody's")
    assert sweep(tmp_path, older=60.0) == []
    for name in left:
        os.utime(tmp_path / name, (time.time() - 120,) * 2)
    assert sorted(sweep(tmp_path, older=60.0)) == left
    assert sorted(path.name for path in tmp_path.iterdir()) == [".0123abcd.partial", ".hidden", "run"]
