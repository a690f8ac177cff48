"""Builders of tiny cohorts, in every layout's file names."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np

from dmaf_lite.data.layouts import LAYOUTS

REPOSITORY = Path(__file__).resolve().parents[1]


def load_script(name: str) -> ModuleType:
    """One of the command lines in data_scripts/, which is no package."""
    source = importlib.util.spec_from_file_location(name, REPOSITORY / "data_scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(source)
    source.loader.exec_module(script)
    return script


def die_on_b(folder: Path) -> tuple[str, None, tuple[str, ...]]:
    """A job for a worker process that is killed at the case named b."""
    if folder.name == "b":
        os._exit(9)
    return folder.name, None, ()


def lps_affine(spacing: float | tuple[float, float, float] = 1.0, shape: tuple[int, ...] = (24, 28, 20)) -> np.ndarray:
    """The orientation of BraTS files."""
    first, second, third = (spacing,) * 3 if isinstance(spacing, int | float) else spacing
    affine = np.diag([-first, -second, third, 1.0])
    affine[1, 3] = (shape[1] - 1) * second
    return affine


def tiny_images(seed: int = 0, shape: tuple[int, int, int] = (24, 28, 20)) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Four int16 scans of an ellipsoid head and an internal label with all classes: (modality -> image, uint8)."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    centre = rng.uniform(-0.1, 0.1, (3, 1, 1, 1))
    head = ((grid - centre) ** 2).sum(0) < 0.62
    distance = np.sqrt(((grid - centre - 0.1) ** 2).sum(0))
    label = np.zeros(shape, np.uint8)
    for internal, radius in ((2, 0.45), (3, 0.3), (1, 0.18)):
        label[(distance < radius) & head] = internal
    images = {}
    for m, name in enumerate(("FLAIR", "T1ce", "T1", "T2")):
        contrast = np.array([0, 60, 120, 180])[(label + m) % 4]
        images[name] = np.where(head, rng.normal(300, 60, shape) * (m + 1) + contrast, 0).astype(np.int16)
    return images, label


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write an array as NIfTI, LPS unless an affine is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, lps_affine(shape=data.shape) if affine is None else affine), path)
    return path


def write_tiny_case(folder: Path, name: str, layout: str = "brats2020", **options: Any) -> Path:
    """Write one tiny case in the file names and label values of a layout.

    Options: seed, shape, spacing, modalities (names to write), label (bool), ending (".nii.gz").
    """
    rules = LAYOUTS[layout]
    place = folder / (name + rules.folder_end)
    shape = options.get("shape", (24, 28, 20))
    images, label = tiny_images(options.get("seed", 0), shape)
    images = dict(zip(rules.spec.modalities, images.values(), strict=False))
    affine = lps_affine(options.get("spacing", 1.0), shape)
    ending = options.get("ending", ".nii.gz")
    for modality in options.get("modalities", rules.spec.modalities):
        write_nifti(place / f"{name}{rules.suffixes[modality]}{ending}", images[modality], affine)
    if options.get("label", True):
        values = np.zeros(len(rules.spec.classes), np.int16)
        for value, internal in sorted(rules.labels.items(), reverse=True):
            values[internal] = value
        write_nifti(place / f"{name}{rules.label_suffix}{ending}", values[label], affine)
    return place


# What dataset.json of Task01_BrainTumour says: FLAIR, T1, T1ce, T2, and labels in an order of their own.
MSD_NAMES = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
MSD_LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}


def write_tiny_msd(folder: Path, seeds: dict[str, int], *, names: dict[str, str] | None = None,
                   labels: dict[str, str] | None = None, codes: str = "RAS", **options: Any) -> Path:
    """Write tiny cases as the Medical Segmentation Decathlon does: 4-D files, their own label order, other axes.

    Args:
        folder: Gets dataset.json, imagesTr and labelsTr.
        seeds: Case -> seed of `tiny_images`.
        names, labels: What dataset.json says; the label files keep the order of `MSD_LABELS`.
        codes: Where the axes of the files point to.
        options: shape.
    """
    import json

    shape = options.get("shape", (24, 28, 20))
    about = {"name": "BRATS", "tensorImageSize": "4D", "modality": names or MSD_NAMES, "labels": labels or MSD_LABELS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    for name, seed in seeds.items():
        images, label = tiny_images(seed, shape)
        stack = np.stack([images[modality] for modality in ("FLAIR", "T1", "T1ce", "T2")], axis=-1)
        for part, data in (("imagesTr", stack), ("labelsTr", np.array([0, 2, 1, 3], np.uint8)[label])):
            image = nib.Nifti1Image(data, lps_affine(shape=shape))
            turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine),
                                                   nib.orientations.axcodes2ornt(tuple(codes)))
            (folder / part).mkdir(exist_ok=True)
            nib.save(image.as_reoriented(turn), folder / part / f"{name}.nii.gz")
    return folder


def write_clinical_case(folder: Path, name: str) -> Path:
    """One study with the traits of pre-processed clinical files, BraTS2020 layout: the head fills a part of the
    volume, the skull is gone, and after a bias correction some of the brain is negative."""
    inner, (start, shape) = (56, 62, 44), ((12, 9, 6), (80, 80, 56))
    images, label = tiny_images(seed=7, shape=inner)
    where = tuple(slice(low, low + n) for low, n in zip(start, inner, strict=True))
    affine = lps_affine(3.2, shape)  # a foreground of about a litre, as a brain has
    rules = LAYOUTS["brats2020"]
    for modality, image in images.items():
        whole = np.zeros(shape, np.int16)
        whole[where] = np.where(image != 0, image - 250, 0)
        write_nifti(folder / name / f"{name}{rules.suffixes[modality]}.nii.gz", whole, affine)
    values = np.zeros(4, np.uint8)
    for value, internal in sorted(rules.labels.items(), reverse=True):
        values[internal] = value
    whole = np.zeros(shape, np.uint8)
    whole[where] = values[label]
    write_nifti(folder / name / f"{name}{rules.label_suffix}.nii.gz", whole, affine)
    return folder / name
