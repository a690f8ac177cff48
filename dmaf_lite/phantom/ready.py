"""A phantom cohort, ready to train on: made, prepared and split; what is there already is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dmaf_lite.base.lock import lock
from dmaf_lite.base.settings import checked
from dmaf_lite.data.case import CaseError
from dmaf_lite.data.cohort import Cohort, prepare_cohort, read_split, split_cases, write_split
from dmaf_lite.data.splits import PARTS
from dmaf_lite.phantom.brain.ingredients import BrainSettings
from dmaf_lite.phantom.brain.recipe import write_brain_cohort
from dmaf_lite.phantom.heart.heart_cohort import write_heart_cohort
from dmaf_lite.phantom.heart.hearts import HeartSettings


@checked
class PhantomSettings:
    """How many synthetic cases, on which grid."""

    kind: Literal["brain", "heart"] = "brain"
    train: int = 24
    val: int = 4
    test: int = 8
    seed: int = 0
    spacing: float = 3.0  # mm; a 32^3 crop is then 96 mm; of hearts in plane, better 2.0
    randomise: str = "off"  # off | mild | full | mixed, see `BrainSettings`
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "brain":
            _ = self.brain  # a wrong word stops here, before the first case is made
        elif self.randomise != "off" or self.leave_out:
            raise ValueError("randomise and leave_out are for brains; leave them out for hearts")

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
        CaseError: If the folder holds a cohort of other settings.
        RuntimeError: If a case could not be made or prepared; the message names it.
    """
    folder = Path(folder)
    with lock(folder, wait=True):  # another process may be making the very same cohort
        return _ready(folder, settings, minimum, workers)


def _ready(folder: Path, settings: PhantomSettings, minimum: int, workers: int | None
           ) -> tuple[Cohort, Mapping[str, list[str]]]:
    split_folder = folder / "split"
    parts = [split_folder / f"{part}.txt" for part in PARTS]
    if all(path.is_file() for path in parts):  # else it was not finished, and drawing it again gives the same
        counts = {part: len(names) for part, names in read_split(split_folder).items()}
        if counts != settings.counts:
            raise CaseError(folder, found=f"a cohort of {_words(counts)} cases", expected=_words(settings.counts),
                            do="choose another folder, or delete this one to make the cohort anew")
    write, of_kind, layout = (write_heart_cohort, HeartSettings(spacing=settings.spacing), "heart_phantom") \
        if settings.kind == "heart" else (write_brain_cohort, settings.brain, "phantom")
    made = write(folder / "raw", count=sum(settings.counts.values()), seed=settings.seed, settings=of_kind,
                 workers=workers)
    if made.failed:
        raise RuntimeError(f"{folder}: some phantoms could not be made: {made.failed}")
    prepared = prepare_cohort(folder / "raw", folder / "prepared", layout=layout, minimum=minimum, workers=workers)
    if prepared.failed:
        raise RuntimeError(f"{folder}: some phantoms could not be prepared: {prepared.failed}")
    cohort = Cohort(folder / "prepared")
    if not all(path.is_file() for path in parts):
        write_split(split_folder, split_cases(cohort.names, counts=settings.counts, seed=settings.seed))
    return cohort, read_split(split_folder)


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {part}" for part, count in counts.items())
