"""Run a lesson by papermill on a fresh kernel of this very Python, then normalise and stamp what came out."""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from dmaf_lite.base.atomic import write_text
from dmaf_lite.lessons.artifacts import content_of
from dmaf_lite.lessons.fingerprint import code_digest, digest, imported
from dmaf_lite.lessons.lanes import lane_pool, next_place, threads_of
from dmaf_lite.lessons.profiles import DEFAULT, read_profile
from dmaf_lite.lessons.source import KERNELSPEC, Lesson, Workspace, build_notebook, tags

OWN = "own"  # runs with parameters from the command line lie apart, in build/own/


@dataclass(frozen=True)
class Outcome:
    """What became of one lesson: ``ran``, ``current`` (nothing to do) or ``failed`` with its error."""

    lesson: Lesson
    state: str
    seconds: float
    error: str = ""


def lesson_hash(lesson: Lesson, overrides: dict[str, Any]) -> str:
    """Changes with the source, the code of the package that it imports, and the overrides of its profile."""
    code = "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "code")
    cells = [[cell.cell_type, cell.source, tags(cell)] for cell in lesson.cells]
    return digest([cells, code_digest(imported(ast.parse(code))), overrides])


def output_path(workspace: Workspace, lesson: Lesson, profile: str) -> Path:
    """Where a run of a lesson lies."""
    return workspace.build / profile / f"{lesson.stem}.ipynb"


def artifact_root(workspace: Workspace, profile: str) -> Path:
    """The folder that lessons of one profile share."""
    return Path(os.environ.get("DMAF_ARTIFACTS") or workspace.build / "artifacts" / profile).absolute()


def run_lessons(workspace: Workspace, lessons: Sequence[Lesson], profile: str = DEFAULT, *,
                alone: bool = False, force: bool = False, parameters: Mapping[str, Mapping[str, Any]] | None = None,
                begins: Callable[[int, Lesson], None] | None = None, lanes: int = 1) -> Iterator[Outcome]:
    """Run lessons in order; a failing one does not stop the others.

    Args:
        workspace: The checkout.
        lessons: Which.
        profile: Checked as a whole before anything starts.
        alone: Give each lesson an empty artefact folder of its own (thrown away) and run it in any case.
        force: Run lessons whose result is current, too.
        parameters: Lesson stem -> values that go over those of the profile; such a run lies in ``build/own/``.
        begins: Called with the number, from 1, and the lesson before it is looked at.
        lanes: How many run side by side, each with its share of the threads; outcomes then come as lessons end.
    """
    overrides = read_profile(workspace, profile)
    for stem, values in (parameters or {}).items():
        overrides[stem] = {**overrides[stem], **values}
    artifacts = artifact_root(workspace, profile)
    outs = {lesson.stem: output_path(workspace, lesson, OWN if (parameters or {}).get(lesson.stem) else profile)
            for lesson in lessons}
    waiting = [(number, lesson, frozenset() if alone else known_artifacts(workspace, lesson, outs[lesson.stem]))
               for number, lesson in enumerate(lessons, start=1)]
    running: dict[Future[tuple[str, float, str]], tuple[Lesson, frozenset[str]]] = {}
    settled: set[str] = set()
    with lane_pool(lanes) as pool:
        while waiting or running:
            place = None if len(running) == lanes else next_place(
                [uses for *_, uses in waiting], [uses for _, uses in running.values()], settled)
            if place is None:
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    lesson, uses = running.pop(done)
                    settled |= uses
                    yield Outcome(lesson, *_result(done))
                continue
            number, lesson, uses = waiting.pop(place)
            if begins:
                begins(number, lesson)
            out = outs[lesson.stem]
            stamp = lesson_hash(lesson, overrides[lesson.stem])
            if not (alone or force) and is_current(out, stamp, artifacts):
                settled |= uses
                yield Outcome(lesson, "current", nbformat.read(out, 4).metadata.dmaf.seconds)
                continue
            running[pool.submit(run_one, workspace, Lesson(lesson.path), overrides[lesson.stem], profile,
                                None if alone else artifacts, out, stamp, lanes)] = lesson, uses


def run_one(workspace: Workspace, lesson: Lesson, overrides: dict[str, Any], profile: str, artifacts: Path | None,
            out: Path, stamp: str, lanes: int = 1) -> tuple[str, float, str]:
    """Execute and stamp one lesson: state, seconds, error; ``artifacts`` None gives it an empty folder of its own."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dmaf-alone-") as empty:
        try:
            notebook = execute(workspace, lesson, overrides, artifacts or Path(empty), out, lanes)
        except Exception as error:  # whatever a lesson raises is reported, and the next one runs
            return "failed", time.monotonic() - start, _describe(error)
    seconds = round(time.monotonic() - start, 1)
    notebook.metadata["dmaf"].update(
        profile=profile, date=date.today().isoformat(), seconds=seconds, hash=stamp,
        versions={"python": platform.python_version(), **{p: version(p) for p in ("torch", "monai", "numpy")}},
    )
    write_notebook(out, notebook)
    return "ran", seconds, ""


def _result(done: Future[tuple[str, float, str]]) -> tuple[str, float, str]:
    try:
        return done.result()
    except BrokenProcessPool:
        return "failed", 0.0, "the process that ran it died, perhaps for want of memory; run again with --lanes 1"


def known_artifacts(workspace: Workspace, lesson: Lesson, out: Path) -> frozenset[str]:
    """Names of the artefacts that a lesson used when it ran last, here or when it was published."""
    for path in (out, workspace.notebooks / f"{lesson.stem}.ipynb"):
        if path.is_file():
            return frozenset(nbformat.read(path, 4).metadata.get("dmaf", {}).get("artifacts", {}))
    return frozenset()


def execute(workspace: Workspace, lesson: Lesson, overrides: dict[str, Any], artifacts: Path,
            out: Path, lanes: int = 1) -> NotebookNode:
    """One papermill run, ``<name>.running.ipynb`` meanwhile; on failure ``<name>.failed.ipynb`` stays."""
    import papermill

    out.parent.mkdir(parents=True, exist_ok=True)
    running, failed = out.with_suffix(".running.ipynb"), out.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    notebook = build_notebook(lesson, workspace.lessons())
    with _surroundings(workspace, lesson, overrides.get("profile", DEFAULT), artifacts, lanes) as log:
        try:
            papermill.execute_notebook(notebook, running, overrides, kernel_name="python3", cwd=workspace.notebooks,
                                       progress_bar=lanes == 1 and sys.stderr.isatty())
        finally:
            if running.exists():
                os.replace(running, failed)
        used = dict(json.loads(line) for line in log.read_text().splitlines()) if log.exists() else {}
    done = normalise(nbformat.read(failed, 4))
    not_run = [c.id for c in done.cells
               if c.cell_type == "code" and c.source.strip() and not c.execution_count
               and "skip-execution" not in tags(c)]
    if not_run:  # papermill can exit without an error although a widget library swallowed cells
        raise RuntimeError(f"cells {not_run} of {lesson.stem} were never executed")
    failed.unlink()
    done.metadata["dmaf"] = {"artifacts": used}
    return done


def is_current(path: Path, stamp: str, artifacts: Path) -> bool:
    """Whether a notebook was made from exactly this, and the artefacts that it used are still the same."""
    if not path.is_file():
        return False
    found = nbformat.read(path, 4).metadata.get("dmaf", {})
    if found.get("hash") != stamp:
        return False
    try:
        return all(content_of(artifacts / name) == content for name, content in found["artifacts"].items())
    except FileNotFoundError:
        return False


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from run to run for no reason: timings, widget state, memory addresses, versions."""
    notebook.metadata = NotebookNode(kernelspec=dict(KERNELSPEC), language_info={"name": "python"})
    for cell in notebook.cells:
        kept = {key: cell.metadata[key] for key in ("tags", "jupyter") if cell.metadata.get(key)}
        if "injected-parameters" in kept.get("tags", []):
            kept["tags"] = [*kept["tags"], "remove-cell"]
        cell.metadata = NotebookNode(kept)
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if not _is_progress(output)]
            cell.outputs = [_normalise_output(output) for output in _joined(kept)]
    return notebook


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Validate, then write whole or not at all."""
    nbformat.validate(notebook)
    write_text(path, nbformat.writes(notebook) + "\n")


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Consecutive pieces of one stream as one: where they are cut depends on timing."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _is_progress(output: NotebookNode) -> bool:
    """Whether an output is a progress bar: on a page it would stand still for ever."""
    data = output.get("data", {})
    text = "".join(data.get("text/plain", ""))
    return "image/png" not in data and bool(re.search(r"\d+%\|.*\| *\d+/\d+ \[", text))


def _normalise_output(output: NotebookNode) -> NotebookNode:
    if output.output_type == "stream":  # why an artefact was made again depends on what lay there before
        output.text = re.sub(r"(: made in \d+ s) \(again: [^\n]*\)", r"\1", output.text)
    if "data" in output:
        output.data.pop("application/vnd.jupyter.widget-view+json", None)
        if "text/plain" in output.data:
            output.data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", output.data["text/plain"])
    return output


def _describe(error: Exception) -> str:
    if hasattr(error, "evalue"):  # papermill's own error prints a page; the notebook holds the traceback
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}"
    return f"{type(error).__name__}: {error}"


@contextmanager
def _surroundings(workspace: Workspace, lesson: Lesson, profile: str, artifacts: Path, lanes: int) -> Iterator[Path]:
    """The environment of a lesson's kernel: this interpreter, this checkout, these artefacts, nothing moving."""
    folder = Path(tempfile.mkdtemp(prefix="dmaf-kernel-"))
    # A kernel spec of the user's own may be called python3 as well; JUPYTER_PATH is looked at before it.
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    log = folder / "artifacts.jsonl"
    wanted = {
        "JUPYTER_PATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_PATH")])),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(workspace.root), os.environ.get("PYTHONPATH")])),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "TQDM_DISABLE": "1",
        "DMAF_HEADLESS": "1",
        "DMAF_PROFILE": profile,
        "DMAF_LESSON": lesson.stem,
        "DMAF_ARTIFACTS": str(artifacts),
        "DMAF_ARTIFACT_LOG": str(log),
    }
    if lanes > 1 and "OMP_NUM_THREADS" not in os.environ:
        wanted["OMP_NUM_THREADS"] = str(threads_of(lanes))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield log
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)
