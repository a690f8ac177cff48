"""A controlled experiment: variants x seeds on one phantom cohort, same budget, one table.

A profile (YAML) names the cohort, the settings that all runs share, what each variant changes, and the
seeds.  Every run is a folder of its own, so a matrix that was interrupted goes on run by run:

    OUT/cohort/            the phantom        OUT/runs/<variant>-seed<k>/   one run each
    OUT/rows.parquet       the long table     OUT/card.json                 recipe, hardware, commit, date

Taught in lesson 09.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import field
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.base.device import choose_device
from dmaf_lite.base.provenance import commit, hardware
from dmaf_lite.base.settings import checked, from_mapping, read_settings, to_plain
from dmaf_lite.data.missing import missing_table
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.evaluate import EvaluationSettings, evaluate
from dmaf_lite.evaluation.inference import WindowSettings
from dmaf_lite.evaluation.shipping import ship_weights
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.phantom.ready import PhantomSettings, ready_cohort
from dmaf_lite.training.loop import TrainSettings, train


@checked
class ExperimentSettings:
    """A profile."""

    name: str
    variants: dict[str, dict[str, Any]]  # name -> training settings that differ from `common`
    seeds: tuple[int, ...] = (0,)
    common: dict[str, Any] = field(default_factory=dict)  # training settings of every run
    phantom: PhantomSettings = field(default_factory=PhantomSettings)
    table_seed: int = 0  # of the missing-rate table; one table for all runs, so that seeds vary the training only

    def __post_init__(self) -> None:
        for variant, seed in self.runs:
            self.train_settings(variant, seed)  # a misspelt setting stops here, before the first run

    @property
    def runs(self) -> list[tuple[str, int]]:
        """(variant, seed), all variants of one seed before the next: an unfinished matrix is still balanced."""
        return [(variant, seed) for seed in self.seeds for variant in self.variants]

    def train_settings(self, variant: str, seed: int) -> TrainSettings:
        """The settings of one run."""
        return from_mapping(TrainSettings, {**self.common, **self.variants[variant], "seed": seed})


def run_name(variant: str, seed: int) -> str:
    """Name of a run and of its folder."""
    return f"{variant}-seed{seed}"


def run_experiment(
    settings: ExperimentSettings, folder: str | Path, *, only: Sequence[str] | None = None, device: str = "auto",
    workers: int | None = None, progress: bool = True,
) -> pd.DataFrame:
    """Train and evaluate what is not there yet; returns the long table of all runs.

    Args:
        settings: The profile.
        folder: OUT; runs that are finished in it are not repeated.
        only: Names of the runs to do now, so that several processes can share a matrix; no table of all is written.
        device: ``auto``, ``cpu``, ``cuda``, ...
        workers: Processes that make and prepare the phantoms; None takes one per core.
        progress: Whether to show bars.
    """
    folder = Path(folder)
    cohort, split = ready_cohort(folder / "cohort", settings.phantom, workers=workers)
    parts = []
    runs = [run for run in settings.runs if only is None or run_name(*run) in only]
    if only is not None and len(runs) < len(set(only)):
        raise ValueError(f"{settings.name} has no run {sorted(set(only) - {run_name(*run) for run in runs})}; "
                         f"it has {[run_name(*run) for run in settings.runs]}")
    for variant, seed in tqdm(runs, desc=settings.name, unit="run", disable=not progress):
        name, recipe = run_name(variant, seed), settings.train_settings(variant, seed)
        run = folder / "runs" / name
        if not (run / "weights.safetensors").exists():
            training_set = TrainingSet(cohort, split["train"], _table(settings, recipe, split["train"], cohort.spec))
            train(training_set, run, recipe, device=device, progress=progress)
        net, _ = load_weights(run / "weights.safetensors", choose_device(device))
        windows = WindowSettings(window=recipe.crop)
        rows = evaluate(net, cohort, split["test"], settings=EvaluationSettings(windows=windows), run=name,
                        folder=run / "rows", progress=progress)
        with atomic_path(run / "rows.parquet") as partial:
            rows.to_parquet(partial, index=False)
        parts.append(rows)
    table = pd.concat(parts, ignore_index=True)
    if only is not None:
        return table
    with atomic_path(folder / "rows.parquet") as partial:
        table.to_parquet(partial, index=False)
    write_text(folder / "card.json", json.dumps(experiment_card(settings, choose_device(device)), indent=1))
    return table


def _table(settings: ExperimentSettings, recipe: TrainSettings, names: list[str], spec: Any) -> dict | None:
    if recipe.condition == "complete":
        return None
    frame = missing_table(names, recipe.missing_rates, spec=spec, seed=settings.table_seed)
    return {name: row.to_numpy(dtype=bool) for name, row in frame.iterrows()}


def experiment_card(settings: ExperimentSettings, device: torch.device) -> dict[str, Any]:
    """Everything that a reader of the table needs to judge it."""
    return {"profile": to_plain(settings), "data": "brain phantom (synthetic)", "hardware": hardware(device),
            "torch": torch.__version__, "commit": commit(), "date": date.today().isoformat()}


def results(rows: pd.DataFrame, metrics: tuple[str, ...] = ("dice", "hd95")) -> pd.DataFrame:
    """The part of the long table that is small enough to commit: per case, with variant and seed as columns."""
    small = rows[rows["metric"].isin(metrics)].reset_index(drop=True)
    names = small["run"].str.extract(r"^(?P<variant>.+)-seed(?P<seed>\d+)$")
    small.insert(1, "variant", names["variant"])
    small.insert(2, "seed", names["seed"].astype(int))
    return small.assign(value=small["value"].astype("float32"))


def ship(folder: Path, run: str, target: Path) -> Path:
    """Copy the weights of a finished run to `target`, with its subset table in the card and the card beside it.

    Args:
        folder: OUT of the experiment.
        run: Name of the run.
        target: The .safetensors file; its card is also written as .json.
    """
    rows = pd.read_parquet(folder / "runs" / run / "rows.parquet")
    return ship_weights(folder / "runs" / run / "weights.safetensors", rows, target)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m dmaf_lite experiment``."""
    parser.add_argument("profile", type=Path, help="YAML profile, e.g. notebooks/profiles/experiments/ablation.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder; finished runs in it are kept")
    parser.add_argument("--results", type=Path, help="folder for the small table and card that lessons read")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="do these runs now; several processes share a matrix")
    parser.add_argument("--ship", nargs=2, metavar=("RUN", "FILE"),
                        help="copy a run's weights, with its subset table in the card, to FILE")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and stop")


def main(args: argparse.Namespace) -> int:
    """Run a profile; returns the exit status."""
    from dmaf_lite.evaluation.tables import markdown, subset_table

    settings = read_settings(ExperimentSettings, args.profile)
    if args.dry_run:
        print("\n".join(run_name(*run) for run in settings.runs))
        return 0
    rows = run_experiment(settings, args.out, only=args.only, device=args.device)
    small = results(rows)
    if args.results and not args.only:
        with atomic_path(args.results / f"{settings.name}.parquet") as partial:
            small.to_parquet(partial, index=False)
        write_text(args.results / f"{settings.name}.json", (args.out / "card.json").read_text(encoding="utf-8"))
    if args.ship:
        ship(args.out, args.ship[0], Path(args.ship[1]))
    for variant, group in small.groupby("variant", sort=False):
        print(f"\n{variant}, Dice on synthetic phantoms\n\n{markdown(subset_table(group, 'dice'))}")
    return 0
