"""What the runs of a profile have found, as text."""

from __future__ import annotations

from pathlib import Path


def subset_tables(artifacts: Path) -> str:
    """Dice for every subset of the modalities, one table for each ``rows.parquet`` below a folder; empty if none."""
    import pandas as pd

    from dmaf_lite.evaluation.tables import markdown, subset_table

    parts = []
    for path in sorted(artifacts.rglob("rows.parquet")):
        if any(part.startswith(".") for part in path.relative_to(artifacts).parts):
            continue  # half made
        rows = pd.read_parquet(path)
        head = f"{path.parent.relative_to(artifacts).as_posix()}: Dice, mean over {rows['case'].nunique()} cases"
        parts.append(f"{head}\n\n{markdown(subset_table(rows))}")
    return "\n".join(parts)


def committed_table(notebooks: Path) -> str:
    """The subset table of the committed longer run behind the shipped weights, as Markdown."""
    import pandas as pd

    from dmaf_lite.evaluation.tables import markdown, subset_table

    rows = pd.read_parquet(notebooks / "results" / "complete.parquet")
    table = markdown(subset_table(rows, "dice"))
    return f"Dice of the shipped weights on unseen synthetic phantoms (committed longer run)\n\n{table}"
