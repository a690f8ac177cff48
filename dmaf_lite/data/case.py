"""One study: load its files, check that they belong together, normalise, crop.

A modality that does not exist is a normal state.  What is refused is a study whose files cannot be
trusted: see `docs/native_scans.md` for scans that are not on one grid yet.

Taught in lesson 01.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from dmaf_lite.data.nifti import CaseError, Volume, internal_label, read_nifti, save_label
from dmaf_lite.data.volume import (
    Box,
    background_value,
    bounding_box,
    brain_mask,
    crop_to,
    foreground,
    paste,
    resample,
    resampled_grid,
    spread,
    standardise,
    zscore,
)
from dmaf_lite.spec import BRATS, DatasetSpec

__all__ = ["Case", "CaseError", "CaseFiles", "NormalisedCase", "bounding_box", "brain_mask", "crop_to", "foreground",
           "load_case", "normalise_case", "save_label", "zscore"]

# mm: far above what float32 headers lose, far below a voxel.
AFFINE_TOLERANCE = 1e-3
# A scan has hundreds of grey levels; fewer than this many is a mask in a scan's place.
FEWEST_GREY_LEVELS = 10
# The kit's default training crop (96 mm at 3 mm spacing): a stored case is at least this large where the scan is.
DEFAULT_MINIMUM = 32


@dataclass(frozen=True)
class CaseFiles:
    """Which files make up a study: `images` (modality -> path, only those that exist) and maybe a `label`."""

    name: str
    images: Mapping[str, Path]
    label: Path | None = None


@dataclass(eq=False)
class Case:
    """One study on one grid.

    Attributes:
        name: Name of the study.
        images: Modality -> float32 (X, Y, Z) as stored, in the order of the spec, only what exists.
        label: uint8 (X, Y, Z) of internal labels, or None.
        affine: (4, 4), array index -> mm.
        spacing: Voxel size in mm.
        files: Modality (and "label") -> file.
    """

    name: str
    images: dict[str, np.ndarray]
    label: np.ndarray | None
    affine: np.ndarray
    spacing: tuple[float, float, float]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels per axis."""
        return next(iter(self.images.values())).shape

    @property
    def orientation(self) -> str:
        """Where the array axes point to, e.g. ``LPS`` in BraTS."""
        return "".join(str(code) for code in aff2axcodes(self.affine))

    def available(self, spec: DatasetSpec = BRATS) -> tuple[bool, ...]:
        """Availability mask in the order of the spec."""
        return tuple(name in self.images for name in spec.modalities)


def load_case(files: CaseFiles, *, spec: DatasetSpec = BRATS, labels: Mapping[int, int]) -> Case:
    """Read a study and check that its files lie on one grid.

    Args:
        files: At least one modality; the label may be missing.
        spec: Names and order of the modalities.
        labels: Label value in the file -> internal label, a property of the layout.

    Raises:
        CaseError: No modality at all, an unreadable or implausible file, different shapes, scans that were
            never co-registered, unknown label values.

    Warns:
        UserWarning: Affines that differ although the shapes agree, with the largest difference in mm.
    """
    wanted = [name for name in spec.modalities if name in files.images]
    if not wanted:
        raise CaseError(files.name, found="no modality at all",
                        expected=f"at least one of {', '.join(spec.modalities)}",
                        do="check the file names against the layout")
    volumes = {name: read_nifti(files.images[name]) for name in wanted}
    for volume in volumes.values():
        _check_scan(volume)
    first = volumes[wanted[0]]
    for volume in list(volumes.values())[1:]:
        _check_same_grid(first, volume, is_label=False)
    label = None
    if files.label is not None:
        mask = read_nifti(files.label)
        _check_same_grid(first, mask, is_label=True)
        label = internal_label(mask.data, labels, files.label)
    paths = {name: volumes[name].path for name in wanted} | ({"label": files.label} if files.label else {})
    images = {name: volumes.pop(name).data.astype(np.float32) for name in wanted}  # pop: the raw array is freed
    return Case(files.name, images, label, first.affine, first.spacing, paths)


def _check_scan(volume: Volume) -> None:
    """Refuse what is no scan: a constant volume, or a mask in a scan's place."""
    data = volume.data
    if data.min() == data.max():
        raise CaseError(volume.path, found=f"the same value {data.flat[0]:g} in every voxel", expected="a scan",
                        do="export the file again, or leave this modality out")
    largest = max(abs(float(data.min())), abs(float(data.max())))
    if largest > float(np.finfo(np.float32).max):
        raise CaseError(volume.path, found=f"intensities up to {largest:g}", expected="numbers that float32 can hold",
                        do="the header's scaling or the voxels are damaged: export the file again")
    inside = data[foreground(data)]
    sample = inside[:: max(1, inside.size // 20000)]
    levels = np.unique(sample).size
    if levels < FEWEST_GREY_LEVELS and inside.size > 10 * FEWEST_GREY_LEVELS:
        raise CaseError(volume.path, found=f"only {levels} different values", expected="the grey levels of a scan",
                        do="is it a mask? put the scan in its place, or leave this modality out")


def _check_same_grid(first: Volume, other: Volume, *, is_label: bool) -> None:
    """Same shape or an error; same affine or a warning."""
    def size(volume: Volume) -> str:
        return f"{' x '.join(map(str, volume.data.shape))} voxels of " \
               f"{' x '.join(f'{s:.3g}' for s in volume.spacing)} mm"

    one_spacing = np.allclose(first.spacing, other.spacing, rtol=0.01)
    # An identity affine carries no geometry: some tools drop it, and the voxels are the same all the same.
    no_geometry = any(np.array_equal(v.affine, np.eye(4)) for v in (first, other))
    same_shape = first.data.shape == other.data.shape
    if not is_label and not one_spacing and not (same_shape and no_geometry):
        raise CaseError(other.path, found=size(other), expected=f"the grid of {first.path.name}, {size(first)}",
                        do="these scans are in their native spaces: co-register and resample them to one grid first "
                           "(docs/native_scans.md)")
    if not same_shape:
        raise CaseError(other.path, found=size(other), expected=f"the shape of {first.path.name}, {size(first)}",
                        do="are these files from one study? co-register and resample them to one grid first "
                           "(docs/native_scans.md)")
    apart = float(np.abs(first.affine - other.affine).max())
    if apart > AFFINE_TOLERANCE:
        warnings.warn(f"{other.path}: its affine differs from that of {first.path.name} by up to {apart:g} mm although "
                      f"the shapes agree; the affine of {first.path.name} is used, so look whether the two overlay",
                      stacklevel=3)


@dataclass(eq=False)
class NormalisedCase:
    """A study as the network sees it: z-scored, cropped, and with the way back to its original grid.

    Attributes:
        name: Name of the study.
        images: Modality -> float32 (D, H, W), z-scored, 0 outside the modality's foreground.
        label: uint8 (D, H, W) or None.
        affine: (4, 4) of these arrays; `spacing`: their voxel size in mm.
        box: Where they lie in the grid of `grid_shape` (the original grid, or the resampled one).
        boxes: Modality -> box of its own foreground, in the indices of these arrays.
        intensity: Modality -> (mean, deviation) that were taken out.
        label_outside: Internal label -> number of its voxels that the box does not hold.
        original_shape, original_affine: The grid of the files.
    """

    name: str
    images: dict[str, np.ndarray]
    label: np.ndarray | None
    affine: np.ndarray
    spacing: tuple[float, float, float]
    box: Box
    grid_shape: tuple[int, int, int]
    boxes: dict[str, Box]
    intensity: dict[str, tuple[float, float]]
    label_outside: dict[int, int]
    original_shape: tuple[int, int, int]
    original_affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels per axis of the cropped arrays."""
        return next(iter(self.images.values())).shape

    def to_original(self, label: np.ndarray) -> np.ndarray:
        """Put a label map (D, H, W) of these arrays back on the grid of the files, nearest neighbour, 0 elsewhere."""
        return to_original(label, box=self.box, grid_shape=self.grid_shape, original_shape=self.original_shape)

    def label_points(self, most: int) -> dict[int, np.ndarray]:
        """Internal label -> at most `most` flat indices (C order) of its voxels, for crops centred on a class."""
        if self.label is None:
            return {}
        return {int(c): spread(self.label == c, most) for c in np.flatnonzero(np.bincount(self.label.ravel())) if c}


def to_original(label: np.ndarray, *, box: Box, grid_shape: Sequence[int], original_shape: Sequence[int]) -> np.ndarray:
    """Uncrop a label map (D, H, W) and, where the case was resampled, sample it back to the original grid."""
    return resample(paste(label, box, grid_shape), original_shape, order=0)


def normalise_case(case: Case, *, minimum: int | Sequence[int] = DEFAULT_MINIMUM,
                   spacing: float | None = None) -> NormalisedCase:
    """z-score each modality over its own foreground and crop to the box of the available modalities.

    Preparing a cohort and predicting a new study both go through here, so they agree to the digit.

    Args:
        case: As loaded.
        minimum: Smallest size of the box per axis, where the volume has the room; at least the training crop.
        spacing: Resample to this isotropic voxel size in mm first (images linear, labels nearest); None keeps the grid.

    Raises:
        CaseError: A modality without contrast in its foreground.
    """
    shape, affine = (case.shape, case.affine) if spacing is None \
        else resampled_grid(case.shape, case.affine, spacing)
    images, masks, intensity = {}, {}, {}
    for name, image in case.images.items():
        around = background_value(image)
        mask = foreground(image, around)
        if shape != image.shape:
            # The background is taken out first: interpolating a constant other than 0 leaves rounding noise.
            image = resample(image - np.float32(around or 0), shape, order=1, inside=mask) + np.float32(around or 0)
            mask = resample(mask, shape, order=0)
        images[name], masks[name] = image, mask
    box = bounding_box(np.logical_or.reduce(list(masks.values())), minimum)
    masks = {name: crop_to(mask, box) for name, mask in masks.items()}
    for name, mask in masks.items():
        image = crop_to(images[name], box)
        try:
            images[name], *intensity[name] = standardise(image, mask)
        except ValueError as error:
            raise CaseError(case.files.get(name, case.name), found=str(error), expected="a scan",
                            do="export the file again, or leave this modality out") from error
    label = None if case.label is None else resample(case.label, shape, order=0)
    outside: dict[int, int] = {}
    if label is not None:
        lost = np.bincount(label.ravel()) - np.bincount(crop_to(label, box).ravel(), minlength=int(label.max()) + 1)
        outside = {int(c): int(lost[c]) for c in np.flatnonzero(lost) if c}
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    return NormalisedCase(
        name=case.name,
        images=images,
        label=None if label is None else np.ascontiguousarray(crop_to(label, box)),
        affine=moved,
        spacing=tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0)),
        box=box,
        grid_shape=tuple(shape),
        boxes={name: bounding_box(mask) for name, mask in masks.items()},
        intensity={name: tuple(pair) for name, pair in intensity.items()},
        label_outside=outside,
        original_shape=case.shape,
        original_affine=case.affine,
    )
