"""Is this study like those that the weights know?  A few numbers of each scan, and the range they had before.

A promise holds for studies like those of the calibration.  A head with its skull, a scan in another role, a tissue
contrast that no study had: the network answers all the same, and its probabilities do not know.  So the scans are
looked at, not the answer:

    brain   litres of foreground
    a scan  quantiles of z; how much brighter its rim is than its inside; its correlation with each other scan

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import ndimage as ndi

from dmaf_lite.spec import DatasetSpec

Features = dict[str, dict[str, float]]
Experience = Mapping[str, Mapping[str, tuple[float, float]]]

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
RIM_MM = 6.0  # below the surface: cortex and its fluid, dark on T1, bright on T2
# Of the range seen, added at both ends: a few dozen studies do not show the whole range (with 0.25, 3 of 25 further
# phantoms of the same kind were flagged, with 0.5 none).
MARGIN = 0.5
# Brains of adults hold 1 to 1.7 litres. A head with skull and scalp has 3 and more; what is below is no brain.
BRAIN_LITRES = (0.6, 2.2)


def features(images: np.ndarray, available: Sequence[bool], spacing: Sequence[float], spec: DatasetSpec) -> Features:
    """The numbers of a study.

    Args:
        images: float32[M, D, H, W], z-scored over the foreground, 0 outside.
        available: bool[M].
        spacing: mm per axis.
        spec: Names the scans.

    Returns:
        ``brain`` and each scan that is there -> name of a feature -> value.
    """
    scans = {name: image for name, image, is_available in zip(spec.modalities, images, available, strict=True)
             if is_available}
    brain = np.logical_or.reduce([scan != 0 for scan in scans.values()])
    found: Features = {"brain": {"litres": float(brain.sum() * np.prod(spacing) / 1e6)}}
    rim = brain & (ndi.distance_transform_edt(np.pad(brain, 1), sampling=spacing)[1:-1, 1:-1, 1:-1] <= RIM_MM)
    inside = brain & ~rim
    for name, scan in scans.items():
        values = {f"quantile {q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(scan[brain], QUANTILES),
                                                              strict=True)} if brain.any() else {}
        if rim.any() and inside.any():
            values["rim minus inside"] = float(scan[rim].mean() - scan[inside].mean())
        found[name] = values
    for one, other in combinations(scans, 2):
        if brain.any():
            likeness = float(np.corrcoef(scans[one][brain], scans[other][brain])[0, 1])
            found[one][f"correlation with {other}"] = found[other][f"correlation with {one}"] = likeness
    return found


def experience_of(studies: Sequence[Features]) -> dict[str, dict[str, tuple[float, float]]]:
    """Scan -> feature -> lowest and highest value of some studies."""
    seen: dict[str, dict[str, list[float]]] = {}
    for study in studies:
        for scan, values in study.items():
            for name, value in values.items():
                seen.setdefault(scan, {}).setdefault(name, []).append(value)
    return {scan: {name: (min(values), max(values)) for name, values in table.items()} for scan, table in seen.items()}


def outside(values: Mapping[str, float], seen: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Feature -> how far it lies beyond the widened range, in widths of the range; those within are left out."""
    far = {}
    for name, value in values.items():
        if name not in seen:
            continue
        low, high = seen[name]
        width = max(high - low, 1e-6)
        beyond = max(low - value, value - high) / width - MARGIN
        if not beyond <= 0:  # NaN is outside too
            far[name] = float(beyond)
    return far


def unfamiliar(found: Features, experience: Experience) -> list[str]:
    """What no study of the calibration had, one sentence each; empty if the study is like them."""
    said = []
    litres = found["brain"]["litres"]
    if litres > BRAIN_LITRES[1]:
        said.append(f"the foreground holds {litres:.2f} litres, a brain 1 to 1.7: skull or face are probably still "
                    "there, or voxels are not in mm; strip the skull first (docs/native_scans.md), check the header")
    elif litres < BRAIN_LITRES[0]:
        said.append(f"the foreground holds {litres:.2g} litres, a brain 1 to 1.7: the scan is nearly empty or cut off, "
                    "or voxels are not in mm; look at the scan and check the header")
    for scan, values in found.items():
        if scan == "brain" or scan not in experience:
            continue
        far = outside(values, experience[scan])
        if not far:
            continue
        name = max(far, key=lambda feature: far[feature])
        low, high = experience[scan][name]
        sentence = f"{scan}: {name} is {values[name]:.2f}, studies that the weights know had {low:.2f} to {high:.2f}"
        role = _other_role(scan, values, experience)
        said.append(sentence + (f"; it looks like a {role}: check which scan is which" if role else
                                "; its contrast is new to the weights, so do not lean on what is promised here"))
    return said


def _other_role(scan: str, values: Mapping[str, float], experience: Experience) -> str | None:
    """The one role that a scan would fit without a doubt, by its own numbers alone."""
    own = {name: value for name, value in values.items() if not name.startswith("correlation")}
    if max(outside(own, experience[scan]).values(), default=0) < MARGIN:  # a little outside is no other role
        return None
    fits = [role for role, seen in experience.items() if role not in ("brain", scan) and not outside(own, seen)]
    return fits[0] if len(fits) == 1 else None
