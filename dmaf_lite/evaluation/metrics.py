"""Overlap, distance and volume of one region, with every convention named.

Published HD95 numbers disagree for two reasons that have nothing to do with a network: how the two
directions are put together (`definition`), and what a case counts for when one side is empty
(`empty`).  Dice is smoothed in some code and not in other.  All this is a setting here and stands in
every row of a result table.

Definitions (scalars, no smoothing constants unless a `Dice` asks for one):
    dice = 2 |P and G| / (|P| + |G|); both empty 1, one empty 0.
    sensitivity = |P and G| / |G|, precision = |P and G| / |P|; NaN where the denominator is 0.
    surface of a mask = its voxels with a face on the outside (outside the array counts as outside).

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

DEFINITIONS = ("pooled", "max_directed")
EMPTY = ("diagonal", "one", "zero", "gt_empty_penalty", "exclude")

# The truth's distance map is kept for later predictions, so it is made a little larger than the
# first one asks for: 8 voxels take up what the subsets of one case differ by.
MAP_MARGIN = 8


@dataclass(frozen=True)
class Dice:
    """One way of computing Dice, (2 |P and G| + smooth) / (|P| + |G| + smooth); both empty is 1.

    Attributes:
        smooth: 0: n invented voxels score 0 (the kit; PASSION, whose 1e-8 is below the digits of any table); 1: they
            score 1 / (n + 1) (AdaMM, MST-KDNet).
        by: ``volume``, or ``slice``: a value for every slice (published work on hearts).
    """

    smooth: float = 0.0
    by: str = "volume"

    def __post_init__(self) -> None:
        if self.smooth < 0:
            raise ValueError(f"smooth of Dice is {self.smooth}; expected 0 or more")
        if self.by not in ("volume", "slice"):
            raise ValueError(f"by of Dice is {self.by!r}; choose 'volume' or 'slice'")

    @property
    def name(self) -> str:
        """As written in the `convention` column: ``both_empty_1`` or e.g. ``plus_1``, ``both_empty_1/slice``."""
        return (f"plus_{self.smooth:g}" if self.smooth else "both_empty_1") + _suffix(self.by)

    def combine(self, both: int, predicted: int, true: int) -> float:
        """Dice from voxel counts: of the intersection, the prediction and the truth."""
        size = predicted + true
        return (2 * both + self.smooth) / (size + self.smooth) if size else 1.0


@dataclass(frozen=True)
class HD95:
    """One way of computing the 95th percentile Hausdorff distance.

    Attributes:
        definition: ``pooled``: percentile of both directions' distances together (PASSION, AdaMM);
            ``max_directed``: the larger of the two directed percentiles (MONAI).
        empty: What counts where exactly one side is empty: ``diagonal`` of the original volume (AdaMM;
            373.13 mm for 240x240x155 at 1 mm), ``one`` 1.0 (PASSION, M2FTrans, ACN), ``zero`` 0.0
            (MST-KDNet), ``gt_empty_penalty`` the diagonal where the truth is the empty side, else 0,
            ``exclude`` NaN, left out of means.
        by: ``volume``; ``slice``, a value for every slice (published work on hearts); ``slice_mean``, the mean over the
            slices in which both are there, for stacks whose slices lie far apart.
        unit: ``mm``, or ``px``, pixels (published work on hearts); volumes are always measured in mm.
    """

    definition: str = "pooled"
    empty: str = "diagonal"
    by: str = "volume"
    unit: str = "mm"

    def __post_init__(self) -> None:
        if self.definition not in DEFINITIONS:
            raise ValueError(f"HD95 definition {self.definition!r} is not known; choose one of {list(DEFINITIONS)}")
        if self.empty not in EMPTY:
            raise ValueError(f"HD95 empty convention {self.empty!r} is not known; choose one of {list(EMPTY)}")
        if self.by not in ("volume", "slice", "slice_mean"):
            raise ValueError(f"by of HD95 is {self.by!r}; choose 'volume', 'slice' or 'slice_mean'")
        if self.unit not in ("mm", "px") or (self.unit == "px" and self.by == "volume"):
            raise ValueError(f"HD95 by {self.by} in {self.unit!r} is not known; choose 'mm', or 'px' for slices")

    @property
    def name(self) -> str:
        """As written in the `convention` column, e.g. ``pooled/diagonal``."""
        return f"{self.definition}/{self.empty}{_suffix(self.by)}" + ("" if self.unit == "mm" else f"/{self.unit}")

    def combine(self, to_truth: np.ndarray, to_prediction: np.ndarray, *, diagonal: float) -> float:
        """HD95 in mm from the directed distances of the two surfaces; an empty array is an empty side."""
        if not to_truth.size and not to_prediction.size:
            return 0.0
        if not to_truth.size or not to_prediction.size:
            truth_is_empty = not to_prediction.size
            return {"diagonal": diagonal, "one": 1.0, "zero": 0.0, "exclude": float("nan"),
                    "gt_empty_penalty": diagonal if truth_is_empty else 0.0}[self.empty]
        if self.definition == "pooled":
            return float(np.percentile(np.concatenate([to_truth, to_prediction]), 95))
        return float(max(np.percentile(to_truth, 95), np.percentile(to_prediction, 95)))


def _suffix(by: str) -> str:
    return "" if by == "volume" else f"/{by}"


def counts(prediction: np.ndarray, truth: np.ndarray, *, truth_outside: int = 0) -> tuple[int, int, int]:
    """Voxels of two boolean masks of one shape: (of both, of the prediction, of the truth).

    `truth_outside` counts voxels of the truth that lie outside these arrays, where nothing is predicted.
    """
    both = int(np.count_nonzero(prediction & truth))
    return both, int(np.count_nonzero(prediction)), int(np.count_nonzero(truth)) + truth_outside


def rates(both: int, predicted: int, true: int) -> dict[str, float]:
    """Sensitivity and precision from voxel counts."""
    return {"sensitivity": both / true if true else float("nan"),
            "precision": both / predicted if predicted else float("nan")}


def overlap(prediction: np.ndarray, truth: np.ndarray, *, truth_outside: int = 0) -> dict[str, float]:
    """Dice (not smoothed), sensitivity and precision of two boolean masks; `truth_outside`: see `counts`."""
    found = counts(prediction, truth, truth_outside=truth_outside)
    return {"dice": Dice().combine(*found), **rates(*found)}


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """2 |P and G| / (|P| + |G|) of two boolean masks; both empty 1, one empty 0."""
    return overlap(prediction, truth)["dice"]


def volume_ml(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume of a boolean mask in millilitres (cm3); `spacing` in mm."""
    return float(np.count_nonzero(mask) * np.prod(spacing) / 1000.0)


def diagonal_mm(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Length in mm of the diagonal of a volume, the worst distance that can occur in it."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing, dtype=float)))


def surface_points(mask: np.ndarray) -> np.ndarray:
    """Voxel indices int[N, ndim] of the surface of a boolean mask, found on the crop around it."""
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return np.zeros((0, mask.ndim), dtype=np.intp)
    crop = mask[boxes[0]]
    # Outside a tight crop there is nothing, as outside the volume: border_value=0 gives the same surface.
    return np.argwhere(crop & ~ndimage.binary_erosion(crop)) + [axis.start for axis in boxes[0]]


class TruthSurface:
    """One region of one case: its distance map is computed once and serves every subset's prediction.

    From a prediction's surface to the truth a distance is looked up in the truth's map.  The other
    way there is nothing to keep, so the few points of the truth ask a k-d tree of the prediction's
    surface; a second map for each subset would cost far more.
    """

    def __init__(self, truth: np.ndarray, spacing: Sequence[float]) -> None:
        self.shape = truth.shape
        self.spacing = np.asarray(spacing, dtype=float)
        if self.spacing.shape != (truth.ndim,) or not (self.spacing > 0).all():
            raise ValueError(f"spacing must be {truth.ndim} positive numbers in mm, got {tuple(spacing)}")
        self.points = surface_points(truth)
        self._map = np.zeros((0,) * truth.ndim)
        self._start = np.zeros(truth.ndim, dtype=int)

    def distances(self, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Directed surface distances in mm: (prediction to truth, truth to prediction).

        An empty side gives two arrays of which its own is empty and the other holds inf.
        """
        if prediction.shape != self.shape:
            raise ValueError(f"the prediction has shape {prediction.shape}, the truth {self.shape}")
        points = surface_points(prediction)
        if not len(points) or not len(self.points):
            return np.full(len(points), np.inf), np.full(len(self.points), np.inf)
        to_truth = self._to_truth(points)
        to_prediction, _ = cKDTree(points * self.spacing).query(self.points * self.spacing)
        return to_truth, to_prediction

    def _to_truth(self, points: np.ndarray) -> np.ndarray:
        if (points < self._start).any() or (points >= self._start + self._map.shape).any():
            self._draw_map(points)
        return self._map[tuple((points - self._start).T)]

    def _draw_map(self, points: np.ndarray) -> None:
        """Cover the truth and these points; a second call covers the volume, so there is never a third."""
        if self._map.size:
            start, stop = np.zeros_like(self._start), np.asarray(self.shape)
        else:
            everything = np.concatenate([points, self.points])
            start = np.maximum(everything.min(axis=0) - MAP_MARGIN, 0)
            stop = np.minimum(everything.max(axis=0) + 1 + MAP_MARGIN, self.shape)
        off_surface = np.ones(stop - start, dtype=bool)
        off_surface[tuple((self.points - start).T)] = False
        self._map, self._start = ndimage.distance_transform_edt(off_surface, sampling=self.spacing), start


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], *, setting: HD95 = HD95(),
         diagonal: float | None = None) -> float:
    """HD95 in mm of two boolean masks.

    Args:
        prediction: bool, any number of axes.
        truth: bool, same shape.
        spacing: mm per axis.
        setting: Definition and empty convention.
        diagonal: mm, for the conventions that need it; default that of these arrays.  Pass the
            original volume's where the arrays are crops.
    """
    distances = TruthSurface(truth, spacing).distances(prediction)
    return setting.combine(*distances, diagonal=diagonal_mm(truth.shape, spacing) if diagonal is None else diagonal)
