"""Where a study to explore comes from: the phantom, a prepared cohort, or a folder of NIfTI files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dmaf_lite.data.case import Case, CaseFiles, load_case, normalise_case
from dmaf_lite.data.cohort import Cohort, Layout, layout_of
from dmaf_lite.data.finding import one_case
from dmaf_lite.data.nifti import grid_shape, read_header
from dmaf_lite.data.shelf import Shelf, shape_of
from dmaf_lite.data.turning import has_geometry
from dmaf_lite.data.volume import foreground
from dmaf_lite.evaluation.predict import target_spacing
from dmaf_lite.figures.planes import to_lps
from dmaf_lite.spec import BRATS, DatasetSpec

# Bytes of all scans in float32: a larger study is not held in memory.  Four scans of 256^3 are half of it.
LARGE = 2**29


@dataclass(frozen=True, eq=False)
class Study:
    """One study as the explorers take it.

    Attributes:
        name: Of the study, for titles.
        spec: Modalities, classes and regions.
        images: Modality -> float32 [X, Y, Z], only what exists, 0 outside the head.
        label: uint8 [X, Y, Z] of internal labels, or None.
        affine: [4, 4], array index -> mm.
        synthetic: Whether it is a phantom; then every title says so.
        oriented: Whether the header says how the patient lay; else left and right are not known.
        notes: What loading had to say, in sentences.
        in_file: [4, 4], array index -> index in the files, whose axes may have been turned on load.
        layout: Name of the layout of its files; decides the label values that are saved.
    """

    name: str
    spec: DatasetSpec
    images: Mapping[str, np.ndarray]
    label: np.ndarray | None
    affine: np.ndarray
    synthetic: bool = False
    oriented: bool = True
    notes: tuple[str, ...] = ()
    in_file: np.ndarray = field(default_factory=lambda: np.eye(4))
    layout: str = "phantom"

    @property
    def title(self) -> str:
        """The name, and that it is synthetic where it is."""
        return f"{self.name} (synthetic)" if self.synthetic else self.name

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels per axis."""
        return shape_of(self.images)

    def lps(self) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Scans and label in LPS order, as the figures take them."""
        images = {name: np.ascontiguousarray(to_lps(image, self.affine)) for name, image in self.images.items()}
        return images, None if self.label is None else np.ascontiguousarray(to_lps(self.label, self.affine))


def phantom_study(seed: int = 0, index: int = 0, *, spacing: float = 3.0) -> Study:
    """A synthetic study, made now: about a second at 3 mm, several at 1 mm."""
    from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain_case

    case = make_brain_case(seed, index, BrainSettings(spacing=spacing))
    return Study(case.name, BRATS, case.images, case.label, case.affine, synthetic=True)


def cohort_study(cohort: Cohort, name: str) -> Study:
    """A case of a prepared cohort: z-scored scans, cropped to the head.

    Raises:
        CaseError: The case is not in the store, or damaged.
    """
    images, label = cohort.read(name)
    by_name = dict(zip(cohort.spec.modalities, images, strict=True))
    return Study(name, cohort.spec, {m: by_name[m] for m in cohort.meta(name)["modalities"]}, label,
                 cohort.meta(name)["affine"], synthetic=bool(cohort.layout.synthetic))


def folder_study(folder: str | Path, layout: str | Layout = "brats2020") -> Study:
    """A folder of NIfTI files, with any non-empty subset of the scans and maybe a segmentation.

    Raises:
        CaseError: No scan under the names of the layout, or files that do not fit together.
    """
    layout = layout_of(layout)
    return study_of(one_case(folder, layout), layout)


def study_of(files: CaseFiles, layout: Layout, *, progress: Callable[[int, int], None] | None = None) -> Study:
    """A study of files that are named already; what loading warns of is kept as its notes.

    The scans of a large one stay on disk and are read one by one.

    Args:
        files: Which file is what.
        layout: Names the data set and its label values.
        progress: Told after each scan how many are read, and of how many.

    Raises:
        CaseError: Files that do not fit together.
    """
    header = read_header(next(iter(files.images.values())), several=True)
    large = 4 * math.prod(grid_shape(header)) * len(files.images) > LARGE
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        case = load_case(files, spec=layout.spec, labels=layout.labels, progress=progress,
                         shelf=Shelf(_clear) if large else None)
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    file_affine = case.affine if case.file_affine is None else case.file_affine
    oriented = has_geometry(file_affine) and bool(header["qform_code"] or header["sform_code"])
    if not large:
        for image in case.images.values():
            _clear(image)
    return Study(case.name, layout.spec, case.images, case.label, case.affine, bool(layout.synthetic), oriented,
                 (*files.notes, *notes), np.linalg.inv(file_affine) @ case.affine, layout.name)


def _clear(image: np.ndarray) -> None:
    """Write 0 outside the head; in place: it is nobody else's, and a second copy may be a gigabyte."""
    image[~foreground(image)] = 0


def on_grid_of(study: Study, card: Mapping[str, Any]) -> Study:
    """The study as the network of a weights' card sees it: z-scored, cropped, resampled where the voxels differ.

    Args:
        study: Any; one that is prepared already stays as it is, up to rounding.
        card: Of the weights: its data set, spacing and window.

    Raises:
        ValueError: If the weights are for another data set, or for a grid that the study cannot be brought to.

    Warns:
        UserWarning: The axes are not those that the weights have seen.
    """
    if card["spec"] != study.spec.name:
        raise ValueError(f"the weights were trained on {card['spec']}, {study.name} is a study of {study.spec.name}; "
                         "use weights and study of one data set")
    spacing = np.linalg.norm(study.affine[:3, :3], axis=0)
    case = Case(study.name, study.images, study.label, study.affine, tuple(float(s) for s in spacing))
    if study.spec.orientation and case.orientation != study.spec.orientation:
        warnings.warn(f"{study.name}: its axes point to {case.orientation}, those that the weights have seen to "
                      f"{study.spec.orientation} (docs/native_scans.md)", stacklevel=2)
    normal = normalise_case(case, minimum=tuple(card.get("window", (32, 32, 32))), spacing=target_spacing(case, card),
                            stack=study.spec.stack, preparation=card.get("preparation", "own"))
    return replace(study, images=normal.images, label=normal.label, affine=normal.affine)
