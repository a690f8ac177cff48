"""The application of lesson 10: what is opened, for whom, and that the lesson stays as it is."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from tiny import REPOSITORY

from dmaf_lite.__main__ import main
from dmaf_lite.lessons.application import EXTENSIONS, LESSON, QUICK, SETTINGS, options, views_of, write_copy
from dmaf_lite.lessons.profiles import declared
from dmaf_lite.lessons.source import Workspace, build_notebook, tags

SOURCE = '''# %% [markdown]
# # 09 · Look
# %% tags=["parameters"]
profile: str = "cpu-small"
seed: int = 0
steps: int = 500
# %%
view = seed + 1
# %% tags=["check"]
assert view == 1
# %% [markdown]
# ## In practice
# %% tags=["exercise"]
1 / 0
'''


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    place = Workspace(tmp_path)
    place.sources.mkdir(parents=True)
    (place.sources / "09_look.py").write_text(SOURCE, encoding="utf-8")
    return place


def test_views_come_without_checks_and_closing_sections(workspace: Workspace) -> None:
    path = write_copy(workspace, workspace.lessons()[0])
    assert path == workspace.build / "explore" / "09_look.ipynb"
    opening, parameters, quick, view = [cell.source for cell in nbformat.read(path, 4).cells]
    assert opening == "# 09 · Look" and parameters.startswith("profile") and view == "view = seed + 1"
    assert quick == f"steps = {QUICK['steps']}", "what the lesson does not declare is not set"


def test_a_published_run_lends_its_pictures_and_stays_as_it_is(workspace: Workspace) -> None:
    cell = nbformat.v4.new_code_cell("view", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": "eA=="})]
    published = workspace.notebooks / "09_look.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), published)
    before = published.read_bytes()
    copy = nbformat.read(write_copy(workspace, workspace.lessons()[0]), 4)
    assert copy.cells[-1].outputs[0].data == {"image/png": "eA=="}
    assert published.read_bytes() == before


def test_a_lesson_without_closing_sections_is_kept_whole() -> None:
    cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell("In practice")]
    assert views_of(nbformat.v4.new_notebook(cells=cells), {}).cells[1:] == cells


def test_no_view_of_the_lesson_needs_a_check() -> None:
    (lesson,) = Workspace().select([LESSON])
    notebook = build_notebook(lesson, Workspace().lessons())
    kept = views_of(notebook, QUICK).cells
    assert set(QUICK) <= set(declared(lesson))
    left_out = [cell for cell in notebook.cells if cell.cell_type == "code" and "check" in tags(cell)]
    assert left_out and not (names(left_out, ast.Store) - names(kept, ast.Store)) & names(kept, ast.Load)


def names(cells: list, context: type) -> set[str]:
    """Names that code cells assign or read."""
    trees = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    return {node.id for tree in trees for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def test_it_is_for_this_machine_with_a_token() -> None:
    given = options(Path("folder") / "09_look.ipynb", port=8900, browser=False)
    assert "--ServerApp.ip=127.0.0.1" in given and "--ServerApp.port=8900" in given and "--no-browser" in given
    assert "--LabApp.default_url=/doc/tree/09_look.ipynb" in given and "--ServerApp.root_dir=folder" in given
    root = getattr(os, "geteuid", lambda: 1)() == 0
    assert ("--allow-root" in given) == root, "as root Jupyter would refuse; nobody else needs it"
    assert not [option for option in given if "token" in option or "password" in option or "auth" in option]


def test_jupyterlab_asks_for_no_news() -> None:
    settings = json.loads((SETTINGS / "overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"] == {"fetchNews": "false", "checkForUpdates": False}
    # Views that are scrolled out of sight stay alive.
    assert settings["@jupyterlab/notebook-extension:tracker"] == {"windowingMode": "none"}
    place = SETTINGS.relative_to(REPOSITORY).as_posix()
    recipes = (REPOSITORY / "Makefile").read_text()
    assert f"--LabApp.app_settings_dir={place}" in recipes, "make lab"
    assert f"--LabApp.app_settings_dir={SETTINGS}" in options(Path("09_look.ipynb")), "make explore"


def test_the_extension_is_where_its_package_file_says() -> None:
    (folder,) = EXTENSIONS.iterdir()
    package = json.loads((folder / "package.json").read_text())
    script = (folder / package["jupyterlab"]["_build"]["load"]).read_text(encoding="utf-8")
    assert package["name"] == folder.name and f"_JUPYTERLAB['{folder.name}']" in script
    assert not re.search(r"https?://", script)


def test_an_unknown_lesson_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "77", "--no-browser"]) == 2
    assert "no lesson begins with '77'" in capsys.readouterr().err
