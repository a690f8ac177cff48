"""Slices of volumes as a radiologist expects them: the patient's right on the left of the picture.

Volumes are brought to LPS order by their affine first, so a slice looks the same whatever order the
file has; pixels keep their true shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PLANES = ("axial", "coronal", "sagittal")
AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}
# letters at the left and right edge of the picture
SIDES = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


def to_lps(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Reorder and flip the axes of [X, Y, Z] so that they run to the left, to the back and up."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    return apply_orientation(volume, ornt_transform(io_orientation(affine), axcodes2ornt("LPS")))


def lps_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel edges in mm after `to_lps`."""
    from nibabel.orientations import io_orientation

    edges = np.linalg.norm(affine[:3, :3], axis=0)
    order = io_orientation(affine)[:, 0].astype(int)
    lps = np.empty(3)
    lps[order] = edges
    return tuple(float(edge) for edge in lps)


@dataclass(frozen=True)
class Plane:
    """How to cut and draw one plane of an LPS volume.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``.
        spacing: mm along L, P, S.
    """

    name: str
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.name not in AXIS:
            raise ValueError(f"plane {self.name!r} is not known; choose one of {PLANES}")

    def cut(self, volume: np.ndarray, index: int) -> np.ndarray:
        """The picture [rows, columns] of slice `index`: front or top is up, the patient's right is left."""
        picture = np.take(volume, index, axis=AXIS[self.name]).T
        return picture if self.name == "axial" else picture[::-1]

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width."""
        width, height = (edge for axis, edge in enumerate(self.spacing) if axis != AXIS[self.name])
        return height / width


def fullest_slice(label: np.ndarray, plane: str = "axial") -> int:
    """The slice with the most labelled voxels (the middle one where there is none): a sensible first view."""
    axis = AXIS[plane]
    counts = (label > 0).sum(axis=tuple(a for a in range(3) if a != axis))
    return int(counts.argmax()) if counts.any() else label.shape[axis] // 2


def head_box(volume: np.ndarray, margin: int = 2) -> tuple[slice, slice, slice]:
    """The box around everything that is not background (0), a little wider; all of it where nothing is there."""
    inside = volume != 0
    if not inside.any():
        return (slice(None),) * 3
    return tuple(
        slice(max(int(along.argmax()) - margin, 0), len(along) - max(int(along[::-1].argmax()) - margin, 0))
        for along in (inside.any(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3))
    )


def window(image: np.ndarray) -> tuple[float, float]:
    """Grey window of a scan: 1st to 99.5th percentile of what is not background (0)."""
    inside = image[image != 0]
    if not inside.size:
        return 0.0, 1.0
    low, high = np.percentile(inside, (1, 99.5))
    return float(low), float(max(high, low + 1e-6))


def narrow(scan: np.ndarray) -> tuple[float, float]:
    """A grey window around the brain's tissue: on T2, fluid is so bright that a full window leaves the rest dark."""
    inside = scan[scan != 0]
    low, middle, top = np.percentile(inside, (1, 50, 99.5))
    return float(low), float(max(min(top, middle + 2.5 * (middle - low)), low + 1e-6))
