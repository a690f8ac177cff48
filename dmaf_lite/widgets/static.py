"""What every explorer has besides being live: a picture of its present state, and a sentence about it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dmaf_lite.base.provenance import NOT_A_DEVICE
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.figures.style import png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHANTOMS_ONLY = "The weights know synthetic phantoms only: what they say about this study means nothing. "
RESEARCH = NOT_A_DEVICE.split(";")[0] + "."
# matplotlib is not made for threads, and a training that is watched live is drawn by one.
DRAWING = threading.RLock()
STORED = 120  # dots an inch of the picture in a saved notebook: about 1,000 pixels wide, and the notebook stays small


def warning_for(card: Mapping[str, Any] | None) -> str:
    """What has to be said beside a study that is not synthetic.

    Args:
        card: Of the weights; None where there are none, or where they are not known.
    """
    layout = LAYOUTS.get((card or {}).get("layout", ""))
    known = layout is not None and not layout.synthetic
    return RESEARCH if known else PHANTOMS_ONLY + RESEARCH


class Pictured:
    """Adds ``image/png`` with a text alternative to a widget's display data.

    Saved notebooks and HTML pages have no kernel: they show this picture where the widget was.
    """

    card: Mapping[str, Any] | None = None  # of the weights, where there are any

    @property
    def banner(self) -> str:
        """What has to be said beside every picture of a study that is not synthetic; else empty."""
        study = getattr(self, "study", None)
        return "" if study is None or study.synthetic else f" {warning_for(self.card)}"

    def figure(self) -> Figure | None:
        """The present state as a static figure; None while there is nothing to show."""
        raise NotImplementedError

    def describe(self) -> str:
        """The present state in a sentence or two."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.describe()

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle)
        data["text/plain"] = self.describe()
        with DRAWING:
            fig = self.figure()
            if fig is None:
                return data, {}
            data["image/png"] = base64.b64encode(png(fig, dpi=STORED, tight=False)).decode("ascii")
        return data, {"image/png": {"alt": self.describe()}}
