"""Missing-rate tables: which case has which modality, as in a hospital where some scans are rare.

One row per training case, one boolean column per modality, True = there.  `method="exact"` is ours and
hits every rate to one case; `method="published"` regenerates the tables of published work row by row.

Taught in lesson 01.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.data.case import CaseError
from dmaf_lite.data.protocols import passion_table
from dmaf_lite.data.splits import plain_name
from dmaf_lite.spec import BRATS, MYOPS, DatasetSpec, check_available

COLUMNS = ("data_name", "mask_id", "mask", "pos_mask_ids")
# The published tables' seed, and the order in which their generator and their file names ("mr2468") speak of
# the modalities; it is not the order of the mask column.
PUBLISHED_SEED = 1037
PUBLISHED_ORDER = ("T1", "T1ce", "FLAIR", "T2")
# mask_id -> availability in the order FLAIR, T1ce, T1, T2.
PUBLISHED_SUBSETS: tuple[tuple[bool, ...], ...] = tuple(
    tuple(bit == "1" for bit in bits)
    for bits in "0001 0100 0010 1000 0101 0110 1010 0011 1001 1100 1110 1011 1101 0111 1111".split()
)
# The blocks of the published generator, in PUBLISHED_ORDER; their order decides which row gets which mask.
_BLOCKS = "1111 1101 1110 1100 1011 1010 1001 1000 0111 0101 0110 0100 0011 0010 0001".split()


def subset_ids(spec: DatasetSpec) -> tuple[tuple[bool, ...], ...]:
    """mask_id -> availability: the published order for BraTS, the spec's own order of subsets for others."""
    return PUBLISHED_SUBSETS if spec.modalities == BRATS.modalities else spec.subsets()


def published_rates(name: str) -> dict[str, float]:
    """Nominal missing rates behind a published table's name: "mr2468" is T1 .2, T1ce .4, FLAIR .6, T2 .8; of hearts
    "mr357" is C0 .3, LGE .5, T2 .7, in the order of the mask.

    Raises:
        ValueError: The name does not end in mr and three or four digits.
    """
    if heart := re.fullmatch(r".*mr([357])([357])([357])(\.csv)?", name):
        return {modality: int(digit) / 10 for modality, digit in zip(MYOPS.modalities, heart.groups()[:3], strict=True)}
    match = re.fullmatch(r".*mr(\d)(\d)(\d)(\d)(\.csv)?", name)
    if not match:
        raise ValueError(f"{name!r} names no rates; expected mr and four digits for {', '.join(PUBLISHED_ORDER)}, "
                         "for example mr2468")
    return {modality: int(digit) / 10 for modality, digit in zip(PUBLISHED_ORDER, match.groups()[:4], strict=True)}


def missing_table(names: Sequence[str], rates: Mapping[str, float], *, spec: DatasetSpec = BRATS, seed: int,
                  method: str = "exact") -> pd.DataFrame:
    """Draw which case has which modality; every case keeps at least one.

    Args:
        names: Case names; their order does not matter.
        rates: Modality -> nominal missing rate, one for every modality of the spec.
        spec: Its modalities are the columns.
        seed: Same names, rates and seed: same table.
        method: "exact" (ours) misses a modality in rate * n cases, to one case; "published" repeats the algorithm
            of published work, whose realised rates fall up to 7 points below the nominal ones; for hearts it is the one
            published table with its columns permuted (`protocols.py`), whatever the seed.

    Returns:
        bool frame, index = sorted names, columns = modalities.

    Raises:
        ValueError: Unknown method, repeated names, rates that are incomplete, outside 0..1 or impossible.
    """
    index = sorted(set(names))
    if not index or len(index) != len(names):
        raise ValueError(f"{len(names)} case names, {len(index)} of them different; expected each once, at least one")
    if set(rates) != set(spec.modalities):
        raise ValueError(f"rates are given for {sorted(rates)}; expected one for each of {', '.join(spec.modalities)}")
    if not all(0 <= rate <= 1 for rate in rates.values()):
        raise ValueError(f"missing rates {dict(rates)} must lie between 0 and 1")
    methods = {"exact": _exact, "published": _published}
    if method not in methods:
        raise ValueError(f"method {method!r} is not known; choose one of {', '.join(methods)}")
    hearts = method == "published" and spec.modalities == MYOPS.modalities
    values = passion_table(index, rates) if hearts else methods[method](len(index), rates, spec, seed)
    return pd.DataFrame(values, index=pd.Index(index, name="name"), columns=list(spec.modalities))


def _exact(n: int, rates: Mapping[str, float], spec: DatasetSpec, seed: int) -> np.ndarray:
    """Ours: shuffle every column at its exact count, then give each empty case a scan of one that has several.

    The counts never change; every case can get one as long as there are at least n scans in all.
    """
    exact = np.array([(1 - rates[m]) * n for m in spec.modalities])
    if exact.sum() < n * (1 - 1e-9):
        raise ValueError(f"with the missing rates {dict(rates)} there are {exact.sum() / n:.2f} scans per case; "
                         "at least 1 is needed, so that no case is left without any: lower the rates")
    exact = np.where(np.abs(exact - np.rint(exact)) < 1e-6, np.rint(exact), exact)  # 0.1 * 30 is 3.0000000000000004
    counts = np.rint(exact).astype(int)
    # Rounding may cost a scan too many: the modalities that lost most by it are rounded up instead.
    for m in np.argsort(counts - exact, kind="stable")[: max(0, n - counts.sum())]:
        counts[m] += 1
    rng = np.random.default_rng(seed)
    table = np.stack([rng.permutation(np.arange(n) < count) for count in counts], axis=1)
    for row in np.flatnonzero(~table.any(axis=1)):
        donors, modalities = np.nonzero(table & (table.sum(axis=1, keepdims=True) > 1))
        pick = rng.integers(len(donors))
        table[donors[pick], modalities[pick]], table[row, modalities[pick]] = False, True
    return table


def _published(n: int, rates: Mapping[str, float], spec: DatasetSpec, seed: int) -> np.ndarray:
    """The algorithm of published work (spec: stratified blocks, one shuffle, empty rows drawn again).

    The legacy generator and the order of its draws are part of the algorithm.
    """
    if spec.modalities != BRATS.modalities:
        raise ValueError(f"the published method knows {', '.join(BRATS.modalities)} and {', '.join(MYOPS.modalities)} "
                         "only; use method='exact'")
    missing = [rates[m] for m in PUBLISHED_ORDER]
    if min(missing) >= 1:
        raise ValueError(f"with the missing rates {dict(rates)} no scan is left: lower the rates")
    rng = np.random.RandomState(seed)  # the legacy generator: the published tables come from it
    rng.rand(4 * n)  # drawn and overwritten there; only the state of the generator remains of it
    table = np.zeros((n, 4), bool)
    row = 0
    for block in _BLOCKS:
        share = float(n)
        for bit, rate in zip(block, missing, strict=True):
            share *= (1 - rate) if bit == "1" else rate
        size = max(1, int(share))
        table[row: row + size] = [bit == "1" for bit in block]
        row += size
    state = rng.get_state()
    for column in range(4):  # every column is shuffled by the same permutation
        rng.set_state(state)
        rng.shuffle(table[:, column])
    for i in range(n):
        while not table[i].any():
            table[i] = [rng.rand() > rate for rate in missing]
    return table[:, [PUBLISHED_ORDER.index(m) for m in spec.modalities]]


def realised_rates(table: pd.DataFrame) -> pd.Series:
    """Share of cases that miss each modality, as it came out: float, index = modalities."""
    return 1 - table.mean(axis=0)


def write_table(path: str | Path, table: pd.DataFrame, *, spec: DatasetSpec = BRATS) -> None:
    """Write the published CSV format (CRLF ends): data_name, mask_id, mask, pos_mask_ids.

    Raises:
        ValueError: Other columns than the spec's modalities, or a case without any modality.
    """
    if tuple(table.columns) != spec.modalities:
        raise ValueError(f"{path}: the columns are {list(table.columns)}, expected {list(spec.modalities)}")
    check_available(table.to_numpy(bool), list(table.index))
    subsets = subset_ids(spec)
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for name, row in zip(table.index, table.to_numpy(bool).tolist(), strict=True):
            writer.writerow([name, subsets.index(tuple(row)), row, _within(row, subsets)])


def _within(mask: Sequence[bool], subsets: Sequence[Sequence[bool]]) -> list[int]:
    """Ids of the subsets that need no modality outside `mask`."""
    return [i for i, subset in enumerate(subsets)
            if all(is_available or not asked for asked, is_available in zip(subset, mask, strict=True))]


def read_table(path: str | Path, *, spec: DatasetSpec = BRATS, plain: bool = False) -> pd.DataFrame:
    """Read the published CSV format. Nothing in the file is evaluated; every field is checked.

    Args:
        path: The CSV; CRLF or LF ends.
        spec: Its modalities are the columns, in the order of the mask.
        plain: Take the grade prefix (``HG_``, ``LG_``) of published lists off the names.

    Returns:
        bool frame, index = names in the file's order, columns = modalities.

    Raises:
        CaseError: Naming the line: missing column, a mask that is no list of M booleans, ids that do not belong to
            the mask, a repeated name, a case without any modality.
    """
    path = Path(path)
    do = "write the table anew with data_scripts/make_missing_rates.py"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaseError(path, found=f"a file that cannot be read ({error})", expected="a missing-rate table (CSV)",
                        do=do) from error
    if not rows or not set(COLUMNS) <= set(rows[0]):
        raise CaseError(path, found=f"the columns {', '.join(str(c) for c in rows[0]) if rows else '(none)'}",
                        expected=", ".join(COLUMNS) + " and at least one case", do=do)
    subsets = subset_ids(spec)
    table: dict[str, tuple[bool, ...]] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        mask = _parse_mask(row["mask"] or "", spec, where)
        inside = _within(mask, subsets)
        ids = re.fullmatch(r"\[\d+(, ?\d+)*\]", row["pos_mask_ids"] or "")
        if row["mask_id"] != str(subsets.index(mask)) or not ids \
                or [int(i) for i in re.findall(r"\d+", ids.group())] != inside:
            raise CaseError(where, found=f"mask_id {row['mask_id']} and pos_mask_ids {row['pos_mask_ids']}",
                            expected=f"{subsets.index(mask)} and {inside} for the mask {row['mask']}", do=do)
        name = plain_name(row["data_name"] or "") if plain else row["data_name"]
        if not name or name in table:
            raise CaseError(where, found=f"the name {name!r} {'again' if name else ''}", expected="every case once",
                            do=do)
        table[name] = mask
    return pd.DataFrame.from_dict(table, orient="index", columns=list(spec.modalities), dtype=bool).rename_axis("name")


def _parse_mask(text: str, spec: DatasetSpec, where: str) -> tuple[bool, ...]:
    parts = [part.strip() for part in text[1:-1].split(",")]
    if not (text.startswith("[") and text.endswith("]")) or not set(parts) <= {"True", "False"} \
            or len(parts) != spec.M:
        raise CaseError(where, found=f"the mask {text[:80]!r}",
                        expected=f"a list of {spec.M} booleans such as [{', '.join(['True'] * spec.M)}]",
                        do="correct the mask")
    if "True" not in parts:
        raise CaseError(where, found="a case without any modality", expected="at least one",
                        do="take the case out or correct its mask")
    return tuple(part == "True" for part in parts)
