"""What a study should look like: a brain without skull, and classes as bright as their names say.

Nothing here refuses a study; each function gives a sentence for a person, or None.

Taught in lesson 01.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dmaf_lite.data.case import Case
from dmaf_lite.data.volume import foreground
from dmaf_lite.spec import BRATS, DatasetSpec

# Millilitres. Brains with ventricles and sulci are 1.0 to 1.9 litres; a head with skin and skull is above 3.
LARGEST_BRAIN = 2300.0
FEWEST_VOXELS = 20  # of a class; fewer say nothing about its brightness
SKULL_TOOLS = "HD-BET or SynthStrip (docs/native_scans.md)"


def skull_note(case: Case, spec: DatasetSpec = BRATS) -> str | None:
    """Whether the head still has its skull, told by how much of the volume is foreground.

    A scan with noise in place of a constant around the head looks the same: networks of this kit have seen neither.
    """
    if spec.name != BRATS.name:
        return None
    # Every second voxel of each axis will do where there are many.
    step = 2 if min(case.shape) >= 64 else 1
    voxel_ml = float(np.prod(case.spacing)) / 1000 * step**3
    volumes = {name: np.count_nonzero(foreground(np.ascontiguousarray(image[::step, ::step, ::step]))) * voxel_ml
               for name, image in case.images.items()}
    large = {name: ml for name, ml in volumes.items() if ml > LARGEST_BRAIN}
    if not large:
        return None
    name, ml = max(large.items(), key=lambda item: item[1])
    return (f"{case.name}: {ml / 1000:.1f} litres of {', '.join(large)} differ from the background ({name} most), a "
            f"brain has at most {LARGEST_BRAIN / 1000:.1f}: is the skull still there? The networks know brains without "
            f"it; take it off with {SKULL_TOOLS}")


def brightness(images: Mapping[str, np.ndarray], label: np.ndarray | None,
               spec: DatasetSpec = BRATS) -> dict[int, float]:
    """Internal class -> mean of T1ce inside it, for classes with enough voxels; empty where it cannot be told."""
    if spec.name != BRATS.name or label is None or "T1ce" not in images:
        return {}
    image = images["T1ce"]
    classes = (c for c in range(1, len(spec.classes)) if np.count_nonzero(label == c) >= FEWEST_VOXELS)
    return {c: float(image[label == c].mean()) for c in classes}


def touching(label: np.ndarray | None, spec: DatasetSpec = BRATS) -> dict[int, float]:
    """Internal class -> share of its voxels that touch background with a face, for classes with enough voxels."""
    if spec.name != BRATS.name or label is None:
        return {}
    outside = np.pad(label == 0, 1, constant_values=True)
    beside = np.zeros(label.shape, bool)
    for axis in range(3):
        for start in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(start, start + label.shape[axis])
            beside |= outside[tuple(window)]
    classes = (c for c in range(1, len(spec.classes)) if np.count_nonzero(label == c) >= FEWEST_VOXELS)
    return {c: float(beside[label == c].mean()) for c in classes}


def border_notes(shares: Iterable[Mapping[int, float]], spec: DatasetSpec = BRATS) -> list[str]:
    """Whether oedema is the outermost class, as it should be: the one whose voxels touch background most often.

    Args:
        shares: `touching` of each case.
        spec: Whose classes.
    """
    if spec.name != BRATS.name:
        return []
    oedema, told = spec.classes.index("ED"), list(shares)
    notes = []
    for other in (c for c in range(1, len(spec.classes)) if c != oedema):
        apart = [case[other] - case[oedema] for case in told if other in case and oedema in case]
        if apart and float(np.mean(apart)) >= 0:
            notes.append(f"{spec.classes[other]} lies further out than {spec.classes[oedema]} over {len(apart)} cases "
                         f"({np.mean(apart):.0%} more of its voxels touch background): are the label values those of "
                         "the layout? Oedema should be the outermost")
    return notes


def label_notes(bright: Iterable[Mapping[int, float]], spec: DatasetSpec = BRATS) -> list[str]:
    """Whether the labels of some cases mean what the layout says: the enhancing class is the brightest on T1ce.

    The same values stand for other classes elsewhere (1, 2, 3 in BraTS 2023, the Decathlon and PROTEAS), and values
    alone cannot tell.

    Args:
        bright: `brightness` of each case, on one scale (z-scores).
        spec: Whose classes.
    """
    if spec.name != BRATS.name:
        return []
    enhancing = spec.classes.index("ET")
    told = [case for case in bright if enhancing in case and len(case) > 1]
    if not told:
        return []
    notes = []
    for other in (c for c in range(1, len(spec.classes)) if c != enhancing):
        apart = [case[enhancing] - case[other] for case in told if other in case]
        if apart and float(np.mean(apart)) <= 0:
            notes.append(f"{spec.classes[enhancing]} is darker than {spec.classes[other]} on T1ce over {len(apart)} "
                         f"cases (by {-np.mean(apart):.2f} deviations): are the label values those of the layout? "
                         "Enhancing tumour should be the brightest")
    return notes
