"""One picture of what the kit is about: the scans, the truth, and what is found when scans are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.planes import Plane, fullest_slice, lps_spacing, narrow, to_lps
from dmaf_lite.figures.style import WIDTH, figure
from dmaf_lite.figures.volumes import class_legend, draw_slice

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@figure
def hero_picture(images: Mapping[str, np.ndarray], label: np.ndarray, answers: Mapping[str, np.ndarray],
                 scores: Mapping[str, Mapping[str, float]], affine: np.ndarray, classes: tuple[str, ...]) -> Figure:
    """Above: every scan and the reference.  Below: the answer from each subset of scans, with its Dice.

    Args:
        images: Modality -> scan [X, Y, Z].
        label: Internal label map, the reference.
        answers: Name of a subset -> predicted label map.
        scores: Name of a subset -> region -> Dice.
        affine: [4, 4].
        classes: Names of the internal labels.
    """
    import matplotlib.pyplot as plt

    cut, over = Plane("axial", lps_spacing(affine)), to_lps(label, affine)
    index = fullest_slice(over)
    scans = {name: to_lps(scan, affine) for name, scan in images.items()}
    first = next(iter(scans.values()))
    columns = max(len(scans) + 1, len(answers))
    fig, axes = plt.subplots(2, columns, figsize=(WIDTH * 1.2, WIDTH * 1.2 / columns * 2.55))
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, scan) in zip(axes[0], scans.items(), strict=False):
        draw_slice(ax, cut, scan, index, marks=False, limits=narrow(scan))
        ax.set_title(name)
    draw_slice(axes[0, len(scans)], cut, first, index, label=over, marks=False, opacity=0.6)
    axes[0, len(scans)].set_title("reference", weight="bold")
    for ax, (name, answer) in zip(axes[1], answers.items(), strict=False):
        draw_slice(ax, cut, first, index, label=to_lps(answer, affine), marks=False, opacity=0.6)
        ax.set_title(name, weight="bold")
        words = "  ".join(f"{region} {value:.2f}" for region, value in scores[name].items())
        ax.text(0.5, -0.03, words, transform=ax.transAxes, ha="center", va="top", fontsize=9)
    class_legend(fig, label, classes)
    return fig
