"""Short-axis slices: every scan in plane, the truth beside it; never across slices that lie 14 mm apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dmaf_lite.figures.style import WIDTH, figure

# background (not drawn), myocardium, LV, RV, oedema, scar: told apart by most readers with a colour deficiency
HEART_COLOURS = ("#000000", "#4477aa", "#ee6677", "#228833", "#ccbb44", "#ffffff")


@figure
def show_heart(images: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], classes: Sequence[str], *,
               number: int | None = None) -> Figure:
    """One slice of a stack.

    Args:
        images: Name of the scan -> float32[D, H, W].
        labels: Title -> uint8[D, H, W], each drawn by itself.
        classes: Names of the internal classes.
        number: Slice; default the one with the most of the last class in the first label.

    Returns:
        One row: the scans, then the labels.
    """
    first = next(iter(labels.values()))
    if number is None:
        number = int((first == len(classes) - 1).sum((0, 1)).argmax())
    fig, axes = plt.subplots(1, len(images) + len(labels), figsize=(WIDTH, WIDTH / (len(images) + len(labels)) + 0.5))
    colours = ListedColormap(HEART_COLOURS[: len(classes)])
    for ax, (title, image) in zip(axes, {**images, **labels}.items(), strict=True):
        plane = image[..., number].T
        if title in labels:
            ax.imshow(plane, cmap=colours, vmin=-0.5, vmax=len(classes) - 0.5, interpolation="nearest")
        else:
            ax.imshow(plane, cmap="gray", vmax=np.percentile(plane, 99.5))
        ax.set_title(title)
        ax.set_axis_off()
    handles = [Patch(facecolor=colour, edgecolor="grey", label=name)
               for name, colour in zip(classes[1:], HEART_COLOURS[1:], strict=False)]
    fig.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False)
    return fig
