"""Pure functions on one 3-D array: where the head is, z-score, boxes, crops, resampling.

`x > 0` is not the foreground: real files hold negative voxels inside it and sometimes a negative constant
around it.  What is around is read from the faces of the volume, and what differs from it is foreground.

Taught in lesson 01.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Box = tuple[slice, slice, slice]

# Below this share of the faces, the most frequent value is no background but one grey level among many
# (a volume cropped into the tissue).  In skull-stripped scans the share is above one half even when the
# field of view cuts off the head.
BACKGROUND_SHARE = 0.05
COARSER = 1.05  # a grid that is coarser by more than this needs a low-pass
SLAB = 16  # slices that are resampled at a time


def background_value(image: np.ndarray) -> float | None:
    """The constant around the head: the most frequent value on the six faces of `image` (X, Y, Z).

    Returns:
        The value, or None where no value holds at least 5 % of the faces.
    """
    # `take` would copy the whole volume first, as a NIfTI's axes run the other way.
    faces = np.concatenate([np.moveaxis(image, axis, 0)[index].ravel() for axis in range(3) for index in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    most = int(counts.argmax())
    return float(values[most]) if counts[most] >= BACKGROUND_SHARE * faces.size else None


def foreground(image: np.ndarray, background: float | None = None) -> np.ndarray:
    """Where a whole, uncropped `image` (X, Y, Z) differs from its background: bool of the same shape.

    Args:
        image: Any real type.
        background: The constant around the head; None reads it from the faces. An image without one is all foreground.
    """
    background = background_value(image) if background is None else background
    return np.ones(image.shape, bool) if background is None else image != np.asarray(background, image.dtype)


def any_foreground(images: Mapping[str, np.ndarray] | Iterable[np.ndarray]) -> np.ndarray:
    """Where any of the given modalities differs from its own background: bool (X, Y, Z).

    Raises:
        ValueError: No image at all.
    """
    arrays = list(images.values() if isinstance(images, Mapping) else images)
    if not arrays:
        raise ValueError("no image; expected at least one")
    return np.logical_or.reduce([foreground(image) for image in arrays])


def standardise(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Mean 0 and deviation 1 over `mask`, exactly 0 outside it: (float32 of the same shape, mean, deviation).

    Raises:
        ValueError: No contrast inside the mask.
    """
    values = image[mask].astype(np.float64)
    mean, deviation = (float(values.mean()), float(values.std())) if values.size else (0.0, 0.0)
    if not deviation > 0:
        raise ValueError(f"no contrast: the {values.size} voxels of the foreground all have the same value")
    result = np.zeros(image.shape, np.float32)
    result[mask] = (values - mean) / deviation
    return result, mean, deviation


def zscore(image: np.ndarray) -> np.ndarray:
    """z-score a whole, uncropped `image` (X, Y, Z) over its own foreground: float32, exactly 0 outside it.

    A modality never looks at another one, so its values do not depend on what else was acquired.
    (The peers use the union of the foregrounds of all four, which leaks the missing scans into the present ones.)

    Raises:
        ValueError: No contrast in the foreground.
    """
    return standardise(image, foreground(image))[0]


def bounding_box(mask: np.ndarray, minimum: int | Sequence[int] = 1) -> Box:
    """The smallest box around `mask` (X, Y, Z), widened evenly to `minimum` voxels per axis where there is room.

    The box never leaves the volume: it is shifted inwards, and where an axis is shorter than the minimum it
    is that whole axis.

    Raises:
        ValueError: An empty mask.
    """
    box = []
    wanted = (minimum,) * mask.ndim if isinstance(minimum, int) else tuple(minimum)
    for axis, length in enumerate(mask.shape):
        occupied = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not occupied.size:
            raise ValueError("no box around an empty mask")
        start, stop = int(occupied[0]), int(occupied[-1]) + 1
        size = max(stop - start, min(wanted[axis], length))
        start -= (size - (stop - start)) // 2
        start = min(max(start, 0), length - size)
        box.append(slice(start, start + size))
    return tuple(box)


def crop_to(array: np.ndarray, box: Box) -> np.ndarray:
    """The view of `array` (..., X, Y, Z) inside `box`."""
    return array[(..., *box)]


def paste(crop: np.ndarray, box: Box, shape: Sequence[int]) -> np.ndarray:
    """Undo `crop_to`: an array of the trailing `shape`, 0 outside `box`."""
    whole = np.zeros((*crop.shape[:-3], *shape), crop.dtype)
    whole[(..., *box)] = crop
    return whole


def overlap(start: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> tuple[Box, Box]:
    """What a crop of `size` at `start` shares with a volume of `shape`: (slices in the volume, in the crop).

    `start` may be negative and the crop may reach beyond the volume; both slices are empty where nothing is shared.
    """
    inside, within = [], []
    for first, length, whole in zip(start, size, shape, strict=True):
        low = max(first, 0)
        high = max(low, min(first + length, whole))
        inside.append(slice(low, high))
        within.append(slice(low - first, high - first) if high > low else slice(0, 0))
    return tuple(inside), tuple(within)


def spread(mask: np.ndarray, most: int) -> np.ndarray:
    """At most `most` flat (C order) indices of the true voxels, evenly spread through them: int64, ascending."""
    inside = np.flatnonzero(mask)
    if inside.size <= most:
        return inside
    return inside[np.linspace(0, inside.size - 1, most).round().astype(np.int64)]


def resample(array: np.ndarray, shape: Sequence[int], order: int, inside: np.ndarray | None = None) -> np.ndarray:
    """Sample (X, Y, Z) on a grid of `shape` that covers the same field of view edge to edge.

    A coarser grid is sampled after a low-pass (images only): a voxel of a coarse scan is a mean over what it covers,
    and single points of a fine one would carry its noise and miss its thin structures.

    Args:
        array: Image or label.
        shape: New number of voxels per axis.
        order: 1 for images (linear), 0 for labels and masks (nearest).
        inside: bool, like `array`; the low-pass takes means over these voxels only, so that an edge stays as bright as
            what it is the edge of. Default: all.
    """
    from scipy.ndimage import affine_transform

    if tuple(shape) == array.shape:
        return array.copy()
    zoom = np.array(array.shape) / np.array(shape)
    if order == 1 and zoom.max() > COARSER:
        samplers = [_low_pass_sampler(old, new) for old, new in zip(array.shape, shape, strict=True)]
        total, weight = _sums(array, inside, samplers)
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-4).astype(array.dtype)
    values = array.astype(np.uint8) if array.dtype == bool else array
    result = affine_transform(values, zoom, offset=(zoom - 1) / 2, output_shape=tuple(shape), order=order,
                              mode="nearest")
    return result.astype(array.dtype)


def _low_pass_sampler(old: int, new: int) -> csr_matrix:
    """float32[new, old]: linear sampling of `old` voxels at `new` places, on a coarser grid after a Gaussian.

    A Gaussian of variance (zoom^2 - 1) / 12 turns the box that a fine voxel is into one `zoom` times as wide.
    """
    from scipy.sparse import coo_matrix, csr_matrix

    zoom = old / new
    place = np.clip((np.arange(new) + 0.5) * zoom - 0.5, 0, old - 1)
    low = np.minimum(place.astype(int), max(old - 2, 0))
    high, share = np.minimum(low + 1, old - 1), place - low
    rows = np.arange(new)
    linear = coo_matrix((np.concatenate([1 - share, share]), (np.tile(rows, 2), np.concatenate([low, high]))),
                        shape=(new, old)).tocsr()
    if zoom <= COARSER:
        return linear.astype(np.float32)
    deviation = np.sqrt((zoom**2 - 1) / 12)
    apart = np.subtract.outer(np.arange(old), np.arange(old))
    kernel = np.where(np.abs(apart) <= np.rint(3 * deviation), np.exp(-0.5 * (apart / deviation) ** 2), 0)
    return (linear @ csr_matrix(kernel / kernel.sum(1).max())).astype(np.float32).tocsr()


def _sums(array: np.ndarray, inside: np.ndarray | None, samplers: Sequence[csr_matrix]
          ) -> tuple[np.ndarray, np.ndarray]:
    """One matrix per axis, applied to `array` where `inside`, and to `inside` itself: float32 each.

    The first two axes are done a few slices at a time: copies of a volume of 512^3 would fill the memory.
    """
    total, weight = [], []
    for first in range(0, array.shape[2], SLAB):
        part = array[..., first : first + SLAB]
        within = np.ones(part.shape, np.float32) if inside is None \
            else inside[..., first : first + SLAB].astype(np.float32)
        for values, sums in ((part * within, total), (within, weight)):
            sums.append(_along(_along(values.astype(np.float32), samplers[0], 0), samplers[1], 1))
    return tuple(_along(np.concatenate(sums, axis=2), samplers[2], 2) for sums in (total, weight))


def _along(values: np.ndarray, sampler: csr_matrix, axis: int) -> np.ndarray:
    """Apply a matrix along one axis."""
    first = np.moveaxis(values, axis, 0)
    rest = first.shape[1:]
    return np.ascontiguousarray(np.moveaxis((sampler @ first.reshape(len(first), -1)).reshape(-1, *rest), 0, axis))


def resampled_grid(shape: Sequence[int], affine: np.ndarray, spacing: float, *,
                   in_plane: bool = False) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the grid of `spacing` mm over the same field of view.

    The voxel size comes out as close to `spacing` as a whole number of voxels allows.

    Args:
        shape: Number of voxels per axis.
        affine: (4, 4), array index -> mm.
        spacing: mm along every axis.
        in_plane: Leave the last axis, that of thick slices, as it is.
    """
    old = np.linalg.norm(affine[:3, :3], axis=0)
    new = [max(1, round(float(n * s / spacing))) for n, s in zip(shape, old, strict=True)]
    new_shape = (*new[:2], shape[2] if in_plane else new[2])
    zoom = np.array(shape) / np.array(new_shape)
    new_affine = affine.copy()
    new_affine[:3, :3] = affine[:3, :3] * zoom
    new_affine[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((zoom - 1) / 2)
    return new_shape, new_affine
