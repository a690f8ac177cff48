"""Figures of results: subset heat maps, intervals, training curves, missing-rate tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.style import MODALITY_COLOURS, REGION_COLOURS, WIDTH, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure
def subset_heatmap(table: pd.DataFrame, *, title: str = "", unit: str = "Dice", best: str = "high",
                   limits: tuple[float, float] | None = None) -> Figure:
    """A table subset x region as colours and numbers.

    Args:
        table: Index: subset names (full ones); columns: regions; values: the metric.
        title: Above the figure.
        unit: Name of the number.
        best: ``high`` (Dice) or ``low`` (HD95): which end is dark.
        limits: Of the colours; default 0..1 for Dice, the data's range else.
    """
    import matplotlib.pyplot as plt

    values = table.to_numpy(dtype=float)
    low, high = limits or ((0.0, 1.0) if best == "high" else (float(np.nanmin(values)), float(np.nanmax(values))))
    fig, ax = plt.subplots(figsize=(WIDTH * 0.75, 0.3 * len(table) + 1.0))
    picture = ax.imshow(values, vmin=low, vmax=high, cmap="viridis" if best == "high" else "viridis_r", aspect="auto")
    ax.set_xticks(range(table.shape[1]), [str(c) for c in table.columns])
    ax.set_yticks(range(len(table)), [str(i) for i in table.index])
    bright = (values - low) / max(high - low, 1e-9) > 0.6
    for (row, column), value in np.ndenumerate(values):
        dark_text = bright[row, column] == (best == "high")
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="black" if dark_text else "white",
                fontsize=9)
    ax.set_title(title)
    fig.colorbar(picture, ax=ax, label=unit, shrink=0.8)
    return fig


@figure
def training_curves(log: pd.DataFrame, terms: Sequence[str], *, logarithmic: bool = False, smooth: int = 1) -> Figure:
    """Loss terms over the steps of a run; `smooth` is the length of a running mean in logged rows."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(WIDTH, WIDTH * 0.36))
    for term in terms:
        ax.plot(log["step"], log[term].rolling(smooth, min_periods=1).mean(), label=term)
    ax.set(xlabel="step", ylabel="loss", yscale="log" if logarithmic else "linear")
    ax.legend(ncols=min(len(terms), 5))
    return fig


@figure
def modality_curves(log: pd.DataFrame, states: Sequence[str], modalities: Sequence[str], *, smooth: int = 1) -> Figure:
    """One panel per state (``gap``, ``beta``, ...), one line per modality, over the steps of a run."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(states), figsize=(WIDTH, WIDTH * 0.34), squeeze=False)
    for ax, state in zip(axes[0], states, strict=True):
        for m in modalities:
            ax.plot(log["step"], log[f"{state}/{m}"].rolling(smooth, min_periods=1).mean(), label=m,
                    color=MODALITY_COLOURS.get(m))
        ax.set(xlabel="step", title=state.replace("_", " "))
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(modalities))
    return fig


@figure
def availability_picture(table: pd.DataFrame, *, title: str = "") -> Figure:
    """A missing-rate table as a picture: one column per case, filled where the scan is there."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap, to_rgba

    names = [str(c) for c in table.columns]
    codes = table.to_numpy(dtype=bool).T * (np.arange(len(names))[:, None] + 1)
    colours = ["#F2F2F2", *(to_rgba(MODALITY_COLOURS.get(name, "#444444")) for name in names)]
    fig, ax = plt.subplots(figsize=(WIDTH, 0.32 * len(names) + 0.9))
    ax.imshow(codes, aspect="auto", cmap=ListedColormap(colours), vmin=0, vmax=len(names))
    rates = 1 - table.mean().to_numpy(dtype=float)
    ax.set_yticks(range(len(names)), [f"{n} ({r:.0%} missing)" for n, r in zip(names, rates, strict=True)])
    ax.set(xlabel="case", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return fig


@figure
def reliability_picture(confidence: Sequence[float], right: Sequence[float], *, title: str = "") -> Figure:
    """Share of right answers against confidence, one point a bin; below the diagonal is overconfident."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(WIDTH * 0.75, WIDTH * 0.5))
    ax.plot([0, 1], [0, 1], color="0.6", lw=1, label="as sure as right")
    ax.plot(confidence, right, "o-", color="#0072B2", label="this study")
    ax.fill_between(confidence, right, confidence, color="#0072B2", alpha=0.15)
    ax.set(xlim=(0.2, 1), ylim=(0, 1), xlabel="confidence (mean of a bin)", ylabel="share that is right", title=title)
    ax.legend(loc="upper left")
    return fig


@figure
def interval_plot(table: pd.DataFrame, *, value: str, low: str, high: str, label: str, group: str | None = None,
                  points: Mapping[str, Sequence[float]] | None = None, unit: str = "difference in Dice") -> Figure:
    """Differences with their intervals, one line each; an interval that holds 0 is drawn pale.

    Args:
        table: One row per line.
        value, low, high: Columns of the number and its interval.
        label: Column with the line's name.
        group: Column that decides the colour (a region's name).
        points: Line name -> single values (one per seed), drawn as dots.
        unit: Name of the axis.
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(WIDTH, 0.32 * len(table) + 0.9))
    for row, (_, line) in enumerate(table.iterrows()):
        colour = REGION_COLOURS.get(str(line[group]), "0.2") if group else "0.2"
        clear = line[low] > 0 or line[high] < 0
        ax.plot([line[low], line[high]], [row, row], color=colour, alpha=1 if clear else 0.35, lw=2)
        ax.plot(line[value], row, "o", color=colour, alpha=1 if clear else 0.35)
        seeds = (points or {}).get(str(line[label]), ())
        ax.plot(seeds, np.full(len(seeds), row + 0.25), ".", color="0.45", ms=4)
    ax.axvline(0, color="0.6", lw=1)
    ax.set_yticks(range(len(table)), [str(name) for name in table[label]])
    ax.set_xlabel(unit)
    ax.invert_yaxis()
    return fig
