"""One study: load its files, check that they belong together, normalise, crop.

A modality that does not exist is a normal state.  What is refused is a study whose files cannot be
trusted: see `docs/native_scans.md` for scans that are not on one grid yet.

Taught in lesson 01.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from dmaf_lite.data.nifti import CaseError, Volume, internal_label, read_channels, read_nifti, save_label
from dmaf_lite.data.published_preparation import Preparation, check_brains, published_box, standardise_together
from dmaf_lite.data.shelf import Scans, Shelf, shape_of
from dmaf_lite.data.stacks import centre_box, clipped, slice_axis
from dmaf_lite.data.turning import NO_TURN, Turn, has_geometry, short_axis_turn, turn_back, turn_to, turned
from dmaf_lite.data.volume import (
    Box,
    background_value,
    bounding_box,
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

__all__ = ["Case", "CaseError", "CaseFiles", "NormalisedCase", "bounding_box", "crop_to", "foreground",
           "load_case", "normalise_case", "save_label", "zscore"]

# mm: far above what float32 headers lose, far below a voxel.
AFFINE_TOLERANCE = 1e-3
# A scan has hundreds of grey levels; fewer than this many is a mask in a scan's place.
FEWEST_GREY_LEVELS = 10
# The kit's default training crop (96 mm at 3 mm spacing): a stored case is at least this large where the scan is.
DEFAULT_MINIMUM = 32


@dataclass(frozen=True)
class CaseFiles:
    """Which files make up a study.

    Attributes:
        name: Of the study.
        images: Modality -> path, only those that exist.
        label: The segmentation, or None.
        channels: Modality -> number of its volume where all are in one 4-D file; else empty.
        unused: NIfTI files of the study that are neither.
        notes: What is odd about the files, in sentences.
    """

    name: str
    images: Mapping[str, Path]
    label: Path | None = None
    channels: Mapping[str, int] = field(default_factory=dict)
    unused: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(eq=False)
class Case:
    """One study on one grid.

    Attributes:
        name: Name of the study.
        images: Modality -> float32 (X, Y, Z), values as stored, in the order of the spec, only what exists; `Scans`
            where the study is on a shelf.
        label: uint8 (X, Y, Z) of internal labels, or None.
        affine: (4, 4), array index -> mm.
        spacing: Voxel size in mm.
        files: Modality (and "label") -> file.
        turn: How the axes of the files were turned into those of these arrays.
        file_affine: (4, 4) of the files; None where nothing was turned.
    """

    name: str
    images: Mapping[str, np.ndarray]
    label: np.ndarray | None
    affine: np.ndarray
    spacing: tuple[float, float, float]
    files: dict[str, Path] = field(default_factory=dict)
    turn: Turn = NO_TURN
    file_affine: np.ndarray | None = None

    def in_file_order(self, array: np.ndarray) -> np.ndarray:
        """An array (X, Y, Z) of this case with the axes of the files."""
        return turn_back(array, self.turn)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels per axis."""
        return shape_of(self.images)

    @property
    def orientation(self) -> str:
        """Where the array axes point to, e.g. ``LPS`` in BraTS."""
        return "".join(str(code) for code in aff2axcodes(self.affine))

    def available(self, spec: DatasetSpec = BRATS) -> tuple[bool, ...]:
        """Availability mask in the order of the spec."""
        return tuple(name in self.images for name in spec.modalities)


def load_case(files: CaseFiles, *, spec: DatasetSpec = BRATS, labels: Mapping[int, int], shelf: Shelf | None = None,
              progress: Callable[[int, int], None] | None = None) -> Case:
    """Read a study, bring its files to one orientation, and check that they lie on one grid.

    Args:
        files: At least one modality; the label may be missing.
        spec: Names and order of the modalities, and where the axes shall point to.
        labels: Label value in the file -> internal label, a property of the layout.
        shelf: For a study that is too large to hold all its scans in memory.
        progress: Told after each scan how many are read, and of how many.

    Raises:
        CaseError: No modality at all, an unreadable or implausible file, different shapes, scans that were
            never co-registered, unknown label values.

    Warns:
        UserWarning: Affines that differ although the shapes agree, with the largest difference in mm; an affine that
            cannot tell where the axes point to; an empty channel of a 4-D file, which is taken as missing.
    """
    wanted = [name for name in spec.modalities if name in files.images]
    if not wanted:
        raise CaseError(files.name, found="no modality at all",
                        expected=f"at least one of {', '.join(spec.modalities)}",
                        do="check the file names against the layout")
    volumes = _read_scans(files, wanted, shelf, progress)
    # A file without geometry has its voxels in the order of the others.
    first = next((v for v in volumes.values() if has_geometry(v.affine)), next(iter(volumes.values())))
    if not has_geometry(first.affine) and (spec.orientation or spec.stack):
        taken = "slices along the last axis" if spec.stack else spec.orientation
        warnings.warn(f"{first.path}: its affine is the identity, which does not tell where the axes point to; they "
                      f"are taken for {taken} as they are", stacklevel=2)
    turn = _turn(first, spec)
    turned_volumes = {name: _turned(v, turn, spec) for name, v in volumes.items()}
    reference = _turned(first, turn, spec)
    for volume in turned_volumes.values():
        if volume.path != first.path:
            _check_same_grid(reference, volume, is_label=False)
    label = None
    if files.label is not None:
        mask = _turned(read_nifti(files.label, is_label=True), turn, spec)
        _check_same_grid(reference, mask, is_label=True)
        label = internal_label(mask.data, labels, files.label)
    paths = {name: volume.path for name, volume in volumes.items()} | ({"label": files.label} if files.label else {})
    file_affine = None if turn == NO_TURN else first.affine
    del volumes, first
    if shelf is not None:
        images: Mapping[str, np.ndarray] = Scans(shelf, {name: v.data for name, v in turned_volumes.items()})
    else:  # popped, so that the raw arrays are freed one by one
        images = {name: turned_volumes.pop(name).data.astype(np.float32) for name in list(turned_volumes)}
    return Case(files.name, images, label, reference.affine, reference.spacing, paths, turn, file_affine)


def _read_scans(files: CaseFiles, wanted: Sequence[str], shelf: Shelf | None,
                progress: Callable[[int, int], None] | None) -> dict[str, Volume]:
    """Modality -> volume, checked; an empty channel of a 4-D file is left out with a warning."""
    def kept(volume: Volume) -> Volume:
        _check_scan(volume)
        return volume if shelf is None else Volume(volume.path, shelf.put(volume.data), volume.affine)

    volumes: dict[str, Volume] = {}
    if not files.channels:
        for number, name in enumerate(wanted, start=1):
            volumes[name] = kept(read_nifti(files.images[name]))
            if progress is not None:
                progress(number, len(wanted))
    else:
        numbers = [files.channels[name] for name in wanted]
        read = read_channels(files.images[wanted[0]], numbers, of=len(files.channels))
        volumes = dict(zip(wanted, read, strict=True))
        empty = [name for name, volume in volumes.items() if volume.data.min() == volume.data.max()]
        if empty and len(empty) < len(volumes):
            warnings.warn(f"{files.images[wanted[0]]}: the same value in every voxel of {', '.join(empty)}; taken as "
                          "missing", stacklevel=3)
            volumes = {name: volume for name, volume in volumes.items() if name not in empty}
        volumes = {name: kept(volume) for name, volume in volumes.items()}
    return volumes


def _turn(volume: Volume, spec: DatasetSpec) -> Turn:
    """How the axes of a file of this kind of study are turned, by its affine."""
    if spec.stack:
        return short_axis_turn(volume.affine, volume.data.shape)
    return turn_to(volume.affine, volume.data.shape, spec.orientation)


def _turned(volume: Volume, turn: Turn, spec: DatasetSpec) -> Volume:
    """The volume with its axes turned by its own affine, or as the others where it has none."""
    if not has_geometry(volume.affine):
        return Volume(volume.path, turned(volume.data, turn)[0], volume.affine)
    data, move = turned(volume.data, _turn(volume, spec))
    return Volume(volume.path, data, volume.affine @ move)


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
    # Transposed, as the first axis of a file runs fastest: picking against the order of memory takes five times longer.
    inside = data.T[foreground(data).T]
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
    no_geometry = not all(has_geometry(v.affine) for v in (first, other))
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
        original_shape, original_affine: The grid of the files, with the axes turned as in `Case`.
        turn: How the axes of the files were turned.
        truth, truth_box: Where the case was resampled, the label on the grid of the files: uint8 of the box in it
            that holds all of it, and the box. Else None.
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
    turn: Turn = NO_TURN
    truth: np.ndarray | None = None
    truth_box: Box | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels per axis of the cropped arrays."""
        return next(iter(self.images.values())).shape

    def to_original(self, label: np.ndarray) -> np.ndarray:
        """Put a label map (D, H, W) of these arrays back on the grid of the files, nearest neighbour, 0 elsewhere."""
        return to_original(label, box=self.box, grid_shape=self.grid_shape, original_shape=self.original_shape,
                           turn=self.turn)

    def label_points(self, most: int) -> dict[int, np.ndarray]:
        """Internal label -> at most `most` flat indices (C order) of its voxels, for crops centred on a class."""
        if self.label is None:
            return {}
        return {int(c): spread(self.label == c, most) for c in np.flatnonzero(np.bincount(self.label.ravel())) if c}


def to_original(label: np.ndarray, *, box: Box, grid_shape: Sequence[int], original_shape: Sequence[int],
                turn: Turn = NO_TURN) -> np.ndarray:
    """Uncrop a label map (D, H, W), sample it back where the case was resampled, and turn its axes back."""
    return turn_back(resample(paste(label, box, grid_shape), original_shape, order=0), turn)


def normalise_case(case: Case, *, minimum: int | Sequence[int] = DEFAULT_MINIMUM,
                   spacing: float | None = None, stack: bool = False, preparation: Preparation = "own"
                   ) -> NormalisedCase:
    """z-score each modality over its own foreground and crop to the box of the available modalities.

    A stack of thick slices (`DatasetSpec.stack`) is cropped to its centre instead and normed over that crop, and only
    its planes are resampled (see `stacks.py`).

    Preparing a cohort and predicting a new study both go through here, so they agree to the digit.

    Args:
        case: As loaded.
        minimum: Smallest size of the box per axis, where the volume has the room; at least the training crop.
        spacing: Resample to this isotropic voxel size in mm first (images linear, labels nearest); None keeps the grid.
        stack: Whether the case is a stack of slices along its last axis.
        preparation: ``"own"``, as above, or ``"published"``, see `published_preparation.py`; `minimum` is then 128.

    Raises:
        CaseError: A modality without contrast in its foreground, or a stack whose slices lie along another axis.
        ValueError: The published preparation of a stack.
    """
    check_brains(preparation, stack)
    if stack and slice_axis(case.spacing) not in (2, None):
        raise CaseError(case.name, found=f"thick slices along axis {slice_axis(case.spacing) + 1} of 3",
                        expected="slices along the last axis", do="permute the axes of its files")
    shape, affine = (case.shape, case.affine) if spacing is None \
        else resampled_grid(case.shape, case.affine, spacing, in_plane=stack)
    images, masks, intensity = {}, {}, {}
    for name, image in case.images.items():
        # Around a heart lies a chest, around that noise: a stack has no background to leave out.
        around = None if stack else background_value(image)
        mask = np.ones(image.shape, bool) if around is None else foreground(image, around)
        if shape != image.shape:
            # The background is taken out first: interpolating a constant other than 0 leaves rounding noise.
            level = np.float32(around or 0)
            image = resample(image - level if level else image, shape, order=1, inside=mask) + level
            mask = resample(mask, shape, order=0)
        images[name], masks[name] = image, mask
    size = (minimum,) * 3 if isinstance(minimum, int) else tuple(minimum)
    if preparation == "published":
        box = published_box(images)
        try:
            images, support, intensity = standardise_together({name: crop_to(images[name], box) for name in images})
        except ValueError as error:
            raise CaseError(case.name, found=str(error), expected="scans", do="export its files again") from error
        masks = dict.fromkeys(images, support)
    else:
        box = centre_box(shape, np.linalg.norm(affine[:3, :3], axis=0), size) if stack \
            else bounding_box(np.logical_or.reduce(list(masks.values())), size)
        masks = {name: crop_to(mask, box) for name, mask in masks.items()}
        for name, mask in masks.items():
            image = crop_to(images[name], box)
            if stack:
                image = clipped(image, mask)
            try:
                images[name], *intensity[name] = standardise(image, mask)
            except ValueError as error:
                raise CaseError(case.files.get(name, case.name), found=str(error), expected="a scan",
                                do="export the file again, or leave this modality out") from error
    label = None if case.label is None else resample(case.label, shape, order=0)
    outside: dict[int, int] = {}
    truth = truth_box = None
    if case.label is not None and tuple(shape) != case.shape:
        truth_box = bounding_box(case.label > 0) if case.label.any() else (slice(0, 1),) * 3
        truth = np.ascontiguousarray(crop_to(case.label, truth_box))
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
        turn=case.turn,
        truth=truth,
        truth_box=truth_box,
    )
