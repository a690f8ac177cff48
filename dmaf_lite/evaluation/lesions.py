"""Lesion by lesion, for studies with many small ones: found, missed, and invented, by size.

A Dice over the whole study is that of its largest lesion; whether ten metastases of 0.05 cm3 were found does not show
in it.  A lesion is a connected component of a region, neighbours by face, edge or corner (26); it is found if the
prediction touches it, and a component of the prediction that touches no lesion is a false positive.

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import pandas as pd

# Upper ends in ml (cm3) of the sizes, and their names.
SIZES = ((0.1, "below 0.1 ml"), (1.0, "0.1 to 1 ml"), (np.inf, "above 1 ml"))
CORNERS = np.ones((3, 3, 3), bool)  # the 26 neighbours


def size_name(ml: float) -> str:
    """The size that a volume belongs to; 0.1 ml itself belongs to the middle one."""
    return next(name for end, name in SIZES if ml < end)


def lesions(predicted: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> pd.DataFrame:
    """Every lesion of the truth and every false positive of the prediction.

    Args:
        predicted: bool[D, H, W], one region.
        truth: bool[D, H, W].
        spacing: mm per axis.

    Returns:
        Columns kind (``lesion`` or ``false positive``), ml, size, found (False for a false positive).
    """
    import pandas as pd

    if predicted.shape != truth.shape:
        raise ValueError(f"the prediction has shape {predicted.shape}, the truth {truth.shape}; expected the same")
    voxel = float(np.prod(spacing)) / 1000
    rows = []
    for kind, mask, other in (("lesion", truth, predicted), ("false positive", predicted, truth)):
        parts, count = ndimage.label(mask, CORNERS)
        voxels = np.bincount(parts.ravel(), minlength=count + 1)
        touched = np.bincount(parts[other], minlength=count + 1) > 0
        for part in range(1, count + 1):
            if kind == "lesion" or not touched[part]:
                ml = float(voxels[part]) * voxel
                rows.append({"kind": kind, "ml": ml, "size": size_name(ml),
                             "found": kind == "lesion" and touched[part]})
    return pd.DataFrame(rows, columns=["kind", "ml", "size", "found"]).astype({"found": bool})


def lesion_table(cases: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All studies together, by size.

    Args:
        cases: What `lesions` gave for each study.

    Returns:
        Index: sizes and ``all``. Columns: lesions, found, sensitivity (NaN without a lesion), false positives per
        study.
    """
    import pandas as pd

    if not cases:
        raise ValueError("no study at all; expected what lesions() gave for at least one")
    rows = pd.concat(cases, ignore_index=True)
    table = {}
    for name in (*(name for _, name in SIZES), "all"):
        some = rows if name == "all" else rows[rows["size"] == name]
        real = some[some["kind"] == "lesion"]
        table[name] = {"lesions": len(real), "found": int(real["found"].sum()),
                       "sensitivity": float(real["found"].mean()) if len(real) else float("nan"),
                       "false positives per study": (some["kind"] == "false positive").sum() / len(cases)}
    return pd.DataFrame(table).T.astype({"lesions": int, "found": int})
