"""Writing a phantom cohort: every case whole or not at all, in several processes, on from where a run stopped."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmaf_lite.base.atomic import write_text
from dmaf_lite.base.workers import NO_GUARD, cores, worker_pool

if TYPE_CHECKING:
    import numpy as np

COHORT_FILE = "phantom.json"
MOST_WORKERS = 8  # a brain at 1 mm needs about 0.7 GB


@dataclass
class PhantomReport:
    """What happened to each case of a cohort, by name; `failed` holds the error's sentence."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{len(self.written)} synthetic cases written, {len(self.skipped)} were there, "
                 f"{len(self.failed)} failed"]
        return "\n".join(lines + [f"failed {name}: {why}" for name, why in sorted(self.failed.items())])


def write_cases(write: Callable[[int], Path], *, count: int, name: Callable[[int], str],
                is_written: Callable[[int], bool], title: str, workers: int | None = None) -> PhantomReport:
    """Write cases 0 .. count - 1 that are not there yet.

    Args:
        write: Writes one case, all its files or none; a function that a process can be given (no closure).
        count: Number of cases.
        name: Index -> name of the case, for the report.
        is_there: Index -> whether the case is complete.
        title: Of the progress bar.
        workers: Processes; 0 makes everything in this one, None takes one per core (at most 8).

    Returns:
        What was written, was there already, and failed: a case that fails does not stop the others.
    """
    from tqdm.auto import tqdm

    report, todo = PhantomReport(), []
    for index in range(count):
        report.skipped.append(name(index)) if is_written(index) else todo.append(index)

    with tqdm(total=count, initial=count - len(todo), desc=title, unit="case") as bar:

        def note(index: int, get: Callable[[], Path]) -> None:
            try:
                get()
                report.written.append(name(index))
            except Exception as error:  # the batch goes on; the report names the case
                report.failed[name(index)] = f"{type(error).__name__}: {error}"
            bar.update()

        workers = min(min(cores(), MOST_WORKERS) if workers is None else workers, len(todo))
        if workers <= 1:
            for index in todo:
                note(index, lambda index=index: write(index))
        else:
            with worker_pool(workers) as pool:
                jobs = {pool.submit(write, index): index for index in todo}
                for job in as_completed(jobs):
                    if isinstance(job.exception(), BrokenProcessPool) and not report.written:
                        raise RuntimeError(NO_GUARD)
                    note(jobs[job], job.result)
    report.written.sort()
    return report


def describe(values: Mapping[str, Any]) -> str:
    """The text of `COHORT_FILE`: everything that decides the bytes of a cohort's cases."""
    return json.dumps({"what": "synthetic phantoms, no patients", **values}, indent=1) + "\n"


def claim_folder(folder: str | Path, description: str, *, dry: bool = False) -> bool:
    """Whether the folder holds cases of this cohort already; if it holds none, it is marked as this cohort's.

    Args:
        folder: Of the cohort; made if it is not there.
        description: What `describe` gave.
        dry: Only look.

    Raises:
        CaseError: If it holds a cohort of another seed, recipe or settings.
    """
    from dmaf_lite.data.nifti import CaseError

    path = Path(folder) / COHORT_FILE
    if not path.exists():
        if not dry:
            write_text(path, description)
        return False
    found = path.read_text(encoding="utf-8")
    if found != description:
        raise CaseError(path, found=f"another phantom cohort, {' '.join(found.split())}",
                        expected=" ".join(description.split()),
                        do="choose another folder, or delete this one to make the cohort anew")
    return True


def write_nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    """One .nii.gz whose bytes depend on the voxels alone: no time stamp, no file name."""
    import nibabel as nib

    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    # Level 4: half the time of the usual 9 for 2 % more bytes.
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))
