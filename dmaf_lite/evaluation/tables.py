"""Pivots of the long table: every table of the kit is made here from the same rows.

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dmaf_lite.spec import BRATS, DatasetSpec

if TYPE_CHECKING:
    import pandas as pd

MEAN = "mean over subsets"


def select(rows: pd.DataFrame, metric: str, convention: str | None = None) -> pd.DataFrame:
    """Rows of one metric under one convention.

    Raises:
        ValueError: If there are none, or the metric is there under several conventions and none was named
            (numbers of two conventions never share a table).
    """
    chosen = rows[rows["metric"] == metric]
    conventions = sorted(set(chosen["convention"]))
    if convention is None and len(conventions) > 1:
        raise ValueError(f"{metric} is in the table under {conventions}; name one with convention=")
    if convention is not None:
        chosen = chosen[chosen["convention"] == convention]
    if chosen.empty:
        raise ValueError(f"no rows of {metric} {convention or ''}; the table holds {sorted(set(rows['metric']))}"
                         + (f" and {metric} under {conventions}" if conventions else ""))
    return chosen


def subset_table(rows: pd.DataFrame, metric: str = "dice", convention: str | None = None, *,
                 regions: Sequence[str] | None = None, spec: DatasetSpec = BRATS) -> pd.DataFrame:
    """Mean over cases for each subset, and below it the unweighted mean over the subsets.

    Args:
        rows: Long table.
        metric: Such as ``dice`` or ``hd95``.
        convention: Needed where the metric is there under several.
        regions: Which and in what order; default the order of the rows.
        spec: Gives the order of the subsets.

    Returns:
        Index: subset names by size, then `MEAN`. Columns: regions, or (run, region) where there are several runs.
    """
    table = _by_case(rows, metric, convention, regions, spec).groupby("subset", sort=False, observed=True).mean()
    table.loc[MEAN] = table.mean()
    return table


def case_counts(rows: pd.DataFrame, spec: DatasetSpec = BRATS) -> pd.Series:
    """Subset -> number of cases that have its scans, in the spec's order."""
    counts = rows.groupby("subset", sort=False, observed=True)["case"].nunique()
    order = [spec.subset_name(mask) for mask in spec.subsets()]
    return counts.loc[[name for name in order if name in counts.index]]


def complete_cases(rows: pd.DataFrame, spec: DatasetSpec = BRATS) -> pd.DataFrame:
    """The rows of the cases that have all scans, and so a row in every subset."""
    subsets = rows.groupby("case", sort=False)["subset"].nunique()
    return rows[rows["case"].isin(subsets.index[subsets == len(spec.subsets())])]


def written_tables(rows: pd.DataFrame, spec: DatasetSpec = BRATS) -> dict[str, pd.DataFrame]:
    """Title -> table, as `evaluate` writes them: every convention, how many cases stand behind each row, and where
    cases lack scans the same over the cases that have all of them, since other rows then mean other patients.
    """
    counts = case_counts(rows, spec)
    mixed = counts.nunique() > 1 or len(counts) < len(spec.subsets())
    grids = " and ".join(sorted(set(rows["grid"]))) if "grid" in rows else ""
    where = f", on the grid of the {grids}" if grids else ""
    parts = {f"mean over {counts.max()} cases{where}": rows}
    if mixed:
        whole = complete_cases(rows, spec)
        parts = {f"each row over the cases that have its scans{where}; rows are not about the same patients": rows}
        if len(whole):
            parts[f"only the {whole['case'].nunique()} cases that have all scans{where}"] = whole
    tables: dict[str, pd.DataFrame] = {}
    for text, some in parts.items():
        for metric, unit in (("dice", ""), ("hd95", " in mm")):
            for convention in dict.fromkeys(some.loc[some["metric"] == metric, "convention"]):
                table = subset_table(some, metric, convention, spec=spec)
                table.insert(0, _cases_column(table), [*case_counts(some, spec).astype(str), "-"])
                tables[f"{metric}{unit}, {convention}, {text}"] = table
    tables["cases with one side empty"] = empty_table(rows, spec=spec)
    return tables


def _cases_column(table: pd.DataFrame) -> object:
    """The name of the column of counts, as deep as those of the table."""
    return "cases" if table.columns.nlevels == 1 else ("cases", *[""] * (table.columns.nlevels - 1))


def size_table(rows: pd.DataFrame, metric: str = "dice", convention: str | None = None, *,
               regions: Sequence[str] | None = None, spec: DatasetSpec = BRATS) -> pd.DataFrame:
    """Mean over the subsets of 1, 2, ... modalities; index `modalities`."""
    table = subset_table(rows, metric, convention, regions=regions, spec=spec).drop(index=MEAN)
    sizes = [name.count("+") + 1 for name in table.index]
    by_size = table.groupby(sizes).mean()
    by_size.index.name = "modalities"
    return by_size


def empty_table(rows: pd.DataFrame, *, spec: DatasetSpec = BRATS) -> pd.DataFrame:
    """Counts of one-sided empty cases: these decide what an HD95 convention is worth.

    Returns:
        Index: subset names. Columns (region, kind) or (run, region, kind); `missed`: only the prediction is empty,
        `invented`: only the truth is.
    """
    import pandas as pd

    parts = {kind: _by_case(rows, kind, None, None, spec).groupby("subset", sort=False, observed=True).sum()
             for kind in ("missed", "invented")}
    table = pd.concat(parts, axis=1)
    table.columns = pd.MultiIndex.from_tuples([(*_tuple(column[1:]), column[0]) for column in table.columns])
    regions = list(dict.fromkeys(column[:-1] for column in table.columns))
    return table[[(*region, kind) for region in regions for kind in parts]].astype(int)


def case_table(rows: pd.DataFrame, metric: str = "dice", convention: str | None = None, *,
               regions: Sequence[str] | None = None, spec: DatasetSpec = BRATS) -> pd.DataFrame:
    """Mean over subsets for each case, worst first; for finding the cases to look at."""
    table = _by_case(rows, metric, convention, regions, spec).groupby("case", sort=True).mean()
    better_is_higher = metric != "hd95"
    return table.loc[table.mean(axis=1).sort_values(ascending=better_is_higher, kind="stable").index]


def markdown(table: pd.DataFrame, digits: int = 3) -> str:
    """A table as GitHub markdown; NaN is written as a dash."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "-" if value != value else f"{value:.{digits}f}"
        return str(value)

    head = [" ".join(map(str, filter(None, _tuple(table.index.name)))),
            *(" ".join(map(str, _tuple(column))) for column in table.columns)]
    # Column by column: a row of mixed types would turn whole numbers into floats.
    columns = [[cell(v) for v in table.iloc[:, i].tolist()] for i in range(table.shape[1])]
    body = [[" ".join(map(str, _tuple(label))), *cells]
            for label, *cells in zip(table.index, *columns, strict=True)]
    rule = ["---", *("---:" for _ in table.columns)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body]) + "\n"


def _by_case(rows: pd.DataFrame, metric: str, convention: str | None, regions: Sequence[str] | None,
             spec: DatasetSpec) -> pd.DataFrame:
    """One line per (subset, case), one column per region or (run, region); subsets in the spec's order."""
    import pandas as pd

    chosen = select(rows, metric, convention)
    known = [spec.subset_name(mask) for mask in spec.subsets()]
    strangers = sorted(set(chosen["subset"]) - set(known))
    if strangers:
        raise ValueError(f"subsets {strangers} are not of {spec.name} ({', '.join(spec.modalities)}); "
                         "pass the spec that the rows were made with")
    regions = list(dict.fromkeys(chosen["region"])) if regions is None else list(regions)
    runs = list(dict.fromkeys(chosen["run"]))
    # A convention that counts slices has a line for each: means are then over slices, as published.
    lines = ["subset", "case", "slice"] if "slice" in chosen and (chosen["slice"] >= 0).any() else ["subset", "case"]
    wide = chosen.pivot(index=lines, columns=["run", "region"], values="value")
    wide = wide[[(run, region) for run in runs for region in regions]]
    if len(runs) == 1:
        wide = wide.droplevel("run", axis=1)
    subset = wide.index.get_level_values("subset")
    order = pd.Categorical(subset, [name for name in known if name in set(subset)], ordered=True)
    return wide.iloc[order.codes.argsort(kind="stable")]


def _tuple(label: object) -> tuple:
    return label if isinstance(label, tuple) else (label,)
