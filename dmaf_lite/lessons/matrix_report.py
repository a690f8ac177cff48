"""``python -m dmaf_lite report OUT``: lesson 16 on a matrix of experiments, as a notebook and as a page.

    OUT/report.ipynb     OUT/report.html

A matrix that is not finished gives a report of what there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dmaf_lite.base.atomic import write_text
from dmaf_lite.experiment.status import as_text, status
from dmaf_lite.lessons.execute import artifact_root, execute, write_notebook
from dmaf_lite.lessons.source import Workspace

LESSON = "16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which matrix."""
    parser.add_argument("folder", type=Path, help="the --out folder of an experiment")


def main(args: argparse.Namespace) -> int:
    """Write the report."""
    print(as_text(status(args.folder)))  # also refuses a folder that holds no experiment
    notebook, page = write_report(args.folder)
    print(f"the report: {page}\nthe notebook: {notebook}")
    return 0


def write_report(folder: Path, workspace: Workspace | None = None) -> tuple[Path, Path]:
    """Run the lesson on a matrix; gives the notebook and the page."""
    from nbconvert import HTMLExporter

    workspace = workspace or Workspace()
    lesson = workspace.select([LESSON])[0]
    target = folder / "report.ipynb"
    done = execute(workspace, lesson, {"matrix": str(folder.resolve())}, artifact_root(workspace, "report"), target)
    write_notebook(target, done)
    html, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(done)
    page = folder / "report.html"
    write_text(page, html)
    return target, page
