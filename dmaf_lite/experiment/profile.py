"""A profile: which runs a matrix has, and the settings of each.

    runs = variants (methods) x rates (missing-rate tables) x seeds

Taught in lessons 09 and 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from dmaf_lite.base.settings import SettingsError, checked, from_mapping
from dmaf_lite.experiment.protocol import folds_of
from dmaf_lite.phantom.ready import PhantomSettings
from dmaf_lite.training.train_settings import TrainSettings

OWN = "as set"  # the one entry of the axis of rates where a profile has none: each variant's own condition


class RunKey(NamedTuple):
    """One run of a matrix."""

    variant: str
    rates: str
    seed: int
    fold: int = -1  # of a cross-validation; else -1

    @property
    def name(self) -> str:
        """Name of the run and of its folder."""
        fold = "" if self.fold < 0 else f"-fold{self.fold}"
        return f"{self.variant}{'' if self.rates == OWN else '-' + self.rates}-seed{self.seed}{fold}"


@checked
class ExperimentSettings:
    """A profile.

    Attributes:
        name: Of the experiment, and of its files in ``notebooks/results``.
        variants: Name -> training settings that differ from `common`.
        rates: Name -> modality -> missing rate, a second axis; an entry without rates is the condition complete.
        seeds: Of the trainings.
        common: Training settings of every run.
        phantom: The cohort; left out of account where a prepared cohort is given.
        training_phantoms: Variant -> phantoms of its own that it is trained on, all of them, in place of the cohort's
            training cases. Validation and test stay those of the cohort: what is learned from other data, or from less.
        protocol: Who is trained on and who is tested on: ``split``, ``cv5`` or ``passion`` (`protocol.py`).
        table_seed: Of the missing-rate tables; one table for all runs, so that seeds vary the training only.
        choice: Which weights are scored: the ``last``, or the ``best-on-validation`` (mean Dice over subsets and
            regions of the validation cases). Every row says which.
        validate_every: Steps between two looks at the validation cases; 0 never looks, and then only ``last`` can be.
        validation_cases: At most so many cases are looked at; 0 takes all.
        threads: Of each run; None shares out the cores.
        loader_workers: Processes of each run that read crops ahead, for a GPU that would wait; 0 reads in the run.
    """

    name: str
    variants: dict[str, dict[str, Any]]
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    common: dict[str, Any] = field(default_factory=dict)
    phantom: PhantomSettings = field(default_factory=PhantomSettings)
    training_phantoms: dict[str, PhantomSettings] = field(default_factory=dict)
    protocol: Literal["split", "cv5", "passion"] = "split"
    table_seed: int = 0
    choice: Literal["last", "best-on-validation"] = "last"
    validate_every: NonNegativeInt = 0
    validation_cases: NonNegativeInt = 0
    threads: PositiveInt | None = None
    loader_workers: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.choice != "last" and not self.validate_every:
            raise ValueError(f"choice is {self.choice} and validate_every is 0; expected the number of steps after "
                             "which the validation cases are looked at")
        if self.protocol != "split" and self.choice != "last":
            raise ValueError(f"choice is {self.choice} and the protocol {self.protocol} has no validation cases; leave "
                             "choice out")
        if (self.protocol == "passion") != bool(self.validate_every) and self.protocol != "split":
            raise ValueError("the protocol passion looks at its test cases every few steps, and cv5 has no cases to "
                             f"look at; found validate_every {self.validate_every} with {self.protocol}. Set it for "
                             "passion, leave it out for cv5")
        self._check_training_phantoms()
        for run in self.runs:  # a misspelt setting stops here, before the first run
            try:
                self.train_settings(run)
            except SettingsError as error:
                raise ValueError(f"run {run.name}: {error}") from None
        names = [run.name for run in self.runs]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"two runs are named {sorted(twice)[0]}; expected other names of variants or rates")
        if not names:
            raise ValueError("there is no run; expected at least one variant and one seed")

    def _check_training_phantoms(self) -> None:
        unknown = [name for name in self.training_phantoms if name not in self.variants]
        if unknown:
            raise ValueError(f"training_phantoms names {unknown[0]}, which is no variant; expected some of "
                             f"{', '.join(self.variants)}")
        if self.training_phantoms and self.protocol != "split":
            raise ValueError(f"training_phantoms are given, and the protocol {self.protocol} trains on its own folds; "
                             "leave one of them out")
        for name, phantom in self.training_phantoms.items():
            if phantom.kind != self.phantom.kind:
                raise ValueError(f"training_phantoms of {name} are {phantom.kind}s, and the cohort is of "
                                 f"{self.phantom.kind}s; expected the same kind")
            if phantom.seed == self.phantom.seed:  # the same heads and tumours would be trained on and tested
                raise ValueError(f"training_phantoms of {name} have the seed of the cohort, {phantom.seed}, so that "
                                 "the test cases would be among them; expected another seed")

    @property
    def runs(self) -> list[RunKey]:
        """All of one seed before the next: an unfinished matrix is still balanced."""
        return [RunKey(variant, rates, seed, fold) for seed in self.seeds for rates in (self.rates or {OWN: {}})
                for variant in self.variants for fold in folds_of(self.protocol)]

    def run(self, name: str) -> RunKey:
        """A run by its name.

        Raises:
            ValueError: If there is none.
        """
        by_name = {run.name: run for run in self.runs}
        if name not in by_name:
            raise ValueError(f"{self.name} has no run {name}; it has {', '.join(by_name)}")
        return by_name[name]

    def train_settings(self, run: RunKey) -> TrainSettings:
        """The settings of one run."""
        values: dict[str, Any] = {**self.common, **self.variants[run.variant], "seed": run.seed}
        if run.rates != OWN:
            rates: Mapping[str, float] = self.rates[run.rates]
            drops = values.get("condition") == "imbalanced+drop"
            values |= {"missing_rates": dict(rates),
                       "condition": "complete" if not rates else "imbalanced+drop" if drops else "imbalanced"}
        return from_mapping(TrainSettings, values)
