"""Switch scans off and watch segmentation, confidence and modality weights change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as W
import numpy as np
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.figures.explorers import class_colours, explored_subset
from dmaf_lite.figures.planes import AXIS, SIDES, fullest_slice, window
from dmaf_lite.figures.raster import map_picture, png, slice_picture
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.widgets.answers import FULL, Answer, Mask, name_of, predictor, subsets_of
from dmaf_lite.widgets.desk import Desk, in_background
from dmaf_lite.widgets.parts import Views, colour_bar, legend, plane_buttons, set_range, slice_slider, text, weight_bars
from dmaf_lite.widgets.picture import Picture
from dmaf_lite.widgets.sources import Study, on_grid_of
from dmaf_lite.widgets.static import Pictured
from dmaf_lite.widgets.table import SubsetTable

REFERENCE, CONFIDENCE, WEIGHT = "reference", "confidence", "weight of "
HINT = "Click in a picture to read a voxel. Arrow keys and wheel move the slices."


class ModalityExplorer(Pictured, W.VBox):
    """One study, any subset of its scans, and what a network makes of it.

    Args:
        study: From the phantom, a prepared cohort or a folder; it is brought to the grid of the weights.
        weights: The pair that `load_weights` gives; or a function from a mask to an `Answer` on the study's own grid.
        answers: Answers computed before, by mask; what is computed here is added.
        background: Compute beside the page; default: unless the notebook is run without a reader.
        width: Of each picture in CSS pixels.

    The first answer (all scans) is waited for; later ones come when they are ready, the newest question first.
    """

    def __init__(self, study: Study, weights: tuple[nn.Module, Mapping[str, Any]] | Callable[[Mask], Answer], *,
                 answers: dict[Mask, Answer] | None = None, background: bool | None = None, width: int = 264) -> None:
        if not callable(weights):
            study = on_grid_of(study, weights[1])
        self.study, self.spec = study, study.spec
        self.scans, self.reference = study.lps()
        self._inside = np.logical_or.reduce([scan != 0 for scan in self.scans.values()])
        self._limits = {name: window(scan) for name, scan in self.scans.items()}
        self.views = Views(study, self._inside.astype(np.uint8))
        self.masks = subsets_of(study)
        self.answer: Answer | None = None  # the one that is shown, to the subset `shown`
        self.shown: Mask | None = None
        self._read: tuple[int, int, int] | None = None
        self._back = False
        self.background = in_background() if background is None else background
        predict = weights if callable(weights) else predictor(study, *weights)
        self.desk = Desk(predict, {} if answers is None else answers, shown=self._show,
                         filled=lambda _: self._fill(), failed=self._fail)
        self._build(width)
        self._connect()
        self._plane_changed()
        self.desk.ask(self.mask, wait=True)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _build(self, width: int) -> None:
        self.toggles = {}
        for name in self.spec.modalities:
            there = name in self.scans
            self.toggles[name] = W.ToggleButton(value=there, disabled=not there, description=name,
                                                icon="check" if there else "", layout=W.Layout(width="92px"),
                                                tooltip=f"{name}: given or missing" if there else f"no {name} here")
            self.toggles[name].add_class("dmaf-modality")
        self.status, self.bars, self.scale, self.readout = W.HTML(), W.HTML(), W.HTML(), W.HTML(text(HINT))
        self.plane, self.index = plane_buttons(), slice_slider()
        maps = [REFERENCE] if self.reference is not None else []
        maps += [CONFIDENCE, *(WEIGHT + name for name in self.scans)]
        self.view = W.Dropdown(options=maps, description="right", style={"description_width": "40px"},
                               layout=W.Layout(width="225px"))
        self.opacity = W.FloatSlider(value=0.5, min=0, max=1, step=0.05, description="labels",
                                     layout=W.Layout(width="310px"))
        compared = self.reference is not None
        self.outline = W.Checkbox(value=compared, disabled=not compared, description="outline of the reference",
                                  indent=False, layout=W.Layout(width="200px"))
        self.left, self.right = Picture(width=width), Picture(width=width)
        regions = list(self.spec.regions) if self.reference is not None else []
        self.table = SubsetTable(head=[*self.spec.modalities, *regions],
                                 colours=[MODALITY_COLOURS.get(m, "#444444") for m in self.spec.modalities])
        self.all = W.Button(description=f"compute all {len(self.masks)}", layout=W.Layout(width="150px"))
        pictures = W.HBox([self.left, self.right], layout=W.Layout(flex_flow="row wrap", grid_gap="12px"))
        controls = W.HBox([W.VBox([self.plane, self.index, self.opacity]), W.VBox([self.view, self.outline])])
        colours = W.HTML(legend(class_colours(self.spec.classes)), layout=W.Layout(width=f"{width + 12}px"))
        looks = W.VBox([pictures, W.HBox([colours, self.scale]), controls, self.readout],
                       layout=W.Layout(width=f"{2 * width + 24}px"))
        side = W.VBox([self.bars, self.table, self.all], layout=W.Layout(width="272px"))
        super().__init__([W.HBox([W.Label("scans given:"), *self.toggles.values()]), self.status,
                          W.HBox([looks, side], layout=W.Layout(flex_flow="row wrap", grid_gap="14px"))])
        self.add_class("dmaf-modality-explorer")

    def _connect(self) -> None:
        for toggle in self.toggles.values():
            toggle.observe(self._toggled, "value")
        self.table.observe(lambda change: self._chosen(change["new"]), "chosen")
        self.all.on_click(lambda _: self.compute_all())
        self.plane.observe(lambda _: self._plane_changed(), "value")
        for control in (self.index, self.view, self.opacity, self.outline):
            control.observe(lambda _: self._draw(), "value")
        for picture in (self.left, self.right):
            picture.observe(lambda change: setattr(self.index, "value", change["new"]), "index")
            picture.observe(self._clicked, "clicked")

    # -- questions and answers -----------------------------------------------------------------------------------------

    @property
    def mask(self) -> Mask:
        """The subset that is asked for."""
        return tuple(toggle.value for toggle in self.toggles.values())

    def choose(self, mask: Mask) -> None:
        """Ask for a subset, as its row in the table does.

        Raises:
            ValueError: If the study does not have these scans, or the subset is empty.
        """
        mask = tuple(bool(m) for m in mask)
        if mask not in self.masks:
            raise ValueError(f"subset {mask} asked for; {self.study.name} has {', '.join(self.scans)}, and at least "
                             "one is needed")
        self._back = True  # several toggles, one question
        for toggle, given in zip(self.toggles.values(), mask, strict=True):
            toggle.value = given
        self._back = False
        self._ask()

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
            self.all.disabled = True
            self.desk.ask_all(masks)
        self._fill()

    def _toggled(self, change: dict) -> None:
        if self._back:
            return
        if not any(self.mask):
            self._back = True
            change["owner"].value = True
            self._back = False
            self.status.value = text("At least one scan is needed: nothing can be said about a study without any.")
            return
        self._ask()

    def _chosen(self, row: int) -> None:
        if 0 <= row < len(self.masks) and self.masks[row] != self.mask:
            self.choose(self.masks[row])

    def _ask(self) -> None:
        for name, toggle in self.toggles.items():
            toggle.icon = "check" if toggle.value and name in self.scans else ""
        if not self.desk.ask(self.mask, wait=not self.background):
            self.status.value = text(f"{self._words(self.mask)}: computing …")

    def _show(self, mask: Mask, answer: Answer) -> None:
        self.shown, self.answer = mask, answer
        self.status.value = text(f"{self._words(mask)}, answered in {answer.seconds:.1f} s")
        self.bars.value = weight_bars(answer.mean_weights, self.spec.modalities)
        self._fill()
        self._draw()
        self._tell()

    def _fail(self, mask: Mask, error: Exception) -> None:
        self.status.value = text(f"<b>{self._words(mask)}: no answer.</b> {escape(f'{type(error).__name__}: {error}')}")

    def _fill(self) -> None:
        known, regions = self.desk.known, self.table.head[self.spec.M :]
        rows = []
        for mask in self.masks:
            scores = known[mask].dice if mask in known else {}
            rows.append({"there": list(mask), "name": name_of(mask, self.spec),
                         "values": [scores.get(region) for region in regions]})
        with self.table.hold_sync():
            self.table.rows = rows
            self.table.chosen = self.masks.index(self.mask)
            done = sum(mask in known for mask in self.masks)
            self.table.caption = f"All subsets{', Dice' if regions else ''} ({done} of {len(rows)} computed)"
        if done == len(rows):
            self.all.disabled = True

    # -- pictures ------------------------------------------------------------------------------------------------------

    @property
    def frame(self):
        """Plane, size and position of the pictures."""
        return self.views.frames[self.plane.value]

    @property
    def scan(self) -> str:
        """The scan under the labels: the first that is given."""
        return next(name for name, given in zip(self.spec.modalities, self.shown, strict=True) if given)

    def pixels(self) -> dict[str, np.ndarray]:
        """Title -> picture, uint8 [H, W, 3]: the segmentation, and what is chosen beside it."""
        index, scan = self.index.value, self.scan
        edge = self.reference if self.outline.value else None
        common = {"limits": self._limits[scan], "opacity": self.opacity.value}
        left = slice_picture(self.frame, self.scans[scan], index, label=self.answer.label, outline=edge, **common)
        view = self.view.value
        if view == REFERENCE:
            right = slice_picture(self.frame, self.scans[scan], index, label=self.reference, **common)
        else:
            right = map_picture(self.frame, self._map(view), index, inside=self._inside, limits=self._scale(view),
                                outline=edge)
        return {f"segmentation, over {scan}": left, view: right}

    def _map(self, view: str) -> np.ndarray:
        if view == CONFIDENCE:
            return self.answer.confidence
        if self.answer.weights is None:
            return np.zeros(self._inside.shape, np.uint8)
        return self.answer.weights[self.spec.modalities.index(view.removeprefix(WEIGHT))]

    def _scale(self, view: str) -> tuple[float, float]:
        """What the ends of the colours stand for, in bytes: a confidence is never below one class in K; the largest
        weight of any scan decides for all."""
        if view == CONFIDENCE:
            return FULL / len(self.spec.classes), FULL
        return 0.0, FULL if self.answer.weights is None else float(max(self.answer.weights.max(), 1))

    def _draw(self) -> None:
        if self.answer is None:
            return
        here = self._read is not None and self._read[AXIS[self.plane.value]] == self.index.value
        cross = list(self.frame.point(self._read)) if here else []
        for widget, (title, picture) in zip((self.left, self.right), self.pixels().items(), strict=True):
            with widget.hold_sync():  # one message
                widget.png, widget.caption, widget.cross = png(picture), title, cross
                widget.alt = f"{self.study.title}, {self.plane.value} slice {self.index.value}: {title}"
                widget.first, widget.last, widget.index = self.index.min, self.index.max, self.index.value
                widget.sides = list(SIDES[self.plane.value])
        view = self.view.value
        self.scale.value = "" if view == REFERENCE else colour_bar(*(end / FULL for end in self._scale(view)))

    def _plane_changed(self) -> None:
        plane = self.plane.value
        fullest = self.reference if self.reference is not None and self.reference.any() else \
            self.answer.label if self.answer is not None and self.answer.label.any() else self._inside
        start = fullest_slice(fullest, plane) if self._read is None else self._read[AXIS[plane]]
        set_range(self.index, *self.views.ends[plane], start)
        self._draw()

    def _clicked(self, change: dict) -> None:
        x, y, _ = change["new"]
        self._read = self.frame.voxel(x, y, self.index.value)
        self._draw()
        self._tell()

    def _tell(self) -> None:
        if self._read is not None and self.answer is not None:
            self.readout.value = text(escape(self.read(self._read)))

    # -- words ---------------------------------------------------------------------------------------------------------

    def read(self, voxel: tuple[int, int, int]) -> str:
        """What the answer says about a voxel (LPS order), in words."""
        answer, classes = self.answer, self.spec.classes
        parts = [f"predicted {classes[answer.label[voxel]]} ({answer.confidence[voxel] / FULL:.0%} sure)"]
        if self.reference is not None:
            parts.append(f"reference {classes[self.reference[voxel]]}")
        if answer.weights is not None:
            given = [i for i, there in enumerate(self.shown) if there]
            parts.append("weights " + ", ".join(f"{self.spec.modalities[i]} {answer.weights[i][voxel] / FULL:.2f}"
                                                for i in given))
        return " · ".join([*parts, self.views.place(voxel)])

    def describe(self) -> str:
        if self.answer is None:
            return f"{self.study.title}: no answer. {self.status.value}"
        words = f"{self.study.title}, {self.plane.value} slice {self.index.value}, segmented from " \
                f"{name_of(self.shown, self.spec)}, beside it {self.view.value}."
        if self.answer.dice:
            words += " Dice " + ", ".join(f"{region} {value:.2f}" for region, value in self.answer.dice.items()) + "."
        if self.answer.mean_weights is not None:
            finest = zip(self.spec.modalities, self.answer.mean_weights[0], strict=True)
            words += " Mean weights of level 1: " + ", ".join(f"{name} {value:.2f}" for name, value in finest) + "."
        return words

    def figure(self):
        if self.answer is None:
            return None
        view = self.view.value
        unit = None if view == REFERENCE else (view, *(end / FULL for end in self._scale(view)))
        return explored_subset(self.pixels(), self.plane.value, title=f"{self.study.title}: {self._words(self.shown)}",
                               legend=class_colours(self.spec.classes), weights=self.answer.mean_weights,
                               modalities=self.spec.modalities, dice=self.answer.dice, unit=unit)

    def _words(self, mask: Mask) -> str:
        return f"{name_of(mask, self.spec)} ({sum(mask)} of {len(self.scans)} scans)"
