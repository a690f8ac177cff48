"""Lessons side by side: who may start, and that two run at once and make what they share once."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from dmaf_lite.lessons import lanes
from dmaf_lite.lessons.execute import _result, known_artifacts, output_path, run_lessons
from dmaf_lite.lessons.lanes import lanes_that_fit, next_place, threads_of
from dmaf_lite.lessons.source import Workspace

LESSON = '''# %% [markdown]
# # {name}

# %% tags=["parameters"]
profile: str = "cpu-small"
seed: int = 0

# %%
import os
import time
from pathlib import Path

from dmaf_lite.lessons.artifacts import load_or_make

place = Path(os.environ["SEEN"])
(place / "{name}").write_text(os.environ["OMP_NUM_THREADS"])
waited = 0
while not (place / "{other}").exists():
    assert waited < 600, "the other lesson does not run"
    time.sleep(0.1)
    waited += 1


def write(folder, config):
    with (Path(os.environ["SEEN"]) / "made").open("a") as file:
        file.write("made")
    time.sleep(1)
    (folder / "a.txt").write_text("a")


folder = load_or_make("shared", write, {{}})
assert (folder / "a.txt").is_file()
'''


def names(text: str) -> frozenset[str]:
    return frozenset(text.split())


@pytest.mark.parametrize(("waiting", "running", "settled", "place"), [
    (["cohort", ""], [], "", 0),
    (["cohort run", "hearts"], ["cohort"], "", 1),
    (["cohort run", "hearts"], ["cohort"], "cohort", 0),
    (["cohort run", "cohort"], ["cohort run"], "cohort", 1),
    (["cohort", "run"], ["cohort", "run"], "", None),
    ([], ["cohort"], "", None),
])
def test_who_shares_what_is_still_being_made_waits(waiting: list[str], running: list[str], settled: str,
                                                   place: int | None) -> None:
    assert next_place([names(x) for x in waiting], [names(x) for x in running], names(settled)) == place


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, found in ((1, (1, 1, 1)), (2, (2, 2, 1)), (8, (2, 8, 4))):
        monkeypatch.setattr(lanes, "cores", lambda cores=cores: cores)
        assert (lanes_that_fit(), threads_of(1), threads_of(2)) == found


def test_a_process_that_died_fails_its_lesson() -> None:
    died: Future = Future()
    died.set_exception(BrokenProcessPool())
    state, _, words = _result(died)
    assert state == "failed" and "--lanes 1" in words


def test_two_lessons_run_at_once_and_make_what_they_share_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "checkout")
    workspace.sources.mkdir(parents=True)
    for name, other in (("01_one", "02_two"), ("02_two", "01_one")):
        (workspace.sources / f"{name}.py").write_text(LESSON.format(name=name, other=other))
    for name in ("DMAF_ARTIFACTS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEN", str(tmp_path))
    outcomes = list(run_lessons(workspace, workspace.lessons(), lanes=2))
    assert [(x.lesson.stem, x.state, x.error) for x in sorted(outcomes, key=lambda x: x.lesson.stem)] == [
        ("01_one", "ran", ""), ("02_two", "ran", "")]
    assert (tmp_path / "made").read_text() == "made"
    assert {(tmp_path / name).read_text() for name in ("01_one", "02_two")} == {str(threads_of(2))}
    for lesson in workspace.lessons():
        assert known_artifacts(workspace, lesson, output_path(workspace, lesson, "cpu-small")) == {"shared"}
    assert {x.state for x in run_lessons(workspace, workspace.lessons(), lanes=2)} == {"current"}
