"""The vocabulary of the kit: which modalities, which classes, which regions, which subsets.

Everything else takes its order from here: channel m of an image tensor, column m of an availability
mask and row m of a table are the same modality.  Nothing in this file touches a disk or a tensor.

Taught in lesson 01.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

# Label of the voxels of a crop that lie outside the scan: they count for no loss.
OUTSIDE = -1


@dataclass(frozen=True)
class DatasetSpec:
    """A kind of study: its modalities in order, its classes and its regions.

    Attributes:
        name: Short name, used in file names and cards.
        modalities: Names in channel order.
        classes: Names of the internal classes; the index is the internal label, 0 is background.
        regions: Region name -> internal labels whose union it is, outermost region first.
        nested: Pairs (inner, outer): every voxel of `inner` lies in `outer`, whatever the label.
        orientation: Where the axes of every loaded array point to; None where there are no such axes (an oblique
            stack of slices is turned by another rule, `turning.short_axis_turn`).
        stack: Whether a study is a stack of few thick slices, which become the last axis. Such studies are resampled
            in plane alone and cropped to their centre.
    """

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    regions: Mapping[str, frozenset[int]]
    nested: tuple[tuple[str, str], ...]
    orientation: str | None = None
    stack: bool = False

    def __post_init__(self) -> None:
        for region, labels in self.regions.items():
            if not labels or not labels <= set(range(1, len(self.classes))):
                raise ValueError(f"region {region} of {self.name} uses labels {sorted(labels)}; "
                                 f"expected some of 1..{len(self.classes) - 1}")
        for inner, outer in self.nested:
            if not self.regions[inner] <= self.regions[outer]:
                raise ValueError(f"{self.name}: region {inner} does not lie in {outer}")

    @property
    def M(self) -> int:
        """Number of modalities."""
        return len(self.modalities)

    def region_mask(self, label: np.ndarray, region: str) -> np.ndarray:
        """Boolean mask of `region` in an internal label map of any shape."""
        return np.isin(label, sorted(self.regions[region]))

    def subsets(self) -> tuple[tuple[bool, ...], ...]:
        """All 2^M - 1 non-empty availability masks: by size, then in the order of the modalities."""
        return tuple(
            tuple(m in chosen for m in range(self.M))
            for size in range(1, self.M + 1)
            for chosen in combinations(range(self.M), size)
        )

    def subset_name(self, available: Sequence[bool]) -> str:
        """Readable name of an availability mask, e.g. ``FLAIR+T2``."""
        if len(available) != self.M:
            raise ValueError(f"an availability mask of {self.name} has {self.M} entries, got {len(available)}")
        return "+".join(name for name, is_available in zip(self.modalities, available, strict=True) if is_available)

    def mask_of(self, names: Iterable[str]) -> tuple[bool, ...]:
        """Availability mask of some modality names (case does not matter)."""
        wanted = {name.lower() for name in names}
        known = {name.lower() for name in self.modalities}
        if not wanted or not wanted <= known:
            raise ValueError(f"modalities {sorted(wanted)} asked for; {self.name} knows {list(self.modalities)}, "
                             "and at least one is needed")
        return tuple(name.lower() in wanted for name in self.modalities)


BRATS = DatasetSpec(
    name="brats",
    modalities=("FLAIR", "T1ce", "T1", "T2"),
    classes=("background", "NCR/NET", "ED", "ET"),
    regions={"WT": frozenset({1, 2, 3}), "TC": frozenset({1, 3}), "ET": frozenset({3})},
    nested=(("TC", "WT"), ("ET", "TC")),
    orientation="LPS",
)

# Scar lies inside the oedema zone, and both inside the myocardium (MyoPS 2020).
MYOPS = DatasetSpec(
    name="myops",
    modalities=("C0", "LGE", "T2"),
    classes=("background", "myocardium", "LV", "RV", "oedema", "scar"),
    regions={
        "LV": frozenset({2}),
        "RV": frozenset({3}),
        "myocardium": frozenset({1, 4, 5}),
        "oedema": frozenset({4, 5}),
        "oedema_only": frozenset({4}),
        "scar": frozenset({5}),
    },
    nested=(("oedema", "myocardium"), ("oedema_only", "oedema"), ("scar", "oedema")),
    stack=True,
)

SPECS = {spec.name: spec for spec in (BRATS, MYOPS)}
STACKS = tuple(spec.name for spec in SPECS.values() if spec.stack)


def check_available(available: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Refuse an availability table that is not boolean or has a study without any modality.

    Args:
        available: bool[B, M].
        names: Names of the studies, for the error message.

    Raises:
        ValueError: Naming the studies that have no modality.
    """
    available = np.asarray(available)
    if available.dtype != bool or available.ndim != 2:
        raise ValueError(f"availability must be bool[B, M], got {available.dtype} of shape {available.shape}")
    empty = np.flatnonzero(~available.any(axis=1))
    if empty.size:
        who = [names[i] for i in empty] if names is not None else [f"study {i} of the batch" for i in empty]
        raise ValueError(f"no modality at all for {', '.join(who)}; at least one is needed. "
                         "Leave the study out or correct its row in the missing-rate table.")
