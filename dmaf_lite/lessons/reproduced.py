"""What the runs of a profile have found, and how far it is from what is committed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dmaf_lite.base.atomic import atomic_path

if TYPE_CHECKING:
    import pandas as pd

SUBSET_ROWS = "shipped-subsets"  # lesson 09: the shipped weights on a few unseen phantoms
COMMITTED = Path("results", "reproduce.parquet")  # in notebooks/: the same rows of the published run


def found_rows(artifacts: Path) -> pd.DataFrame | None:
    """The rows that lesson 09 of this run has left; None if it has not run."""
    import pandas as pd

    path = artifacts / SUBSET_ROWS / "rows.parquet"
    return pd.read_parquet(path) if path.is_file() else None


def keep_rows(artifacts: Path, notebooks: Path) -> None:
    """Commit the rows of a published run, for others to compare theirs with; nothing if there are none."""
    rows = found_rows(artifacts)
    if rows is not None:
        with atomic_path(notebooks / COMMITTED) as partial:
            rows.to_parquet(partial, index=False)


def compared(found: pd.DataFrame, committed: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice by number of scans: this run | committed | difference, for each region.

    Raises:
        ValueError: If the two are about different cases or subsets.
    """
    import pandas as pd

    from dmaf_lite.evaluation.tables import size_table
    from dmaf_lite.spec import BRATS

    for column in ("case", "subset"):
        ours, reference = set(found[column]), set(committed[column])
        if ours != reference:
            raise ValueError(f"this run has another {column} than the committed one: {sorted(ours ^ reference)[:3]} "
                             "are in one of them only; compare runs of the same profile")
    regions = list(BRATS.regions)
    ours, reference = (size_table(rows, "dice", regions=regions) for rows in (found, committed))
    columns = {(region, name): table[region] for region in regions
               for name, table in (("this run", ours), ("committed", reference), ("difference", ours - reference))}
    return pd.DataFrame(columns)


def report(artifacts: Path, notebooks: Path) -> str:
    """The comparison as text, or the committed table where this run has left no rows."""
    import pandas as pd

    found = found_rows(artifacts)
    if found is None or not (notebooks / COMMITTED).is_file():
        return committed_table(notebooks)
    committed = pd.read_parquet(notebooks / COMMITTED)
    if set(found["case"]) != set(committed["case"]):
        return f"Dice of this run (its cases are not the committed ones)\n\n{_own_table(found)}"
    table = compared(found, committed)
    furthest = float(table.xs("difference", axis=1, level=1).abs().max().max())
    head = (f"Mean Dice of the shipped weights, {found['case'].nunique()} unseen synthetic cases, by number of scans\n"
            f"largest difference to the committed run: {furthest:.4f}")
    return f"{head}\n\n{table.round(3).to_string()}"


def _own_table(rows: pd.DataFrame) -> str:
    from dmaf_lite.evaluation.tables import markdown, subset_table

    return markdown(subset_table(rows, "dice"))


def committed_table(notebooks: Path) -> str:
    """The subset table of the committed longer run behind the shipped weights, as Markdown."""
    import pandas as pd

    rows = pd.read_parquet(notebooks / "results" / "complete.parquet")
    return f"Dice of the shipped weights on unseen synthetic phantoms (committed longer run)\n\n{_own_table(rows)}"


def draw_found(rows: pd.DataFrame, path: Path) -> None:
    """The subset table of a run as a picture."""
    from dmaf_lite.evaluation.tables import subset_table
    from dmaf_lite.figures import png, subset_heatmap
    from dmaf_lite.spec import BRATS

    table = subset_table(rows, "dice", regions=list(BRATS.regions))
    figure = subset_heatmap(table, title=f"Dice, mean over {rows['case'].nunique()} cases (synthetic)")
    with atomic_path(path) as partial:
        partial.write_bytes(png(figure))
