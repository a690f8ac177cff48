"""Figures of the comparison with other methods: subsets x methods, and attention between modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.style import WIDTH, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure
def methods_heatmap(tables: Mapping[str, pd.DataFrame], *, unit: str = "Dice", limits: tuple[float, float] = (0.0, 1.0)
                    ) -> Figure:
    """One panel per region: methods down, subsets across, with the numbers.

    Args:
        tables: Region -> table with subsets as index and methods as columns; the same index in all.
        unit: Name of the number.
        limits: Of the colours.
    """
    import matplotlib.pyplot as plt

    first = next(iter(tables.values()))
    high_panel = 0.27 * first.shape[1] + 0.3
    fig, axes = plt.subplots(len(tables), 1, figsize=(WIDTH * 1.1, len(tables) * high_panel + 1.2), sharex=True,
                             squeeze=False)
    low, high = limits
    for ax, (region, table) in zip(axes[:, 0], tables.items(), strict=True):
        values = table.to_numpy(dtype=float).T
        picture = ax.imshow(values, vmin=low, vmax=high, cmap="viridis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            colour = "black" if (value - low) / (high - low) > 0.6 else "white"
            text = f"{value:.2f}".removeprefix("0")  # .62: sixteen columns
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        ax.set_xticks(range(len(table)), [str(i) for i in table.index], rotation=60, ha="right",
                      rotation_mode="anchor")
        ax.set_yticks(range(table.shape[1]), [str(c) for c in table.columns])
        ax.set_title(region)
    fig.colorbar(picture, ax=list(axes[:, 0]), label=unit, shrink=0.5, pad=0.01)
    return fig


@figure
def attention_picture(matrices: Mapping[str, np.ndarray], groups: Sequence[str]) -> Figure:
    """Attention of every token (rows) to every token (columns), with lines between the groups they belong to.

    Args:
        matrices: Title -> float[T, T], rows summing to 1.
        groups: Names of the groups, each T / len(groups) tokens in a row.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(matrices), figsize=(WIDTH, WIDTH / len(matrices) * 0.85), squeeze=False)
    top = max(float(matrix.max()) for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        picture = ax.imshow(matrix, vmin=0, vmax=top, cmap="viridis")
        size = len(matrix) / len(groups)
        middles = (np.arange(len(groups)) + 0.5) * size - 0.5
        ax.set_xticks(middles, groups)
        ax.set_yticks(middles, groups)
        ax.tick_params(length=0)
        for line in np.arange(1, len(groups)) * size - 0.5:
            ax.axhline(line, color="white", lw=0.8)
            ax.axvline(line, color="white", lw=0.8)
        ax.set(title=title, xlabel="to tokens of", ylabel="from tokens of")
    fig.colorbar(picture, ax=list(axes[0]), label="attention", shrink=0.8)
    return fig
