"""What others have printed about RFNet, mmFormer and their neighbours, with everything needed to doubt it.

``reference/published.csv`` holds one number a row: method, dataset, condition of the training, split, subset
(``avg15``: the printed mean over the fifteen), region, metric, value, HD95 convention of the authors' code, note, and
source.
Numbers of two conditions never share a table: full-data and imbalanced training are different tasks.  There is no row
of PASSION and none of DMAF-Net: no table of theirs was available.

Taught in lesson 12.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dmaf_lite.spec import BRATS

if TYPE_CHECKING:
    import pandas as pd

SPEC = BRATS  # every number is about the regions of a brain tumour, and belongs beside no others
TABLE = Path(__file__).parent / "reference" / "published.csv"
AVERAGE = "avg15"
# What a number must stand with.
CONTEXT = ("dataset", "split", "method", "note", "source")


@cache
def _read() -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(TABLE, keep_default_na=False)


def published_rows() -> pd.DataFrame:
    """All rows, text columns as text (empty where nothing is known), `value` as a number."""
    return _read().copy()


def published_table(condition: str, metric: str = "Dice %", *, subset: str = AVERAGE, dataset: str | None = None
                    ) -> pd.DataFrame:
    """Published numbers of one training condition, one line per method and source.

    Args:
        condition: ``complete``, ``imbalanced``, or ``not stated``; conditions are never mixed.
        metric: ``Dice %`` or ``HD95 mm``; the latter has the convention in its index.
        subset: A subset's name, or ``avg15``.
        dataset: Only this one.

    Returns:
        Index: `CONTEXT`, and `hd95_convention` for HD95. Columns: the regions that occur.

    Raises:
        ValueError: If there is no such number.
    """
    rows = published_rows()
    found = rows[(rows["condition"] == condition) & (rows["metric"] == metric) & (rows["subset"] == subset)]
    if dataset is not None:
        found = found[found["dataset"] == dataset]
    if found.empty:
        raise ValueError(f"no published {metric} of {subset} under condition {condition!r} on {dataset or 'any data'}; "
                         f"conditions in the table: {sorted(set(rows['condition']))}, metrics: "
                         f"{sorted(set(rows['metric']))}")
    index = [*CONTEXT, *(["hd95_convention"] if metric.startswith("HD95") else [])]
    order = [region for region in ("WT", "TC", "ET", "ET_post", "mean") if region in set(found["region"])]
    return found.pivot(index=index, columns="region", values="value")[order]
