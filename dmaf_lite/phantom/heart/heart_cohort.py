"""Heart phantoms on disk, in the files of MyoPS 2020: scans in one flat folder, labels in the one beside it.

    OUT/train/HeartPhantom_000_C0.nii.gz  _DE  _T2        OUT/train_gd/HeartPhantom_000_gd.nii.gz

Taught in the lesson on hearts.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

from dmaf_lite.phantom.heart.hearts import HeartSettings, heart_name, make_heart
from dmaf_lite.phantom.writing import PhantomReport, claim_folder, describe, write_cases, write_nifti

HEART_RECIPE = 1  # raise it when the same seed gives other bytes: a cohort must not mix two recipes
# What `make_heart` gives -> folder and end of the file's name.
FILES = {"gd": ("train_gd", "_gd"), "C0": ("train", "_C0"), "LGE": ("train", "_DE"), "T2": ("train", "_T2")}


def heart_files(folder: str | Path, index: int) -> dict[str, Path]:
    """``"gd", "C0", "LGE", "T2"`` -> the file of a case."""
    return {key: Path(folder) / place / f"{heart_name(index)}{end}.nii.gz" for key, (place, end) in FILES.items()}


def write_heart(folder: str | Path, seed: int, index: int, settings: HeartSettings) -> Path:
    """Make one case and write its four files, all or none.

    Returns:
        The folder of the scans.
    """
    heart = make_heart(seed, index, settings)
    targets = heart_files(folder, index)
    hidden = {key: path.with_name(f".{path.name}.partial") for key, path in targets.items()}
    try:
        for key, path in hidden.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_nifti(path, heart[key], heart["affine"])
        for key, path in targets.items():
            os.replace(hidden[key], path)
    finally:
        for path in hidden.values():
            path.unlink(missing_ok=True)
    return targets["C0"].parent


def has_heart(folder: str | Path, index: int) -> bool:
    """Whether all files of a case are there."""
    return all(path.is_file() for path in heart_files(folder, index).values())


def holds_hearts(folder: str | Path, seed: int, settings: HeartSettings) -> bool:
    """Whether the folder holds cases of this cohort; False where it holds no phantom yet.

    Raises:
        CaseError: If it holds a cohort of another kind, seed, recipe or settings.
    """
    return claim_folder(folder, _describe(seed, settings), dry=True)


def write_heart_cohort(folder: str | Path, *, count: int, seed: int = 0, workers: int | None = None,
                       settings: HeartSettings | None = None, resume: bool = True) -> PhantomReport:
    """Write a cohort of heart phantoms; the same seed gives the same bytes, however many workers.

    Args:
        folder: Where; made if it is not there.
        count: Number of cases.
        seed: Seed of the cohort.
        workers: Processes; 0 makes everything in this one, None takes one per core (at most 8).
        settings: Default: those of the lessons.
        resume: Keep the cases that are already there.

    Returns:
        What was written, was there already, and failed: a case that fails does not stop the others.

    Raises:
        CaseError: If the folder holds a cohort of another kind, seed, recipe or settings.
        ValueError: If a number is out of range.
    """
    settings = settings or HeartSettings()
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1 case")
    claim_folder(folder, _describe(seed, settings))
    return write_cases(partial(write_heart, folder, seed, settings=settings), count=count, name=heart_name,
                       workers=workers, is_written=lambda index: resume and has_heart(folder, index),
                       title=f"heart phantoms at {settings.spacing:g} mm")


def _describe(seed: int, settings: HeartSettings) -> str:
    return describe({"kind": "heart", "recipe": HEART_RECIPE, "seed": seed, **asdict(settings)})
