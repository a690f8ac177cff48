"""Who is trained on and who is tested on: disjoint lists of case names, by patient.

Taught in lesson 01.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.data.case import CaseError

PARTS = ("train", "val", "test")
# What published work uses of the 369 labelled cases of BraTS2020.
BRATS2020_COUNTS = {"train": 219, "val": 50, "test": 100}


def patient_of(name: str) -> str:
    """The patient behind a case name, without the visit, which BraTS since 2023, UCSF-PDGM, UPENN-GBM and BIDS name."""
    visit = re.fullmatch(r"(BraTS-[A-Z]+-\d+)-\d+|(UCSF-PDGM-\d+)_FU\d+d|(UPENN-GBM-\d+)_\d+|(sub-[^_]+)_ses-.+", name)
    return next(group for group in visit.groups() if group) if visit else name


def read_names(path: str | Path) -> list[str]:
    """The case names of a text file, one a line; a byte order mark, as Windows editors write it, does no harm.

    Raises:
        CaseError: The file is not readable text, or it names no case.
    """
    path = Path(path)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(path, found=f"a list that cannot be read ({getattr(error, 'strerror', None) or error})",
                        expected="a text file of case names", do="check the path and save it as UTF-8") from error
    if not names:
        raise CaseError(path, found="no case name", expected="one a line", do="write the names into it")
    return names


def plain_name(name: str) -> str:
    """A case name without the grade prefix (``HG_``, ``LG_``) of published BraTS2020 lists."""
    return re.sub(r"^(HG|LG)_", "", name)


def split_cases(names: Sequence[str], *, counts: Mapping[str, int] | None = None,
                fractions: Mapping[str, float] | None = None, seed: int) -> dict[str, list[str]]:
    """Draw train, val and test from the case names; all visits of a patient stay together.

    Args:
        names: All cases; their order does not matter.
        counts: Part -> number of cases; they may add up to fewer than there are.
        fractions: Part -> share; they add up to 1. Give either this or `counts`.
        seed: Same names and seed, same split.

    Returns:
        Part -> sorted names. With one case per patient the counts are met; with visits, to within one patient's.

    Raises:
        ValueError: Unknown part, repeated name, more cases asked for than there are.
    """
    unique = sorted(set(names))
    if len(unique) != len(names):
        raise ValueError(f"{len(names) - len(unique)} case names are repeated; every name may occur once")
    if (counts is None) == (fractions is None):
        raise ValueError("give either counts or fractions")
    if fractions is not None:
        if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
            raise ValueError(f"fractions {dict(fractions)} must be 0 or more and add up to 1")
        exact = {part: share * len(unique) for part, share in fractions.items()}
        counts = {part: int(value) for part, value in exact.items()}
        for part in sorted(exact, key=lambda p: counts[p] - exact[p])[: len(unique) - sum(counts.values())]:
            counts[part] += 1
    if not set(counts) <= set(PARTS) or min(counts.values()) < 0:
        raise ValueError(f"parts are {', '.join(PARTS)} with 0 or more cases, got {dict(counts)}")
    if sum(counts.values()) > len(unique):
        raise ValueError(f"{sum(counts.values())} cases asked for, but there are {len(unique)}")
    visits: dict[str, list[str]] = {}
    for name in unique:
        visits.setdefault(patient_of(name), []).append(name)
    patients = list(visits)
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    # Patients with many visits are placed first, so that those with one can fill the parts exactly.
    order.sort(key=lambda patient: -len(visits[patient]))
    split: dict[str, list[str]] = {part: [] for part in PARTS}
    for patient in order:
        room = {part: counts.get(part, 0) - len(split[part]) for part in PARTS}
        part = max(room, key=room.get)
        if room[part] > 0:
            split[part] += visits[patient]
    return {part: sorted(split[part]) for part in PARTS}


def write_split(folder: str | Path, split: Mapping[str, Sequence[str]]) -> None:
    """Write train.txt, val.txt and test.txt, one name a line."""
    _check_disjoint(folder, split)
    for part in PARTS:
        with atomic_path(Path(folder) / f"{part}.txt") as partial:
            partial.write_text("".join(f"{name}\n" for name in split.get(part, ())), encoding="utf-8", newline="\n")


def read_split(folder: str | Path, *, plain: bool = False) -> dict[str, list[str]]:
    """Read train.txt, val.txt and test.txt.

    Args:
        folder: Where they lie.
        plain: Take the grade prefix of published BraTS2020 lists off the names (see `plain_name`).

    Raises:
        CaseError: A file is missing, a name is repeated, or two parts share a case.
    """
    split = {}
    for part in PARTS:
        path = Path(folder) / f"{part}.txt"
        if not path.is_file():
            raise CaseError(path, found="no such file", expected="one case name a line",
                            do="make the split with data_scripts/split_cohort.py")
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        split[part] = [plain_name(line) if plain else line for line in lines if line]
    _check_disjoint(folder, split)
    return split


def _check_disjoint(folder: str | Path, split: Mapping[str, Sequence[str]]) -> None:
    seen: dict[str, str] = {}
    for part, names in split.items():
        for name in names:
            if name in seen:
                raise CaseError(folder, found=f"{name} in {seen[name]} and in {part}", expected="every case once",
                                do="make the split again")
            seen[name] = part
