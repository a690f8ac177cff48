"""The optional notebook: kept apart, never run by itself, and asking the browser before itkwidgets is imported."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest
from tiny import REPOSITORY

from dmaf_lite.lessons.source import Workspace

PATH = REPOSITORY / "notebooks" / "optional" / "itkwidgets.ipynb"


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(PATH, 4)


def test_it_is_no_lesson_and_holds_no_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert all(PATH.parent not in lesson.path.parents for lesson in Workspace().lessons())
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.metadata.tags == ["skip-execution"] for cell in code)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_itkwidgets_is_imported_once_and_only_if_the_browser_can_reach_it(notebook: nbformat.NotebookNode) -> None:
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    guards = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.If)
              and any(isinstance(line, ast.ImportFrom) and line.module == "itkwidgets" for line in node.body)]
    assert len(guards) == 1 and len(re.findall(r"(?:from|import) itkwidgets", code)) == 1
    assert ast.unparse(guards[0].test).startswith("probe.webgl2 and probe.online")
    assert ast.unparse(guards[0].orelse) == "shown = explorer"


def test_its_address_is_found_in_the_installed_package(notebook: nbformat.NotebookNode) -> None:
    from importlib.util import find_spec

    if find_spec("itkwidgets") is None:
        pytest.skip("itkwidgets is not installed: it has no zarr on Python 3.14")
    line = next(line for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("address ="))
    pattern = re.search(r're\.search\((r".+?"), ', line)[1]
    config = find_spec("itkwidgets").submodule_search_locations[0] + "/viewer_config.py"
    with open(config, encoding="utf-8") as text:
        address = re.search(ast.literal_eval(pattern), text.read())[0]
    assert re.fullmatch(r"https://[\w.-]+/", address)


def test_its_text_is_honest_about_network_and_version(notebook: nbformat.NotebookNode) -> None:
    text = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    pins = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'"(itkwidgets==[^;"]+)', pins)[1]
    assert version in text and "from the network" in text and "pre-release" in text
    extension = re.search(r'"(imjoy-jupyterlab-extension)==', pins)[1]
    assert f"jupyter labextension disable --level=sys_prefix {extension}" in text
