"""Reading training crops: from the prepared store, and the usual way; with workers; from few cases and many."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.cold import forget
from benchmarks.machine import seconds
from dmaf_lite.data.augmentation import AugmentationSettings
from dmaf_lite.data.batches import BatchSettings, TrainingBatches, batch_loader
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.phantom.brain.recipe import write_brain_cohort

CPU = torch.device("cpu")


AUGMENTED = AugmentationSettings(rotation=10.0)
PLAIN = AugmentationSettings(flip=0, gain=0, shift=0)


@contextmanager
def one_case(spacing: float) -> Iterator[Path]:
    """A store of one synthetic case at so many mm, removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        write_brain_cohort(Path(folder) / "raw", count=1, seed=0, spacing=spacing, workers=0)
        prepare_cohort(Path(folder) / "raw", Path(folder) / "store", layout="phantom", workers=0)
        yield Path(folder) / "store"


def batches_of(cohort: Cohort, side: int, augmentation: AugmentationSettings, batch: int = 1) -> TrainingBatches:
    """Batches of crops, a little smaller where the cases are."""
    crop = tuple(min(side, n) for n in cohort.meta(cohort.names[0])["shape"])
    return TrainingBatches(TrainingSet(cohort, cohort.names), BatchSettings(crop, batch, augmentation=augmentation))


def measure_loading(*, side: int, spacing: float = 1.0) -> dict[str, object]:
    """Time and bytes per training crop of four scans, augmentation included (`crop_s`) and without it.

    The reference, `whole_s`, loads the four whole volumes of the case and cuts the crop out, as the public
    codes do; it augments nothing.  Both read from the page cache: this is the work, not the disk.  `cold_s` and
    `whole_cold_s` come from the disk; None where the system cannot be asked to forget a file.
    """
    with one_case(spacing) as store:
        cohort = Cohort(store)
        plain = batches_of(cohort, side, PLAIN)
        crop = plain.settings.crop
        steps = iter(range(10_000))
        files = sorted((store / cohort.names[0]).glob("*.npy"))

        def crops(batches: TrainingBatches) -> float:
            return seconds(lambda: [batches[next(steps)] for _ in range(4)], CPU) / 4

        def whole() -> None:
            for path in files:
                volume = np.load(path)
                np.ascontiguousarray(volume[tuple(slice(0, n) for n in crop)])

        def cold(work: Callable[[], object]) -> float | None:
            taken = []
            for _ in range(5):
                if not forget(files):
                    return None
                start = time.perf_counter()
                work()
                taken.append(time.perf_counter() - start)
            return float(np.median(taken))

        whole_s = seconds(whole, CPU)
        read_s = crops(plain)
        voxels = int(np.prod(crop))
        return {"crop": list(crop), "read_s": read_s, "crop_s": crops(batches_of(cohort, side, AUGMENTED)),
                "whole_s": whole_s, "ratio": read_s / whole_s,
                "cold_s": cold(lambda: plain[next(steps)]), "whole_cold_s": cold(whole),
                "gbytes_per_s": voxels * (4 * len(files[:-1]) + 1) / read_s / 1e9,
                "case_mbytes": sum(path.stat().st_size for path in files) / 1e6}


def measure_workers(*, workers: int, side: int = 80, spacing: float = 1.0, steps: int = 24) -> dict[str, float]:
    """Seconds until the first augmented crop is there, and for each of the next, with so many reading processes.

    Nothing else computes meanwhile: this is the most that a training can be fed with.
    """
    with one_case(spacing) as store:
        loader = batch_loader(batches_of(Cohort(store), side, AUGMENTED), range(steps), workers=workers, pin=False)
        start = time.perf_counter()
        batches = iter(loader)
        next(batches)
        first = time.perf_counter()
        for _ in batches:
            pass
        return {"first_s": first - start, "batch_s": (time.perf_counter() - first) / (steps - 1)}


def measure_cases(*, cases: int, side: int = 32, spacing: float = 4.0) -> dict[str, float]:
    """Processor seconds to open a cohort of so many small cases for training, and to read a crop, from the page cache.

    The cases are one case under many names: what grows is the bookkeeping.
    """
    with one_case(spacing) as store:
        first = next(path.parent for path in store.glob("*/case.json"))
        for number in range(1, cases):
            copy = store / f"{first.name}_{number:04d}"
            copy.mkdir()
            for file in first.iterdir():
                link(file, copy / file.name)
        open_s = processor_seconds(lambda: TrainingSet(cohort := Cohort(store), cohort.names))
        batches = batches_of(Cohort(store), side, PLAIN)
        steps = iter(range(10_000))
        return {"open_s": open_s, "batch_s": processor_seconds(lambda: [batches[next(steps)] for _ in range(20)]) / 20}


def processor_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Smallest processor time of one call, after one to warm up."""
    taken = []
    for _ in range(repeats + 1):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken[1:])


def link(file: Path, copy: Path) -> None:
    """The same file under another name; a copy where the disk knows no such thing."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copy(file, copy)
