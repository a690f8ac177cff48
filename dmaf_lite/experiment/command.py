"""``python -m dmaf_lite experiment PROFILE --out OUT`` and ``... experiment status OUT``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dmaf_lite.base.door import say
from dmaf_lite.base.settings import read_settings
from dmaf_lite.evaluation.shipping import ship_weights
from dmaf_lite.experiment import engines
from dmaf_lite.experiment.committed import write_committed
from dmaf_lite.experiment.matrix import Matrix, open_matrix, results, why, work, write_tables
from dmaf_lite.experiment.profile import ExperimentSettings
from dmaf_lite.experiment.protocol import ON_TEST
from dmaf_lite.experiment.status import as_text, status
from dmaf_lite.experiment.summary import region_intervals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("profile", help="YAML profile (notebooks/profiles/experiments/ has some), or status")
    parser.add_argument("folder", type=Path, nargs="?", help="with status: the folder of an experiment")
    parser.add_argument("--out", type=Path, help="folder; what is finished in it is kept, and processes share it")
    parser.add_argument("--cohort", type=Path, help="a prepared cohort, in place of the profile's phantom")
    parser.add_argument("--split", type=Path, help="its split: folder with train.txt, val.txt, test.txt (not with "
                        "the protocols cv5 and passion)")
    parser.add_argument("--results", type=Path,
                        help="folder for the small table of what is finished, and its card; runs that stand there "
                             "already are kept. Lessons read both")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="do these runs only")
    parser.add_argument("--ship", nargs=2, metavar=("RUN", "FILE"),
                        help="copy a run's weights, with its subset table in the card, to FILE")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and stop")
    where = parser.add_argument_group("where it runs")
    where.add_argument("--processes", type=int, default=1, help="of this machine; the cores are shared out")
    where.add_argument("--slurm", action="store_true", help="submit one job array through submitit, and return")
    where.add_argument("--print-sbatch", action="store_true", help="print a job-array script, to submit by hand")
    where.add_argument("--executor", default="slurm", choices=("slurm", "local", "debug"), help=argparse.SUPPRESS)
    where.add_argument("--partition", help="Slurm's")
    where.add_argument("--minutes", type=int, default=240, help="of a job; a longer run comes back by itself")
    where.add_argument("--at-once", type=int, default=4, help="jobs at the same time")
    where.add_argument("--runs-per-job", type=int, default=1, help="runs side by side in one job, on one GPU")
    where.add_argument("--gpus", type=int, default=0, help="of each job")
    where.add_argument("--cpus", type=int, default=2, help="of each run")


def main(args: argparse.Namespace) -> int:
    """Do what the command line asks; 0, or 1 where a run failed."""
    if args.profile == "status":
        if args.folder is None:
            raise ValueError("status of which experiment? name its folder: experiment status OUT")
        states = status(args.folder)
        print(as_text(states))
        return int(any(state.state == "failed" for state in states))
    if args.folder is not None:
        raise ValueError(f"{args.folder} is one word too many; the folder goes after --out")
    settings = read_settings(ExperimentSettings, args.profile)
    if args.dry_run:
        print("\n".join(key.name for key in settings.runs))
        return 0
    if args.out is None:
        raise ValueError("where to? give --out, a folder for the runs")
    for name in args.only or ():
        settings.run(name)
    matrix = open_matrix(settings, args.out, cohort=args.cohort, split=args.split,
                         say=lambda text: say("experiment", text))
    words = engines.arguments(matrix, cohort=args.cohort, split=args.split, device=args.device)
    slurm = {"at_once": args.at_once, "minutes": args.minutes, "partition": args.partition, "gpus": args.gpus,
             "cpus": args.cpus, "only": args.only}
    if args.print_sbatch:
        print(engines.sbatch_script(matrix, words, **slurm), end="")
        return 0
    if args.slurm or args.executor != "slurm":
        jobs = engines.submit(matrix, words, executor=args.executor, per_job=args.runs_per_job, **slurm)
        print("\n".join(f"submitted {job.job_id}" for job in jobs) or "nothing to do: every run is done or held")
        return 0
    if args.processes > 1:
        engines.on_this_machine(matrix, [*words, *(["--only", *args.only] if args.only else [])], args.processes)
    else:
        outcomes = work(matrix, only=args.only, device=args.device, should_stop=asked_to_stop())
        if "stopped" in outcomes.values():
            say("experiment", "stopped by the system; the same command goes on from there")
            return 143
    return _finish(matrix, args)


def asked_to_stop() -> Callable[[], bool]:
    """From now on a request to end (SIGTERM, or SIGUSR2 of a scheduler) is only noted: the loop asks after each step,
    writes a checkpoint and ends."""
    asked = threading.Event()
    for name in ("SIGTERM", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: asked.set())
    return asked.is_set


def _finish(matrix: Matrix, args: argparse.Namespace) -> int:
    """Write and print what is finished, and name what failed."""
    from dmaf_lite.evaluation.tables import markdown, subset_table

    small = results(write_tables(matrix, args.device))
    if args.results:
        card = json.loads((matrix.folder / "card.json").read_text(encoding="utf-8"))
        small = write_committed(args.results, small, card, matrix.settings, say=lambda text: say("experiment", text))
    if args.ship:
        name, target = args.ship
        run = matrix.run(matrix.settings.run(name))
        rows = pd.read_parquet(run.folder / "rows.parquet")
        layout = matrix.cohort.layout
        measured = f"{layout.synthetic} (synthetic); its Dice says nothing about patients" if layout.synthetic else \
            f"{layout.name}, {rows['case'].nunique()} cases that the weights have not seen"
        ship_weights(run.weights, rows[rows["choice"] == "last"] if ON_TEST in set(rows["choice"]) else rows, target,
                     data=measured)
    data = "synthetic phantoms" if matrix.synthetic else matrix.cohort.layout.name
    for (variant, rates, choice), group in small.groupby(["variant", "rates", "choice"], sort=False):
        if "fold" in group:  # every case is in one fold: a table of all patients
            group = group.assign(run=[f"seed {seed}" for seed in group["seed"]])
        table = markdown(subset_table(group, "dice", spec=matrix.cohort.spec))
        which = f"{variant}, {rates}" + (f", {choice}" if small["choice"].nunique() > 1 else "")
        print(f"\n{which}, Dice on {data}\n\n{table}")
    if matrix.settings.protocol != "split" and len(small):
        lines = region_intervals(small)
        lines.index = [f"{variant}, {rates}, {choice}" for variant, rates, choice in lines.index]
        print(f"Dice, mean over subsets [95 % interval over {small['case'].nunique()} patients]\n\n{markdown(lines)}")
        if ON_TEST in set(small["choice"]):
            print(f"{ON_TEST}: chosen among checkpoints by the very cases that it is scored on. The difference from "
                  "last is what that choice is worth, not what the method is worth.\n")
    failed = [state for state in status(matrix.folder) if state.state == "failed"]
    for state in failed:
        print(f"failed: {state.name}: {why(matrix.folder, state.name)}", file=sys.stderr)
    return int(bool(failed))
