"""A phantom cohort, ready to train on: made, prepared and split; what is there already is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmaf_lite.data.cohort import Cohort, prepare_cohort, read_split, split_cases, write_split
from dmaf_lite.phantom.brain.ingredients import BrainSettings
from dmaf_lite.phantom.brain.recipe import write_brain_cohort


@dataclass(frozen=True)
class PhantomSettings:
    """How many synthetic cases, on which grid."""

    train: int = 24
    val: int = 4
    test: int = 8
    seed: int = 0
    spacing: float = 3.0  # mm; a 32^3 crop is then 96 mm
    randomise: str = "off"  # off | mild | full | mixed, see `BrainSettings`
    leave_out: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Cases per part of the split."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def brain(self) -> BrainSettings:
        """What its cases have in common."""
        return BrainSettings(spacing=self.spacing, randomise=self.randomise, leave_out=self.leave_out)


def ready_cohort(
    folder: str | Path, settings: PhantomSettings, *, minimum: int = 32, workers: int | None = None
) -> tuple[Cohort, Mapping[str, list[str]]]:
    """Make, prepare and split a phantom cohort under `folder` (raw/, prepared/, split/).

    Args:
        folder: Its folder; a second call with the same settings only opens it.
        settings: Numbers of cases, seed and grid.
        minimum: Smallest stored side in voxels; at least the training crop.
        workers: Processes; None takes one per core, 0 works in this one.

    Returns:
        The prepared cohort and the case names of ``train``, ``val`` and ``test``.

    Raises:
        RuntimeError: If a case could not be made or prepared; the message names it.
    """
    folder = Path(folder)
    made = write_brain_cohort(folder / "raw", count=sum(settings.counts.values()), seed=settings.seed,
                              settings=settings.brain, workers=workers)
    if made.failed:
        raise RuntimeError(f"{folder}: some phantoms could not be made: {made.failed}")
    prepared = prepare_cohort(folder / "raw", folder / "prepared", layout="phantom", minimum=minimum, workers=workers)
    if prepared.failed:
        raise RuntimeError(f"{folder}: some phantoms could not be prepared: {prepared.failed}")
    cohort = Cohort(folder / "prepared")
    split_folder = folder / "split"
    if not split_folder.exists():
        write_split(split_folder, split_cases(cohort.names, counts=settings.counts, seed=settings.seed))
    return cohort, read_split(split_folder)
