"""What the computing process knows: studies by their sources, and the network's answers to them."""

from __future__ import annotations

import io
import json
import struct
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dmaf_lite.data.case import CaseFiles
from dmaf_lite.data.cohort import Layout, layout_of
from dmaf_lite.data.nifti import save_label
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.spec import BRATS, MYOPS
from dmaf_lite.widgets.answers import Answer, Mask, Predictor
from dmaf_lite.widgets.export import coarser
from dmaf_lite.widgets.scene import Scene, answer_bytes, mask_of, scene_bytes
from dmaf_lite.widgets.sources import Study, on_grid_of, phantom_study, study_of

Progress = Callable[[str, float | None], None]

KEPT = 2  # studies in memory
PHANTOM_WEIGHTS = "dmaf_net_phantom"  # with which the page of the phantom was made
HEART_WEIGHTS = "dmaf_net_hearts"


@dataclass(eq=False)
class Opened:
    """A study that is open: as it is shown, as the network sees it (`seen`, or None), and what is known about it."""

    study: Study
    scene: Scene
    seen: Study | None
    place: dict[str, Any]
    message: bytes
    known: dict[Mask, Answer] = field(default_factory=dict)
    predict: Predictor | None = None  # made with the first question: that loads a library, the picture needs none


class Answering:
    """Answers the server's questions.

    A source is a dict: ``{"kind": "phantom", "seed", "index", "spacing", "shown"}`` (`shown`: mm of a coarser copy) or
    ``{"kind": "files", "name", "images", "label", "channels", "notes", "layout", "labels"}``, see `CaseFiles`;
    `labels` are those of a cohort that describes itself.
    """

    def __init__(self, weights: str | None, progress: Progress) -> None:
        self._progress = progress
        self._opened: Recent = Recent()
        self._path = weights
        self._weights: dict[str, tuple] = {}

    def weights(self, kind: str, spec: str = BRATS.name) -> tuple:
        """The network and its card, read when first needed.

        Args:
            kind: Of the source: the kit has weights of their own for its plain phantoms.
            spec: Name of the study's spec: it has others for hearts.
        """
        name = HEART_WEIGHTS if spec == MYOPS.name else PHANTOM_WEIGHTS if kind == "phantom" else None
        path = str(self._path or shipped(name))
        if path not in self._weights:
            self._progress("reading the weights …", None)
            self._weights[path] = load_weights(path)
        return self._weights[path]

    def warm(self) -> None:
        """Read the weights, so that the first question need not wait for them."""
        self.weights("files")

    def open(self, source: dict[str, Any]) -> bytes:
        """The scene of a study, `scene_bytes`."""
        return self._open(source).message

    def answers(self, source: dict[str, Any], keys: Sequence[str]) -> bytes:
        """The answers to some subsets, each with its length (uint32) before it."""
        opened = self._open(source)
        masks = [mask_of(key) for key in keys]
        if missing := [mask for mask in masks if mask not in opened.known]:
            self._progress("computing …", None)
            opened.known |= self._predictor(opened, source).many(missing)
        parts = [answer_bytes(m, opened.known[m], opened.place, opened.study.spec) for m in masks]
        return b"".join(struct.pack("<I", len(part)) + part for part in parts)

    def degraded(self, source: dict[str, Any], key: str, scan: str, kind_of: str, level: float) -> bytes:
        """The answer with one scan made worse, and that scan."""
        opened, mask = self._open(source), mask_of(key)
        answer, worse = self._predictor(opened, source).degraded(mask, scan, kind_of, level)
        return answer_bytes(mask, answer, opened.place, opened.study.spec, scan=worse)

    def save(self, source: dict[str, Any], key: str) -> bytes:
        """The answer to a subset as a .nii.gz on the grid of the study's files, in the label values of its layout."""
        opened, mask = self._open(source), mask_of(key)
        self.answers(source, [key])
        whole = Scene.whole(opened.study)
        label = whole.to_files(whole.sample(opened.known[mask].label, whole.place_of(opened.seen)))
        affine = opened.study.affine @ np.linalg.inv(opened.study.in_file)
        with tempfile.TemporaryDirectory() as folder:
            path = save_label(Path(folder) / "label.nii.gz", label, affine, _layout(opened.study.layout, source).labels)
            return path.read_bytes()

    def training(self, path: str) -> bytes:
        """The curves of a run as they are now, as a PNG; made only when somebody looks."""
        from dmaf_lite.figures.explorers import explored_training
        from dmaf_lite.training.runlog import read_log

        log = read_log(Path(path) / "log.csv")
        names = [column.removeprefix("unimodal/") for column in log.columns if column.startswith("unimodal/")]
        memory = io.BytesIO()
        explored_training(log, names, title=Path(path).name).savefig(memory, format="png")
        return memory.getvalue()

    def _open(self, source: dict[str, Any]) -> Opened:
        name = json.dumps(source, sort_keys=True)
        if name in self._opened:
            self._opened.move_to_end(name)
            return self._opened[name]
        study = self._read(source)
        self._progress("preparing the scans …", 0.6)
        shown = coarser(study, source["shown"]) if source.get("shown") else study
        scene, (_, card) = Scene.of(shown), self.weights(source["kind"], study.spec.name)
        if card["spec"] != study.spec.name:  # to look at, without answers
            note = f"The weights are for {card['spec']}, this is a study of {study.spec.name}: its scans are shown."
            scene = replace(scene, study=replace(shown, notes=(*shown.notes, note)))
            opened = Opened(scene.study, scene, None, {}, scene_bytes(scene))
        else:
            self._progress("bringing the scans to the grid of the weights …", 0.7)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the scene's notes say it
                seen = on_grid_of(study, card)
            self._progress("drawing …", 0.9)
            opened = Opened(shown, scene, seen, scene.place_of(seen), scene_bytes(scene, seen=seen, card=card))
        self._opened.keep(name, opened)
        return opened

    def _predictor(self, opened: Opened, source: dict[str, Any]) -> Predictor:
        if opened.predict is None:
            opened.predict = Predictor(opened.seen, *self.weights(source["kind"], opened.study.spec.name))
        return opened.predict

    def _read(self, source: dict[str, Any]) -> Study:
        if source["kind"] == "phantom":
            self._progress("drawing a synthetic study …", 0.1)
            return phantom_study(source["seed"], source["index"], spacing=source["spacing"])
        self._progress(f"reading {source['name']} …", 0.1)
        files = CaseFiles(source["name"], {m: Path(path) for m, path in source["images"].items()},
                          Path(source["label"]) if source["label"] else None, source["channels"],
                          notes=tuple(source["notes"]))
        return study_of(files, _layout(source["layout"], source), progress=lambda read, of: self._progress(
            f"reading {source['name']}: {read} of {of} scans …", 0.1 + 0.5 * read / of))


def _layout(name: str, source: dict[str, Any]) -> Layout:
    """The layout of this name, with the label values that the source brings."""
    layout, labels = layout_of(name), source.get("labels")
    return replace(layout, labels={int(value): label for value, label in labels.items()}) if labels else layout


class Recent(OrderedDict):
    """A few of the latest, the oldest is dropped."""

    def keep(self, name: str, value: Any) -> None:
        """Remember."""
        self[name] = value
        self.move_to_end(name)
        while len(self) > KEPT:
            self.popitem(last=False)
