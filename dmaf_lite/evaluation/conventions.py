"""How a prediction is scored, and how published code does it, by name.

Nobody's numbers can be laid beside another's unless both were made under one convention; the same prediction gets
different numbers under each of these (spec peers, sections 5.2 to 5.4; spec adamm, section 5):

============= ======================== ====================== ============================== ======================
name          seen by the network      Dice                   HD95, exactly one side empty   ET under 500 voxels
============= ======================== ====================== ============================== ======================
``kit``       sliding windows,         2 I / (A + B)          diagonal of the volume         extra row ``ET_post``
              Gaussian blending
``passion``   80^3 windows, half       the same to 1e-8       1.0, so that a complete miss   extra row ``ET_post``
              overlap, equal weights                          beats most segmentations
``adamm``     one crop 160x192x128     (2 I + 1) / (A + B +   diagonal, 373.13 in BraTS      kept
              in the centre            1)
``mst_kdnet`` the same                 the same               0                              kept
``patient``   windows of the training          3-D, the same          mean over the slices where     none
                                                      both are there, in mm
``published`` the same                 a value for every      1.0, a value for every slice,  none
                                       slice                  in pixels
============= ======================== ====================== ============================== ======================

The last two are for hearts: the kit's, and that of published work on MyoPS 2020, which averages over slices.
All of them pool both directions in HD95 and count two empty sides as Dice 1 and HD95 0.  What lies outside the centre
crop is neither predicted nor missed: a lesion there does not exist.

Not reproduced, as it is no convention: the released AdaMM tests in training mode with dropout, prints precision under
the name sensitivity, and thresholds three sigmoids each for itself.  Published code measures in voxels; here it is mm,
the same on BraTS.

Taught in lessons 09 and 12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from dmaf_lite.base.settings import checked
from dmaf_lite.evaluation.inference import WindowSettings
from dmaf_lite.evaluation.metrics import HD95, Dice
from dmaf_lite.evaluation.scoring import SmallRegion
from dmaf_lite.spec import DatasetSpec

# What of a case is seen: first voxel and size in the stored arrays; None, None is all of them.
Visible = tuple[tuple[int, ...] | None, tuple[int, ...] | None]


@checked
class EvaluationSettings:
    """Everything that decides the numbers of an evaluation besides network and cases.

    Attributes:
        windows: How a volume is cut up and put together.
        coverage: ``"sliding"``, windows over the whole box; ``"centre"``, one window in the centre of the volume, and
            nothing else is predicted or scored.
        dice, hd95: Conventions; each is a row of its own.
        small_region: Post-processing to report as an extra region, or None.
        grid: Where truth and prediction meet: ``"files"``, the grid of the study's files, as `predict` writes it;
            ``"store"``, the grid of the prepared arrays, quicker; ``"auto"``, the files' for real cohorts and the
            store's for phantoms. Where a cohort was not resampled the two are one.
    """

    windows: WindowSettings = field(default_factory=WindowSettings)
    coverage: Literal["sliding", "centre"] = "sliding"
    dice: tuple[Dice, ...] = (Dice(),)
    hd95: tuple[HD95, ...] = (HD95(),)
    small_region: SmallRegion | None = field(default_factory=SmallRegion)
    grid: Literal["auto", "files", "store"] = "auto"

    def __post_init__(self) -> None:
        if self.grid == "files" and self.coverage == "centre":
            raise ValueError("grid files needs coverage sliding: a centre crop leaves most of the files' grid unseen")
        for name in ("dice", "hd95"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; expected at least one convention")

    def scores_files(self, meta: Mapping[str, Any], *, synthetic: bool) -> bool:
        """Whether a prepared case is scored on the grid of its files."""
        if tuple(meta["grid_shape"]) == tuple(meta["original_shape"]):
            return True  # one grid
        return self.grid == "files" or (self.grid == "auto" and self.coverage == "sliding" and not synthetic)

    def visible(self, meta: Mapping[str, Any]) -> Visible:
        """What of a prepared case is predicted and scored; `meta` as `Cohort.meta` gives it."""
        if self.coverage == "sliding":
            return None, None
        # The crop is central in the whole volume; the stored arrays are a box of it.
        start = centre_start(meta["grid_shape"], self.windows.window)
        return tuple(s - low for s, (low, _) in zip(start, meta["box"], strict=True)), self.windows.window


def usual(spec: DatasetSpec, window: Sequence[int], convention: str | None = None) -> EvaluationSettings:
    """A convention with the windows of a training; default the kit's own for the data set."""
    own = "patient" if spec.stack else "kit"  # in 3-D the distance of slices would decide HD95
    settings = CONVENTIONS[convention or own]
    return replace(settings, windows=replace(settings.windows, window=tuple(window)))


def centre_start(shape: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """First voxel of the centre crop, floor((n - w - 1) / 2) as published; an axis that fits is centred in the window.

    Returns:
        One number per axis, negative where the window is larger than the volume.
    """
    return tuple((n - w - 1) // 2 if n > w else (n - w) // 2 for n, w in zip(shape, window, strict=True))


# float32, as they computed: bfloat16 moved Dice by 9e-4 and HD95 by 0.09 mm.
_PASSION = WindowSettings(window=(80, 80, 80), overlap=0.5, blending="constant", precision="float32")
_ADAMM = WindowSettings(window=(160, 192, 128), precision="float32")

CONVENTIONS = {
    "kit": EvaluationSettings(),
    "passion": EvaluationSettings(_PASSION, hd95=(HD95("pooled", "one"),)),
    "adamm": EvaluationSettings(_ADAMM, "centre", (Dice(smooth=1.0),), (HD95("pooled", "diagonal"),), None),
    "mst_kdnet": EvaluationSettings(_ADAMM, "centre", (Dice(smooth=1.0),), (HD95("pooled", "zero"),), None),
    "patient": EvaluationSettings(hd95=(HD95(by="slice_mean"),), small_region=None),
    "published": EvaluationSettings(dice=(Dice(by="slice"),), hd95=(HD95("pooled", "one", "slice", "px"),),
                                    small_region=None),
}
