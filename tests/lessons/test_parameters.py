"""Parameters: a lesson checks its own, also under plain papermill; one can be given on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmaf_lite.lessons import cli
from dmaf_lite.lessons.cli import Clock
from dmaf_lite.lessons.execute import Outcome
from dmaf_lite.lessons.parameters import ParameterError, check_parameters
from dmaf_lite.lessons.profiles import given_parameters
from dmaf_lite.lessons.source import Lesson, Workspace

DECLARED = {"__annotations__": {"profile": str, "seed": int, "rate": float}, "profile": "x", "seed": 0, "rate": 0.5}


def test_what_the_cell_declares_is_accepted() -> None:
    check_parameters(DECLARED | {"rate": 1, "In": ["", "seed: int = 0", "# Parameters\nseed = 3\nrate = 1"]})


@pytest.mark.parametrize(("wrong", "message"), [
    ({"seed": "three"}, "seed is 'three' .str.; expected int"),
    ({"seed": True}, "expected int"),
    ({"In": ["# Parameters\nsed = 3"]}, "no parameter 'sed'; there are .*seed"),
])
def test_papermill_would_not_have_noticed(wrong: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        check_parameters(DECLARED | wrong)


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    path = tmp_path / "04_align.py"
    path.write_text('# %% tags=["parameters"]\nprofile: str = "cpu-small"\nseed: int = 0\nrate: float = 0.5\n'
                    'name: str = ""\nsizes: list = []\n')
    return Lesson(path)


def test_the_command_line_gives_values_of_the_declared_type(lesson: Lesson) -> None:
    found = given_parameters([lesson], ["seed=4", "rate=1", "name=12", "sizes=[1, 2]"])
    assert found == {"04_align": {"seed": 4, "rate": 1.0, "name": "12", "sizes": [1, 2]}}
    assert given_parameters([lesson], []) == {"04_align": {}}


@pytest.mark.parametrize(("text", "message"), [
    ("seed", "expected name=value"), ("sed=1", "no chosen lesson has a parameter 'sed'"),
    ("seed=many", "expected int"), ("profile=x", "no chosen lesson"),
    ("sizes=[1", r"-p sizes=\[1: '\[1' cannot be read; expected list, such as \[\]"),
])
def test_a_value_that_does_not_fit_stops_before_the_run(lesson: Lesson, text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        given_parameters([lesson], [text])


def test_the_last_words_say_where_the_runs_lie(lesson: Lesson, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    other = Lesson(lesson.path.with_name("05_other.py"))
    outcomes = [Outcome(lesson, "failed", 1.0, "a fault"), Outcome(other, "ran", 2.0)]
    monkeypatch.setattr(cli, "run_lessons", lambda *_, **__: iter(outcomes))
    monkeypatch.setattr(cli, "expected_seconds", lambda *_: None)
    monkeypatch.setattr(cli.time, "monotonic", iter([10.0, 12.0]).__next__)
    given = {lesson.stem: {"seed": 4}, other.stem: {}}
    cli._run(Workspace(lesson.path.parent), [lesson, other], "ci-smoke", alone=False, force=False, parameters=given)
    said = capsys.readouterr().out
    assert "1 of 2 lessons are good (ci-smoke, 2 s); they lie in build/ci-smoke and build/own\n" in said
    assert "failed: 04_align; it left build/own/04_align.failed.ipynb" in said


def test_the_clock_knows_the_pace_of_this_machine() -> None:
    clock, two = (Clock({"a": 60.0, "b": 60.0, "c": None, "d": 120.0}, lanes) for lanes in (1, 2))
    assert clock.left() == "", "nothing has run yet"
    clock.done("a", 120.0)  # twice as slow as published
    assert "about 6 min left" in clock.left()
    clock.done("b", None)  # was current
    clock.done("c", 5.0)  # has no published run: says nothing about the pace
    assert "about 4 min left" in clock.left()
    two.done("b", 120.0)
    assert "about 3 min left" in two.left(), "two at a time"
