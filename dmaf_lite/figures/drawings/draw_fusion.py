"""DMAF at one level (lesson 03)."""

from __future__ import annotations

from dmaf_lite.figures.drawings.canvas import Canvas
from dmaf_lite.figures.style import MODALITY_COLOURS
from dmaf_lite.spec import BRATS

CORE = "#6A4C93"


def fusion(grid: int, depth: int, per_head: int, missing: str = "T1") -> Canvas:
    """Maps, tokens, masked attention, scores, weights over the scans, the weighted sum.

    Args:
        grid: g, tokens per axis.
        depth: Number of attention blocks.
        per_head: Channels of a head.
        missing: The modality that is not there.
    """
    c = Canvas(1000, 510, "DMAF: maps become tokens, tokens attend, scores become weights, weights mix the maps")
    heads = ((90, "maps"), (245, "tokens"), (455, f"{depth} attention blocks"), (665, "scores"), (795, "weights"),
             (925, "fused"))
    for x, words in heads:
        c.text(x, 30, words, css="ink title")
    top, step = 60, 92
    for row, name in enumerate(BRATS.modalities):
        y, gone = top + step * row, name == missing
        colour, css = ("", "gone") if gone else (MODALITY_COLOURS[name], "edge")
        c.box(50, y, 80, 64, colour=colour, css=css, fill=colour)
        c.text(90, y + 56, name, css="quiet small" if gone else "ink small")
        if gone:
            c.text(90, y + 30, "missing", css="quiet small")
            for x in (222, 647, 777):
                c.box(x, y + 10, 46 if x == 222 else 36, 44, css="gone")
            c.text(245, y + 36, "0", css="quiet")
            c.text(665, y + 36, "−∞", css="quiet")
            c.text(795, y + 36, "0", css="quiet")
            c.arrow((268, y + 32), (352, y + 32), css="gone", head=False)
            c.text(310, y + 24, "masked", css="quiet small")
            continue
        c.math(90, y + 32, "e^m")
        c.arrow((130, y + 32), (218, y + 32), colour=colour)
        c.math(174, y + 24, "pool_g")
        for i in range(4):
            c.box(222 + 23 * (i % 2), y + 10 + 23 * (i // 2), 21, 21, colour=colour, fill=colour, radius=2)
        c.arrow((270, y + 32), (352, y + 32), colour=colour)
        c.math(308, y + 24, "x^m")
        c.arrow((558, y + 32), (643, y + 32), colour=colour)
        c.math(600, y + 24, "W_r , up")
        c.box(647, y + 10, 36, 44, colour=colour, fill=colour, radius=3)
        c.math(665, y + 38, "S_m")
        c.arrow((683, y + 32), (773, y + 32), colour=colour)
        c.box(777, y + 10, 36, 44, colour=colour, fill=colour, radius=3)
        c.math(795, y + 38, "A_m")
        c.arrow((813, y + 32), (858, y + 32), (890, 230 if row != 1 else 222), colour=colour)
    bottom = top + step * 3 + 64
    c.box(352, top, 206, bottom - top, colour=CORE, fill=CORE)
    c.math(455, top + 52, "q = W_q x ,  k = W_k x")
    c.math(455, top + 82, "v = W_v x")
    c.math(455, top + 128, f"softmax( q k^⊤ / √{per_head} )")
    c.text(455, top + 152, "over all tokens that are there", css="quiet small")
    c.math(455, top + 206, "x ← x + W_o ( · v )")
    c.text(455, top + 240, "then a small network", css="quiet small")
    c.text(455, top + 258, "for each token", css="quiet small")
    c.box(700, top - 6, 56, bottom - top + 12, css="gone")
    c.lines(728, bottom + 28, ["softmax over the scans,", "per channel and voxel"], css="quiet small")
    c.box(890, 200, 76, 64, colour=CORE, fill=CORE)
    c.math(928, 240, "f")
    c.math(938, 300, "Σ_m A_m ⊙ e^m")  # right of the arrow from below
    c.math(245, bottom + 28, f"N = g^3 tokens, g = {grid}")
    c.text(60, bottom + 66, f"{missing} is missing: its tokens are set to 0 and its keys masked, so no token reads it "
           "and its weight is exactly 0.", css="ink small", anchor="start")
    return c
