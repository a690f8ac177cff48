"""One slice as a small picture in uint8, in milliseconds: what the explorers send at every key.

The same planes, marks and colours as `draw_slice`, without a figure around them.  A picture is larger
than its slice: scans are interpolated, label maps are not, so that a voxel's edge stays an edge.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from dmaf_lite.figures.planes import AXIS, Plane, head_box
from dmaf_lite.figures.style import CLASS_COLOURS

LONGEST = 420  # pixels of the longer side: sharp enough for a third of a notebook's width, small enough to be quick
ASIDE = 0.05  # of the head's width, on either side: room for the letters
NO_VALUE = (0, 0, 0)


def hex_rgb(colour: str) -> tuple[int, int, int]:
    """``"#D55E00"`` -> (213, 94, 0)."""
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


CLASS_RGB = np.array([hex_rgb(colour) for colour in CLASS_COLOURS], np.float32)


@dataclass(frozen=True)
class Frame:
    """The part of a plane that is shown, and at what size.

    Attributes:
        plane: How slices are cut.
        shape: Of the LPS volumes.
        rows, columns: First and last + 1 of the part of a cut slice that holds the head; columns may begin and end
            outside the volume, so that there is room for the letters.
        height, width: Of the picture in pixels; its shape is true whatever the voxels are.
    """

    plane: Plane
    shape: tuple[int, int, int]
    rows: tuple[int, int]
    columns: tuple[int, int]
    height: int
    width: int

    @classmethod
    def around(cls, head: np.ndarray, plane: Plane, longest: int = LONGEST) -> Frame:
        """The frame that holds what is not 0 in `head` [X, Y, Z] (LPS order)."""
        inside = [part.indices(n)[:2] for part, n in zip(head_box(head), head.shape, strict=True)]
        (left, right), (top, bottom) = (inside[axis] for axis in range(3) if axis != AXIS[plane.name])
        n = [head.shape[axis] for axis in range(3) if axis != AXIS[plane.name]][1]
        if plane.name != "axial":  # drawn upside down: up is up
            top, bottom = n - bottom, n - top
        aside = round(ASIDE * (right - left))
        left, right = left - aside, right + aside
        tall, wide = (bottom - top) * plane.aspect, right - left
        scale = longest / max(tall, wide)
        return cls(plane, head.shape, (top, bottom), (left, right), max(1, round(tall * scale)),
                   max(1, round(wide * scale)))

    def cut(self, volume: np.ndarray, index: int) -> np.ndarray:
        """The shown part of slice `index`: [rows, columns], 0 outside the volume."""
        whole = self.plane.cut(volume, index)
        left, right = self.columns
        kept = whole[slice(*self.rows), max(left, 0) : right]
        return np.pad(kept, ((0, 0), (max(-left, 0), max(right - whole.shape[1], 0))))

    def voxel(self, x: float, y: float, index: int) -> tuple[int, int, int]:
        """The voxel (LPS order) under a point of the picture, x and y from 0 to 1 from its upper left corner."""
        (left, right), (top, bottom) = self.columns, self.rows
        axis = AXIS[self.plane.name]
        first, second = (a for a in range(3) if a != axis)
        column = min(max(left + int(x * (right - left)), 0), self.shape[first] - 1)
        row = min(max(top + int(y * (bottom - top)), 0), self.shape[second] - 1)
        found = [0, 0, 0]
        found[axis], found[first] = index, column
        found[second] = row if self.plane.name == "axial" else self.shape[second] - 1 - row
        return tuple(found)

    def point(self, voxel: tuple[int, int, int]) -> tuple[float, float]:
        """The middle of a voxel in the picture, the way back of `voxel`."""
        first, second = (a for a in range(3) if a != AXIS[self.plane.name])
        row = voxel[second] if self.plane.name == "axial" else self.shape[second] - 1 - voxel[second]
        (left, right), (top, bottom) = self.columns, self.rows
        return (voxel[first] + 0.5 - left) / (right - left), (row + 0.5 - top) / (bottom - top)

    def enlarge(self, picture: np.ndarray, *, smooth: bool) -> np.ndarray:
        """uint8 [rows, columns(, 3)] -> uint8 [height, width(, 3)]."""
        how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((self.width, self.height), how))


def slice_picture(frame: Frame, image: np.ndarray, index: int, *, limits: tuple[float, float],
                  label: np.ndarray | None = None, opacity: float = 0.45, outline: np.ndarray | None = None
                  ) -> np.ndarray:
    """A slice of a scan, with a label map over it and the borders of another one.

    Args:
        frame: Plane and size.
        image: Scan [X, Y, Z] in LPS order, 0 outside the head.
        index: The slice.
        limits: Grey window.
        label: Internal labels, filled.
        opacity: Of the filling, 0 to 1.
        outline: Internal labels, of which only the borders are drawn, in white.

    Returns:
        uint8 [height, width, 3].
    """
    cut = frame.cut(image, index)
    low, high = limits
    # background darker than the darkest tissue, whatever the window
    grey = np.where(cut == 0, 0, np.clip((cut - low) * (240 / max(high - low, 1e-6)) + 15, 15, 255)).astype(np.uint8)
    picture = np.repeat(frame.enlarge(grey, smooth=True)[..., None], 3, axis=2)
    if label is not None and opacity > 0:
        classes = frame.enlarge(frame.cut(label, index).astype(np.uint8), smooth=False)
        there = classes > 0
        picture[there] = (picture[there] * (1 - opacity) + CLASS_RGB[classes[there]] * opacity).astype(np.uint8)
    if outline is not None:
        draw_borders(picture, frame.enlarge(frame.cut(outline, index).astype(np.uint8), smooth=False))
    return picture


def map_picture(frame: Frame, values: np.ndarray, index: int, *, inside: np.ndarray,
                limits: tuple[float, float] = (0.0, 1.0), outline: np.ndarray | None = None) -> np.ndarray:
    """A slice of a map of numbers in viridis, black outside the head.

    Args:
        frame: Plane and size.
        values: [X, Y, Z] in LPS order.
        index: The slice.
        inside: bool [X, Y, Z], where there is anything to show.
        limits: What the ends of the colours stand for.
        outline: As in `slice_picture`.

    Returns:
        uint8 [height, width, 3].
    """
    low, high = limits
    scaled = np.clip((frame.cut(values, index).astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    there = frame.enlarge(frame.cut(inside, index).astype(np.uint8), smooth=False) > 0
    picture = viridis()[frame.enlarge(scaled.astype(np.uint8), smooth=True)]
    picture[~there] = NO_VALUE
    if outline is not None:
        draw_borders(picture, frame.enlarge(frame.cut(outline, index).astype(np.uint8), smooth=False))
    return picture


def draw_borders(picture: np.ndarray, label: np.ndarray) -> None:
    """Draw lines into [H, W, 3] where neighbours in a label map [H, W] differ; white beside dark is seen anywhere."""
    edge = np.zeros(label.shape, bool)
    edge[:-1] |= label[:-1] != label[1:]
    edge[:, :-1] |= label[:, :-1] != label[:, 1:]
    beside = np.zeros_like(edge)
    beside[1:, 1:] = edge[:-1, :-1]
    picture[beside] //= 3
    picture[edge] = 255


@cache
def viridis() -> np.ndarray:
    """matplotlib's colour map as a table uint8 [256, 3]."""
    import matplotlib

    return (matplotlib.colormaps["viridis"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """uint8 [H, W, 3] as the bytes of a PNG file."""
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "PNG", compress_level=1)  # 1: four times as quick as 6, a little larger
    return memory.getvalue()
