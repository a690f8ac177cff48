"""The training loop, readable from top to bottom, with checkpoints and exact resume.

What a run is and what lies in its folder: `run.py`.  Because the batch of step t is a pure function of (seed, t), a run
that was killed at any moment and started again ends with the same weights as one that was not.

Taught in lesson 07.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.device import choose_device, choose_precision, deterministic_algorithms
from dmaf_lite.base.memory import keep_freed_memory
from dmaf_lite.base.processes import rank, wait_for_all, world_size
from dmaf_lite.base.settings import from_mapping, read_settings, read_yaml, to_plain
from dmaf_lite.data.batches import TrainingBatches, augmented, batch_loader
from dmaf_lite.data.cohort import Cohort, read_names
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.weights import save_weights
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.terms import Term, total
from dmaf_lite.training.anisotropy import network_options
from dmaf_lite.training.card import describe_run
from dmaf_lite.training.compilation import compile_blocks
from dmaf_lite.training.graphs import backward_for
from dmaf_lite.training.parallel import data_parallel, process_group
from dmaf_lite.training.run import Run, build, try_out
from dmaf_lite.training.start import LEARNING_RATE, Start, begin, check_origin
from dmaf_lite.training.step import StepModel, build_optimizer, set_learning_rates, train_step
from dmaf_lite.training.train_settings import TrainSettings, batch_settings, learning_rate
from dmaf_lite.training.validation import Validation


def train(
    training_set: TrainingSet,
    folder: str | Path,
    settings: TrainSettings,
    *,
    device: str = "auto",
    workers: int = 0,
    progress: bool = True,
    stop_after: int | None = None,
    checkpoint_minutes: float = 5.0,
    should_stop: Callable[[], bool] | None = None,
    start: Start | None = None,
    validation: Validation | None = None,
) -> nn.Module:
    """Train a network on prepared cases, or go on where an earlier call was interrupted.

    Args:
        training_set: Cases and table.  An imbalanced condition without a table gets one at exactly
            `settings.missing_rates`, drawn from `settings.seed`.
        folder: The run's folder; made where it is missing.
        settings: See `TrainSettings`.
        device: ``auto``, ``cpu``, ``cuda``, ...
        workers: Processes that read crops ahead; 0 reads in this one (right for Windows, macOS, small data).
        progress: Whether to show a bar.
        stop_after: Stop (with a checkpoint) after this many steps in all; for lessons on resuming.
        checkpoint_minutes: A checkpoint is also written when so much time has passed since the last one.
        validation: Looked at every few steps, see `Validation`; changes no weight.
        should_stop: Asked after every step; where it says yes a checkpoint is written and `Interrupted` raised.
        start: Weights to begin with; `settings.origin` holds their digest.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: If a setting does not fit, or the folder holds a run with other settings or data.
        FloatingPointError: If the loss or a weight is no longer finite; the last good checkpoint is kept.
        Locked: If another process trains here.
        Interrupted: As `should_stop` asked.
    """
    check_origin(settings, training_set.cohort.spec, start)
    run = Run(folder)
    run_device = choose_device(device)
    dtype = choose_precision(settings.precision, run_device)
    if run_device.type == "cpu":
        keep_freed_memory()
    if settings.condition != "complete" and training_set.table is None:
        training_set = training_set.with_rates(settings.missing_rates, settings.seed)
    first_process, batches_per_step = rank() == 0, settings.accumulate * world_size()
    with ExitStack() as stack:
        if first_process:
            if run.begun:
                run.open(settings, training_set)  # another run is refused before its folder is touched
            else:
                try_out(settings, training_set)
            stack.enter_context(run.hold())
            run.open(settings, training_set)
        wait_for_all()
        batches = TrainingBatches(training_set, batch_settings(settings, batches_per_step))
        torch.manual_seed(settings.seed)
        net, objective = build(settings, training_set, run_device)
        begin(net, settings, start)
        batches.keep_dropped = objective.reads_dropped
        batches.augment = run_device.type == "cpu"  # else on the device, in `on_device`
        optimizer = build_optimizer(net, objective, lr=settings.lr, weight_decay=settings.weight_decay)
        first, factors = run.resume(net, objective, optimizer, batches_per_step=batches_per_step)
        log = run.log(first) if first_process else None
        if settings.compile:
            compile_blocks(net)
        model = data_parallel(StepModel(net, objective))
        backward = backward_for(objective, run_device, graphs=settings.graphs)

        net.train()
        last = min(settings.steps, stop_after or settings.steps)
        # Step t holds the same studies, however many processes share them out.
        own_batches = [(t * settings.accumulate + a) * world_size() + rank()
                for t in range(first, last) for a in range(settings.accumulate)]
        loader = iter(batch_loader(batches, own_batches, workers=workers, pin=run_device.type == "cuda"))
        steps_per_epoch = -(-batches.steps_per_epoch // batches_per_step)
        bar = tqdm(range(first, last), total=last, initial=first, desc=run.folder.name, unit="step",
                   disable=not (progress and first_process))
        if validation and first_process:
            validation.begin(first)
        saved = time.monotonic()
        stack.enter_context(deterministic_algorithms(settings.deterministic))
        for step in bar:
            torch.manual_seed((settings.seed * 1_000_003 + step) * world_size() + rank())  # dropout, where there is any
            set_learning_rates(optimizer, learning_rate(step, settings), factors)
            on_device = [augmented(next(loader).to(run_device)) for _ in range(settings.accumulate)]
            terms = train_step(model, optimizer, on_device, step, clip=settings.clip, dtype=dtype, backward=backward)
            if first_process and ((step + 1) % settings.log_every == 0 or step + 1 == last):
                # before the epoch ends: the row shows the weights that this step was made with
                row = log_row(terms, objective, optimizer, step, training_set.cohort.spec.modalities)
                if not np.isfinite(row["total"]):
                    raise run.fail(f"the loss is {row['total']}", step)
                log.add(row)
                bar.set_postfix(loss=f"{row['total']:.3f}")
            if (step + 1) % steps_per_epoch == 0:
                objective.end_epoch()
                factors = objective.learning_rate_factors().tolist()
            if first_process and validation and validation.due(step + 1, settings.steps) \
                    and validation.look(net, step + 1):
                card = describe_run(training_set, to_plain(settings), options=network_options(settings, training_set),
                                    dtype=dtype, device=run_device)
                save_weights(validation.best_path, net, card | {"chosen_at_step": step + 1})
            stopping = should_stop is not None and should_stop() and step + 1 < last
            due = (step + 1) % settings.checkpoint_every == 0 or step + 1 == last or stopping
            if first_process and (due or time.monotonic() - saved > 60 * checkpoint_minutes):
                run.save(net, objective, optimizer, step=step + 1, factors=factors, batches_per_step=batches_per_step)
                saved = time.monotonic()
            if stopping:
                raise Interrupted(f"{run.folder}: stopped after step {step + 1} of {settings.steps}; the same command "
                                  "goes on from there")

        net.eval()
        if first_process and last == settings.steps:
            card = describe_run(training_set, to_plain(settings), options=network_options(settings, training_set),
                                    dtype=dtype, device=run_device)
            run.finish(net, objective, card | ({"origin": start.origin()} if start else {}))
        wait_for_all()
    return net


class Interrupted(RuntimeError):
    """A run that was asked to stop; its state is on the disk."""


def log_row(
    terms: dict[str, Term], objective: Objective, optimizer: torch.optim.Optimizer, step: int,
    modalities: Sequence[str],
) -> dict[str, float]:
    """All terms and the monitor's state as plain numbers: the only place where a step waits for the device."""
    lr = optimizer.param_groups[-1]["lr"]  # of everything but the encoders, whose factors are the monitor's gamma
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
    parser.add_argument("--lr", type=float, help="learning rate, over the profile; with --from "
                                                 f"{LEARNING_RATE:g} where the profile names none")
    parser.add_argument("--from", dest="start", metavar="WEIGHTS",
                        help="start from these weights, a file or a name of the kit's own; they decide the network")
    parser.add_argument("--freeze", nargs="+", metavar="PART", help="parts that keep their weights, such as encoders")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--workers", type=int, default=0, help="processes that read ahead; 0 on Windows and macOS")


def main(args: argparse.Namespace) -> int:
    """Train as the command line says; returns the exit status."""
    over = {key: getattr(args, key) for key in ("network", "objective", "steps", "batch", "seed", "lr")
            if getattr(args, key) is not None}
    if args.freeze:
        over["frozen"] = args.freeze
    start = Start.of(args.start) if args.start else None
    if start:
        over = start.choices(over, read_yaml(args.profile) if args.profile else {})
    settings = read_settings(TrainSettings, args.profile, **over) if args.profile else from_mapping(TrainSettings, over)
    cohort = Cohort(args.cohort)
    names = read_names(args.cases) if args.cases else cohort.names
    training_set = TrainingSet.from_file(cohort, names, args.table)
    with process_group(args.device):
        train(training_set, args.out, settings, device=args.device, workers=args.workers, start=start)
        if rank() == 0:
            print(f"weights written to {args.out / 'weights.safetensors'}")
    return 0
