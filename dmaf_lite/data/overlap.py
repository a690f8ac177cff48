"""Whether two cohorts hold the same patients under other names: never train on one and test on the other.

Cases are compared by what survives renaming, turning the axes, another order of channels and other label numbers: how
many voxels each class has, and the histogram of each scan inside its foreground.  Scans that were resampled, normed
or denoised anew are not recognised.  Taught in lesson 01.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.finding import FoundCohort
from dmaf_lite.data.volume import foreground

BINS = 64
FEWEST_LABELLED = 100  # voxels; the counts of fewer may agree by chance


@dataclass(frozen=True)
class Fingerprint:
    """Of one case: the sorted numbers of voxels of its classes (empty where they say nothing), and scan -> hash."""

    labels: tuple[int, ...]
    scans: Mapping[str, str]


@dataclass(frozen=True)
class Overlap:
    """Two cases of two cohorts that seem to be one study; `equal` says by what."""

    one: str
    other: str
    equal: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.one} = {self.other}: equal are {', '.join(self.equal)}"


def fingerprint(images: Mapping[str, np.ndarray], label: np.ndarray | None) -> Fingerprint:
    """Fingerprint of a study: images float32 (X, Y, Z) by modality, values as stored, and uint8 label or None."""
    counts = np.bincount(label.ravel())[1:] if label is not None else np.zeros(0, int)
    labels = tuple(sorted(int(n) for n in counts if n)) if counts.sum() >= FEWEST_LABELLED else ()
    return Fingerprint(labels, {name: _hash(image) for name, image in images.items()})


def _hash(image: np.ndarray) -> str:
    inside = image[foreground(image)].astype(np.float64)
    counts = np.histogram(inside, bins=BINS, range=(inside.min(), inside.max()))[0] if inside.size else np.zeros(BINS)
    return hashlib.sha256(np.asarray([inside.size, *counts], np.int64).tobytes()).hexdigest()[:16]


def fingerprints(found: FoundCohort, *, progress: bool = True) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    """Case -> fingerprint, and case -> why it has none."""
    prints, bad = {}, {name: str(error) for name, error in found.bad.items()}
    for name, files in tqdm(found.cases.items(), desc="fingerprints", unit="case", disable=not progress):
        try:
            case = load_case(files, spec=found.layout.spec, labels=found.layout.labels)
        except CaseError as error:
            bad[name] = str(error)
            continue
        prints[name] = fingerprint(case.images, case.label)
    return prints, bad


def overlaps(ones: Mapping[str, Fingerprint], others: Mapping[str, Fingerprint]) -> list[Overlap]:
    """Pairs that are equal in a scan or in the labels, in the order of the names."""
    by_trait: dict[tuple, list[str]] = {}
    for name, what in others.items():
        for trait in _traits(what):
            by_trait.setdefault(trait, []).append(name)
    equal: dict[tuple[str, str], list[str]] = {}
    for name, what in ones.items():
        for trait, word in _traits(what).items():
            for other in by_trait.get(trait, []):
                equal.setdefault((name, other), []).append(word)
    return [Overlap(one, other, tuple(words)) for (one, other), words in sorted(equal.items())]


def _traits(what: Fingerprint) -> dict[tuple, str]:
    traits: dict[tuple, str] = {(name, value): name for name, value in what.scans.items()}
    return traits | ({("labels", what.labels): "the voxels of every class"} if what.labels else {})
