"""The yardstick: how far the best single threshold on one scan gets.

It plays two parts.  It checks the phantom - the modalities must be as unequal as they are in
patients - and it is the score a network has to beat before it has learned anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

# Best-threshold Dice measured on real cases and on the first phantom: (lowest, highest) per (region, modality).
EXPECTED_RANGES = {("WT", "FLAIR"): (0.73, 0.95), ("ET", "T1ce"): (0.16, 0.89), ("WT", "T1"): (0.10, 0.22)}


# z-values of tissue (mean 0 and deviation 1 over the brain): medians over cases lie in these ranges, drawn around what
# was measured on three real cases.  Keys: (modality, value on disk).
REAL_TISSUE = {
    ("FLAIR", 2): (0.9, 2.4), ("FLAIR", 4): (0.9, 2.8),
    ("T1ce", 2): (-0.9, 0.5), ("T1ce", 4): (1.0, 3.0),
    ("T1", 2): (-0.9, 0.2), ("T1", 1): (-1.5, -0.1),
    ("T2", 2): (-0.1, 1.2), ("T2", 1): (0.2, 2.2),
}


def threshold_dice(image: np.ndarray, region: np.ndarray, foreground: np.ndarray | None = None) -> float:
    """Highest Dice that ``image > t`` reaches over all thresholds t.

    Args:
        image: Any real array.
        region: bool, same shape.
        foreground: bool, the voxels that may be called tumour; default: where the image is not 0.

    Returns:
        Dice in 0..1, found exactly (every grey value is tried); nan where the region is empty.

    Raises:
        ValueError: If the shapes differ.

    Source: data.md section 2, yardsticks on real cases.
    """
    foreground = image != 0 if foreground is None else foreground
    if not image.shape == region.shape == foreground.shape:
        raise ValueError(f"image {image.shape}, region {region.shape} and foreground {foreground.shape} "
                         "must have the same shape")
    size = int(np.count_nonzero(region))
    if size == 0:
        return float("nan")
    values = image[foreground]
    if values.size == 0:
        return 0.0
    order = np.argsort(-values.astype(np.float64), kind="stable")
    hits = np.cumsum(region[foreground][order])
    dice = 2 * hits / (np.arange(1, len(hits) + 1) + size)
    # Equal grey values fall on the same side of a threshold: only the last of each run is a candidate.
    ranked = values[order]
    last_of_run = np.append(ranked[1:] != ranked[:-1], True)
    return float(dice[last_of_run].max())


def yardstick(cases: Iterable[Mapping[str, np.ndarray]], *,
              regions: Mapping[str, tuple[int, ...]] | None = None) -> dict[tuple[str, str], np.ndarray]:
    """`threshold_dice` of every region and modality over cases such as `make_brain` gives.

    Args:
        cases: Mappings with images by modality and ``"seg"`` with the values on disk.
        regions: Region -> values on disk; default BraTS2020's WT, TC, ET.

    Returns:
        (region, modality) -> float[number of cases], nan where a case lacks the region.
    """
    regions = regions or {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
    found: dict[tuple[str, str], list[float]] = {}
    for case in cases:
        for region, values in regions.items():
            mask = np.isin(case["seg"], values)
            for modality in (name for name in case if name not in ("seg", "affine")):
                found.setdefault((region, modality), []).append(threshold_dice(case[modality], mask))
    return {key: np.array(dice) for key, dice in found.items()}


def tissue_contrast(cases: Iterable[Mapping[str, np.ndarray]]) -> dict[tuple[str, int], np.ndarray]:
    """How each part of the tumour looks to a network, which sees z-scored scans.

    Args:
        cases: As for `yardstick`.

    Returns:
        (modality, value on disk) -> float[number of cases]: median z-value of the part, nan where a case lacks it.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for case in cases:
        for modality in (name for name in case if name not in ("seg", "affine")):
            brain = case[modality] != 0
            values = case[modality].astype(np.float32)
            values = (values - values[brain].mean()) / values[brain].std()
            for part in (1, 2, 4):
                inside = values[(case["seg"] == part) & brain]
                found.setdefault((modality, part), []).append(float(np.median(inside)) if inside.size else np.nan)
    return {key: np.array(values) for key, values in found.items()}


def spread_of(cases: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """How different cases are from each other: modality -> mean deviation over cases of the tumour parts' z-values.

    ``volume`` is the deviation of the logarithm of the tumours' volumes.
    """
    contrasts = tissue_contrast(cases)
    spread = {modality: float(np.mean([np.nanstd(contrasts[modality, part]) for part in (1, 2, 4)]))
              for modality in {modality for modality, _ in contrasts}}
    return spread | {"volume": float(np.std([np.log((case["seg"] > 0).sum()) for case in cases]))}
