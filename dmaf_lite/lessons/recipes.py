"""What lessons share, as recipes for `load_or_make`: a small cohort, a trained run, its subset rows.

    cohort = load_or_make("cohort", recipes.make_cohort, {"train": 24, "val": 4, "test": 8, ...})
    run = load_or_make("baseline", recipes.train_run, {"network": "baseline", "steps": 150, ...}, needs=[cohort])
    rows = load_or_make("baseline-rows", recipes.evaluate_run, {"cases": 4}, needs=[cohort, run])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.base.settings import from_mapping
from dmaf_lite.data.cohort import Cohort, read_split
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.evaluate import EvaluationSettings, evaluate
from dmaf_lite.evaluation.inference import windows_of
from dmaf_lite.evaluation.metrics import HD95
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.phantom.ready import PhantomSettings, ready_cohort
from dmaf_lite.training.loop import TrainSettings, train


def make_cohort(folder: Path, config: Mapping[str, Any]) -> None:
    """A phantom cohort (synthetic), prepared and split; `config` are the fields of `PhantomSettings`."""
    ready_cohort(folder, from_mapping(PhantomSettings, config))


def open_cohort(folder: Path) -> tuple[Cohort, dict[str, list[str]]]:
    """The prepared cohort of `make_cohort` and its split (train, val, test)."""
    return Cohort(folder / "prepared"), dict(read_split(folder / "split"))


def train_run(folder: Path, config: Mapping[str, Any], cohort_folder: Path) -> None:
    """A run on the training cases; `config` are the fields of `TrainSettings`."""
    cohort, split = open_cohort(cohort_folder)
    train(TrainingSet(cohort, split["train"]), folder, from_mapping(TrainSettings, config))


def score_shipped(folder: Path, config: Mapping[str, Any], cohort_folder: Path) -> None:
    """``rows.parquet``: the shipped weights on test cases; `config`: weights, cases, overlap, hd95 (names)."""
    cohort, split = open_cohort(cohort_folder)
    net, card = load_weights(shipped(config["weights"]))
    windows = replace(windows_of(card), overlap=config["overlap"])
    rules = tuple(HD95(*name.split("/")) for name in config["hd95"])
    rows = evaluate(net, cohort, split["test"][: config["cases"]], progress=False,
                    settings=EvaluationSettings(windows=windows, hd95=rules))
    with atomic_path(folder / "rows.parquet") as partial:
        rows.to_parquet(partial, index=False)


def evaluate_run(folder: Path, config: Mapping[str, Any], cohort_folder: Path, run_folder: Path) -> None:
    """``rows.parquet``: the subset rows of a run; `config`: cases (how many test cases), run (its name)."""
    cohort, split = open_cohort(cohort_folder)
    net, card = load_weights(run_folder / "weights.safetensors")
    settings = EvaluationSettings(windows=windows_of(card))
    rows = evaluate(net, cohort, split["test"][: config["cases"]], settings=settings, run=config.get("run", "run"))
    with atomic_path(folder / "rows.parquet") as partial:
        rows.to_parquet(partial, index=False)
