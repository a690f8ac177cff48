"""Training batches: the batch of step t is a pure function of (seed, t).

No random state has to be saved: a resumed run, another number of workers or another machine draws the
same cases, crops, changes and subsets.

Taught in lessons 01 (crops) and 07 (resume).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dmaf_lite.base.settings import checked
from dmaf_lite.data.augmentation import Augmentation, AugmentationSettings, apply, draw
from dmaf_lite.data.read_ahead import AHEAD, workers_that_fit
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.data.volume import overlap
from dmaf_lite.spec import OUTSIDE

Condition = Literal["complete", "imbalanced", "imbalanced+drop"]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        images: float32[B, M, D, H, W], exact 0 where a scan was not read.
        available: bool[B, M] on the CPU: what the network may use.
        label: int64[B, D, H, W], internal classes; `spec.OUTSIDE` where the crop reaches beyond the scan.
        names: The B case names.
        existing: bool[B, M] on the CPU: what was read.  Default: `available`.  With `keep_dropped` also scans that
            were dropped at random, for a teacher that sees more than its student.
        changes: The B changes that are still to be made (see `augmented`); none in a finished batch.
        padded: Whether some crop reaches beyond its scan.
    """

    images: Tensor
    available: Tensor
    label: Tensor
    names: tuple[str, ...]
    existing: Tensor | None = None
    changes: tuple[Augmentation, ...] = ()
    padded: bool = False

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
    return replace(batch, images=_stacked(images), label=_stacked(labels), changes=())


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """`torch.stack`; of a single part without a copy."""
    return torch.stack(tuple(parts)) if len(parts) > 1 else parts[0][None]


@checked
class BatchSettings:
    """What a batch is made of."""

    crop: tuple[int, int, int] = (32, 32, 32)  # at 3 mm: 96 mm, about half a head
    batch: int = 2
    seed: int = 0
    # complete: a random non-empty subset of the scans is dropped anew each time; imbalanced: the
    # missing-rate table decides once for all; imbalanced+drop: random subsets of the table's row.
    condition: Condition = "complete"
    foreground: float = 0.5  # share of crops centred on a labelled voxel, all classes alike; published: 0
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
        training_set: Cases and table.
        settings: See `BatchSettings`.

    Attributes:
        keep_dropped: Read scans that are dropped at random, too (`Batch.existing`); for objectives with a teacher.
        augment: False leaves the changes to `augmented`, on the device where the step runs.

    Raises:
        ValueError: If the training set has no table and the condition needs one, or the other way round.
    """

    def __init__(self, training_set: TrainingSet, settings: BatchSettings) -> None:
        training_set.check_condition(settings.condition)
        self.cohort, self.names, self.allowed = training_set.cohort, training_set.names, training_set.allowed
        self.settings = settings
        self.keep_dropped, self.augment = False, True

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every case was drawn once (rounded up)."""
        return -(-len(self.names) // self.settings.batch)

    def outline(self, step: int = 0) -> Batch:
        """The batch of a step without its voxels, on the meta device: shapes and availability, nothing is read."""
        size = (self.settings.batch, self.cohort.spec.M, *self.settings.crop_of(step))
        drawn = [self._draw(step * self.settings.batch + b)[:2] for b in range(self.settings.batch)]
        available = torch.from_numpy(np.stack([mask for _, mask in drawn]))
        existing = torch.from_numpy(np.stack([self._to_read(name, mask) for name, mask in drawn]))
        return Batch(torch.empty(size, device="meta"), available,
                     torch.empty((size[0], *size[2:]), dtype=torch.int64, device="meta"),
                     tuple(name for name, _ in drawn), existing)

    def __getitem__(self, step: int) -> Batch:
        crop = self.settings.crop_of(step)
        images, available, labels, names, existing, changes = zip(
            *(self._sample(step * self.settings.batch + b, crop) for b in range(self.settings.batch)), strict=True
        )
        batch = Batch(
            _stacked([torch.from_numpy(part) for part in images]),
            torch.from_numpy(np.stack(available)),
            _stacked([torch.from_numpy(part) for part in labels]),
            names,
            torch.from_numpy(np.stack(existing)),
            changes,
            padded=any((label == OUTSIDE).any() for label in labels),
        )
        return augmented(batch) if self.augment else batch

    def _sample(
        self, index: int, crop: tuple[int, int, int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, str, np.ndarray, Augmentation]:
        """The `index`-th sample of the endless stream of epochs."""
        name, available, rng = self._draw(index)
        case = self.cohort[name]
        start = draw_crop(rng, case.meta, crop, self.settings.foreground)
        existing = self._to_read(name, available)
        images, label = case.read(start, crop, existing)
        label = outside_marked(label, start, case.meta["shape"])
        return images, available, label, name, existing, draw(rng, len(available), self.settings.augmentation, crop[2])

    def _draw(self, index: int) -> tuple[str, np.ndarray, np.random.Generator]:
        """Case and scans of a sample, and the generator from which everything else of it is drawn."""
        epoch, position = divmod(index, len(self.names))
        order = np.random.default_rng([self.settings.seed, 0, epoch]).permutation(len(self.names))
        name = self.names[order[position]]
        rng = np.random.default_rng([self.settings.seed, 1, index])
        return name, self._draw_available(rng, name), rng

    def _to_read(self, name: str, available: np.ndarray) -> np.ndarray:
        return self.allowed[name] if self.keep_dropped else available

    def _draw_available(self, rng: np.random.Generator, name: str) -> np.ndarray:
        allowed = self.allowed[name]
        if self.settings.condition == "imbalanced":
            return allowed
        subsets = [s for s in map(np.array, self.cohort.spec.subsets()) if not (s & ~allowed).any()]
        return subsets[rng.integers(len(subsets))]


def outside_marked(label: np.ndarray, start: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """The label of a crop, uint8[D, H, W] -> int64, with `OUTSIDE` where it reaches beyond a scan of `shape`."""
    _, within = overlap(start, label.shape, shape)
    if label[within].shape == label.shape:
        return label.astype(np.int64)
    marked = np.full(label.shape, OUTSIDE, np.int64)
    marked[within] = label[within]
    return marked


def draw_crop(
    rng: np.random.Generator, meta: Mapping, crop: Sequence[int], foreground: float
) -> tuple[int, int, int]:
    """Draw the first voxel of a crop: around a labelled voxel with probability `foreground`, else anywhere.

    The class of the voxel is drawn first, so that a small region is seen as often as a large one.
    """
    room = np.maximum(np.array(meta["shape"]) - crop, 0)
    voxels = {c: v for c, v in meta["foreground"].items() if len(v)}
    if voxels and rng.random() < foreground:
        of_class = voxels[sorted(voxels)[rng.integers(len(voxels))]]
        centre = np.array(of_class[rng.integers(len(of_class))])
        # anywhere in the middle half, so that the network cannot learn "what is sought is in the centre"
        offset = rng.uniform(0.25, 0.75, 3) * np.array(crop)
        return tuple(int(x) for x in np.clip(np.rint(centre - offset), 0, room))
    return tuple(int(x) for x in rng.integers(0, room + 1))


def batch_loader(batches: TrainingBatches, steps: Sequence[int], *, workers: int, pin: bool) -> DataLoader:
    """The batches of the given steps in order; worker processes only read ahead.

    Warns:
        UserWarning: The shared memory is too small for the workers; this process then reads the batches itself.
    """
    settings = batches.settings
    voxels = max(math.prod(crop) for crop in (settings.crop, *settings.late_crops))
    # float32 scans and the int64 label.
    workers = workers_that_fit(workers, settings.batch * voxels * (4 * batches.cohort.spec.M + 8))
    return DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pin,
        persistent_workers=False, prefetch_factor=AHEAD if workers else None,
    )
