"""``python -m dmaf_lite explore``: a lesson as an application, in JupyterLab, for this machine only.

JupyterLab makes a token at each start and lets nobody in without it. The cells run by themselves when the page opens,
and their code is hidden. What opens is a copy in ``build/explore/``: nothing that is tried out changes the lesson.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from dmaf_lite.lessons.execute import write_notebook
from dmaf_lite.lessons.profiles import declared
from dmaf_lite.lessons.publish import committed
from dmaf_lite.lessons.source import Lesson, Workspace, build_notebook, tags

LESSON = "10"
# A kernel answers the controls when all cells have run, so these cells are short; the buttons compute the rest.
QUICK = {"subsets_computed": 0, "cases_train": 4, "cases_val": 1, "cases_test": 1, "steps": 60}
CLOSING = "## In practice"  # from here on a lesson looks back and asks; its views come before
EXTENSIONS = Path(__file__).parent / "labextensions"  # hides the code and runs the cells
SETTINGS = Path(__file__).parent / "settings"  # no news, no updates, no cell unloaded when out of sight


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which lesson, and where."""
    parser.add_argument("lesson", nargs="?", default=LESSON, help=f"beginning of its name; default {LESSON}")
    parser.add_argument("--port", type=int, help="default: the first free one from 8888")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def main(args: argparse.Namespace) -> int:
    """Write the copy, and serve it until Ctrl-C."""
    workspace = Workspace()
    path = write_copy(workspace, workspace.select([args.lesson])[0])
    from jupyterlab.labapp import LabApp

    os.environ["DMAF_PROFILE"] = "explore"  # artefacts of its own, as its parameters are its own
    LabApp.launch_instance(argv=options(path, port=args.port, browser=not args.no_browser))
    return 0


def options(path: Path, *, port: int | None = None, browser: bool = True) -> list[str]:
    """JupyterLab's options: one document, one folder, one machine."""
    return [
        f"--ServerApp.root_dir={path.parent}",
        f"--LabApp.default_url=/doc/tree/{path.name}",  # /doc: one document at a time, without side bars
        f"--LabApp.extra_labextensions_path={EXTENSIONS}",
        f"--LabApp.app_settings_dir={SETTINGS}",
        "--ServerApp.ip=127.0.0.1",
        *([f"--ServerApp.port={port}"] if port else []),
        *([] if browser else ["--no-browser"]),
        *allow_root(),
    ]


def allow_root() -> list[str]:
    """The option that Jupyter asks of root, with a word about it; in a container one is root."""
    if getattr(os, "geteuid", lambda: 1)() != 0:
        return []
    print("You are root, as in a container: JupyterLab is started with --allow-root.")
    return ["--allow-root"]


def write_copy(workspace: Workspace, lesson: Lesson) -> Path:
    """Write `views_of` the published notebook: its pictures are there at once, until the cells have run."""
    published = committed(workspace, lesson)
    notebook = nbformat.read(published, 4) if published.is_file() else build_notebook(lesson, workspace.lessons())
    path = workspace.build / "explore" / published.name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_notebook(path, views_of(notebook, {k: v for k, v in QUICK.items() if k in declared(lesson)}))
    return path


def views_of(notebook: NotebookNode, overrides: Mapping[str, Any]) -> NotebookNode:
    """A lesson up to its closing sections, without its checks, and with some parameters overridden."""
    end = next((i for i, cell in enumerate(notebook.cells) if cell.source.startswith(CLOSING)), None)
    cells = [cell for cell in notebook.cells[:end] if "check" not in tags(cell)]
    place = next((i + 1 for i, cell in enumerate(cells) if "parameters" in tags(cell)), 0)
    text = "\n".join(f"{name} = {value!r}" for name, value in overrides.items())
    return NotebookNode({**notebook, "cells": [*cells[:place], nbformat.v4.new_code_cell(text, id="overrides"),
                                               *cells[place:]]})
