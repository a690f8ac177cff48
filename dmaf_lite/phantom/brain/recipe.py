"""The brain phantom: synthetic studies in the same files as BraTS2020, from a seed.

``make_brain`` reads as the recipe: anatomy -> tumour -> signal -> scanner, one file each; what is drawn anew for every
case lives in ``randomised/``.  Nothing in it is a patient, and a Dice measured on it says nothing about patients.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.phantom.brain.anatomy import Head, make_anatomy
from dmaf_lite.phantom.brain.contrast import CONTRASTS, make_signal
from dmaf_lite.phantom.brain.ingredients import BrainSettings
from dmaf_lite.phantom.brain.randomised.imitators import Imitators
from dmaf_lite.phantom.brain.randomised.scanners import varied_acquire
from dmaf_lite.phantom.brain.randomised.signal import varied_signal
from dmaf_lite.phantom.brain.randomised.stripping import add_surroundings, varied_mask
from dmaf_lite.phantom.brain.randomised.tumours import make_varied_lesion, plan_varied_tumour
from dmaf_lite.phantom.brain.randomised.ventricles import widen
from dmaf_lite.phantom.brain.scanner import Scan, acquire, strip_skull
from dmaf_lite.phantom.brain.tumour import (
    PLAN_SPACING,
    Tumour,
    annotate,
    choose_foci,
    choose_metastases,
    lesion_box,
    make_lesion,
    mass_effect,
    spread_oedema,
)
from dmaf_lite.phantom.fields import Chance, Grid
from dmaf_lite.phantom.writing import PhantomReport, claim_folder, describe, write_cases, write_nifti

if TYPE_CHECKING:
    from dmaf_lite.data.case import Case

RECIPE = 1  # raise it when the same seed gives other bytes: a cohort must not mix two recipes
PLAIN = BrainSettings()
SWELLING = 7.0  # mm around a metastasis
SHAKIER = 1.5  # the hand that annotates randomised tumours, relative to the plain phantom's


def plan_tumour(chance: Chance, head: Head, settings: BrainSettings) -> Tumour:
    """Decide on the coarse grid where the tumour is and how far its oedema has run."""
    plan = head.box(Grid.field_of_view(PLAN_SPACING))
    healthy = make_anatomy(plan, chance, head)
    foci = choose_metastases(plan, healthy, chance) if settings.metastases \
        else choose_foci(plan, healthy, chance, several=settings.several_foci)
    pushed = make_anatomy(plan, chance, head, mass_effect(plan, foci))
    enhancing = bool(chance.rng("grade").random() >= settings.without_enhancement)
    # A small focus swells more than its size says; a front that starts from few voxels would die out.
    seeds = tuple(replace(focus, radius=focus.radius + SWELLING) for focus in foci) if settings.metastases else foci
    return Tumour(foci=foci, enhancing=enhancing, oedema=spread_oedema(plan, pushed, chance, seeds), plan=plan)


def make_brain(seed: int, index: int, settings: BrainSettings = PLAIN) -> dict[str, np.ndarray]:
    """One synthetic study in memory.

    Args:
        seed: Seed of the cohort, 0 or more.
        index: Number of the case in it, 0 or more; case `index` is the same in a cohort of any size.
        settings: See :class:`BrainSettings`.

    Returns:
        ``"FLAIR", "T1ce", "T1", "T2"`` (int16[X, Y, Z], 0 outside the brain), ``"seg"`` (uint8[X, Y, Z],
        values on disk 0, 1, 2, 4) and ``"affine"`` (float64[4, 4]); 240 x 240 x 155 mm whatever the spacing.
    """
    chance, anew = Chance(seed, index), settings.ingredients(index)
    head = Head.draw(chance)
    tumour = plan_varied_tumour(chance, head) if "tumours" in anew else plan_tumour(chance, head, settings)

    whole_field = Grid.field_of_view(settings.spacing)
    grid = head.box(whole_field)
    anatomy = make_anatomy(grid, chance, head, mass_effect(grid, tumour.foci))
    if "ventricles" in anew:
        anatomy = widen(grid, anatomy, chance)
    lesion_grid = lesion_box(grid, tumour)
    draw_lesion = make_varied_lesion if "tumours" in anew else make_lesion
    lesion = draw_lesion(lesion_grid, anatomy.inside(lesion_grid.slices_in(grid)), chance, tumour)
    mask = (varied_mask if "stripping" in anew else strip_skull)(anatomy.depth, grid, chance)
    imitators = Imitators.draw(grid, anatomy, chance, head) if "imitators" in anew else None

    case = {}
    for modality in CONTRASTS:
        if "contrast" in anew:
            signal = varied_signal(modality, grid, anatomy, lesion, lesion_grid, chance, imitators=imitators,
                                   faint="conspicuity" in anew)
        else:
            signal = make_signal(modality, grid, anatomy, lesion, lesion_grid, chance)
            if imitators is not None:
                with_them = imitators.add_to(signal, modality, vars(CONTRASTS[modality]), grid, anatomy, chance)
                healthy = anatomy.brain.astype(np.float32)
                healthy[lesion_grid.slices_in(grid)] *= 1 - lesion.whole
                signal += healthy * (with_them - signal)
        if "stripping" in anew:
            signal = add_surroundings(signal, modality, anatomy.depth, grid, chance, imitators)
        scan = Scan.draw(modality, chance)
        if "scanner" in anew:
            image = varied_acquire(signal, scan.gain, mask, grid, chance, modality)
        else:
            image = acquire(signal, scan, mask, grid, chance, modality)
        case[modality] = grid.expand(image)
    wobble = settings.wobble * (SHAKIER if "tumours" in anew else 1)
    label = lesion_grid.expand(annotate(lesion, lesion_grid, chance, wobble=wobble))
    if "stripping" in anew:  # a label says what the picture shows
        label[~grid.expand(mask)] = 0
    return case | {"seg": label, "affine": whole_field.affine()}


def make_brain_case(seed: int, index: int, settings: BrainSettings = PLAIN) -> Case:
    """The same study as :func:`make_brain`, as the `Case` that loading its files would give (labels internal)."""
    from dmaf_lite.data.case import Case
    from dmaf_lite.data.layouts import LAYOUTS

    brain = make_brain(seed, index, settings)
    label = np.zeros_like(brain["seg"])
    for value, internal in LAYOUTS["phantom"].labels.items():
        label[brain["seg"] == value] = internal
    return Case(name=case_name(index), images={m: brain[m].astype(np.float32) for m in CONTRASTS}, label=label,
                affine=brain["affine"], spacing=(settings.spacing,) * 3)


def case_name(index: int) -> str:
    """``Phantom_007``"""
    return f"Phantom_{index:03d}"


def write_brain(folder: str | Path, seed: int, index: int, settings: BrainSettings = PLAIN) -> Path:
    """Make one case and write ``Phantom_000/Phantom_000_{flair,t1ce,t1,t2,seg}.nii.gz``, all files or none.

    Returns:
        The case's folder.
    """
    name = case_name(index)
    final, unfinished = Path(folder) / name, Path(folder) / f".{name}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed run
    unfinished.mkdir(parents=True)
    case = make_brain(seed, index, settings)
    for key, values in case.items():
        if key != "affine":
            write_nifti(unfinished / f"{name}_{key.lower()}.nii.gz", values, case["affine"])
    shutil.rmtree(final, ignore_errors=True)
    os.replace(unfinished, final)
    return final


def write_brain_cohort(folder: str | Path, *, count: int, seed: int = 0, spacing: float = 3.0,
                       workers: int | None = None, settings: BrainSettings | None = None,
                       resume: bool = True) -> PhantomReport:
    """Write a cohort of phantoms; the same seed gives the same bytes, however many workers.

    Args:
        folder: Where; made if it is not there.
        count: Number of cases.
        seed: Seed of the cohort.
        spacing: Voxel edge in mm; left out of account where `settings` is given.
        workers: Processes; 0 makes everything in this one, None takes one per core (at most 8).
        settings: All settings, instead of `spacing` alone.
        resume: Keep the cases that are already there.

    Returns:
        What was written, was there already, and failed: a case that fails does not stop the others.

    Raises:
        CaseError: If the folder holds a cohort of another seed, recipe or settings.
        ValueError: If a number is out of range.
    """
    folder, settings = Path(folder), settings or BrainSettings(spacing=spacing)
    if count < 1:
        raise ValueError(f"count is {count}; expected at least 1 case")
    claim_folder(folder, _describe(seed, settings))
    write = partial(write_brain, folder, seed, settings=settings)
    return write_cases(write, count=count, name=case_name, workers=workers,
                       # a case's folder appears only when it is complete
                       is_written=lambda index: resume and (folder / case_name(index)).is_dir(),
                       title=f"phantoms at {settings.spacing:g} mm")


def holds_cohort(folder: str | Path, seed: int, settings: BrainSettings) -> bool:
    """Whether the folder holds cases of this cohort; False where it holds no phantom yet.

    Raises:
        CaseError: If it holds a cohort of another seed, recipe or settings.
    """
    return claim_folder(folder, _describe(seed, settings), dry=True)


def _describe(seed: int, settings: BrainSettings) -> str:
    """Everything that decides the bytes of a cohort's cases."""
    return describe({"recipe": RECIPE, "seed": seed, **settings.describe()})
