"""One look for every figure: colours that colour-blind readers tell apart, fixed per modality and region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")

# No colour stands for a scan and for a class, all are told apart under the common forms of colour blindness, and white
# letters can be read on those of the scans (tests/figures/test_style.py holds all three).
MODALITY_COLOURS = {"FLAIR": "#0072B2", "T1ce": "#8C510A", "T1": "#5E3C99", "T2": "#B8478C",
                    "C0": "#0072B2", "LGE": "#8C510A"}
# A region is not a class: its colour is none of the classes', but for ET, which is both.
REGION_COLOURS = {"WT": "#56B4E9", "TC": "#7A4FB5", "ET": "#E6B800", "LV": "#0072B2", "RV": "#56B4E9",
                  "myocardium": "#009E73", "oedema": "#E6B800", "oedema_only": "#CC79A7", "scar": "#D55E00"}
# Internal label -> colour of the overlay: the colour of the outermost region that only this label adds.
CLASS_COLOURS = ("#000000", "#D55E00", "#009E73", "#F0E442", "#F781BF", "#8FD3FF")

RC = {
    "figure.dpi": 160, "savefig.dpi": 160, "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10,
    "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "legend.frameon": False,
    "image.interpolation": "nearest", "image.cmap": "gray", "figure.constrained_layout.use": True,
    "lines.linewidth": 1.5,
}
WIDTH = 8.0  # inches; the width of a notebook's text column


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for the time of one figure; the reader's own settings are left alone."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


def figure(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that draws a figure: styled, and closed, so that a notebook shows it once and not twice."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib.pyplot as plt

        with style():
            fig = draw(*args, **kwargs)
            fig.draw_without_rendering()  # lay out while the style is on
            plt.close(fig)
            return fig

    return styled


def show(fig: Figure, *, alt: str) -> None:
    """Show a figure in a notebook, once, with a text alternative for readers who do not see it.

    Args:
        fig: The figure; closed afterwards.
        alt: What the picture shows, in a sentence.
    """
    import matplotlib.pyplot as plt
    from IPython.display import display

    display({"image/png": png(fig), "text/plain": f"[picture: {alt}]"}, raw=True, metadata={"image/png": {"alt": alt}})
    plt.close(fig)


def png(fig: Figure, *, dpi: float | None = None, tight: bool = True) -> bytes:
    """A figure as PNG of at most 256 colours: a third of the size, and the eye sees no difference.

    Args:
        fig: The figure.
        dpi: Pixels per inch; default as everywhere in the kit.
        tight: Cut empty edges off; without it, what lies at a share of the figure lies there in the picture.
    """
    from io import BytesIO

    from PIL import Image

    drawn, packed = BytesIO(), BytesIO()
    with style():
        fig.savefig(drawn, format="png", dpi=RC["savefig.dpi"] if dpi is None else dpi,
                    bbox_inches="tight" if tight else None)
    image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(packed, format="png", optimize=True)
    return packed.getvalue()
