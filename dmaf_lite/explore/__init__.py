"""``python -m dmaf_lite explore``: a lesson as an application, in JupyterLab, for this machine only.

JupyterLab makes a token at each start and lets nobody in without it. The cells run by themselves when the page opens,
and their code is hidden. What opens is a copy in ``build/explore/``: nothing that is tried out changes the lesson.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dmaf_lite.lessons.execute import write_notebook
from dmaf_lite.lessons.publish import committed
from dmaf_lite.lessons.source import Lesson, Workspace, build_notebook, tags

LESSON = "09"
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
    try:
        path = write_copy(workspace, workspace.select([args.lesson])[0])
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    from jupyterlab.labapp import LabApp

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
    ]


def write_copy(workspace: Workspace, lesson: Lesson) -> Path:
    """Write `views_of` the published notebook: its pictures are there at once, until the cells have run."""
    published = committed(workspace, lesson)
    notebook = nbformat.read(published, 4) if published.is_file() else build_notebook(lesson, workspace.lessons())
    path = workspace.build / "explore" / published.name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_notebook(path, views_of(notebook))
    return path


def views_of(notebook: NotebookNode) -> NotebookNode:
    """A lesson up to its closing sections, without its checks."""
    end = next((i for i, cell in enumerate(notebook.cells) if cell.source.startswith(CLOSING)), None)
    return NotebookNode({**notebook, "cells": [cell for cell in notebook.cells[:end] if "check" not in tags(cell)]})
