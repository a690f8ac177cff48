"""The training loop, readable from top to bottom, with checkpoints and exact resume.

A run is a folder:

    settings.yaml        everything that decides the result; a run with other settings is refused
    cases.txt            the training cases        missing_rates.csv   their table, if the condition needs one
    log.csv              every loss term, learning rates, and the monitor's state, every few steps
    checkpoint/last.pt   network, objective, optimiser and step; written whole or not at all
    weights.safetensors  the result, with card.json

Because the batch of step t is a pure function of (seed, t), a run that was killed at any moment and
started again ends with the same weights as one that was not.

Taught in lesson 07.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import write_text
from dmaf_lite.base.device import choose_device, choose_precision, deterministic_algorithms
from dmaf_lite.base.memory import keep_freed_memory
from dmaf_lite.base.processes import rank, wait_for_all, world_size
from dmaf_lite.base.settings import from_mapping, read_yaml, to_plain
from dmaf_lite.data.augmentation import AugmentationSettings
from dmaf_lite.data.batches import BatchSettings, TrainingBatches, augmented, batch_loader
from dmaf_lite.data.cohort import Cohort
from dmaf_lite.data.missing import missing_table, read_table, write_table
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.methods.weights import save_weights
from dmaf_lite.objectives.terms import Term, total
from dmaf_lite.training.card import describe_run
from dmaf_lite.training.checkpoint import load_checkpoint, save_checkpoint
from dmaf_lite.training.compilation import compile_blocks
from dmaf_lite.training.parallel import data_parallel, process_group
from dmaf_lite.training.runlog import RunLog
from dmaf_lite.training.step import StepModel, build_optimizer, set_learning_rates, train_step


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the result of a run besides the cases.  Defaults: `lite` on the phantom."""

    network: str = "dmaf_net"
    network_options: dict[str, Any] = field(default_factory=dict)
    objective: str = "dmaf"
    objective_options: dict[str, Any] = field(default_factory=dict)
    condition: str = "complete"  # complete | imbalanced | imbalanced+drop, see batches.py
    missing_rates: dict[str, float] = field(default_factory=dict)  # modality -> rate, for the imbalanced conditions
    crop: tuple[int, int, int] = (32, 32, 32)
    # The last `late_share` of the steps draws its crop among these: a network that normalises over its window has
    # then seen large ones, too, so that one window over a whole study is as good as many.
    late_crops: tuple[tuple[int, int, int], ...] = ()
    late_share: float = 0.2
    batch: int = 2  # studies that one process computes at once
    accumulate: int = 1  # batches whose gradients are added up in one step, where memory does not hold them at once
    steps: int = 600
    foreground: float = 0.5
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    lr: float = 2e-3  # 600 steps of `lite` on the phantom: mean Dice .68 against .63 with 1e-3; `full`: 2e-4
    weight_decay: float = 1e-4
    poly: float = 0.9  # lr_t = lr (1 - t / steps)^poly
    clip: float = 12.0  # of the gradient's norm; only the rare spike is cut
    precision: str = "auto"
    compile: bool = False  # torch.compile; the first steps take minutes (benchmarks: what it buys)
    deterministic: bool = False  # the same digits again on a GPU; slower. A CPU run always repeats
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 200


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Polynomial decay of the learning rate."""
    return settings.lr * (1 - step / settings.steps) ** settings.poly


def train(
    cohort: Cohort,
    names: Sequence[str],
    folder: str | Path,
    settings: TrainSettings,
    *,
    table: Mapping[str, Sequence[bool]] | None = None,
    device: str = "auto",
    workers: int = 0,
    progress: bool = True,
    stop_after: int | None = None,
) -> nn.Module:
    """Train a network on prepared cases, or go on where an earlier call was interrupted.

    Args:
        cohort: A prepared cohort.
        names: The training cases.
        folder: The run's folder; made where it is missing.
        settings: See `TrainSettings`.
        table: Case name -> bool[M]; for the imbalanced conditions. Default: a table at exactly
            `settings.missing_rates`, drawn from `settings.seed`.
        device: ``auto``, ``cpu``, ``cuda``, ...
        workers: Processes that read crops ahead; 0 reads in this one (right for Windows, macOS, small data).
        progress: Whether to show a bar.
        stop_after: Stop (with a checkpoint) after this many steps in all; for lessons on resuming.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: If the folder holds a run with other settings, or a setting does not fit.
        FloatingPointError: If the loss is no longer finite.
    """
    folder = Path(folder)
    run_device = choose_device(device)
    dtype = choose_precision(settings.precision, run_device)
    if run_device.type == "cpu":
        keep_freed_memory()
    if settings.condition != "complete" and table is None:
        frame = missing_table(list(names), settings.missing_rates, spec=cohort.spec, seed=settings.seed)
        table = {name: row.to_numpy(dtype=bool) for name, row in frame.iterrows()}
    first_process = rank() == 0
    if first_process:
        open_run(folder, settings, names, table, cohort)
    wait_for_all()

    batches = TrainingBatches(cohort, names, batch_settings(settings, settings.accumulate * world_size()), table)
    torch.manual_seed(settings.seed)
    net = build_network(settings.network, cohort.spec, **settings.network_options).to(run_device)
    objective = build_objective(
        settings.objective, cohort.spec, net, total_steps=settings.steps,
        missing_rates=(1 - batches.availability_rates()).tolist(), **settings.objective_options,
    ).to(run_device)
    batches.keep_dropped = getattr(objective, "reads_dropped", False)
    batches.augment = run_device.type == "cpu"  # else on the device, in `on_device`
    optimizer = build_optimizer(net, objective, lr=settings.lr, weight_decay=settings.weight_decay)
    batches_per_step = settings.accumulate * world_size()
    first, factors = load_checkpoint(folder, net, objective, optimizer, batches_per_step=batches_per_step)
    log = RunLog(folder / "log.csv", first) if first_process else None
    if settings.compile:
        compile_blocks(net)
    model = data_parallel(StepModel(net, objective))

    net.train()
    last = min(settings.steps, stop_after or settings.steps)
    # Step t holds the same studies, however many processes share them out.
    mine = [(t * settings.accumulate + a) * world_size() + rank()
            for t in range(first, last) for a in range(settings.accumulate)]
    loader = iter(batch_loader(batches, mine, workers=workers, pin=run_device.type == "cuda"))
    steps_per_epoch = -(-batches.steps_per_epoch // batches_per_step)
    bar = tqdm(range(first, last), total=last, initial=first, desc=folder.name, unit="step",
               disable=not (progress and first_process))
    with deterministic_algorithms(settings.deterministic):
        for step in bar:
            torch.manual_seed((settings.seed * 1_000_003 + step) * world_size() + rank())  # dropout, where there is any
            set_learning_rates(optimizer, learning_rate(step, settings), factors)
            on_device = [augmented(next(loader).to(run_device)) for _ in range(settings.accumulate)]
            terms = train_step(model, optimizer, on_device, step, clip=settings.clip, dtype=dtype)
            if (step + 1) % steps_per_epoch == 0:
                objective.end_epoch()
                factors = objective.learning_rate_factors().tolist()
            if first_process and ((step + 1) % settings.log_every == 0 or step + 1 == last):
                row = log_row(terms, objective, step, learning_rate(step, settings), cohort.spec.modalities)
                if not np.isfinite(row["total"]):
                    raise FloatingPointError(f"{folder}: the loss is {row['total']} at step {step}; expected a finite "
                                             "number. Lower the learning rate, or use precision: float32")
                log.add(row)
                bar.set_postfix(loss=f"{row['total']:.3f}")
            if first_process and ((step + 1) % settings.checkpoint_every == 0 or step + 1 == last):
                save_checkpoint(folder, net, objective, optimizer, step=step + 1, factors=factors,
                                batches_per_step=batches_per_step)

    net.eval()
    if first_process and last == settings.steps:
        card = describe_run(cohort, names, to_plain(settings), dtype=dtype, device=run_device)
        save_weights(folder / "weights.safetensors", net, card)
        write_text(folder / "card.json", json.dumps(card, indent=1))
    wait_for_all()
    return net


def batch_settings(settings: TrainSettings, batches_per_step: int = 1) -> BatchSettings:
    """The part of the settings that decides the batches."""
    late_from = round((1 - settings.late_share) * settings.steps) * batches_per_step
    return BatchSettings(settings.crop, settings.batch, settings.seed, settings.condition, settings.foreground,
                         settings.augmentation, settings.late_crops, late_from)


def log_row(
    terms: dict[str, Term], objective: nn.Module, step: int, lr: float, modalities: Sequence[str]
) -> dict[str, float]:
    """All terms and the monitor's state as plain numbers: the only place where a step waits for the device."""
    row: dict[str, float] = {"step": step, "lr": lr, "total": float(total(terms).detach())}
    for name, term in terms.items():
        value = term.value.detach().float()
        if value.ndim == 1:
            row[name] = float(value.mean())
            continue
        row[name] = float(value.sum(1).mean())
        row |= {f"{name}/{m}": float(v) for m, v in zip(modalities, value.mean(0).tolist(), strict=True)}
    for name, state in objective.log_state().items():
        row |= {f"{name}/{m}": float(v) for m, v in zip(modalities, state.tolist(), strict=True)}
    return row


def open_run(
    folder: Path, settings: TrainSettings, names: Sequence[str], table: Mapping[str, Sequence[bool]] | None,
    cohort: Cohort,
) -> None:
    """Write the run's settings and cases, or check that they are those of the run that is there."""
    text = yaml.safe_dump(to_plain(settings), sort_keys=False)
    cases = "".join(f"{name}\n" for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "settings.yaml").exists():
        before = from_mapping(TrainSettings, read_yaml(folder / "settings.yaml"))
        old, new = to_plain(before), to_plain(settings)
        other = [key for key in new if old[key] != new[key]]
        if other or (folder / "cases.txt").read_text() != cases:
            raise ValueError(f"{folder} holds a run with other {', '.join(other) or 'training cases'}; "
                             "a run is never mixed with another: choose a new folder or delete this one")
    elif table is not None:
        import pandas as pd

        frame = pd.DataFrame.from_dict({n: list(table[n]) for n in names}, orient="index",
                                       columns=list(cohort.spec.modalities))
        write_table(folder / "missing_rates.csv", frame, spec=cohort.spec)
    write_text(folder / "cases.txt", cases)
    write_text(folder / "settings.yaml", text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m dmaf_lite train``."""
    parser.add_argument("--cohort", type=Path, required=True, help="prepared cohort (data_scripts/prepare_cohort.py)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an interrupted run goes on")
    parser.add_argument("--cases", type=Path, help="text file with the training cases, one a line; default: all")
    parser.add_argument("--table", type=Path, help="missing-rate table (CSV) for the imbalanced conditions")
    parser.add_argument("--profile", type=Path, help="YAML file with settings; unknown ones stop the run")
    parser.add_argument("--network", help="name of a network, over the profile")
    parser.add_argument("--objective", help="name of an objective, over the profile")
    parser.add_argument("--steps", type=int, help="number of steps, over the profile")
    parser.add_argument("--batch", type=int, help="studies in a batch, over the profile")
    parser.add_argument("--seed", type=int, help="seed, over the profile")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--workers", type=int, default=0, help="processes that read ahead; 0 on Windows and macOS")


def main(args: argparse.Namespace) -> int:
    """Train as the command line says; returns the exit status."""
    values = read_yaml(args.profile) if args.profile else {}
    for key in ("network", "objective", "steps", "batch", "seed"):
        if getattr(args, key) is not None:
            values[key] = getattr(args, key)
    settings = from_mapping(TrainSettings, values)
    cohort = Cohort(args.cohort)
    names = args.cases.read_text().split() if args.cases else cohort.names
    table = None
    if args.table:
        frame = read_table(args.table, spec=cohort.spec)
        table = {name: row.to_numpy(dtype=bool) for name, row in frame.iterrows()}
    with process_group(args.device):
        train(cohort, names, args.out, settings, table=table, device=args.device, workers=args.workers)
        if rank() == 0:
            print(f"weights written to {args.out / 'weights.safetensors'}")
    return 0
