"""The lessons as HTML that opens without network: pictures inside, formulas by a MathJax that lies beside the pages."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from dmaf_lite.base.atomic import write_text
from dmaf_lite.lessons.execute import artifact_root
from dmaf_lite.lessons.publish import TABLE_END, TABLE_START, lesson_table
from dmaf_lite.lessons.report import subset_tables
from dmaf_lite.lessons.source import Workspace

MATHJAX = "assets/mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full"
# A saved widget is an empty space on a page; its picture is not.
PRIORITY = ["text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain"]


def write_book(workspace: Workspace, profile: str | None = None) -> Path:
    """Write one page per lesson and page of ``docs/``, and an index.

    Args:
        workspace: The checkout.
        profile: Take the runs in ``build/<profile>/``; default the published notebooks.

    Returns:
        The index page, ``build/book/index.html`` or ``build/<profile>/book/index.html``.

    Raises:
        FileNotFoundError: If a lesson has no executed notebook.
    """
    source = workspace.build / profile if profile else workspace.notebooks
    out = (workspace.build / profile if profile else workspace.build) / "book"
    lessons = workspace.lessons()
    missing = [lesson.stem for lesson in lessons if not (source / f"{lesson.stem}.ipynb").is_file()]
    if missing:
        raise FileNotFoundError(f"no executed notebook of {missing} in {source.name}/; run the lessons first")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(Path(str(files("jupyter_server_mathjax"))) / "static", out / "assets" / "mathjax")
    if (workspace.notebooks / "figures").is_dir():
        shutil.copytree(workspace.notebooks / "figures", out / "figures")
    exporter = make_exporter(workspace)
    for lesson in lessons:
        notebook = nbformat.read(source / f"{lesson.stem}.ipynb", 4)
        write_page(exporter, out / f"{lesson.stem}.html", notebook, lesson.title)
    for page in sorted((workspace.root / "docs").glob("*.*")):
        if page.suffix != ".md":  # a picture or a table that a page shows
            shutil.copy(page, out / page.name)
            continue
        text = page.read_text(encoding="utf-8")
        write_page(exporter, out / f"{page.stem}.html", _page(text), page.stem.replace("_", " "))
    write_page(exporter, out / "index.html", _page(_index(workspace, profile)), "DMAF-lite")
    return out / "index.html"


def make_exporter(workspace: Workspace):
    """nbconvert's HTML exporter with our template and nothing that comes from elsewhere."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.NbConvertBase.display_data_priority = PRIORITY
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {"remove-cell"}
    return HTMLExporter(
        config=config, template_name="dmaf", extra_template_basedirs=[str(workspace.notebooks / "book")],
        require_js_url="", mermaid_js_url="", mermaid_layout_elk_js_url="", jquery_url="", jupyter_widgets_base_url="",
        mathjax_url=MATHJAX,
    )


def write_page(exporter, path: Path, notebook: NotebookNode, title: str) -> None:
    """One page; links to notebooks and documents lead to their pages."""
    notebook.metadata["title"] = title
    html, _ = exporter.from_notebook_node(notebook)
    html = re.sub(r'href="(?:\.\./|notebooks/|docs/|\./)*([\w-]+)\.(?:ipynb|md)(#[^"]*)?"', _to_page, html)
    write_text(path, html)


def _to_page(found: re.Match[str]) -> str:
    name = "index" if found[1] == "README" else found[1]
    return f'href="{name}.html{found[2] or ""}"'


def _page(text: str) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def _index(workspace: Workspace, profile: str | None) -> str:
    """The README, and what this profile's runs have found."""
    text = (workspace.root / "README.md").read_text(encoding="utf-8")
    table = lesson_table(workspace, workspace.lessons())
    text = re.sub(f"{re.escape(TABLE_START)}.*{re.escape(TABLE_END)}", lambda _: table, text, flags=re.DOTALL)
    found = subset_tables(artifact_root(workspace, profile)) if profile else ""
    if found:
        text += f"\n\n## What this run has found\n\nProfile {profile}, synthetic studies.\n\n{found}"
    return text
