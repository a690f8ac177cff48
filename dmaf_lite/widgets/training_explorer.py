"""A training under the hand: loss terms, gaps, loss weights and update factors, also while it runs."""

from __future__ import annotations

import io
import threading
from html import escape
from pathlib import Path

import ipywidgets as W

from dmaf_lite.figures.explorers import STATES, TERMS, explored_training
from dmaf_lite.figures.style import png
from dmaf_lite.widgets.desk import in_background
from dmaf_lite.widgets.parts import text
from dmaf_lite.widgets.picture import Picture
from dmaf_lite.widgets.static import DRAWING, Pictured

SHARP = 110  # dots per inch of the live picture
PATIENCE = 2.0  # seconds between two looks at a running training


def whole_rows(path: Path):
    """The log as a DataFrame; a last line that is being written, or was cut off by a kill, is left out.

    Raises:
        FileNotFoundError: There is no log yet.
        ValueError: The file is no log of a run.
    """
    import pandas as pd

    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}; expected the folder of a run that has begun")
    content = path.read_text(encoding="utf-8")
    lines = content.splitlines()[: None if content.endswith("\n") else -1]
    commas = lines[0].count(",") if lines else 0
    kept = [line for line in lines if line.count(",") == commas]
    if not kept or "step" not in kept[0].split(","):
        raise ValueError(f"{path}: found no column `step` in its first line; expected the log of a run")
    return pd.read_csv(io.StringIO("\n".join(kept)))


class TrainingExplorer(Pictured, W.VBox):
    """The log of a run.

    Args:
        folder: Of the run; its log may still be growing.
        live: Look at the log every other second from the start; the button does it later.

    Arrow keys, wheel and click move a line through the steps; what was logged there is read below.
    """

    def __init__(self, folder: str | Path, *, live: bool = False, width: int = 720) -> None:
        self.folder, self._stop = Path(folder), threading.Event()
        self.rows = None
        self.smooth = W.IntSlider(value=1, min=1, max=20, description="smooth", layout=W.Layout(width="280px"))
        self.smooth.tooltip = "running mean of the loss terms, in logged rows"
        self.scale = W.ToggleButtons(options=["logarithmic", "linear"], style={"button_width": "95px"})
        self.again = W.Button(description="read again", layout=W.Layout(width="110px"))
        self.live = W.ToggleButton(value=False, description="live", icon="refresh", layout=W.Layout(width="90px"))
        self.live.tooltip = "read again by itself while the training runs"
        self.picture, self.status, self.readout = Picture(width=width, unit="row of the log"), W.HTML(), W.HTML()
        self._panels: list[tuple[float, float, float, float]] = []
        super().__init__([W.HBox([self.smooth, self.scale, self.again, self.live]), self.status, self.picture,
                          self.readout])
        self.add_class("dmaf-training")
        for control in (self.smooth, self.scale):
            control.observe(lambda _: self._draw(), "value")
        self.again.on_click(lambda _: self.read())
        self.live.observe(lambda change: self._watch(change["new"]), "value")
        self.picture.observe(lambda _: self._tell(), "index")
        self.picture.observe(self._clicked, "clicked")
        self.read()
        self.live.value = live and in_background()

    def read(self) -> bool:
        """Read the log again; True if it has grown. What is wrong with it is shown, not raised: it may come yet."""
        with DRAWING:
            try:
                log = whole_rows(self.folder / "log.csv")
            except (OSError, ValueError) as error:
                self.status.value = text(escape(str(error)))
                return False
            if self.rows is not None and len(log) == len(self.rows) and log.equals(self.rows):
                return False
            at_end = self.rows is None or self.picture.index >= len(self.rows) - 1
            self.rows = log
            self.modalities = [c.removeprefix("unimodal/") for c in log.columns if c.startswith("unimodal/")]
            with self.picture.hold_sync():
                self.picture.last = max(len(log) - 1, 0)
                self.picture.index = self.picture.last if at_end else self.picture.index
            self._draw()
            return True

    def figure(self):
        if self.rows is None or not len(self.rows):
            return None
        return explored_training(self.rows, self.modalities, smooth=self.smooth.value, title=self.folder.name,
                                 logarithmic=self.scale.value == "logarithmic")

    def describe(self) -> str:
        if self.rows is None or not len(self.rows):
            return f"Training {self.folder.name}: nothing has been logged yet."
        last = self.rows.iloc[-1]
        terms = ", ".join(f"{term} {last[term]:.3g}" for term in TERMS if term in self.rows)
        return f"Training {self.folder.name}, {len(self.rows)} logged rows; at step {last['step']:.0f}: {terms}."

    def _draw(self) -> None:
        if self.rows is None or not len(self.rows):
            return
        with DRAWING:
            fig = self.figure()
            with self.picture.hold_sync():
                self.picture.png = png(fig, dpi=SHARP, tight=False)
                self.picture.alt = self.describe()
            self._panels = [self._panel(ax) for ax in fig.axes]
        self.status.value = text(f"{escape(self.folder.name)}: {len(self.rows)} logged rows, up to step "
                                 f"{self.rows['step'].iloc[-1]:.0f}")
        self._tell()

    @staticmethod
    def _panel(ax) -> tuple[float, float, float, float, float, float]:
        """Left, right, top, bottom of a panel in the picture (0 to 1), and the steps at its ends."""
        box = ax.get_position()
        return box.x0, box.x1, 1 - box.y1, 1 - box.y0, *ax.get_xlim()

    def _tell(self) -> None:
        """Move the line, and read what was logged there."""
        if self.rows is None or not len(self.rows):
            return
        row = self.rows.iloc[min(self.picture.index, len(self.rows) - 1)]
        step = row["step"]
        self.picture.lines = [[x0 + (x1 - x0) * (step - low) / (high - low), top, bottom]
                              for x0, x1, top, bottom, low, high in self._panels]
        self.readout.value = text(f"<b>step {step:.0f}</b> " + " · ".join(
            f"{term} {row[term]:.3g}" for term in TERMS if term in row)) + state_table(row, self.modalities)

    def _clicked(self, change: dict) -> None:
        x, y, _ = change["new"]
        for x0, x1, top, bottom, low, high in self._panels:
            if x0 <= x <= x1 and top <= y <= bottom:
                step = low + (high - low) * (x - x0) / (x1 - x0)
                self.picture.index = int((self.rows["step"] - step).abs().argmin())

    def _watch(self, on: bool) -> None:
        self._stop.set()
        if on:
            self._stop = stop = threading.Event()
            threading.Thread(target=self._look, args=(stop,), daemon=True, name="training-explorer").start()

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(PATIENCE):
            self.read()

    def close(self) -> None:
        """Stop watching, and take the widget off the page."""
        self._stop.set()
        super().close()


def state_table(row, modalities: list[str]) -> str:
    """What the monitor said about each modality at one step, as a table."""
    states = [state for state in STATES if f"{state}/{modalities[0]}" in row] if modalities else []
    if not states:
        return ""
    names = {"gap": "distillation gap", "beta": "loss weight β", "gamma": "update factor γ"}
    head = "".join(f'<th style="padding:0 12px">{escape(m)}</th>' for m in modalities)
    body = "".join(f'<tr><td>{names[state]}</td>' + "".join(
        f'<td style="text-align:center">{row[f"{state}/{m}"]:.3f}</td>' for m in modalities) + "</tr>"
        for state in states)
    return text(f"<table><tr><th></th>{head}</tr>{body}</table>")
