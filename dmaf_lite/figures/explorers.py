"""What the explorers show, as static figures: slices with their marks, one subset's answer, a training's log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.planes import AXIS, PLANES, Plane
from dmaf_lite.figures.style import CLASS_COLOURS, MODALITY_COLOURS, WIDTH, figure
from dmaf_lite.figures.volumes import draw_slice

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATES = {"gap": "distillation gap", "beta": r"loss weight $\beta$", "gamma": r"update factor $\gamma$"}
# Tol's muted colours: apart for colour-blind readers, and none that stands for a modality.
TERMS = {"total": "#000000", "seg": "#332288", "deep": "#88CCEE", "unimodal": "#882255", "cov": "#999933",
         "att": "#44AA99", "proto": "#DDCC77"}


def draw_planes(axes: Sequence[Axes], scan: np.ndarray, spacing: tuple[float, float, float], at: Sequence[int], *,
                label: np.ndarray | None = None, outline: np.ndarray | None = None) -> None:
    """Three planes of an LPS scan through the voxel `at`, labels over it, a reference as white borders."""
    for ax, name in zip(axes, PLANES, strict=True):
        plane, index = Plane(name, spacing), at[AXIS[name]]
        draw_slice(ax, plane, scan, index, label=label)
        columns, rows = (axis for axis in range(3) if axis != AXIS[name])
        row = at[rows] if name == "axial" else scan.shape[rows] - 1 - at[rows]
        if outline is not None and (cut := plane.cut(outline, index)).any():
            ax.contour(cut > 0, [0.5], colors="white", linewidths=0.8)
        ax.axhline(row, color="#8CD2FF", lw=0.5)
        ax.axvline(at[columns], color="#8CD2FF", lw=0.5)
        ax.set_title(f"{name} {index}")


@figure
def explored_planes(scan: np.ndarray, spacing: tuple[float, float, float], at: Sequence[int], *, title: str,
                    legend: Mapping[str, str], label: np.ndarray | None = None, note: str = "") -> Figure:
    """A study as the volume explorer shows it: three planes with a cross-hair.

    Args:
        scan: [X, Y, Z] in LPS order.
        spacing: mm along L, P, S.
        at: The voxel under the cross-hair.
        title: Above.
        legend: Class -> colour.
        label: Internal labels [X, Y, Z].
        note: Below the title, such as what was read at the cross.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, WIDTH / 2.5))
    draw_planes(axes, scan, spacing, at, label=label)
    fig.suptitle(f"{title}\n{note}".strip(), fontsize=9)
    _legend(fig, legend)
    return fig


@figure
def explored_subset(scan: np.ndarray, spacing: tuple[float, float, float], at: Sequence[int], *, label: np.ndarray,
                    outline: np.ndarray | None, title: str, legend: Mapping[str, str], weights: np.ndarray | None,
                    modalities: Sequence[str], dice: Mapping[str, float],
                    subsets: Mapping[str, tuple[np.ndarray, Mapping[str, float]]], plane: str = "axial",
                    note: str = "") -> Figure:
    """One subset's answer as the modality explorer shows it, and the other answers that are known.

    Args:
        scan: [X, Y, Z] in LPS order.
        spacing: mm along L, P, S.
        at: The voxel under the cross-hair.
        label: The answer [X, Y, Z].
        outline: The reference [X, Y, Z], or None.
        title: Above the whole.
        legend: Class -> colour.
        weights: [levels, M], or None where the network has none.
        modalities: M names.
        dice: Region -> Dice; empty without a reference.
        subsets: Name -> (answer [X, Y, Z], region -> Dice) of what is known; drawn small where there are several.
        plane: Of the small ones.
        note: Below the title.
    """
    import matplotlib.pyplot as plt

    many = len(subsets) if len(subsets) > 2 else 0
    columns = 5
    rows = -(-many // columns)
    fig = plt.figure(figsize=(WIDTH * 1.15, WIDTH * 0.36 + 0.6 + 2.1 * rows))
    grid = fig.add_gridspec(1 + rows, 1, height_ratios=[1.7, *(1 for _ in range(rows))])
    top = grid[0].subgridspec(1, 4, width_ratios=[1.15, 1.15, 1.15, 1])
    axes = [fig.add_subplot(part) for part in top]
    draw_planes(axes[:3], scan, spacing, at, label=label, outline=outline)
    draw_weights(axes[3], weights, modalities)
    words = "Dice  " + "   ".join(f"{region} {value:.2f}" for region, value in dice.items()) if dice else ""
    fig.suptitle("\n".join(filter(None, (title, words, note))), fontsize=9)
    cut = Plane(plane, spacing)
    for i, (name, (answer, scores)) in enumerate(subsets.items() if many else ()):
        ax = fig.add_subplot(grid[1 + i // columns].subgridspec(1, columns)[i % columns])
        draw_slice(ax, cut, scan, at[AXIS[plane]], label=answer, marks=False)
        numbers = "\n" + " ".join(f"{v:.2f}".lstrip("0") for v in list(scores.values())[:3]) if scores else ""
        ax.set_title(name.replace(" + ", "+") + numbers, fontsize=9)
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
