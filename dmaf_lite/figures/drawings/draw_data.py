"""The data's way from files to a batch (lesson 01)."""

from __future__ import annotations

from dmaf_lite.figures.drawings.canvas import Canvas
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.spec import BRATS


def data_way(crop: int) -> Canvas:
    """NIfTI files, z-score, crop to the head, store, table, batch.

    Args:
        crop: Side of a training crop.
    """
    c = Canvas(1000, 330, "Five files become z-scored, cropped arrays; a table takes scans away; crops make a batch")
    titles = ((90, "files"), (268, "z-score"), (428, "crop"), (585, "store"), (738, "table"), (905, "batch"))
    for x, words in titles:
        c.text(x, 30, words, css="ink title")
    names = [*BRATS.modalities, "seg"]
    table = {"FLAIR": False, "T1ce": True, "T1": True, "T2": False, "seg": True}
    for row, name in enumerate(names):
        y, colour = 48 + 44 * row, MODALITY_COLOURS.get(name, "#5b6570")
        c.box(40, y, 100, 34, colour=colour, fill=colour)
        c.text(90, y + 22, f"{name}.nii.gz", css="ink small")
        c.arrow((140, y + 17), (208, y + 17), colour=colour, head=name != "seg")
        if name != "seg":
            c.box(208, y, 120, 34, colour=colour)
            c.math(268, y + 23, "(x_m − μ) / σ")
        else:
            c.arrow((208, y + 17), (376, y + 17), colour=colour)
        if name != "seg":
            c.arrow((328, y + 17), (376, y + 17), colour=colour)
        c.box(376, y, 104, 34, colour=colour)
        c.text(428, y + 22, "head's box", css="ink small")
        c.arrow((480, y + 17), (530, y + 17), colour=colour)
        c.box(530, y, 110, 34, colour=colour, fill=colour)
        c.text(585, y + 22, f"{'label' if name == 'seg' else name}.npy", css="ink small")
        is_available = table[name]
        if name == "seg":
            c.arrow((640, y + 17), (830, y + 17), colour=colour)
            continue
        c.arrow((640, y + 17), (700, y + 17), colour=colour)
        tint = colour if is_available else ""
        c.box(700, y, 76, 34, colour=tint, css="edge" if is_available else "gone", fill=tint)
        c.text(738, y + 22, "there" if is_available else "taken", css="ink small" if is_available else "quiet small")
        if is_available:
            c.arrow((776, y + 17), (830, y + 17), colour=colour)
    c.box(830, 48, 150, 210, css="edge")
    c.math(905, 98, "images")
    c.text(905, 120, f"B × M × {crop}³", css="quiet small")
    c.math(905, 160, "available")
    c.text(905, 182, "B × M", css="quiet small")
    c.math(905, 220, "label")
    c.text(905, 242, f"B × {crop}³", css="quiet small")
    c.lines(40, 292, ["Each scan is z-scored over its own foreground, so that it knows nothing of the others.",
                      "What the table takes away is never read."], anchor="start")
    return c
