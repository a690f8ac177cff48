"""An explorer as one HTML file that needs no Python and no network: for a lecture, a phone, a colleague."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.data.volume import resample, resampled_grid
from dmaf_lite.widgets.answers import Predictor, subsets_of
from dmaf_lite.widgets.scene import Scene, answer_bytes, key_of, scene_bytes
from dmaf_lite.widgets.sources import Study, on_grid_of
from dmaf_lite.widgets.standalone import standalone

LARGEST = 2_500_000  # bytes of the file
FINEST = 1.5  # mm of the scans in it; coarser until the file is small enough
COARSEST = 6.0  # mm; below that nobody would see a tumour
GREYS = 64  # of a scan: more would be noise, which does not zip


def export_page(study: Study, weights: tuple[nn.Module, Mapping[str, Any]], path: str | Path, *,
                largest: int = LARGEST, source: Mapping[str, Any] | None = None) -> Path:
    """Write the page of a study: its scans, and the answers to all subsets.

    Args:
        study: Any.
        weights: What `load_weights` gives.
        path: Ends in ``.html``; replaced whole or not at all.
        largest: Bytes; scans become coarser until the page is small enough.
        source: How the study can be made again, kept in the page.

    Raises:
        ValueError: If the name does not end in .html, or the page would be larger.
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ValueError(f"{path}: found the ending {path.suffix or 'none'}; expected .html; choose another name")
    net, card = weights
    seen = on_grid_of(study, card)
    predict, masks = Predictor(seen, net, card), subsets_of(seen)
    answers = {mask: predict(mask) for mask in tqdm(masks, desc="subsets")}
    spacing = FINEST
    while len(text := page_of(study, seen, answers, card, spacing, source or {}).encode()) > largest:
        # Scans shrink with the cube of the spacing, answers do not.
        spacing *= max(1.03, min((len(text) / largest) ** 0.4, 1.3))
        if spacing > COARSEST:
            raise ValueError(f"{study.name}: found a page of {len(text) / 1e6:.1f} MB; expected at most "
                             f"{largest / 1e6:.1f} MB; allow a larger one")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_bytes(text)
    return path


def page_of(study: Study, seen: Study, answers: Mapping, card: Mapping[str, Any], spacing: float,
            source: Mapping[str, Any]) -> str:
    """The page with scans of `spacing` mm, or of their own where that is coarser."""
    scene = Scene.of(coarser(study, spacing))
    place = scene.place_of(seen)
    data = {
        "source": {**source, "shown": spacing},
        "scene": _zipped(scene_bytes(scene, seen=seen, card=card, greys=GREYS)),
        "answers": {key_of(mask): _zipped(answer_bytes(mask, answer, place, study.spec, small=True))
                    for mask, answer in answers.items()},
    }
    return standalone(f"{study.title}: switch a scan off", data)


def coarser(study: Study, spacing: float) -> Study:
    """A study with voxels of at least `spacing` mm."""
    edges = np.linalg.norm(study.affine[:3, :3], axis=0)
    if edges.min() >= spacing * 0.99:
        return study
    first = next(iter(study.images.values()))
    shape, affine = resampled_grid(first.shape, study.affine, spacing)
    head = {m: resample((image != 0).astype(np.uint8), shape, 0) for m, image in study.images.items()}
    images = {m: resample(image, shape, 1) * head[m] for m, image in study.images.items()}
    label = None if study.label is None else resample(study.label, shape, 0)
    return replace(study, images=images, label=label, affine=affine)


def _zipped(message: bytes) -> str:
    return base64.b64encode(gzip.compress(message, 9, mtime=0)).decode("ascii")
