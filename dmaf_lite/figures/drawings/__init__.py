"""The machine drawn: one family of SVG files with the letters of the equations.

Numbers in a drawing come from the code that it shows: shapes from the network, rows from `Pairs`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from dmaf_lite.base.atomic import write_text
from dmaf_lite.figures.drawings.canvas import Canvas
from dmaf_lite.figures.drawings.draw_data import data_way
from dmaf_lite.figures.drawings.draw_fusion import fusion
from dmaf_lite.figures.drawings.draw_network import network, packed
from dmaf_lite.figures.drawings.draw_teaching import objective, teacher_and_student
from dmaf_lite.nn.dmaf_net import DmafNet
from dmaf_lite.spec import BRATS

CROP = 32  # voxels; side of a training crop in the lessons
EXAMPLE = ((True, True, False, True), (False, True, True, False))  # the batch of lesson 02


def level_shapes(net: DmafNet, crop: int = CROP) -> list[tuple[int, int]]:
    """(channels, side) of the network's levels for a crop, measured on one pass."""
    with torch.no_grad():
        features = net.encode(torch.zeros(1, BRATS.M, crop, crop, crop), torch.ones(1, BRATS.M, dtype=torch.bool))
    return [(level.shape[1], level.shape[2]) for level in features.levels]


def all_drawings() -> dict[str, Canvas]:
    """File name -> drawing."""
    net = DmafNet(BRATS)
    block = net.fusions[-1].blocks[0]
    per_head = block.out.in_features // block.heads
    made: dict[str, Callable[[], Canvas]] = {
        "data_way.svg": lambda: data_way(CROP),
        "network.svg": lambda: network(level_shapes(net), net.classes, CROP),
        "packed.svg": lambda: packed(EXAMPLE),
        "fusion.svg": lambda: fusion(net.fusions[0].grid, len(net.fusions[0].blocks), per_head),
        "teacher_and_student.svg": teacher_and_student,
        "objective.svg": lambda: objective(len(net.fusions)),
    }
    return {name: draw() for name, draw in made.items()}


def write_drawings(folder: Path) -> list[Path]:
    """Write all of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = all_drawings()
    for name, canvas in drawings.items():
        write_text(folder / name, canvas.svg())
    return [folder / name for name in drawings]
