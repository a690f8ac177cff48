"""Score a network on real cases as they lie on disk: every subset of their scans, on the grid of their own files.

`evaluate` scores a prepared cohort on the prepared grid.  Here a study goes the way of `predict`: resampled to the
grid of the weights, segmented, and brought back; what is compared are the voxels that an annotator drew.

Taught in lesson 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.data.case import CaseError, CaseFiles, load_case, normalise_case
from dmaf_lite.data.layouts import Layout, layout_of
from dmaf_lite.evaluation.file_grid import label_on_files
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities, windows_of
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.evaluation.predict import target_spacing

if TYPE_CHECKING:
    import pandas as pd


def score_files(net: nn.Module, card: Mapping[str, Any], files: CaseFiles, *, layout: str | Layout = "brats2020",
                windows: WindowSettings | None = None) -> list[dict[str, Any]]:
    """Dice of one study for every subset of the scans that it has.

    Args:
        net: The network of the weights.
        card: Its card.
        files: With a segmentation.
        layout: Names the data set and its label values.
        windows: Default: the window that the card names.

    Returns:
        One row per subset and region: case, subset, region, metric ``dice``, convention ``native grid``, value.

    Raises:
        CaseError: Bad files, no segmentation, or a grid that the weights cannot be used on.
    """
    layout = layout_of(layout)
    if files.label is None:
        raise CaseError(files.name, found="no segmentation", expected="one to compare with",
                        do="leave the case out, or use predict")
    case = load_case(files, spec=layout.spec, labels=layout.labels)
    windows = windows or windows_of(card)
    normal = normalise_case(case, minimum=windows.window, spacing=target_spacing(case, card),
                            stack=layout.spec.stack, preparation=card.get("preparation", "own"))
    empty = np.zeros(normal.shape, np.float32)
    images = np.stack([normal.images.get(name, empty) for name in layout.spec.modalities])
    available = np.array(case.available(layout.spec))
    subsets = np.array([mask for mask in layout.spec.subsets() if not (np.array(mask) & ~available).any()])
    probabilities = subset_probabilities(net, images, subsets, settings=windows).cpu().numpy()
    rows = []
    for mask, of_subset in zip(subsets, probabilities, strict=True):
        label = label_on_files(of_subset, normal)
        subset = "+".join(name for name, used in zip(layout.spec.modalities, mask, strict=True) if used)
        rows += [{"case": files.name, "subset": subset, "region": region, "metric": "dice",
                  "convention": "native grid", "value": dice(layout.spec.region_mask(label, region),
                                                             layout.spec.region_mask(case.label, region))}
                 for region in layout.spec.regions]
    return rows


def score_studies(net: nn.Module, card: Mapping[str, Any], studies: Sequence[CaseFiles], *, run: str = "run",
                  layout: str | Layout = "brats2020", windows: WindowSettings | None = None,
                  progress: bool = True) -> tuple[pd.DataFrame, dict[str, str]]:
    """The long table of several studies, and case -> reason for those that could not be scored."""
    import pandas as pd

    rows, failed = [], {}
    for files in tqdm(studies, desc="score", unit="case", disable=not progress):
        try:
            rows += score_files(net, card, files, layout=layout, windows=windows)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            failed[files.name] = str(error) or type(error).__name__
    return pd.DataFrame(rows).assign(run=run), failed


def labelled_studies(folder: str | Path, layout: str | Layout = "brats2020") -> list[CaseFiles]:
    """The studies of a folder that have a segmentation; the folder may be one study itself.

    Raises:
        CaseError: If there is none.
    """
    from dmaf_lite.data.cohort import files_in_folder, find_cases

    layout = layout_of(layout)
    try:
        found = find_cases(folder, layout)
    except CaseError:
        found = [files_in_folder(folder, layout)]
    labelled = [files for files in found if files.label is not None]
    if not labelled:
        raise CaseError(folder, found=f"{len(found)} studies without a segmentation", expected="at least one with",
                        do="give the folder of a labelled cohort")
    return labelled
