"""Figures of scans: modalities side by side, three planes, labels, predictions and weights over slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmaf_lite.figures.planes import (
    AXIS,
    PLANES,
    SIDES,
    Plane,
    fullest_slice,
    head_box,
    lps_spacing,
    narrow,
    to_lps,
    window,
)
from dmaf_lite.figures.style import CLASS_COLOURS, REGION_COLOURS, WIDTH, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_slice(ax: Axes, plane: Plane, image: np.ndarray, index: int, *, label: np.ndarray | None = None,
               opacity: float = 0.45, limits: tuple[float, float] | None = None, marks: bool = True) -> None:
    """Draw one slice of an LPS scan into `ax`, with an overlay of internal labels and L/R marks."""
    from matplotlib.colors import ListedColormap

    low, high = limits or window(image)
    # background darker than the darkest tissue, whatever the window
    grey = np.where(image == 0, low - 1, image)
    picture = plane.cut(grey, index)
    ax.imshow(picture, vmin=low, vmax=high, aspect=plane.aspect, cmap="gray")
    frame_head(ax, plane, image)
    if label is not None:
        cut = plane.cut(label, index)
        ax.imshow(np.ma.masked_equal(cut, 0), vmin=0, vmax=len(CLASS_COLOURS) - 1, alpha=opacity,
                  cmap=ListedColormap(CLASS_COLOURS), aspect=plane.aspect)
    if marks:  # in the corners: at half height a letter lies on the head, or on its label
        for x, letter, align in ((0.02, SIDES[plane.name][0], "left"), (0.98, SIDES[plane.name][1], "right")):
            ax.text(x, 0.985, letter, transform=ax.transAxes, color="white", ha=align, va="top", fontsize=9)
    ax.set_axis_off()
    ax.set_facecolor("black")


def frame_head(ax: Axes, plane: Plane, image: np.ndarray) -> None:
    """Zoom to the head; slice numbers and voxels stay those of the whole volume."""
    rows, columns = plane.cut(np.empty(image.shape, dtype=bool), 0).shape
    kept = [s.indices(n)[:2] for s, n in zip(head_box(image), image.shape, strict=True)]
    (left, right), (top, bottom) = (kept[axis] for axis in range(3) if axis != AXIS[plane.name])
    if plane.name != "axial":  # drawn upside down: up is up
        top, bottom = rows - bottom, rows - top
    ax.set_xlim(left - 0.5, min(right, columns) - 0.5)
    ax.set_ylim(bottom - 0.5, top - 0.5)


@figure
def show_modalities(images: Mapping[str, np.ndarray], affine: np.ndarray, *, label: np.ndarray | None = None,
                    plane: str = "axial", index: int | None = None, missing: Sequence[str] = (),
                    classes: Sequence[str] = ()) -> Figure:
    """One slice of every modality side by side; missing ones are left black.

    Args:
        images: Modality -> scan [X, Y, Z].
        affine: [4, 4] of the scans.
        label: Internal label map, drawn over the last picture.
        plane: ``axial``, ``coronal`` or ``sagittal``.
        index: Slice in LPS order; default the one with the most label.
        missing: Modalities to show as missing.
        classes: Names of the internal labels, for the legend.
    """
    import matplotlib.pyplot as plt

    cut = Plane(plane, lps_spacing(affine))
    scans = {name: to_lps(scan, affine) for name, scan in images.items()}
    first = next(iter(scans.values()))
    over = to_lps(label, affine) if label is not None else None
    index = fullest_slice(over if over is not None else (first != 0), plane) if index is None else index
    panels = len(scans) + (over is not None)
    fig, axes = plt.subplots(1, panels, figsize=(WIDTH, WIDTH / panels * 1.25), squeeze=False)
    for ax, (name, scan) in zip(axes[0], scans.items(), strict=False):
        if name in missing:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "missing", ha="center", va="center", transform=ax.transAxes, color="0.5")
        else:
            draw_slice(ax, cut, scan, index, limits=narrow(scan))
        ax.set_title(name)
    if over is not None:
        shown = [scan for name, scan in scans.items() if name not in missing]
        draw_slice(axes[0, -1], cut, shown[0], index, label=over)
        axes[0, -1].set_title("labels")
        class_legend(fig, over, classes)
    return fig


@figure
def show_planes(image: np.ndarray, affine: np.ndarray, *, label: np.ndarray | None = None, title: str = "",
                classes: Sequence[str] = ()) -> Figure:
    """Axial, coronal and sagittal slice through the fullest part of a label (or the middle)."""
    import matplotlib.pyplot as plt

    scan, over = to_lps(image, affine), None if label is None else to_lps(label, affine)
    fig, axes = plt.subplots(1, 3, figsize=(WIDTH, WIDTH / 2.6))
    for ax, name in zip(axes, PLANES, strict=True):
        index = fullest_slice(over if over is not None else (scan != 0), name)
        draw_slice(ax, Plane(name, lps_spacing(affine)), scan, index, label=over)
        ax.set_title(f"{title} {name}, slice {index}".strip())
    if over is not None:
        class_legend(fig, over, classes)
    return fig


@figure
def show_labels(image: np.ndarray, labels: Mapping[str, np.ndarray], affine: np.ndarray, *, index: int | None = None,
                plane: str = "axial", columns: int = 5, classes: Sequence[str] = ()) -> Figure:
    """The same slice under several label maps: truth beside predictions."""
    import matplotlib.pyplot as plt

    scan = to_lps(image, affine)
    maps = {name: to_lps(label, affine) for name, label in labels.items()}
    index = fullest_slice(next(iter(maps.values())), plane) if index is None else index
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(WIDTH, rows * WIDTH / columns * 1.15), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, over) in zip(axes.flat, maps.items(), strict=False):
        draw_slice(ax, Plane(plane, lps_spacing(affine)), scan, index, label=over, marks=False)
        ax.set_title(name)
    class_legend(fig, np.stack(list(maps.values())), classes)
    return fig


@figure
def show_regions(image: np.ndarray, masks: Mapping[str, np.ndarray], affine: np.ndarray, *, index: int | None = None,
                 plane: str = "axial") -> Figure:
    """The same slice with one region after the other, each in its own colour."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

    scan, cut = to_lps(image, affine), Plane(plane, lps_spacing(affine))
    over = {name: to_lps(mask, affine) for name, mask in masks.items()}
    index = fullest_slice(next(iter(over.values())), plane) if index is None else index
    fig, axes = plt.subplots(1, len(over), figsize=(WIDTH, WIDTH / len(over) * 1.15), squeeze=False)
    for ax, (name, mask) in zip(axes[0], over.items(), strict=True):
        draw_slice(ax, cut, scan, index)
        ax.imshow(np.ma.masked_equal(cut.cut(mask.astype(np.uint8), index), 0), alpha=0.5, aspect=cut.aspect,
                  cmap=ListedColormap([REGION_COLOURS.get(name, "#D55E00")]))
        ax.set_title(name)
    return fig


@figure
def show_maps(maps: Mapping[str, np.ndarray], affine: np.ndarray, *, index: int, image: np.ndarray | None = None,
              plane: str = "axial", limits: tuple[float, float] = (0.0, 1.0), unit: str = "weight",
              outline: np.ndarray | None = None) -> Figure:
    """Maps of numbers (modality weights, confidences) over one slice, with one colour bar for all.

    Args:
        maps: Name -> numbers [X, Y, Z].
        affine: [4, 4].
        index: Slice in LPS order.
        image: A scan, drawn first.
        plane: ``axial``, ``coronal`` or ``sagittal``.
        limits: What the ends of the colours stand for.
        unit: Name of the numbers.
        outline: A label map; the border of what is not 0 is drawn in white, that of the core (1 and 3) in orange.
    """
    import matplotlib.pyplot as plt

    cut = Plane(plane, lps_spacing(affine))
    panels = len(maps) + (image is not None)
    fig, axes = plt.subplots(1, panels, figsize=(WIDTH, WIDTH / panels * 1.2), squeeze=False)
    shown = list(axes[0])
    if image is not None:
        draw_slice(shown[0], cut, to_lps(image, affine), index)
        shown = shown[1:]
    for ax, (name, values) in zip(shown, maps.items(), strict=True):
        picture = ax.imshow(cut.cut(to_lps(values, affine), index), vmin=limits[0], vmax=limits[1], cmap="viridis",
                            aspect=cut.aspect)
        if image is not None:
            frame_head(ax, cut, to_lps(image, affine))
        ax.set_title(name)
        ax.set_axis_off()
    if outline is not None:
        drawn = cut.cut(to_lps(outline, affine), index)
        for ax in axes[0]:
            for mask, colour in ((drawn > 0, "white"), ((drawn == 1) | (drawn == 3), "#D55E00")):
                if mask.any():
                    ax.contour(mask.astype(float), [0.5], colors=colour, linewidths=1.2)
    fig.colorbar(picture, ax=shown, shrink=0.7, label=unit)
    return fig


def class_legend(fig: Figure, label: np.ndarray, classes: Sequence[str]) -> None:
    """A legend of the internal classes that occur in `label`."""
    from matplotlib.patches import Patch

    present = [int(c) for c in np.unique(label) if c > 0]
    if present and classes:
        handles = [Patch(color=CLASS_COLOURS[c], label=classes[c]) for c in present]
        fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
