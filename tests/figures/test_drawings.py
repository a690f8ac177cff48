"""The drawings say what the code and the lessons say: shapes, rows, letters; and the files are the drawn ones."""

from __future__ import annotations

import ast
import re
from xml.etree import ElementTree

import pytest
import torch

from dmaf_lite.figures.drawings import EXAMPLE, all_drawings
from dmaf_lite.lessons.profiles import declared
from dmaf_lite.lessons.source import Workspace
from dmaf_lite.methods.networks import build_network
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.spec import BRATS

WHERE = {"data_way.svg": "01", "network.svg": "02", "packed.svg": "02", "fusion.svg": "03",
         "teacher_and_student.svg": "04", "objective.svg": "07"}
WORKSPACE = Workspace()
DRAWN = all_drawings()


def markdown(number: str) -> str:
    (lesson,) = WORKSPACE.select([number])
    return "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")


def words(name: str) -> str:
    root = ElementTree.fromstring(DRAWN[name].svg())
    return "\n".join("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))


def test_there_is_a_lesson_for_every_drawing() -> None:
    assert set(WHERE) == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_the_file_is_the_drawing(name: str) -> None:
    stored = (WORKSPACE.notebooks / "figures" / name).read_text(encoding="utf-8")
    assert stored == DRAWN[name].svg(), "run `python -m dmaf_lite lessons drawings`"


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_whole_and_stands_in_its_lesson(name: str) -> None:
    canvas = DRAWN[name]
    root = ElementTree.fromstring(canvas.svg())
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(text.get("x")) <= canvas.width and 0 <= float(text.get("y")) <= canvas.height
    assert root.find("{http://www.w3.org/2000/svg}title").text
    assert re.search(rf"!\[[^\]]{{20,}}\]\(figures/{re.escape(name)}\)", markdown(WHERE[name])), "with its alt text"


def test_the_network_has_the_shapes_of_lesson_02() -> None:
    (lesson,) = WORKSPACE.select(["02"])
    given = declared(lesson)
    net = build_network("baseline", BRATS, width=given["width"], levels=given["levels"])
    with torch.no_grad():
        levels = net.encode(torch.zeros(1, 4, *(given["crop"],) * 3), torch.ones(1, 4, dtype=torch.bool)).levels
    shown = words("network.svg")
    for level in levels:
        assert f"{level.shape[1]} × {level.shape[2]}³" in shown
    assert f"{net.classes} × {given['crop']}³" in shown


def test_the_packed_rows_are_those_of_lesson_02() -> None:
    (lesson,) = WORKSPACE.select(["02"])
    code = "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "code")
    literal = re.search(r"^available = torch\.tensor\((.+)\)$", code, re.MULTILINE)[1]
    assert ast.literal_eval(literal) == [list(row) for row in EXAMPLE]
    pairs = Pairs.of(torch.tensor(EXAMPLE))
    rows = [f"{BRATS.modalities[m]}\nstudy {b}\nrow {i}" for i, (b, m) in
            enumerate(zip(pairs.study.tolist(), pairs.modality.tolist(), strict=True))]
    assert all(row in words("packed.svg") for row in rows)


def test_the_numbers_of_the_fusion_are_those_of_the_module() -> None:
    net = build_network("dmaf_net", BRATS)
    block = net.fusions[-1].blocks[0]
    shown = words("fusion.svg")
    assert f"{len(net.fusions[0].blocks)} attention blocks" in shown and f"g = {net.fusions[0].grid}" in shown
    assert f"√{block.out.in_features // block.heads}" in shown


@pytest.mark.parametrize(("name", "letters"), [
    ("network.svg", ("e^m_l", "f_l", "h_l", "z_l", "z^m")),
    ("fusion.svg", ("e^m", "x^m", "S_m", "A_m", "W_r", "pool_g")),
    ("teacher_and_student.svg", ("e^m", "f", "L_{cov}", "L_{att}")),
    ("objective.svg", ("L_{seg}(z)", "L_{seg}(z_l)", "L_{seg}(z^m)", "L^m_{cov}", "L^m_{att}", "L^m_{proto}",
                       "a_m", "β^m", "w(t)", "λ_{cov}", "λ_{att}", "λ_{proto}")),
])
def test_the_letters_are_those_of_the_equations(name: str, letters: tuple[str, ...]) -> None:
    text = re.sub(r"\\text\{(\w+)\}|\\mathrm\{(\w+)\}", lambda m: f"{{{m[1] or m[2]}}}", markdown(WHERE[name]))
    text = text.replace(r"\beta", "β").replace(r"\lambda", "λ").replace("{pool}", "pool").replace(r"\, ", " ")
    drawn = re.sub(r"(?<=_)\d", "l", " ".join(DRAWN[name].letters))
    for letter in letters:
        assert letter in drawn, f"{letter} is not drawn"
        assert letter in text, f"{letter} is in no equation of lesson {WHERE[name]}"
