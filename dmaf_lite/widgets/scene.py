"""A study and its answers as bytes: what the page draws from, sent once.

A message is four bytes (the length of the header), a header in JSON, and arrays of uint8, x fastest.  Arrays may have
grids of their own: `origin` and `step` say where they lie, in voxels of the scene.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from dmaf_lite.figures.explorers import class_colours
from dmaf_lite.figures.planes import fullest_slice, head_box, lps_spacing, to_lps
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.spec import DatasetSpec
from dmaf_lite.widgets.answers import Answer, Mask
from dmaf_lite.widgets.sources import Study
from dmaf_lite.widgets.static import warning_for

RANGE = (0.05, 99.95)  # percentiles of the head between which 255 greys lie
WINDOW = (1.0, 99.5)  # percentiles of the first window, as in every figure of the kit
MOST = 256**3  # voxels of a scan that are sent; of a larger study, every second (third, ...) one
FLAT = 1.5  # times as thick as wide: then the plane with the finest pixels comes first
OBLIQUE = 5.0  # degrees between a grid and the patient's axes from which on it is told
PLANES = ("axial", "coronal", "sagittal")
LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom of the picture


def plane_names(study: Study) -> dict[str, str]:
    """What the planes are called: axial, coronal, sagittal only where the header tells the directions."""
    return {plane: plane if study.oriented else f"plane {number} (directions unknown)"
            for number, plane in enumerate(PLANES, start=1)}


def key_of(mask: Sequence[bool]) -> str:
    """A subset as the page names it: (True, False, True, True) -> ``"1011"``."""
    return "".join(str(int(m)) for m in mask)


def mask_of(key: str) -> Mask:
    """The way back of `key_of`."""
    return tuple(k == "1" for k in key)


def pack(header: Mapping[str, Any], arrays: Mapping[str, tuple[np.ndarray, Mapping[str, Any]]]) -> bytes:
    """Header and arrays (uint8 [X, Y, Z], and what else their entry says) as one message."""
    entries, parts, at = {}, [], 0
    for name, (array, more) in arrays.items():
        entries[name] = {"at": at, "shape": list(array.shape), **more}
        parts.append(array.astype(np.uint8, copy=False).tobytes(order="F"))
        at += array.size
    text = json.dumps({**header, "arrays": entries}, separators=(",", ":"), allow_nan=False).encode()
    return b"".join([struct.pack("<I", len(text)), text, *parts])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The way back of `pack`."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    arrays = {name: np.frombuffer(message, np.uint8, int(np.prod(entry["shape"])), 4 + length + entry["at"])
              .reshape(entry["shape"], order="F") for name, entry in header["arrays"].items()}
    return header, arrays


@dataclass(frozen=True, eq=False)
class Scene:
    """What is shown of a study: its own voxels in LPS order, cropped to the head.

    Attributes:
        study: In the order of its files.
        start: The first voxel of the LPS volume that is shown, per axis.
        shape: Voxels shown, per axis.
        stride: Every how many voxels.
    """

    study: Study
    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    stride: int = 1

    @classmethod
    def of(cls, study: Study, *, most: int = MOST) -> Scene:
        """The head of a study."""
        head = None
        for name in study.images:  # by name: nothing holds the last scan when the next is read
            inside = study.images[name] != 0
            head = inside if head is None else np.logical_or(head, inside, out=head)
        head = to_lps(head, study.affine)
        box = [part.indices(n) for part, n in zip(head_box(head), head.shape, strict=True)]
        stride = 1
        while np.prod([-(-(stop - first) // stride) for first, stop, _ in box]) > most:
            stride += 1
        return cls(study, tuple(b[0] for b in box), tuple(-(-(b[1] - b[0]) // stride) for b in box), stride)

    @classmethod
    def whole(cls, study: Study) -> Scene:
        """All voxels of a study."""
        return cls(study, (0, 0, 0), to_lps(np.broadcast_to(np.False_, study.shape), study.affine).shape)

    def to_files(self, volume: np.ndarray) -> np.ndarray:
        """A volume [X, Y, Z] of a whole scene with the axes of the study's files."""
        turn = io_orientation(np.linalg.inv(self.to_file))  # of the files' axes, seen from the scene
        return np.ascontiguousarray(apply_orientation(volume, ornt_transform(io_orientation(np.eye(4)), turn)))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm along L, P, S."""
        return tuple(edge * self.stride for edge in lps_spacing(self.study.affine))

    def crop(self, volume: np.ndarray) -> np.ndarray:
        """A volume [X, Y, Z] of the study -> what is shown of it."""
        part = tuple(slice(first, first + n * self.stride, self.stride)
                     for first, n in zip(self.start, self.shape, strict=True))
        return to_lps(volume, self.study.affine)[part]

    @property
    def to_lps(self) -> np.ndarray:
        """[4, 4]: voxel of the scene -> voxel of the whole LPS volume."""
        move = np.diag([*(float(self.stride),) * 3, 1.0])
        move[:3, 3] = np.asarray(self.start) + (self.stride - 1) / 2
        return move

    @property
    def to_array(self) -> np.ndarray:
        """[4, 4]: voxel of the scene -> voxel of the study's arrays."""
        return _turn(self.study) @ self.to_lps

    @property
    def to_file(self) -> np.ndarray:
        """[4, 4]: voxel of the scene -> voxel of the files."""
        return self.study.in_file @ self.to_array

    def place_of(self, study: Study) -> dict[str, list[float]]:
        """Where the LPS volume of the same patient on another grid lies: `origin` and `step` in voxels of the scene."""
        affine = study.affine @ _turn(study)
        here = self.study.affine @ self.to_array
        move = np.linalg.inv(affine) @ here  # voxel of the scene -> voxel of the other; axis by axis
        scale, shift = np.diag(move)[:3], move[:3, 3]
        return {"step": (1 / scale).tolist(), "origin": (0.5 - (shift + 0.5) / scale).tolist()}

    def sample(self, volume: np.ndarray, place: Mapping[str, list[float]]) -> np.ndarray:
        """A volume on another grid (`place_of`) at the voxels of the scene: the nearest, 0 beside it."""
        index, inside = [], []
        for axis, n in enumerate(self.shape):
            j = np.floor((np.arange(n) + 0.5 - place["origin"][axis]) / place["step"][axis]).astype(int)
            inside.append((j >= 0) & (j < volume.shape[axis]))
            index.append(np.clip(j, 0, volume.shape[axis] - 1))
        x, y, z = inside
        return volume[np.ix_(*index)] * (x[:, None, None] & y[None, :, None] & z)

    @property
    def planes(self) -> list[str]:
        """The planes, the one whose pixels are finest first where slices are thick."""
        spacing = dict(zip(("sagittal", "coronal", "axial"), self.spacing, strict=True))
        thick = max(spacing, key=lambda plane: spacing[plane])
        others = [spacing[plane] for plane in spacing if plane != thick]
        return [thick, *(p for p in PLANES if p != thick)] if spacing[thick] > FLAT * max(others) else list(PLANES)

    @property
    def middle(self) -> list[int]:
        """A first look: the fullest slice and the middle of the label, else the middle of the head."""
        label = None if self.study.label is None else self.crop(self.study.label)
        if label is None or not label.any():
            return [n // 2 for n in self.shape]
        axis = {"sagittal": 0, "coronal": 1, "axial": 2}[self.planes[0]]
        at = [int(np.median(where)) for where in np.nonzero(label)]
        at[axis] = fullest_slice(label, self.planes[0])
        return at


def _turn(study: Study) -> np.ndarray:
    """[4, 4]: voxel in LPS order -> voxel of the file."""
    return inv_ornt_aff(ornt_transform(io_orientation(study.affine), axcodes2ornt("LPS")), study.shape)


def scene_bytes(scene: Scene, *, seen: Study | None = None, card: Mapping[str, Any] | None = None,
                greys: int = 255) -> bytes:
    """The message that opens an explorer.

    Args:
        scene: What is shown.
        seen: The study on the grid of the answers; None without a network.
        card: Of the weights; its table of Dice by subset tells what a new patient may expect.
        greys: How many a scan keeps; fewer zip better.
    """
    study, spec, arrays, ranges, windows = scene.study, scene.study.spec, {}, {}, {}
    for name in study.images:  # as in `Scene.of`
        scan, (ranges[name], windows[name]) = _bytes_of(scene.crop(study.images[name]))
        step = max(1, 254 // greys)
        arrays[f"scan/{name}"] = np.where(scan == 0, 0, (scan - 1) // step * step + 1 + step // 2).astype(np.uint8), {}
    if study.label is not None:
        arrays["reference"] = scene.crop(study.label), {}
    grid = study if seen is None else seen
    header = {
        "title": study.title, "synthetic": study.synthetic, "banner": "" if study.synthetic else warning_for(card),
        "notes": [*study.notes, *notes_on(scene)], "modalities": list(spec.modalities),
        "given": [m in study.images for m in spec.modalities], "classes": list(spec.classes),
        "colours": {m: MODALITY_COLOURS.get(m, "#444444") for m in spec.modalities},
        "class_colours": ["#000000", *class_colours(spec.classes).values()],
        "regions": {region: sorted(members) for region, members in spec.regions.items()},
        "shape": list(scene.shape), "spacing": list(scene.spacing), "planes": scene.planes,
        "names": plane_names(study),
        "letters": {p: list(letters if study.oriented else "????") for p, letters in LETTERS.items()},
        "ranges": ranges, "windows": windows, "to_file": scene.to_file.tolist(),
        "affine": (study.affine @ np.linalg.inv(study.in_file)).tolist(),
        "voxel_ml": float(np.prod(lps_spacing(grid.affine)) / 1000), "start": scene.middle,
        "cohort": cohort_table(card, spec), "answers": seen is not None,
    }
    return pack(header, arrays)


def _bytes_of(image: np.ndarray) -> tuple[np.ndarray, tuple[list[float], list[float]]]:
    """Intensities -> bytes from 1 to 255, 0 outside the head; what 1 and 255 stand for, and the first window."""
    inside = image[image != 0]
    sample = inside[:: max(1, inside.size // 200_000)] if inside.size else np.array([0.0, 1.0])
    low, high, dark, bright = (float(v) for v in np.percentile(sample, (*RANGE, *WINDOW)))
    high = max(high, low + 1e-6)
    scaled = np.clip((image - np.float32(low)) * np.float32(254 / (high - low)), 0, 254)
    greys = np.where(image == 0, 0, scaled + 1.5).astype(np.uint8)
    return greys, ([low, high], [1 + 254 * (v - low) / (high - low) for v in (dark, bright)])


def notes_on(scene: Scene) -> list[str]:
    """What a reader has to know about the grid of a study, in sentences."""
    study, notes = scene.study, []
    if not study.oriented:
        notes.append("The header does not say how the patient lay: left and right are not known, so the letters are ?.")
    axes = study.affine[:3, :3] / np.linalg.norm(study.affine[:3, :3], axis=0)
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0).min(), -1, 1))))
    if tilt > OBLIQUE:
        notes.append(f"The grid is oblique, {tilt:.0f}° from the patient's axes: the letters name the nearest side.")
    codes = "".join(aff2axcodes(study.affine @ np.linalg.inv(study.in_file)))
    if study.oriented and codes != "LPS":
        notes.append(f"The file's axes point to {codes}; it is shown as every study, the patient's right on the left.")
    if scene.stride > 1:
        notes.append(f"Large study: every {scene.stride}. voxel is shown; answers use all of them.")
    return notes


def cohort_table(card: Mapping[str, Any] | None, spec: DatasetSpec) -> dict[str, Any] | None:
    """The card's mean Dice of each subset, as ``{"table": key -> region -> Dice, "source": words}``; or None."""
    if not card or not card.get("dice"):
        return None
    table = {key_of(mask): {r: card["dice"][spec.subset_name(mask)][r] for r in spec.regions}
             for mask in spec.subsets() if spec.subset_name(mask) in card["dice"]}
    cases = re.match(r"[^;)]*\)?", card.get("data", ""))[0]  # what they are; how they were chosen is in the card
    return {"table": table, "source": f"mean of {card.get('test_cases', '?')} test cases, {cases}"}


def answer_bytes(mask: Mask, answer: Answer, place: Mapping[str, list[float]], spec: DatasetSpec, *,
                 scan: np.ndarray | None = None, small: bool = False) -> bytes:
    """An answer as a message.

    Args:
        mask: Of which subset.
        answer: On the grid of the network.
        place: Of that grid (`Scene.place_of`).
        spec: Names of the scans.
        scan: A scan of that grid to be shown with it, float [X, Y, Z] in LPS order.
        small: For a page that travels: maps in few steps and on every second voxel.
    """
    arrays: dict[str, tuple[np.ndarray, Mapping[str, Any]]] = {"label": (answer.label, place)}
    coarse = {"step": [2 * s for s in place["step"]], "origin": place["origin"]}
    every = (slice(None, None, 2),) * 3
    maps = {"confidence": answer.confidence}
    if answer.weights is not None:
        maps |= {f"weight/{m}": w for m, given, w in zip(spec.modalities, mask, answer.weights, strict=True) if given}
    for name, values in maps.items():
        arrays[name] = (values[every] // 8 * 8 + 4, coarse) if small else (values, place)
    window = [1.0, 255.0]
    if scan is not None:
        greys, (_, window) = _bytes_of(scan)
        arrays["scan"] = greys, place
    means = answer.mean_weights
    return pack({
        "key": key_of(mask), "dice": dict(answer.dice), "expected": dict(answer.expected),
        "seconds": round(answer.seconds, 3), "window": window,
        "mean_weights": None if means is None else np.asarray(means, float).round(4).tolist(),
        "largest_weight": 255 if answer.weights is None else max(int(answer.weights.max()), 1),
    }, arrays)
