"""What is in a cohort before it is prepared: cases, missing scans, grids, odd files, disk need.

Only headers are read unless every voxel is asked for.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from dmaf_lite.data.case import CaseError, CaseFiles, load_case
from dmaf_lite.data.finding import FoundCohort, find_cohort
from dmaf_lite.data.layouts import Layout
from dmaf_lite.data.nifti import grid_shape, read_header, spacing_of

# Share of a BraTS volume that the box around the head takes: 0.36 on the one real patient measured.
BOX_SHARE = 0.4


@dataclass(frozen=True)
class CaseRecord:
    """One case of the inventory; `problem` is None where the case can be prepared."""

    name: str
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


def inspect_case(files: CaseFiles, layout: Layout, *, thorough: bool = False) -> CaseRecord:
    """Look at one case; what is wrong becomes `problem`, never an exception.

    Args:
        files: The case, as found.
        layout: Its layout.
        thorough: Read and check every voxel as preparing does, not only the headers.
    """
    paths = list(dict.fromkeys([*files.images.values(), *([files.label] if files.label else [])]))
    found: dict = {"modalities": tuple(files.images), "labelled": files.label is not None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found["source_bytes"] = sum(path.stat().st_size for path in paths)
            headers = {path: read_header(path, several=bool(files.channels) and path != files.label) for path in paths}
            first = paths[0]
            found |= {"shape": grid_shape(headers[first]),
                      "spacing": tuple(round(s, 4) for s in spacing_of(headers[first], first))}
            for path, header in headers.items():
                if path != files.label:
                    spacing_of(header, path)
                # Axes in another order are turned on loading; the numbers of voxels stay the same.
                if sorted(grid_shape(header)) != sorted(found["shape"]):
                    raise CaseError(path, found=f"the shape {grid_shape(header)}",
                                    expected=f"that of {first.name}, {found['shape']}",
                                    do="co-register and resample the scans to one grid first (docs/native_scans.md)")
            if thorough:
                load_case(files, spec=layout.spec, labels=layout.labels)
            problem = None
        except CaseError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{files.name}: found {error}; expected readable files; check the permissions."
    notes = files.notes + tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
    return CaseRecord(files.name, warnings=notes, problem=problem, **found)


def inspect_cohort(folder: str | Path, layout: str | Layout, *, thorough: bool = False) -> list[CaseRecord]:
    """Look at all cases of a cohort, sorted by name.

    Raises:
        CaseError: The folder holds no case of this layout.
    """
    return inspect_found(find_cohort(folder, layout), thorough=thorough)


def inspect_found(found: FoundCohort, *, thorough: bool = False) -> list[CaseRecord]:
    """The same for a cohort that was found already."""
    quiet = len(found.names) < 100 and not thorough
    records = [inspect_case(files, found.layout, thorough=thorough)
               for files in tqdm(found.cases.values(), desc="inspect", unit="case", disable=quiet)]
    records += [CaseRecord(name, problem=str(error)) for name, error in found.bad.items()]
    return sorted(records, key=lambda record: record.name)
