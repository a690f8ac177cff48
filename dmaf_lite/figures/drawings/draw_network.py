"""The whole network, and a batch with and without room for what is missing (lesson 02)."""

from __future__ import annotations

from collections.abc import Sequence

from dmaf_lite.figures.drawings.canvas import Canvas
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.spec import BRATS

TEACHER, SHARED = "#6A4C93", "#8A6D3B"


def network(shapes: Sequence[tuple[int, int]], classes: int, crop: int, missing: str = "T1") -> Canvas:
    """Encoders, fusion at every level, fusion decoder with deep heads, shared decoder; one scan is missing.

    Args:
        shapes: (channels, side) of each level, full size first.
        classes: K.
        crop: Side of the input.
        missing: The modality that is not there.
    """
    c = Canvas(1000, 560, "DMAF-Net: one encoder per scan that is there, fusion at every level, two decoders")
    levels, top = len(shapes), 62
    c.text(95, 30, "scans", css="ink title")
    c.text(270, 30, "encoders", css="ink title")
    c.text(545, 30, "fusion, per level", css="ink title")
    c.text(790, 30, "fusion decoder", css="ink title")
    x_level = [205 + 46 * level for level in range(levels)]
    for row, name in enumerate(BRATS.modalities):
        y, gone = top + 82 * row, name == missing
        colour = "" if gone else MODALITY_COLOURS[name]
        css = "gone" if gone else "edge"
        c.box(50, y, 92, 56, colour=colour, css=css, fill=colour)
        c.text(96, y + 24, name, css="quiet" if gone else "ink")
        c.text(96, y + 44, "missing" if gone else f"1 × {crop}³", css="quiet small")
        if gone:
            c.text(270, y + 33, "no row, no computation", css="quiet small")
            continue
        c.arrow((142, y + 28), (198, y + 28), colour=colour)
        c.math(168, y + 22, "x^m")
        for level, x in enumerate(x_level):
            side = 46 - 9 * level
            c.box(x, y + 28 - side / 2, 30, side, colour=colour, fill=colour, radius=3)
        c.math(x_level[0] + 15, y - 4, "e^m_1")
        c.math(x_level[-1] + 20, y + 6, f"e^m_{levels}")
        c.arrow((x_level[-1] + 30, y + 28), (455, y + 28), colour=colour, head=False)
    c.arrow((455, top + 28), (455, top + 82 * 3 + 28), head=False)
    y_level = [top + 84 * level for level in range(levels)]
    for level, (channels, side) in enumerate(shapes):
        y, number = y_level[level], level + 1
        c.arrow((455, y + 28), (492, y + 28))
        c.box(492, y, 96, 56, colour=TEACHER, fill=TEACHER)
        c.text(540, y + 24, "DMAF")
        c.text(540, y + 44, f"level {number}", css="quiet small")
        c.arrow((588, y + 28), (690, y + 28), colour=TEACHER)
        c.math(622, y + 22, f"f_{number}")
        c.text(638, y + 46, f"{channels} × {side}³", css="quiet small")
        c.box(690, y, 110, 56)
        c.math(745, y + 34, f"h_{number}")
        if level:
            c.arrow((745, y), (745, y_level[level - 1] + 56))
            c.text(752, y - 9, "up", css="quiet small", anchor="start")
            c.arrow((800, y + 28), (862, y + 28), css="gone")
            c.math(886, y + 34, f"z_{number}", css="quiet")
    c.arrow((800, y_level[0] + 28), (862, y_level[0] + 28))
    c.box(862, y_level[0], 92, 56, colour=TEACHER, fill=TEACHER)
    c.math(908, y_level[0] + 25, "z")
    c.text(908, y_level[0] + 45, f"{classes} × {crop}³", css="quiet small")
    c.lines(935, y_level[1] + 22, ["deep", "heads"], css="quiet small", anchor="start")
    c.lines(935, y_level[1] + 56, ["(training", "only)"], css="quiet small", anchor="start")
    y = y_level[-1] + 110
    c.arrow((425, top + 82 * 3 + 28), (425, y + 30), (492, y + 30), colour=SHARED)
    c.text(412, y + 8, "each scan alone", css="quiet small", anchor="end")
    c.math(400, y + 34, "e^m_1 , … , e^m_L", anchor="end")
    c.box(492, y, 308, 60, colour=SHARED, fill=SHARED)
    c.text(646, y + 26, "shared decoder")
    c.text(646, y + 46, "one set of weights for all scans, training only", css="quiet small")
    c.arrow((800, y + 30), (862, y + 30), colour=SHARED)
    c.box(862, y, 92, 60, colour=SHARED, fill=SHARED)
    c.math(908, y + 36, "z^m")
    c.lines(50, y + 92, [
        f"A study without {missing}: its encoder does not run, and no level reserves a place for it.",
        "The baseline of lesson 02 has the mean in place of DMAF; everything else is the same."], anchor="start")
    return c


def packed(available: Sequence[Sequence[bool]]) -> Canvas:
    """Dense against packed: a batch [B, M] with holes, and the rows of `Pairs` that exist.

    Args:
        available: B rows of M truth values.
    """
    import torch

    pairs = Pairs.of(torch.tensor(available))
    c = Canvas(1000, 270, "Left a dense batch with holes, right the rows that exist, sorted by modality")
    c.text(215, 30, "dense: a place for everybody", css="ink title")
    c.text(720, 30, "packed: one row per scan that is there", css="ink title")
    for m, name in enumerate(BRATS.modalities):
        c.text(115 + 82 * m, 62, name, css="ink small")
    for b, row in enumerate(available):
        y = 74 + 74 * b
        c.text(70, y + 34, f"study {b}", css="ink small", anchor="end")
        for m, is_available in enumerate(row):
            colour = MODALITY_COLOURS[BRATS.modalities[m]]
            x = 80 + 82 * m
            if is_available:
                c.box(x, y, 70, 58, colour=colour, fill=colour)
            else:
                c.box(x, y, 70, 58, css="gone")
                c.text(x + 35, y + 35, "hole", css="quiet small")
    c.math(245, 74 + 74 * len(available) + 22, "B · M places, some hold nothing")
    c.arrow((430, 110), (500, 110))
    wide = min(92, 470 // pairs.P)
    for i, (b, m) in enumerate(zip(pairs.study.tolist(), pairs.modality.tolist(), strict=True)):
        name = BRATS.modalities[m]
        x = 520 + wide * i
        c.box(x, 82, wide - 10, 58, colour=MODALITY_COLOURS[name], fill=MODALITY_COLOURS[name])
        c.text(x + (wide - 10) / 2, 107, name, css="ink small")
        c.text(x + (wide - 10) / 2, 127, f"study {b}", css="quiet small")
        c.text(x + (wide - 10) / 2, 76, f"row {i}", css="quiet small")
    for m, (start, stop) in enumerate(pairs.blocks):
        if stop > start:
            colour = MODALITY_COLOURS[BRATS.modalities[m]]
            left, right = 520 + wide * start, 520 + wide * stop - 10
            c.arrow((left, 156), (right, 156), colour=colour, head=False, thick=3)
            c.text((left + right) / 2, 176, "1 encoder", css="quiet small")
    c.math(745, 244, f"P = {pairs.P} rows, each of them a scan")
    return c
