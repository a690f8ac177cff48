"""A run: a folder that knows what it is.

    settings.yaml        everything that decides the result; a run with other settings is refused
    cases.txt            the training cases        missing_rates.csv   their table, if the condition needs one
    data.json            digest of the prepared cases and of the table; other data are refused, too
    log.csv              every loss term, learning rates, and the monitor's state, every few steps
    checkpoint/last.pt   network, objective, optimiser and step; finite, written whole or not at all
    weights.safetensors  the result, with card.json
    lock.json            while somebody trains here

Nothing is written before network, objective and one batch have been put together once without numbers (`try_out`), so
a setting that does not fit leaves no trace.  Taught in lesson 07.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from dmaf_lite.base.atomic import sweep, write_text
from dmaf_lite.base.lock import lock
from dmaf_lite.base.processes import joined
from dmaf_lite.base.settings import SettingsError, read_settings, to_plain
from dmaf_lite.data.batches import TrainingBatches
from dmaf_lite.data.missing import read_table, write_table
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.methods.weights import save_weights
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.terms import total
from dmaf_lite.training.anisotropy import network_options
from dmaf_lite.training.checkpoint import LAST, load_checkpoint, save_checkpoint
from dmaf_lite.training.runlog import RunLog
from dmaf_lite.training.start import freeze
from dmaf_lite.training.step import StepModel
from dmaf_lite.training.train_settings import TrainSettings, batch_settings


def build(settings: TrainSettings, training_set: TrainingSet, device: torch.device | str = "cpu"
          ) -> tuple[nn.Module, Objective]:
    """Network and objective of a run on a device, with weights drawn on the CPU from torch's generator as it stands."""
    spec = training_set.cohort.spec
    with torch.device("meta" if str(device) == "meta" else "cpu"):  # nothing is drawn for weights without numbers
        net = build_network(settings.network, spec, **network_options(settings, training_set))
    objective = build_objective(settings.objective, spec, net, total_steps=settings.steps,
                                missing_rates=(1 - training_set.availability_rates()).tolist(),
                                **settings.objective_options)
    return net.to(device), objective.to(device)


def try_out(settings: TrainSettings, training_set: TrainingSet) -> None:
    """Put network, objective and one batch of each crop together on the meta device: shapes without numbers.

    Raises:
        ValueError: If they do not fit; the message says what and why.
    """
    batches = TrainingBatches(training_set, batch_settings(settings))
    net, objective = build(settings, training_set, "meta")
    freeze(net, settings.frozen)
    batches.keep_dropped = objective.reads_dropped
    net.train()
    objective.train(not joined())  # several processes would wait for each other in it
    first_late = batches.settings.late_from
    for step in (0, *range(first_late, first_late + 4 * len(settings.late_crops))):
        total(StepModel(net, objective)(batches.outline(step), 0))


class Run:
    """The folder of a run.

    Args:
        folder: Need not be there.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.weights = self.folder / "weights.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the weights are there."""
        return self.weights.is_file()

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run at all."""
        return (self.folder / "settings.yaml").is_file()

    def settings(self) -> TrainSettings:
        """The settings of the run that is there."""
        return read_settings(TrainSettings, self.folder / "settings.yaml")

    def open(self, settings: TrainSettings, training_set: TrainingSet) -> Run:
        """Begin the run, or make sure that it is this one.

        Raises:
            ValueError: If the settings do not fit together (nothing is written then), or the folder holds a run with
                other settings or data.
        """
        differs = self.differs(settings, training_set)
        if differs:
            raise ValueError(f"{self.folder} holds a run with other {', '.join(differs)}; a run is never mixed with "
                             "another: choose a new folder or delete this one")
        if not self.finished:
            try_out(settings, training_set)
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.folder / LAST.parent):
            sweep(folder)
        if not self.begun:
            if training_set.table is not None:
                write_table(self.folder / "missing_rates.csv", training_set.frame(), spec=training_set.cohort.spec)
            write_text(self.folder / "cases.txt", "".join(f"{name}\n" for name in training_set.names))
            write_text(self.folder / "data.json", json.dumps(_data(training_set), indent=1) + "\n")
            write_text(self.folder / "settings.yaml", yaml.safe_dump(to_plain(settings), sort_keys=False))  # last
        return self

    def differs(self, settings: TrainSettings, training_set: TrainingSet) -> list[str]:
        """In what the run that is there differs from this one, in words; empty if in nothing, or if none is there."""
        if not self.begun:
            return []
        try:
            old = to_plain(self.settings())
        except SettingsError as error:
            return [f"settings, written by another version of the kit ({error})"]
        new = to_plain(settings)
        other = [key for key in new if old[key] != new[key]]
        if (self.folder / "cases.txt").read_text(encoding="utf-8").split("\n")[:-1] != list(training_set.names):
            return [*other, "training cases"]
        path = self.folder / "missing_rates.csv"
        if path.is_file() != (training_set.table is not None) or (
                path.is_file() and not read_table(path, spec=training_set.cohort.spec).equals(training_set.frame())):
            return [*other, "missing-rate table"]
        data = self.folder / "data.json"  # earlier versions wrote none
        if data.is_file() and json.loads(data.read_text(encoding="utf-8"))["digest"] != training_set.digest:
            other.append("prepared cases (other files, or prepared in another way)")
        return other

    def is_done(self, settings: TrainSettings, training_set: TrainingSet) -> bool:
        """Whether this very run is finished here.

        Raises:
            ValueError: If the folder holds another run.
        """
        return self.open(settings, training_set).finished if self.begun else False

    def hold(self) -> AbstractContextManager[None]:
        """The lock on the folder, with a heartbeat: two processes never train one run."""
        return lock(self.folder)

    def resume(self, net: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer, *,
               batches_per_step: int) -> tuple[int, list[float]]:
        """Restore the last checkpoint; gives the next step and the learning-rate factors."""
        return load_checkpoint(self.folder, net, objective, optimizer, batches_per_step=batches_per_step)

    def log(self, first: int) -> RunLog:
        """The log, cut back to the steps before `first`."""
        return RunLog(self.folder / "log.csv", first)

    def save(self, net: nn.Module, objective: Objective, optimizer: torch.optim.Optimizer, *, step: int,
             factors: Sequence[float], batches_per_step: int) -> None:
        """Write a checkpoint.

        Raises:
            FloatingPointError: If a weight is not finite; the checkpoint before is kept.
        """
        self._check_finite(net, objective, step)
        save_checkpoint(self.folder, net, objective, optimizer, step=step, factors=factors,
                        batches_per_step=batches_per_step)

    def finish(self, net: nn.Module, objective: Objective, card: Mapping[str, Any]) -> None:
        """Write card and weights, the weights last: with them the run is finished."""
        self._check_finite(net, objective, int(card["recipe"]["steps"]))
        write_text(self.folder / "card.json", json.dumps(card, indent=1))
        save_weights(self.weights, net, card)

    def fail(self, what: str, step: int) -> FloatingPointError:
        """The error of a run whose numbers are no longer finite."""
        kept = self.folder / LAST
        return FloatingPointError(f"{self.folder}: {what} after step {step}; expected finite numbers. Lower the "
                                  "learning rate or use precision: float32, in a new folder"
                                  + (f"; the last good checkpoint, {kept.name}, is kept" if kept.is_file() else ""))

    def _check_finite(self, net: nn.Module, objective: Objective, step: int) -> None:
        numbers = [*net.parameters(), *net.buffers(), *objective.parameters()]
        finite = torch.stack([x.detach().isfinite().all() for x in numbers if x.is_floating_point()])
        if not bool(finite.all()):
            raise self.fail("some weights are not finite", step)


def _data(training_set: TrainingSet) -> dict[str, Any]:
    return {"digest": training_set.digest, "layout": training_set.cohort.layout.name, "cases": len(training_set.names)}
