"""Reading training crops: from the prepared store, and the usual way (whole volumes, then the crop)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import seconds
from dmaf_lite.data.augmentation import AugmentationSettings
from dmaf_lite.data.batches import BatchSettings, TrainingBatches
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.phantom.brain.recipe import write_brain_cohort

CPU = torch.device("cpu")


def measure_loading(*, side: int, spacing: float = 1.0, rotation: float = 10.0) -> dict[str, float]:
    """Time and bytes per training crop of four scans, augmentation included (`crop_s`) and without it.

    The reference, `whole_s`, loads the four whole volumes of the case and cuts the crop out, as the public
    codes do; it augments nothing.  Both read from the page cache: this is the work, not the disk.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_brain_cohort(Path(folder) / "raw", count=1, seed=0, spacing=spacing, workers=0)
        prepare_cohort(Path(folder) / "raw", Path(folder) / "store", layout="phantom", workers=0)
        cohort = Cohort(Path(folder) / "store")
        name = cohort.names[0]
        shape = cohort.meta(name)["shape"]
        crop = tuple(min(side, n) for n in shape)
        plain = AugmentationSettings(flip=0, gain=0, shift=0)
        steps = iter(range(10_000))

        def crops(augmentation: AugmentationSettings) -> float:
            batches = TrainingBatches(TrainingSet(cohort, cohort.names),
                                      BatchSettings(crop, 1, augmentation=augmentation))
            return seconds(lambda: [batches[next(steps)] for _ in range(4)], CPU) / 4

        files = sorted(path for path in (Path(folder) / "store" / name).glob("*.npy"))

        def whole() -> None:
            for path in files:
                volume = np.load(path)
                np.ascontiguousarray(volume[tuple(slice(0, n) for n in crop)])

        whole_s = seconds(whole, CPU)
        read_s = crops(plain)
        voxels = int(np.prod(crop))
        return {"crop": list(crop), "read_s": read_s, "crop_s": crops(AugmentationSettings(rotation=rotation)),
                "whole_s": whole_s, "ratio": read_s / whole_s,
                "gbytes_per_s": voxels * (4 * len(files[:-1]) + 1) / read_s / 1e9,
                "case_mbytes": sum(path.stat().st_size for path in files) / 1e6}
