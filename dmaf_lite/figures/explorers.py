"""What the explorers show, as static figures: slices with their marks, one subset's answer, a training's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.planes import SIDES
from dmaf_lite.figures.style import CLASS_COLOURS, MODALITY_COLOURS, WIDTH, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {"gap": "distillation gap", "beta": r"loss weight $\beta$", "gamma": r"update factor $\gamma$"}
# Tol's muted colours: apart for colour-blind readers, and none that stands for a modality.
TERMS = {"total": "#000000", "seg": "#332288", "deep": "#88CCEE", "unimodal": "#882255", "cov": "#999933",
         "att": "#44AA99", "proto": "#DDCC77"}


def draw_picture(ax: Axes, picture: np.ndarray, plane: str, *, cross: Sequence[float] = ()) -> None:
    """Draw a picture of `slice_picture` or `map_picture` with its letters, and a cross at [x, y] (0 to 1)."""
    ax.imshow(picture)
    for x, letter, align in ((0.02, SIDES[plane][0], "left"), (0.98, SIDES[plane][1], "right")):
        ax.text(x, 0.5, letter, transform=ax.transAxes, color="white", ha=align, va="center", fontsize=9)
    if len(cross):
        ax.plot(cross[0] * picture.shape[1], cross[1] * picture.shape[0], "+", color="#56B4E9", ms=9)
    ax.set_axis_off()


@figure
def explored_slice(picture: np.ndarray, plane: str, *, title: str, legend: Mapping[str, str], note: str = "",
                   cross: Sequence[float] = ()) -> Figure:
    """A slice as the volume explorer shows it.

    Args:
        picture: uint8 [H, W, 3] of `slice_picture`.
        plane: Decides the letters.
        title: Above.
        legend: Class -> colour.
        note: Below, such as what was read at the cross.
        cross: [x, y] from 0 to 1.
    """
    import matplotlib.pyplot as plt

    wide = WIDTH * 0.5
    fig, ax = plt.subplots(figsize=(wide, wide * picture.shape[0] / picture.shape[1] + 0.6))
    draw_picture(ax, picture, plane, cross=cross)
    ax.set_title(title)
    if note:
        fig.supxlabel(note, fontsize=9)
    _legend(fig, legend)
    return fig


@figure
def explored_subset(pictures: Mapping[str, np.ndarray], plane: str, *, title: str, legend: Mapping[str, str],
                    weights: np.ndarray | None, modalities: Sequence[str], dice: Mapping[str, float],
                    unit: tuple[str, float, float] | None = None) -> Figure:
    """One subset's answer as the modality explorer shows it: pictures, weights by level, Dice by region.

    Args:
        pictures: Title -> uint8 [H, W, 3].
        plane: Decides the letters.
        title: Above the whole.
        legend: Class -> colour.
        weights: [levels, M], or None where the network has none.
        modalities: M names.
        dice: Region -> Dice; empty without a reference.
        unit: Of the last picture where it is a map: its name and what the ends of the colours stand for.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    high, wide, _ = next(iter(pictures.values())).shape
    fig, axes = plt.subplots(1, len(pictures) + 1, figsize=(WIDTH * 1.15, WIDTH * 0.36 * high / wide + 0.9),
                             width_ratios=[*(1.2 for _ in pictures), 1])
    for ax, (name, picture) in zip(axes, pictures.items(), strict=False):
        draw_picture(ax, picture, plane)
        ax.set_title(name)
    if unit:
        bar = axes[len(pictures) - 1].inset_axes((0.2, -0.05, 0.6, 0.025))
        colours = ScalarMappable(Normalize(*unit[1:]), "viridis")
        fig.colorbar(colours, cax=bar, orientation="horizontal", ticks=unit[1:], format="{x:.2f}")
        bar.tick_params(labelsize=7, length=0, pad=1)
    draw_weights(axes[-1], weights, modalities)
    words = "Dice  " + "   ".join(f"{region} {value:.2f}" for region, value in dice.items()) if dice else ""
    axes[-1].text(0.5, -0.5, words, ha="center", transform=axes[-1].transAxes)
    fig.suptitle(title, fontsize=10)
    _legend(fig, legend)
    return fig


def draw_weights(ax: Axes, weights: np.ndarray | None, modalities: Sequence[str]) -> None:
    """Mean modality weights [levels, M] as one stacked bar per level, the full-size level on top."""
    if weights is None:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "this network has\nno modality weights", ha="center", va="center", transform=ax.transAxes)
        return
    left = np.zeros(len(weights))
    for name, values in zip(modalities, weights.T, strict=True):
        bars = ax.barh(range(len(weights)), values, left=left, color=MODALITY_COLOURS.get(name, "0.5"), label=name)
        ax.bar_label(bars, [f"{v:.2f}" if v >= 0.12 else "" for v in values], label_type="center", color="white",
                     fontsize=8)
        left += values
    ax.set_yticks(range(len(weights)), [f"level {level + 1}" for level in range(len(weights))])
    ax.set(xlim=(0, 1), title="mean weight over the brain")
    ax.set_xticks([])
    ax.spines[["bottom", "left"]].set_visible(False)
    ax.invert_yaxis()
    ax.set_box_aspect(0.55)  # bars, no blocks
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)


@figure
def explored_training(log: pd.DataFrame, modalities: Sequence[str], *, smooth: int = 1, logarithmic: bool = True,
                      title: str = "") -> Figure:
    """A run's log: loss terms, and per modality the gaps, loss weights and update factors that it has.

    Args:
        log: Rows of a run's ``log.csv``.
        modalities: Names in the columns ``gap/<modality>`` and so on.
        smooth: Length of a running mean of the loss terms, in rows.
        logarithmic: Scale of the loss terms.
        title: Above.
    """
    import matplotlib.pyplot as plt

    states = [state for state in STATES if f"{state}/{modalities[0]}" in log]
    mosaic = [["terms"] * max(len(states), 1), *([states] if states else [])]
    fig, axes = plt.subplot_mosaic(mosaic, figsize=(WIDTH, WIDTH * (0.62 if states else 0.36)))
    log = log.mask(log == 0).assign(step=log["step"])  # a step without students, a scan not seen yet: no value
    for term, colour in TERMS.items():
        if term in log:
            axes["terms"].plot(log["step"], log[term].rolling(smooth, min_periods=1).mean(), label=term, color=colour,
                               lw=2 if term == "total" else 1.3)
    axes["terms"].set(title=title or "loss terms", xlabel="step", yscale="log" if logarithmic else "linear")
    axes["terms"].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for state in states:
        for m in modalities:
            axes[state].plot(log["step"], log[f"{state}/{m}"], label=m, color=MODALITY_COLOURS.get(m))
        axes[state].set(title=STATES[state], xlabel="step")
        axes[state].ticklabel_format(axis="y", useOffset=False)
    if states:
        fig.legend(*axes[states[0]].get_legend_handles_labels(), loc="outside lower center", ncols=len(modalities))
    return fig


def _legend(fig: Figure, colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    if colours:
        fig.legend(handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
                   loc="outside lower center", ncols=len(colours))


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Class -> colour, without the background."""
    return dict(zip(classes[1:], CLASS_COLOURS[1:], strict=False))
