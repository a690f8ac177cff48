"""Training batches: the batch of step t is a pure function of (seed, t).

No random state has to be saved: a resumed run, another number of workers or another machine draws the
same cases, crops, changes and subsets.

Taught in lessons 01 (crops) and 07 (resume).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dmaf_lite.data.augmentation import Augmentation, AugmentationSettings, apply, draw
from dmaf_lite.data.cohort import Cohort

CONDITIONS = ("complete", "imbalanced", "imbalanced+drop")


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        images: float32[B, M, D, H, W], exact 0 where a scan was not read.
        available: bool[B, M] on the CPU: what the network may use.
        label: int64[B, D, H, W], internal classes.
        names: The B case names.
        existing: bool[B, M] on the CPU: what was read.  Default: `available`.  With `keep_dropped` also scans that
            were dropped at random, for a teacher that sees more than its student.
        changes: The B changes that are still to be made (see `augmented`); none in a finished batch.
    """

    images: Tensor
    available: Tensor
    label: Tensor
    names: tuple[str, ...]
    existing: Tensor | None = None
    changes: tuple[Augmentation, ...] = ()

    def __post_init__(self) -> None:
        if self.existing is None:
            object.__setattr__(self, "existing", self.available)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the availability stays on the CPU."""
        return replace(self, images=self.images.to(device, non_blocking=True),
                       label=self.label.to(device, non_blocking=True))


    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which a GPU reads while the host goes on; the loader asks for it."""
        return replace(self, images=self.images.pin_memory(), label=self.label.pin_memory())


def augmented(batch: Batch) -> Batch:
    """Make the changes that are still to be made, on the device where the batch is."""
    if not batch.changes:
        return batch
    images, labels = zip(*map(apply, batch.changes, batch.images, batch.label), strict=True)
    return replace(batch, images=torch.stack(images), label=torch.stack(labels), changes=())


@dataclass(frozen=True)
class BatchSettings:
    """What a batch is made of."""

    crop: tuple[int, int, int] = (32, 32, 32)  # at 3 mm: 96 mm, about half a brain
    batch: int = 2
    seed: int = 0
    # complete: a random non-empty subset of the scans is dropped anew each time; imbalanced: the
    # missing-rate table decides once for all; imbalanced+drop: random subsets of the table's row.
    condition: str = "complete"
    foreground: float = 0.5  # share of crops centred on a tumour voxel, all classes alike; published: 0
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    # From batch `late_from` on, the crop is one of these, drawn anew for each batch: a network that normalises over
    # its window has then seen large ones, too.
    late_crops: tuple[tuple[int, int, int], ...] = ()
    late_from: int = 0

    def crop_of(self, number: int) -> tuple[int, int, int]:
        """The crop of batch `number`."""
        if not self.late_crops or number < self.late_from:
            return self.crop
        rng = np.random.default_rng([self.seed, 2, number])
        return tuple(self.late_crops[rng.integers(len(self.late_crops))])


class TrainingBatches(Dataset):
    """`batches[t]` is the batch of step t, for any t >= 0.

    Args:
        cohort: A prepared cohort.
        names: The training cases.
        settings: See `BatchSettings`.
        table: Case name -> bool[M], for the imbalanced conditions.

    Attributes:
        keep_dropped: Read scans that are dropped at random, too (`Batch.existing`); for objectives with a teacher.
        augment: False leaves the changes to `augmented`, on the device where the step runs.

    Raises:
        ValueError: Unknown condition, no cases, a case without a row, or a case left without any scan.
    """

    def __init__(
        self,
        cohort: Cohort,
        names: Sequence[str],
        settings: BatchSettings,
        table: Mapping[str, Sequence[bool]] | None = None,
    ) -> None:
        if settings.condition not in CONDITIONS:
            raise ValueError(f"condition {settings.condition!r} is not known; choose one of {CONDITIONS}")
        if not names:
            raise ValueError("no training cases were given")
        self.cohort, self.names, self.settings = cohort, list(names), settings
        self.keep_dropped, self.augment = False, True
        self.allowed = {name: cohort.available(name) for name in self.names}
        if settings.condition != "complete":
            missing_rows = [name for name in self.names if table is None or name not in table]
            if missing_rows:
                raise ValueError(f"condition {settings.condition!r} needs a missing-rate table with a row for every "
                                 f"training case; none for {missing_rows[:3]} ({len(missing_rows)} in all)")
            self.allowed = {name: there & np.asarray(table[name], dtype=bool) for name, there in self.allowed.items()}
        empty = [name for name, there in self.allowed.items() if not there.any()]
        if empty:
            raise ValueError(f"no modality is left for {empty[:3]} ({len(empty)} in all); correct the table")

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every case was drawn once (rounded up)."""
        return -(-len(self.names) // self.settings.batch)

    def availability_rates(self) -> np.ndarray:
        """Share of training cases that have each modality, float[M]."""
        return np.mean([self.allowed[name] for name in self.names], axis=0)

    def __getitem__(self, step: int) -> Batch:
        crop = self.settings.crop_of(step)
        images, available, labels, names, existing, changes = zip(
            *(self._sample(step * self.settings.batch + b, crop) for b in range(self.settings.batch)), strict=True
        )
        batch = Batch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(available)),
            torch.from_numpy(np.stack(labels).astype(np.int64)),
            names,
            torch.from_numpy(np.stack(existing)),
            changes,
        )
        return augmented(batch) if self.augment else batch

    def _sample(
        self, index: int, crop: tuple[int, int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, str, np.ndarray, Augmentation]:
        """The `index`-th sample of the endless stream of epochs."""
        epoch, position = divmod(index, len(self.names))
        order = np.random.default_rng([self.settings.seed, 0, epoch]).permutation(len(self.names))
        name = self.names[order[position]]
        rng = np.random.default_rng([self.settings.seed, 1, index])
        available = self._draw_available(rng, name)
        start = draw_crop(rng, self.cohort.meta(name), crop, self.settings.foreground)
        existing = self.allowed[name] if self.keep_dropped else available
        images, label = self.cohort.read(name, start, crop, existing)
        return images, available, label, name, existing, draw(rng, len(available), self.settings.augmentation)

    def _draw_available(self, rng: np.random.Generator, name: str) -> np.ndarray:
        allowed = self.allowed[name]
        if self.settings.condition == "imbalanced":
            return allowed
        subsets = [s for s in map(np.array, self.cohort.spec.subsets()) if not (s & ~allowed).any()]
        return subsets[rng.integers(len(subsets))]


def draw_crop(
    rng: np.random.Generator, meta: Mapping, crop: Sequence[int], foreground: float
) -> tuple[int, int, int]:
    """Draw the first voxel of a crop: around a tumour voxel with probability `foreground`, else anywhere.

    The class of the voxel is drawn first, so that a small region is seen as often as a large one.
    """
    room = np.maximum(np.array(meta["shape"]) - crop, 0)
    voxels = {c: v for c, v in meta["foreground"].items() if len(v)}
    if voxels and rng.random() < foreground:
        of_class = voxels[sorted(voxels)[rng.integers(len(voxels))]]
        centre = np.array(of_class[rng.integers(len(of_class))])
        # anywhere in the middle half, so that the network cannot learn "the tumour is in the centre"
        offset = rng.uniform(0.25, 0.75, 3) * np.array(crop)
        return tuple(int(x) for x in np.clip(np.rint(centre - offset), 0, room))
    return tuple(int(x) for x in rng.integers(0, room + 1))


def batch_loader(batches: TrainingBatches, steps: Sequence[int], *, workers: int, pin: bool) -> DataLoader:
    """The batches of the given steps in order; worker processes only read ahead."""
    return DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin,
        persistent_workers=False, prefetch_factor=4 if workers else None,
    )
