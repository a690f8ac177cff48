"""Switch scans off and watch segmentation, confidence and modality weights change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.figures.explorers import class_colours, explored_subset
from dmaf_lite.widgets.answers import FULL, Answer, Mask, Predictor, name_of, subsets_of
from dmaf_lite.widgets.desk import Desk, in_background
from dmaf_lite.widgets.scene import Scene, answer_bytes, key_of, mask_of, scene_bytes
from dmaf_lite.widgets.sources import Study, on_grid_of
from dmaf_lite.widgets.viewer import Viewer


class ModalityExplorer(Viewer):
    """One study, any subset of its scans, and what a network makes of it.

    Args:
        study: From the phantom, a prepared cohort or a folder. It is shown as it is, and brought to the grid of the
            weights for the network.
        weights: The pair that `load_weights` gives; or a function from a mask to an `Answer` on the study's own grid.
        answers: Answers computed before, by mask; what is computed here is added.
        background: Compute beside the page; default: unless the notebook is run without a reader.

    The first answer (all scans) is waited for; then all others are computed beside the page, the newest question first.

    Attributes:
        seen: The study on the grid of the answers.
        reference: uint8 [X, Y, Z] on that grid in LPS order, or None.
        given: The answer that is shown, to the subset `shown`.
    """

    def __init__(self, study: Study, weights: tuple[nn.Module, Mapping[str, Any]] | Callable[[Mask], Answer], *,
                 answers: dict[Mask, Answer] | None = None, background: bool | None = None) -> None:
        card = self.card = None if callable(weights) else weights[1]
        self.seen = study if card is None else on_grid_of(study, card)
        _, self.reference = self.seen.lps()
        self.spec, self.masks = study.spec, subsets_of(study)
        self.predict = weights if callable(weights) else Predictor(self.seen, *weights)
        self.background = in_background() if background is None else background
        self.shown: Mask | None = None
        self.given: Answer | None = None
        self.problem = ""
        self.desk = Desk(self.predict, {} if answers is None else answers, shown=self._show, filled=self._post,
                         failed=self._fail)
        scene = Scene.of(study)
        self.grid = scene.place_of(self.seen)
        whole = self.masks[-1]
        super().__init__(study, scene, scene=scene_bytes(scene, seen=self.seen, card=card), network=True,
                         on=key_of(whole))
        self.add_class("dmaf-modality-explorer")
        self.on_msg(lambda _, content, buffers: self._told(content))
        self.observe(lambda change: self._ask(mask_of(change["new"])), "on")
        self.desk.ask(whole, wait=True)
        if self.background:
            self.desk.ask_all(self.masks[::-1])

    @property
    def mask(self) -> Mask:
        """The subset that is asked for."""
        return mask_of(self.on)

    def choose(self, mask: Mask) -> None:
        """Ask for a subset, as a tile does.

        Raises:
            ValueError: If the study does not have these scans, or the subset is empty.
        """
        mask = tuple(bool(m) for m in mask)
        if mask not in self.masks:
            raise ValueError(f"subset {mask} asked for; {self.study.name} has {', '.join(self.scans)}, and at least "
                             "one is needed")
        self.on = key_of(mask)

    def compute_all(self, masks: Sequence[Mask] | None = None, *, wait: bool | None = None) -> None:
        """Compute the answers to all subsets, or to some; one that is asked for meanwhile goes first.

        Args:
            masks: Which; default all.
            wait: Come back when they are there; default: unless the page can wait instead.
        """
        masks = self.masks if masks is None else masks
        if not self.background if wait is None else wait:
            for mask in tqdm(masks, desc="subsets", disable=len(masks) < 3):
                self.desk.ask_all([mask], wait=True)
        else:
            self.desk.ask_all(masks)

    def degraded(self, scan: str, kind: str, level: float, mask: Mask | None = None) -> Answer:
        """The answer with one scan made worse (`damage`): what the panel below the tiles shows.

        Args:
            scan: Its name.
            kind: ``noise``, ``bias`` or ``motion``.
            level: How bad.
            mask: Which scans are given; default the chosen ones.
        """
        return self.predict.degraded(self.mask if mask is None else mask, scan, kind, level)[0]

    def close(self) -> None:
        """Stop computing, and take the explorer off the page and out of memory."""
        self.desk.close()
        super().close()

    # -- the page ------------------------------------------------------------------------------------------------------

    def _told(self, content: dict[str, Any]) -> None:
        if content["kind"] == "hello":  # a page has opened, maybe not the first
            for mask in list(self.desk.known):
                self._post(mask)
        elif content["kind"] == "ask" and mask_of(content["key"]) in self.masks:
            self._ask(mask_of(content["key"]))
        elif content["kind"] == "degrade":
            threading.Thread(target=self._degrade, args=(content,), daemon=True, name="degrade").start()

    def _ask(self, mask: Mask) -> None:
        if mask in self.masks:
            self.desk.ask(mask, wait=not self.background)

    def _post(self, mask: Mask) -> None:
        message = answer_bytes(mask, self.desk.known[mask], self.grid, self.spec)
        self.send({"kind": "answer", "key": key_of(mask)}, [message])

    def _show(self, mask: Mask, answer: Answer) -> None:
        self.shown, self.given, self.problem = mask, answer, ""
        if not self.answer:
            self.answer = answer_bytes(mask, answer, self.grid, self.spec)
        else:
            self._post(mask)

    def _fail(self, mask: Mask, error: Exception) -> None:
        self.problem = f"{name_of(mask, self.spec)}: no answer. {type(error).__name__}: {error}"
        self.send({"kind": "failed", "key": key_of(mask), "words": f"{type(error).__name__}: {error}"})

    def _degrade(self, content: dict[str, Any]) -> None:
        try:
            mask = mask_of(content["key"])
            answer, scan = self.predict.degraded(mask, content["scan"], content["kind_of"], float(content["level"]))
            self.send({"kind": "degraded", "id": content["id"]},
                      [answer_bytes(mask, answer, self.grid, self.spec, scan=scan)])
        except Exception as error:  # a thread's error would be seen by nobody
            self.send({"kind": "failed", "id": content["id"], "words": f"{type(error).__name__}: {error}"})

    # -- words ---------------------------------------------------------------------------------------------------------

    def read(self) -> str:
        """What the answer says about the voxel under the cross-hair, in words."""
        if self.given is None:
            return self.problem
        at, classes = tuple(self.at), self.spec.classes
        def here(volume):
            return self.frame.sample(volume, self.grid)[at]
        parts = [f"predicted {classes[here(self.given.label)]} ({here(self.given.confidence) / FULL:.0%} sure)"]
        if self.label is not None:
            parts.append(f"reference {classes[self.label[at]]}")
        if self.given.weights is not None:
            parts.append("weights " + ", ".join(f"{m} {here(w) / FULL:.2f}" for m, w, is_available in zip(
                self.spec.modalities, self.given.weights, self.shown, strict=True) if is_available))
        return " · ".join([*parts, self.place()])

    def describe(self) -> str:
        if self.given is None:
            return f"{self.study.title}: no answer. {self.problem}"
        words = f"{self.study.title}, {self.plane} slice {self.index}, segmented from {name_of(self.shown, self.spec)}."
        if self.given.dice:
            words += " Dice " + ", ".join(f"{region} {value:.2f}" for region, value in self.given.dice.items()) + "."
        if self.given.mean_weights is not None:
            finest = zip(self.spec.modalities, self.given.mean_weights[0], strict=True)
            words += " Mean weights of level 1: " + ", ".join(f"{name} {value:.2f}" for name, value in finest) + "."
        return words + self.banner

    def figure(self):
        if self.given is None:
            return None
        labels = {name_of(mask, self.spec): (self.frame.sample(answer.label, self.grid), answer.dice)
                  for mask in self.masks if (answer := self.desk.known.get(mask))}
        return explored_subset(
            self.scans[self.scan], self.frame.spacing, self.at, label=labels[name_of(self.shown, self.spec)][0],
            outline=self.label, title=f"{self.study.title}: {name_of(self.shown, self.spec)}",
            legend=class_colours(self.spec.classes), weights=self.given.mean_weights, modalities=self.spec.modalities,
            dice=self.given.dice, subsets=labels, plane=self.plane, note=self.banner.strip())
