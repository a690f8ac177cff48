"""A matrix of experiments as a picture: methods down, a panel for each kind of missing rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.style import WIDTH, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure
def score_picture(table: pd.DataFrame, seeds: Mapping[tuple[str, str], list[float]], *, unit: str = "mean Dice"
                  ) -> Figure:
    """Mean and interval of each method, its seeds as points; an empty line says ``missing``.

    Args:
        table: As `experiment.summary.score_table` gives it.
        seeds: (variant, rates) -> the mean of each seed.
        unit: Name of the axis.
    """
    import matplotlib.pyplot as plt

    variants = list(dict.fromkeys(table.index.get_level_values("variant")))
    kinds = list(dict.fromkeys(table.index.get_level_values("rates")))
    fig, axes = plt.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False,
                             figsize=(WIDTH, 0.36 * len(variants) + 1.2))
    for ax, kind in zip(axes[0], kinds, strict=True):
        for row, variant in enumerate(variants):
            line = table.loc[(variant, kind)] if (variant, kind) in table.index else None
            if line is None or not line["seeds"]:
                ax.text(0.5, row, "missing", transform=ax.get_yaxis_transform(), ha="center", va="center", color="0.55")
                continue
            ax.plot([line["low"], line["high"]], [row, row], color="#0072B2", lw=2)
            ax.plot(line["mean"], row, "o", color="#0072B2")
            points = seeds.get((variant, kind), [])
            ax.plot(points, np.full(len(points), row + 0.28), ".", color="0.4", ms=5)
        ax.set(title=kind, xlabel=unit)
    axes[0][0].set_yticks(range(len(variants)), variants)
    axes[0][0].set_ylim(len(variants) - 0.5, -0.5)
    return fig


@figure
def validation_picture(curves: Mapping[str, pd.DataFrame], *, unit: str = "mean Dice, validation") -> Figure:
    """The looks at the validation cases of every run, one line each."""
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(WIDTH, 3.2))
    for name, looks in curves.items():
        ax.plot(looks["step"], looks["score"], label=name, lw=1.4)
    ax.set(xlabel="step", ylabel=unit)
    if curves:
        ax.legend(fontsize=7, ncols=2)
    return fig


@figure
def own_cases_picture(table: pd.DataFrame, *, unit: str = "mean Dice") -> Figure:
    """Dice against the number of one's own cases, one line for each start, intervals over the tested cases.

    Args:
        table: Columns start, own (number of cases), mean, low, high.
        unit: Name of the number.
    """
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(WIDTH, 3.2))
    sizes = sorted(set(table["own"]))
    for number, (start, line) in enumerate(table.groupby("start", sort=False)):
        places = [sizes.index(own) + 0.06 * number for own in line["own"]]
        spread = [line["mean"] - line["low"], line["high"] - line["mean"]]
        ax.errorbar(places, line["mean"], yerr=spread, fmt="o-", label=start, lw=1.4, ms=4, capsize=2)
    ax.set_xticks(range(len(sizes)), list(map(str, sizes)))
    ax.set(xlabel="labelled cases of one's own", ylabel=unit, ylim=(0, 1))
    ax.legend()
    return fig
