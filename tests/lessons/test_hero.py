"""The first picture and the table below it in the README speak of the same weights."""

import json

from dmaf_lite.lessons import hero
from dmaf_lite.lessons.source import Workspace
from dmaf_lite.methods.weights import load_weights, shipped


def test_picture_and_table_are_of_the_same_weights() -> None:
    _, card = load_weights(shipped(hero.WEIGHTS))
    table = json.loads((Workspace().notebooks / "results" / "complete.json").read_text(encoding="utf-8"))
    assert card["commit"] == table["commit"], "the run that made the table made the weights of the picture"
    assert card["recipe"]["steps"] == table["profile"]["common"]["steps"]


def test_no_line_ends_inside_an_interval_and_the_readme_has_this_table() -> None:
    workspace = Workspace()
    line = hero.result_line(workspace.notebooks)
    assert line in (workspace.root / "README.md").read_text(encoding="utf-8")
    assert ", " not in line.partition("\n")[2], "a hard space after every comma"
