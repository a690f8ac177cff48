"""The lessons as a book that opens without network: Sphinx with MyST-NB, its theme, search and formulas beside it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import nbformat

from dmaf_lite.base.atomic import write_text
from dmaf_lite.lessons.execute import artifact_root
from dmaf_lite.lessons.fingerprint import code_digest, digest, file_digest
from dmaf_lite.lessons.pages import exercise_page, lesson_page, page_text
from dmaf_lite.lessons.publish import TABLE_END, TABLE_START, lesson_table
from dmaf_lite.lessons.reproduced import SUBSET_ROWS, draw_found, found_rows, report
from dmaf_lite.lessons.source import Workspace
from dmaf_lite.lessons.stubs import has_exercises

THEME = Path(__file__).parent / "book_theme"
STAMP = ".made_from.json"  # in the book's folder, written last: a book without it is not whole
MAKERS = ("sphinx", "myst-nb", "sphinx-book-theme", "matplotlib", "pandas", "jupytext", "jupyter-server-mathjax")


def write_book(workspace: Workspace, profile: str | None = None, *, force: bool = False) -> Path:
    """Write the pages of lessons, exercises and ``docs/``, with side bar, search and an index.

    A whole book that was made from the very same files by the same code is left as it is.

    Args:
        workspace: The checkout.
        profile: Take the runs in ``build/<profile>/``; default the published notebooks.
        force: Write it in any case.

    Returns:
        The first page, ``build/book/index.html`` or ``build/<profile>/book/index.html``.

    Raises:
        FileNotFoundError: If a lesson has no executed notebook.
        RuntimeError: If a link leads nowhere or a page cannot be read.
    """
    out = (workspace.build / profile if profile else workspace.build) / "book"
    stamp = made_from(workspace, profile)
    if not force and is_whole(out, stamp):
        return out / "index.html"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="dmaf-book-") as scratch:
        source, built = Path(scratch, "source"), Path(scratch, "book")
        write_source(workspace, source, profile)
        build(source, built, Path(scratch, "doctrees"))  # MyST-NB leaves a folder of its own beside the pages
        shutil.move(built, out)
    shutil.copytree(Path(str(files("jupyter_server_mathjax"))) / "static", out / "_static" / "mathjax")
    sizes = {p.relative_to(out).as_posix(): p.stat().st_size for p in out.rglob("*") if p.is_file()}
    write_text(out / STAMP, json.dumps({"made_from": stamp, "sizes": sizes}))
    return out / "index.html"


def made_from(workspace: Workspace, profile: str | None = None) -> str:
    """Digest of all that a book can depend on: files of the checkout, those of the run, our code and the libraries."""
    root = workspace.root
    read = [root / "README.md", workspace.notebooks, root / "docs", root / "dmaf_lite" / "lessons" / "application"]
    if profile:
        read += [workspace.build / profile / f"{lesson.stem}.ipynb" for lesson in workspace.lessons()]
        read += [artifact_root(workspace, profile) / SUBSET_ROWS]
    names = sorted({path for place in read for path in ([place] if place.is_file() else place.rglob("*"))
                    if path.is_file() and "__pycache__" not in path.parts})
    found = [[str(path), file_digest(path)] for path in names]
    return digest([found, code_digest([__name__]), {name: version(name) for name in MAKERS}])


def is_whole(out: Path, stamp: str) -> bool:
    """Whether the book in a folder was made from what `stamp` says, and nothing of it is gone or cut short."""
    try:
        kept = json.loads((out / STAMP).read_text(encoding="utf-8"))
        return kept["made_from"] == stamp and all((out / name).stat().st_size == size
                                                  for name, size in kept["sizes"].items())
    except (OSError, ValueError, KeyError):
        return False


def write_source(workspace: Workspace, source: Path, profile: str | None = None) -> None:
    """Lay out what Sphinx reads, in the folders of the repository, so that links keep their way."""
    runs = workspace.build / profile if profile else workspace.notebooks
    lessons = workspace.lessons()
    missing = [lesson.stem for lesson in lessons if not (runs / f"{lesson.stem}.ipynb").is_file()]
    if missing:
        raise FileNotFoundError(f"no executed notebook of {missing} in {runs.name}/; run the lessons first")
    docs = sorted((workspace.root / "docs").glob("*.md"))
    pictures = [p for folder in ("docs", "notebooks/figures") for p in sorted((workspace.root / folder).glob("*.*"))
                if p.suffix in (".png", ".svg", ".webp", ".gif")]
    explorer = workspace.root / "dmaf_lite" / "lessons" / "application" / "phantom.html"  # a page that needs no Python
    pictures += [explorer] if explorer.is_file() else []
    pages = {f"notebooks/{lesson.stem}.ipynb" for lesson in lessons}
    pages |= {f"docs/{page.name}" for page in docs}
    pages |= {f"notebooks/exercises/{lesson.stem}.ipynb" for lesson in lessons if has_exercises(lesson)}
    book = pages | {p.relative_to(workspace.root).as_posix() for p in pictures} | {"README.md"}
    for lesson in lessons:
        page = f"notebooks/{lesson.stem}.ipynb"
        _write(source / page, lesson_page(nbformat.read(runs / f"{lesson.stem}.ipynb", 4), page, book))
        if has_exercises(lesson):
            page = f"notebooks/exercises/{lesson.stem}.ipynb"
            _write(source / page, exercise_page(lesson, page, book))
    for page in docs:
        name = f"docs/{page.name}"
        (source / "docs").mkdir(exist_ok=True, parents=True)
        write_text(source / name, page_text(page.read_text(encoding="utf-8"), name, book))
    for picture in pictures:
        target = source / picture.relative_to(workspace.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    write_text(source / "index.md", _index(workspace, source, profile, book) + _contents(sorted(pages)))
    shutil.copy(THEME / "conf.py", source / "conf.py")
    shutil.copytree(THEME / "static", source / "_theme" / "static")


def build(source: Path, out: Path, doctrees: Path) -> None:
    """Run Sphinx; every warning is an error.

    Raises:
        RuntimeError: With what Sphinx has complained about.
    """
    from sphinx.cmd.build import build_main

    complaints = doctrees.parent / "complaints.txt"
    status = build_main(["-q", "-W", "--keep-going", "-j", "2", "-b", "html", "-d", str(doctrees), "-w",
                         str(complaints), str(source), str(out)])
    if status:
        text = complaints.read_text(encoding="utf-8") if complaints.is_file() else ""
        text = re.sub(r"\x1b\[[\d;]*m", "", text).replace(f"{source}/", "")
        raise RuntimeError(f"the book is not whole; a link leads nowhere or a page cannot be read:\n{text.strip()}")


def _write(path: Path, notebook: nbformat.NotebookNode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, nbformat.writes(notebook))


def _contents(pages: list[str]) -> str:
    """The side bar: lessons, exercises, documents."""
    groups = {"Lessons": [p for p in pages if re.fullmatch(r"notebooks/[^/]+", p)],
              "Exercises": [p for p in pages if p.startswith("notebooks/exercises/")],
              "To look up": [p for p in pages if p.startswith("docs/")]}
    return "".join(f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
                   + "\n".join(p.rsplit(".", 1)[0] for p in group) + "\n```"
                   for caption, group in groups.items() if group) + "\n"


def _index(workspace: Workspace, source: Path, profile: str | None, book: set[str]) -> str:
    """The README; a report begins with what its run has found."""
    text = (workspace.root / "README.md").read_text(encoding="utf-8")
    table = lesson_table(workspace, workspace.lessons())
    text = re.sub(f"{re.escape(TABLE_START)}.*{re.escape(TABLE_END)}", lambda _: table, text, flags=re.DOTALL)
    text = page_text(text, "README.md", book)
    rows = found_rows(artifact_root(workspace, profile)) if profile else None
    if rows is None:
        return text
    draw_found(rows, source / "found.png")
    found = report(artifact_root(workspace, profile), workspace.notebooks)
    title, _, rest = text.partition("\n")
    return (f"{title}\n\n## What this run has found\n\nProfile {profile}, synthetic studies.\n\n"
            f"```text\n{found}\n```\n\n"
            f"![Dice of this run: fifteen subsets of scans and their mean, by three regions](found.png)\n{rest}")
