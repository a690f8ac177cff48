"""A map of effects: which part helps where, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.style import WIDTH, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@figure
def effect_map(table: pd.DataFrame, *, names: Mapping[tuple[str, str], str] | None = None, limit: float | None = None,
               unit: str = "difference in Dice") -> Figure:
    """Effects as coloured fields: parts down, kinds of missing rates across, regions within.

    A field holds the difference and, below it, its interval.  It is coloured only where the verdict is that the part
    helps (purple) or hurts (orange), and pale where a single seed says so; what is not shown stays grey, so that it
    cannot be taken for a result.

    Args:
        table: Of `experiment.effects.effects`.
        names: Words for a pair (one, before); default its names.
        limit: Difference with the strongest colour; default the largest one.
        unit: Name of the number.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    kinds, regions = (list(dict.fromkeys(table[column])) for column in ("rates", "region"))
    pairs = list(dict.fromkeys(zip(table["one"], table["before"], strict=True)))
    one_base = len({before for _, before in pairs}) == 1
    limit = limit or float(np.nanmax(np.abs(table["difference"]), initial=1e-3))
    cmap = plt.get_cmap("PuOr")
    fig, ax = plt.subplots(figsize=(max(WIDTH, 0.72 * len(kinds) * len(regions)), 0.46 * len(pairs) + 1.0))
    for line in table.itertuples():
        x = kinds.index(line.rates) * (len(regions) + 0.25) + regions.index(line.region)
        y = pairs.index((line.one, line.before))
        shown = line.verdict in ("helps", "hurts")
        strength = {"helps": 0.28, "hurts": 0.28, "one seed only": 0.12}.get(line.verdict)
        colour = cmap(0.5 + strength * np.clip(line.difference / limit, -1, 1)) if strength else "#F4F4F4"
        ax.add_patch(Rectangle((x, y), 0.96, 0.94, color=colour, lw=0))
        if np.isnan(line.difference):
            ax.text(x + 0.48, y + 0.47, "missing", ha="center", va="center", color="0.55", size=7)
            continue
        ink = {"color": "black", "weight": "bold"} if shown else {"color": "0.35"}
        ax.text(x + 0.48, y + 0.33, f"{line.difference:+.3f}", ha="center", va="center", size=8, **ink)
        ax.text(x + 0.48, y + 0.69, f"{line.low:+.3f} to {line.high:+.3f}".replace("0.", "."), ha="center", va="center",
                size=5.4, color=ink["color"])
    ax.set(xlim=(0, len(kinds) * (len(regions) + 0.25)), ylim=(len(pairs), 0))
    starts = [number * (len(regions) + 0.25) for number in range(len(kinds))]
    ax.set_xticks([start + place + 0.48 for start in starts for place in range(len(regions))], regions * len(kinds))
    ax.set_yticks(np.arange(len(pairs)) + 0.47, [
        (names or {}).get(pair, pair[0] if one_base else f"{pair[0]}\nagainst {pair[1]}") for pair in pairs])
    ax.tick_params(length=0)
    for start, kind in zip(starts, kinds, strict=True):
        seeds = sorted(set(table.loc[table["rates"] == kind, "seeds"]))
        ax.text(start + len(regions) / 2, -0.12, f"{kind} ({words(seeds)})", ha="center", va="bottom")
    ax.set_xlabel(f"{unit}\ncoloured where the interval leaves 0 out and every seed agrees (pale: one seed)")
    ax.spines[:].set_visible(False)
    return fig


def words(seeds: Sequence[int]) -> str:
    """``3 seeds``, ``1 or 2 seeds``, ``1 seed``."""
    return " or ".join(map(str, seeds)) + (" seed" if list(seeds) == [1] else " seeds")
