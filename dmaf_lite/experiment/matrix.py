"""A matrix of runs in a folder: any number of processes may work at it, and each run says for itself how far it is.

    OUT/profile.yaml     what the matrix consists of           OUT/cohort/   the phantom, where it is one
    OUT/training/<variant>/  phantoms that only this variant is trained on, where the profile draws some
    OUT/runs/<run>/      one run each (`training/run.py`), with rows/ and rows.parquet when it has been scored,
                         validation.csv, cost.json, and error.txt if it failed
    OUT/rows.parquet     the rows of all finished runs         OUT/card.json  recipe, hardware, commit, date

The folders are the only truth: a run is done when its rows.parquet is there, somebody works at it while its lock beats,
and whatever else is there is gone on from.  Taught in lessons 09 and 16.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.base.device import choose_device
from dmaf_lite.base.door import sentence
from dmaf_lite.base.lock import Locked, holder, lock
from dmaf_lite.base.provenance import commit, hardware
from dmaf_lite.base.settings import read_settings, to_plain
from dmaf_lite.data.cohort import Cohort
from dmaf_lite.data.splits import read_split
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.conventions import usual
from dmaf_lite.evaluation.evaluate import evaluate
from dmaf_lite.experiment.profile import ExperimentSettings, RunKey
from dmaf_lite.experiment.protocol import ON_TEST, cases_of, parts_of, training_set
from dmaf_lite.experiment.summary import curves
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.phantom.ready import ready_cohort
from dmaf_lite.training.loop import Interrupted, train
from dmaf_lite.training.run import Run
from dmaf_lite.training.validation import Validation

WORK = "work.json"  # lock of who trains and scores a run
COLUMNS = ("variant", "rates", "seed", "choice")  # what an experiment adds to the long table


@dataclass(frozen=True, eq=False)
class Matrix:
    """An open matrix: profile, folder, cohort and split.

    Attributes:
        settings: The profile.
        folder: OUT.
        cohort: The data.
        split: Case names: ``train``, ``val`` and ``test``, or ``all`` of a cross-validation (see `parts`).
    """

    settings: ExperimentSettings
    folder: Path
    cohort: Cohort
    split: Mapping[str, Sequence[str]]

    @property
    def synthetic(self) -> bool:
        """Whether the studies are phantoms."""
        return bool(self.cohort.layout.synthetic)

    def run(self, key: RunKey) -> Run:
        """The folder of a run."""
        return Run(self.folder / "runs" / key.name)

    def parts(self, key: RunKey) -> Mapping[str, Sequence[str]]:
        """``train``, ``val`` and ``test`` of a run."""
        return parts_of(self.split, fold=key.fold, seed=self.settings.table_seed)

    def training_set(self, key: RunKey) -> TrainingSet:
        """The training cases of a run, with its table: the same one for every variant and seed."""
        cohort, split = self.trained_on(key.variant)
        return training_set(self.settings.protocol, cohort, split, self.settings.train_settings(key),
                            fold=key.fold, seed=self.settings.table_seed)

    def trained_on(self, variant: str) -> tuple[Cohort, Mapping[str, Sequence[str]]]:
        """Where the training cases of a variant come from: the cohort, or phantoms of its own, drawn at first use.

        Raises:
            ValueError: If these are not of the cohort's kind.
        """
        drawn = self.settings.training_phantoms
        if variant not in drawn:
            return self.cohort, self.split
        first = next(name for name, phantom in drawn.items() if phantom == drawn[variant])  # the same are drawn once
        cohort, _ = ready_cohort(self.folder / "training" / first, drawn[variant])
        if cohort.spec != self.cohort.spec:
            raise ValueError(f"{variant} is trained on phantoms of {cohort.spec.name} and the cohort is "
                             f"{self.cohort.spec.name}; expected the same kind of study")
        return cohort, {"train": cohort.names}

    def is_done(self, key: RunKey) -> bool:
        """Whether the rows of this very run are there.

        Raises:
            ValueError: If the folder holds a run with other settings or data.
        """
        run = self.run(key)
        differs = run.differs(self.settings.train_settings(key), self.training_set(key))
        if differs:
            raise ValueError(f"{run.folder} holds a run with other {', '.join(differs)} than the profile's; choose "
                             "another --out, or delete that folder to make the run anew")
        return (run.folder / "rows.parquet").is_file()


def open_matrix(settings: ExperimentSettings, folder: str | Path, *, cohort: str | Path | None = None,
                split: str | Path | None = None, workers: int | None = None,
                say: Callable[[str], None] | None = None) -> Matrix:
    """Prepare a matrix, or open the one that is there; several processes may do so at once.

    Args:
        settings: The profile.
        folder: OUT. A profile may add variants, rates and seeds to what is there, but not change what a run is.
        cohort: A prepared cohort; None makes the profile's phantom under OUT.
        split: Folder of train.txt, val.txt and test.txt, with `cohort`; a protocol other than split makes its own.
        workers: Processes that make and prepare phantoms; None takes one per core.
        say: Is told who is waited for.

    Raises:
        ValueError: If OUT holds another matrix, or one of `cohort` and `split` is missing.
    """
    folder = Path(folder)
    if settings.protocol != "split":
        if split is not None:
            raise ValueError(f"{split}: the protocol {settings.protocol} decides who is tested on; leave --split out")
    elif (cohort is None) != (split is None):
        raise ValueError("a prepared cohort needs its split, and a split its cohort; give both --cohort and --split")
    with lock(folder, wait=True, say=say):
        path = folder / "profile.yaml"
        if path.is_file():
            _check_same(read_settings(ExperimentSettings, path), settings, folder)
        if cohort is None:
            store, parts = ready_cohort(folder / "cohort", settings.phantom, workers=workers)
        else:
            store, parts = Cohort(cohort), read_split(split) if split is not None else None
        cases = cases_of(settings.protocol, store, parts)
        write_text(path, yaml.safe_dump(to_plain(settings), sort_keys=False))
    return Matrix(settings, folder, store, cases)


def _check_same(before: ExperimentSettings, now: ExperimentSettings, folder: Path) -> None:
    decided = ("name", "phantom", "protocol", "table_seed", "choice", "validate_every", "validation_cases")
    other = [name for name in decided if getattr(before, name) != getattr(now, name)]
    both = {run.name: run for run in before.runs}.keys() & {run.name: run for run in now.runs}.keys()
    other += [f"settings of {name}" for name in sorted(both)
              if before.train_settings(before.run(name)) != now.train_settings(now.run(name))]
    if other:
        raise ValueError(f"{folder} holds a matrix with other {', '.join(other[:4])}; choose another --out, or delete "
                         "that folder to make the matrix anew")


def do_run(matrix: Matrix, key: RunKey, *, device: str = "auto", progress: bool = True,
           should_stop: Callable[[], bool] | None = None) -> str:
    """Train and score one run, as far as that is not done.

    Returns:
        ``finished``; ``failed``, with the reason in error.txt; ``held``, somebody else works at it; ``stopped``, as
        `should_stop` asked, with everything on the disk.
    """
    run = matrix.run(key)
    try:
        with lock(run.folder, name=WORK):
            if matrix.is_done(key):
                return "finished"
            (run.folder / "error.txt").unlink(missing_ok=True)
            _train_and_score(matrix, key, device, progress, should_stop)
            return "finished"
    except Locked:
        return "held"
    except Interrupted:
        return "stopped"
    except Exception as error:  # whatever it is: the other runs go on, and the folder says what it was
        write_text(run.folder / "error.txt", f"{sentence(error)}\n\n{traceback.format_exc()}")
        return "failed"


def _train_and_score(matrix: Matrix, key: RunKey, device: str, progress: bool,
                     should_stop: Callable[[], bool] | None) -> None:
    settings, run, recipe = matrix.settings, matrix.run(key), matrix.settings.train_settings(key)
    scoring = usual(matrix.cohort.spec, recipe.crop)
    start = time.monotonic()
    validation = None
    parts, on_test = matrix.parts(key), settings.protocol == "passion"
    if settings.validate_every:
        cases = parts["test" if on_test else "val"][: settings.validation_cases or None]

        def score(net: nn.Module) -> float:
            rows = evaluate(net, matrix.cohort, cases, settings=scoring, progress=False)
            return float(rows[(rows["metric"] == "dice") & ~rows["region"].str.endswith("_post")]["value"].mean())

        validation = Validation(run.folder, score, every=settings.validate_every,
                                keep_best=on_test or settings.choice == "best-on-validation")
    try:
        if not run.finished:
            train(matrix.training_set(key), run.folder, recipe, device=device, workers=settings.loader_workers,
                  progress=progress, should_stop=should_stop, validation=validation)
    finally:
        _add_cost(run.folder, "train_seconds", time.monotonic() - start, device)
    start = time.monotonic()
    best = run.folder / "best.safetensors"
    chosen = {"last": run.weights, ON_TEST: best} if on_test else \
        {settings.choice: run.weights if settings.choice == "last" else best}
    tables = []
    for choice, weights in chosen.items():
        net, _ = load_weights(weights, choose_device(device))
        rows = evaluate(net, matrix.cohort, parts["test"], settings=scoring, run=key.name,
                        folder=run.folder / ("rows" if len(chosen) == 1 else f"rows-{choice}"), progress=progress)
        columns = {**dict(zip(COLUMNS, (key.variant, key.rates, key.seed, choice), strict=True)),
                   **({"fold": key.fold} if key.fold >= 0 else {})}
        for column, value in columns.items():
            rows.insert(rows.columns.get_loc("case"), column, value)
        tables.append(rows)
    _add_cost(run.folder, "evaluate_seconds", time.monotonic() - start, device)
    with atomic_path(run.folder / "rows.parquet") as partial:  # last: with it the run is done
        pd.concat(tables, ignore_index=True).to_parquet(partial, index=False)


def _add_cost(folder: Path, what: str, seconds: float, device: str) -> None:
    """Seconds add up over the sessions of a run."""
    path = folder / "cost.json"
    cost = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    cost[what] = round(cost.get(what, 0.0) + seconds, 1)
    write_text(path, json.dumps({**cost, "hardware": hardware(choose_device(device))}, indent=1))


def work(matrix: Matrix, *, only: Sequence[str] | None = None, device: str = "auto", progress: bool = True,
         should_stop: Callable[[], bool] | None = None) -> dict[str, str]:
    """Do every run that is neither done nor held by another process; gives each run's outcome, see `do_run`."""
    keys = matrix.settings.runs if only is None else [matrix.settings.run(name) for name in only]
    for key in keys:
        matrix.is_done(key)  # another run in one of the folders is said before the first step
    outcomes: dict[str, str] = {}
    for key in tqdm(keys, desc=matrix.settings.name, unit="run", disable=not progress):
        outcomes[key.name] = do_run(matrix, key, device=device, progress=progress, should_stop=should_stop)
        if outcomes[key.name] == "stopped":
            break
    return outcomes


def collect(folder: str | Path) -> pd.DataFrame:
    """The long table of every finished run of a matrix, in the order of its profile; empty if none is finished."""
    folder = Path(folder)
    settings = read_settings(ExperimentSettings, folder / "profile.yaml")
    paths = [folder / "runs" / key.name / "rows.parquet" for key in settings.runs]
    parts = [pd.read_parquet(path) for path in paths if path.is_file()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[
        "run", *COLUMNS, "case", "subset", "region", "metric", "convention", "value"])


def write_tables(matrix: Matrix, device: str = "auto") -> pd.DataFrame:
    """Write OUT/rows.parquet and OUT/card.json from what is finished; gives the rows."""
    rows = collect(matrix.folder)
    with atomic_path(matrix.folder / "rows.parquet") as partial:
        rows.to_parquet(partial, index=False)
    write_text(matrix.folder / "card.json", json.dumps(experiment_card(matrix, choose_device(device)), indent=1))
    return rows


def experiment_card(matrix: Matrix, device: torch.device) -> dict[str, Any]:
    """Everything that a reader of the table needs to judge it; no path."""
    costs = {}
    for key in matrix.settings.runs:
        path = matrix.run(key).folder / "cost.json"
        if path.is_file():
            costs[key.name] = json.loads(path.read_text(encoding="utf-8"))
    looks = {run: {"step": seen["step"].tolist(), "score": seen["score"].round(4).tolist()}
             for run, seen in curves(matrix.folder).items()}
    hours = sum(cost.get("train_seconds", 0) + cost.get("evaluate_seconds", 0) for cost in costs.values()) / 3600
    layout = matrix.cohort.layout
    data = f"{layout.synthetic} (synthetic)" if layout.synthetic else f"{layout.name}, prepared"
    return {"profile": to_plain(matrix.settings), "data": data, "hardware": hardware(device),
            "torch": torch.__version__, "commit": commit(), "date": date.today().isoformat(),
            "cases": {part: len(names) for part, names in matrix.split.items()},
            "hours": round(hours, 2), "costs": costs, "curves": looks}


def run_experiment(settings: ExperimentSettings, folder: str | Path, *, only: Sequence[str] | None = None,
                   device: str = "auto", workers: int | None = None, progress: bool = True) -> pd.DataFrame:
    """Open a phantom matrix, do what is not done, and give the long table of what is finished.

    Raises:
        RuntimeError: If a run failed; the others are done, and their rows are on the disk.
    """
    matrix = open_matrix(settings, folder, workers=workers)
    outcomes = work(matrix, only=only, device=device, progress=progress)
    rows = write_tables(matrix, device)
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    if failed:
        reasons = "; ".join(f"{name}: {why(matrix.folder, name)}" for name in failed)
        raise RuntimeError(f"{len(failed)} of {len(outcomes)} runs failed, the others are done: {reasons}")
    return rows if only is None else rows[rows["run"].isin(only)].reset_index(drop=True)


def why(folder: str | Path, name: str) -> str:
    """The sentence of a failed run."""
    path = Path(folder) / "runs" / name / "error.txt"
    return path.read_text(encoding="utf-8").split("\n", 1)[0] if path.is_file() else ""


def is_held(folder: Path) -> float | None:
    """Seconds since the last heartbeat of whoever works at a run; None if nobody does."""
    who = holder(folder, WORK)
    return None if who is None else who["age"]


def results(rows: pd.DataFrame, metrics: tuple[str, ...] = ("dice", "hd95")) -> pd.DataFrame:
    """The part of the long table that is small enough to commit."""
    small = rows[rows["metric"].isin(metrics)].reset_index(drop=True)
    return small.assign(value=small["value"].astype("float32"))


def threads_for(settings: ExperimentSettings, processes: int, cores: int) -> int:
    """Threads of each of several processes on one machine."""
    return settings.threads or max(1, cores // max(1, processes))


