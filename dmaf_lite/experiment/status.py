"""How far a matrix is, read from its folders alone: from any machine that sees the disk, with or without a scheduler.

========= ===========================================================================
waiting   nothing was done yet, or it was stopped and will go on from its checkpoint
running   somebody works at it; the heartbeat is so many seconds old
finished  trained and scored
failed    ended with an error, whose sentence is shown
stale     somebody worked at it and is gone without a word; the next one takes it over
========= ===========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dmaf_lite.base.settings import read_settings
from dmaf_lite.experiment.matrix import WORK, is_held, why
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.training.run import Run
from dmaf_lite.training.runlog import read_log


@dataclass(frozen=True)
class RunStatus:
    """One run: its name, its state (see above), the last logged step of how many, and a word more."""

    name: str
    state: str
    step: int
    steps: int
    detail: str = ""


def status(folder: str | Path) -> list[RunStatus]:
    """The state of every run of a matrix, in the order of its profile.

    Raises:
        ValueError: If the folder holds no matrix.
    """
    folder = Path(folder)
    path = folder / "profile.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} holds no experiment: there is no {path.name}; name the --out folder of one")
    settings = read_settings(ExperimentSettings, path)
    return [_of(folder, key.name, settings.train_settings(key).steps) for key in settings.runs]


def _of(folder: Path, name: str, steps: int) -> RunStatus:
    run = Run(folder / "runs" / name)
    step = steps if run.finished else _last_step(run.folder / "log.csv")
    beat = is_held(run.folder)
    if (run.folder / "rows.parquet").is_file():
        return RunStatus(name, "finished", steps, steps)
    if beat is not None:
        return RunStatus(name, "running", step, steps, f"heartbeat {beat:.0f} s ago"
                         + (", being scored" if run.finished else ""))
    if (run.folder / "error.txt").is_file():
        return RunStatus(name, "failed", step, steps, why(folder, name))
    if (run.folder / WORK).is_file():
        return RunStatus(name, "stale", step, steps, "whoever worked at it is gone; it will be taken over")
    return RunStatus(name, "waiting", step, steps, "goes on from its checkpoint" if run.begun else "")


def _last_step(path: Path) -> int:
    try:
        return int(read_log(path)["step"].iloc[-1]) + 1
    except (OSError, ValueError, IndexError):  # no log, or one that is being written
        return 0


def as_text(states: list[RunStatus]) -> str:
    """One line a run, and how many are in which state."""
    width = max(len(state.name) for state in states)
    lines = [f"{state.name:<{width}}  {state.state:<8}  {state.step:>6} of {state.steps}  {state.detail}".rstrip()
             for state in states]
    counts = pd.Series([state.state for state in states]).value_counts()
    return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counts.items())])
