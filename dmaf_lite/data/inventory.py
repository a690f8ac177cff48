"""What is in a cohort before it is prepared: cases, missing scans, grids, odd files, disk need.

Only headers are read unless every voxel is asked for.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.layouts import Layout, case_folders, files_in_folder, layout_of
from dmaf_lite.data.nifti import read_header

# Share of a BraTS volume that the box around the head takes: 0.36 on the one real patient measured.
BOX_SHARE = 0.4


@dataclass(frozen=True)
class CaseRecord:
    """One case of the inventory; `problem` is None where the case can be prepared."""

    name: str
    folder: Path
    modalities: tuple[str, ...] = ()
    labelled: bool = False
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    source_bytes: int = 0
    warnings: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def prepared_bytes(self) -> int:
        """Most that the prepared case can take: float32 per modality and uint8 for the label, uncropped."""
        return math.prod(self.shape) * (4 * len(self.modalities) + self.labelled) if self.shape else 0


def inspect_case(folder: Path, layout: str | Layout, *, thorough: bool = False) -> CaseRecord:
    """Look at one case; what is wrong becomes `problem`, never an exception.

    Args:
        folder: The case's folder.
        layout: Its layout.
        thorough: Read and check every voxel as preparing does, not only the headers.
    """
    layout = layout_of(layout)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: dict = {}
        try:
            files = files_in_folder(folder, layout)
            paths = [*files.images.values(), *([files.label] if files.label else [])]
            found = {"modalities": tuple(files.images), "labelled": files.label is not None,
                     "source_bytes": sum(path.stat().st_size for path in paths)}
            headers = {path: read_header(path) for path in paths}
            first = next(iter(headers.values()))
            found |= {"shape": tuple(int(n) for n in first["dim"][1:4]),
                      "spacing": tuple(float(abs(np.round(z, 4))) for z in first["pixdim"][1:4])}
            for path, header in headers.items():
                if tuple(int(n) for n in header["dim"][1:4]) != found["shape"]:
                    raise CaseError(path, found=f"the shape {tuple(int(n) for n in header['dim'][1:4])}",
                                    expected=f"that of {paths[0].name}, {found['shape']}",
                                    do="co-register and resample the scans to one grid first (docs/native_scans.md)")
            if thorough:
                load_case(files, spec=layout.spec, labels=layout.labels)
            problem = None
        except CaseError as error:
            problem = str(error)
    notes = tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    return CaseRecord(folder.name, folder, warnings=notes, problem=problem, **found)


def inspect_cohort(folder: str | Path, layout: str | Layout, *, thorough: bool = False) -> list[CaseRecord]:
    """Look at all cases of a cohort, sorted by name.

    Raises:
        CaseError: The folder holds no case of this layout.
    """
    cases = case_folders(folder, layout)
    return [inspect_case(path, layout, thorough=thorough)
            for path in tqdm(cases.values(), desc="inspect", unit="case", disable=len(cases) < 100 and not thorough)]
