"""Who works at a matrix: this process, several on this machine, or jobs on a Slurm cluster.

All of them do the same, `matrix.work`: take the next run that is neither done nor held.  So any number of them may be
started, at any time, on any machine that sees the folder.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmaf_lite.base.workers import cores
from dmaf_lite.experiment.matrix import Matrix, is_held, threads_for

# Slurm asks a job to stop so many seconds before its time ends; a step and a checkpoint fit into that many times over.
WARNING_SECONDS = 120
# Exit status of a run that the system asked to stop: in a step, or before it could listen.
ENDED_BY_SYSTEM = {143} | {-getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name)}


def arguments(matrix: Matrix, *, cohort: Path | None, split: Path | None, device: str, only: Sequence[str] = ()
              ) -> list[str]:
    """The command line that does (some) runs of an open matrix."""
    words = [sys.executable, "-m", "dmaf_lite", "experiment", str((matrix.folder / "profile.yaml").resolve()), "--out",
             str(matrix.folder.resolve()), "--device", device]
    for option, path in (("--cohort", cohort), ("--split", split)):
        words += [option, str(Path(path).resolve())] if path is not None else []
    return words + (["--only", *only] if only else [])


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that may use so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}


def on_this_machine(matrix: Matrix, words: Sequence[str], processes: int) -> int:
    """Work with several processes, the cores shared out; gives the worst exit status.

    Each writes its messages to OUT/process-<n>.log.
    """
    children, logs = [], []
    try:
        for number in range(processes):
            logs.append((matrix.folder / f"process-{number}.log").open("w", encoding="utf-8"))
            children.append(subprocess.Popen(words, stdout=logs[-1], stderr=subprocess.STDOUT,
                                             env=environment(threads_for(matrix.settings, processes, cores()))))
        return max(child.wait() for child in children)
    except BaseException:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
        raise
    finally:
        for log in logs:
            log.close()


def open_runs(matrix: Matrix, only: Sequence[str] | None = None) -> list[str]:
    """Names of the runs that are neither done nor held."""
    keys = matrix.settings.runs if only is None else [matrix.settings.run(name) for name in only]
    return [key.name for key in keys if not matrix.is_done(key) and is_held(matrix.run(key).folder) is None]


def groups(names: Sequence[str], size: int) -> list[list[str]]:
    """The runs of each job, `size` of them together on one GPU."""
    return [list(names[i: i + size]) for i in range(0, len(names), size)]


class RunJob:
    """What submitit sends to a node: some runs of a matrix, side by side.

    A class with `checkpoint`, as only such jobs are put back into the queue when their time is up.  submitit calls
    `checkpoint` inside a signal handler, in the middle of a step, so it touches nothing: the runs' own checkpoints
    are a few minutes old at most, and the job that comes back goes on from them.
    """

    def __init__(self, words: Sequence[str], names: Sequence[str], threads: int) -> None:
        self.words, self.names, self.threads = list(words), list(names), threads

    def __call__(self) -> int:
        """Start one process for each run and wait; gives the worst exit status."""
        children = [subprocess.Popen([*self.words, "--only", name], env=environment(self.threads))
                    for name in self.names]
        ends = [child.wait() for child in children]
        if not ENDED_BY_SYSTEM.isdisjoint(ends):  # preempted: a job that ends now counts as done, and never comes back
            time.sleep(3600)
        return max(ends, key=abs)

    def checkpoint(self) -> Any:
        """The same job again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(matrix: Matrix, words: Sequence[str], *, executor: str = "slurm", at_once: int = 4, per_job: int = 1,
           minutes: int = 240, partition: str | None = None, gpus: int = 0, cpus: int = 2,
           extra: dict[str, Any] | None = None, only: Sequence[str] | None = None) -> list[Any]:
    """Submit what is neither done nor held, as one array.

    Args:
        matrix: An open matrix; its cohort is prepared.
        words: See `arguments`.
        executor: ``slurm``, ``local`` (a process for each job) or ``debug`` (inside this process).
        at_once: Jobs at the same time.
        per_job: Runs side by side in one job, on one GPU.
        minutes: Time limit of a job; a run that needs longer comes back by itself.
        partition, gpus, cpus: As the cluster wants them; `cpus` for each run.
        extra: More Slurm options, by their long names.
        only: Names of the runs.

    Returns:
        submitit's jobs.

    Raises:
        ValueError: If submitit is not installed, or the executor is not known.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise ValueError("submitit is not installed; install the kit with its extra: pip install "
                         "-c constraints.txt -e .[cluster], or use --print-sbatch") from None
    folder = matrix.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [RunJob(words, names, cpus) for names in groups(open_runs(matrix, only), per_job)]
    if not jobs:
        return []
    if executor == "debug":
        chosen: Any = submitit.DebugExecutor(folder=folder)
    elif executor == "local":
        chosen = submitit.LocalExecutor(folder=folder)
        chosen.update_parameters(timeout_min=minutes)
    elif executor == "slurm":
        chosen = submitit.SlurmExecutor(folder=folder, max_num_timeout=100)
        options: dict[str, Any] = {"job_name": matrix.settings.name, "time": minutes, "cpus_per_task": cpus * per_job,
                                   "array_parallelism": at_once, "signal_delay_s": WARNING_SECONDS}
        options |= {"partition": partition} if partition else {}
        options |= {"gres": f"gpu:{gpus}"} if gpus else {}
        options["additional_parameters"] = {"requeue": True, **(extra or {})}
        chosen.update_parameters(**options)
    else:
        raise ValueError(f"executor {executor!r} is not known; choose slurm, local or debug")
    with chosen.batch():  # one array
        return [chosen.submit(job) for job in jobs]


def sbatch_script(matrix: Matrix, words: Sequence[str], *, at_once: int = 4, minutes: int = 240,
                  partition: str | None = None, gpus: int = 0, cpus: int = 2, only: Sequence[str] | None = None) -> str:
    """A job-array script for sites where Python may not submit; one run a task, requeued by Slurm when preempted."""
    names = open_runs(matrix, only)
    if not names:
        raise ValueError(f"{matrix.folder}: every run is done or held; there is nothing to submit")
    (matrix.folder / "jobs").mkdir(exist_ok=True)
    logs = shlex.quote(f"{matrix.folder.resolve()}/jobs/%A_%a.log")
    lines = ["#!/bin/bash", f"#SBATCH --job-name={shlex.quote(matrix.settings.name)}",
             f"#SBATCH --array=0-{len(names) - 1}%{at_once}", f"#SBATCH --time={minutes}",
             f"#SBATCH --cpus-per-task={cpus}", "#SBATCH --requeue", "#SBATCH --open-mode=append",
             f"#SBATCH --output={logs}"]
    lines += [f"#SBATCH --partition={partition}"] if partition else []
    lines += [f"#SBATCH --gres=gpu:{gpus}"] if gpus else []
    lines += ["", f"runs=({' '.join(shlex.quote(name) for name in names)})", f"export OMP_NUM_THREADS={cpus}",
              f"{shlex.join(words)} --only \"${{runs[$SLURM_ARRAY_TASK_ID]}}\""]
    return "\n".join(lines) + "\n"
