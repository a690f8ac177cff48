"""Who is trained on, who is tested on and which scans are missing, as in published work on MyoPS 2020; and five folds.

`passion`: 20 patients for training, 5 for testing, and one table of missing scans whose columns are permuted into six.
The table is data, not a recipe: the published generator for brains does not give it at 20 patients.
`cv5`: every patient is tested once, by a network that has not seen it; five test patients alone say very little.

Source: spec myops, section 2.1 (facts read from a public repository).  Taught in the lesson on hearts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from dmaf_lite.data.splits import patient_of
from dmaf_lite.spec import MYOPS

PASSION_TEST = ("107", "111", "115", "117", "120")
PASSION_TRAIN = tuple(str(number) for number in range(101, 126) if str(number) not in PASSION_TEST)
# C0, LGE, T2 of each training patient under the nominal missing rates 0.3, 0.5, 0.7 ("357").
_TABLE_357 = "111 001 101 100 100 100 101 010 010 100 101 100 110 111 110 111 110 011 110 110".split()
PASSION_RATES = (0.3, 0.5, 0.7)


def passion_split(names: Sequence[str], *, synthetic: bool = False) -> dict[str, list[str]]:
    """Train and test of the published split; names end in the patient's number, ``myops_training_101``.

    Args:
        names: The 25 cases.
        synthetic: They are phantoms, which stand in for the patients in the order of their names.

    Raises:
        ValueError: If the names are not those of the 25 patients.
    """
    number = {name: published[-3:] for name, published in published_names(names, synthetic=synthetic).items()}
    by_number = {n: name for name, n in number.items()}
    return {"train": [by_number[n] for n in PASSION_TRAIN], "val": [], "test": [by_number[n] for n in PASSION_TEST]}


def published_names(names: Sequence[str], *, synthetic: bool = False) -> dict[str, str]:
    """Case name -> the name of the patient of MyoPS 2020 that it is, or stands in for; arguments as `passion_split`.

    Raises:
        ValueError: If there are not 25, or they are not those of the 25 patients.
    """
    numbers = sorted((*PASSION_TRAIN, *PASSION_TEST))
    if synthetic and len(set(names)) == len(numbers):
        return {name: f"myops_training_{n}" for name, n in zip(sorted(names), numbers, strict=True)}
    return {name: f"myops_training_{n}" for n, name in _by_number(names, numbers).items()}


def passion_table(names: Sequence[str], rates: Mapping[str, float]) -> np.ndarray:
    """The published table for nominal rates 0.3, 0.5, 0.7 in any of their six orders: bool[20, 3], rows as `names`.

    Raises:
        ValueError: For other rates, or other patients than the 20 of the published split.
    """
    if tuple(sorted(rates.values())) != PASSION_RATES or set(rates) != set(MYOPS.modalities):
        raise ValueError(f"published tables of hearts have the missing rates 0.3, 0.5 and 0.7, one for each of "
                         f"{', '.join(MYOPS.modalities)}; found {dict(rates)}; use method='exact' for others")
    numbers = {name: number for number, name in _by_number(names, PASSION_TRAIN).items()}
    column = [PASSION_RATES.index(rates[modality]) for modality in MYOPS.modalities]
    rows = [_TABLE_357[PASSION_TRAIN.index(numbers[name])] for name in names]
    return np.array([[row[c] == "1" for c in column] for row in rows])


def _by_number(names: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """Patient's number -> case name."""
    found = {match.group(1): name for name in names if (match := re.search(r"(\d+)$", name))}
    if len(names) != len(wanted) or set(found) != set(wanted):
        raise ValueError(f"{len(names)} cases, {len(set(found) & set(wanted))} of them among the {len(wanted)} "
                         f"patients {wanted[0]} .. {max(wanted)} of the published split; expected exactly those")
    return found


def folds(names: Sequence[str], *, count: int = 5, seed: int = 0) -> list[dict[str, list[str]]]:
    """Splits of a cross-validation: every case is tested in exactly one fold; visits of a patient stay together.

    Args:
        names: All cases; their order does not matter.
        count: Number of folds.
        seed: Same names and seed, same folds.

    Returns:
        One ``{"train", "val", "test"}`` per fold, val empty.
    """
    patients = sorted({patient_of(name) for name in names})
    if count < 2:
        raise ValueError(f"{count} folds; expected 2 or more")
    if count > len(patients):
        raise ValueError(f"{count} folds need {count} patients or more, each fold tests its own; found "
                         f"{len(patients)}")
    order = np.random.default_rng(seed).permutation(len(patients))
    fold_of = {patients[p]: place % count for place, p in enumerate(order)}
    return [{"train": sorted(n for n in names if fold_of[patient_of(n)] != fold), "val": [],
             "test": sorted(n for n in names if fold_of[patient_of(n)] == fold)} for fold in range(count)]
