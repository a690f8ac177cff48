"""Prepare a cohort once: z-scored, cropped arrays from which a training crop can be read by itself.

The store: ``out/cohort.json`` (layout and settings) and one folder per case with ``<modality>.npy``
(float32), ``label.npy`` (uint8 internal labels), where the case was resampled ``truth.npy`` (the label
on the grid of the files), and ``case.json``.  A case folder is filled under a hidden
name and renamed when it is whole, so a killed run leaves no half case, and the next run goes on.

Taught in lesson 01.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.base.workers import cores, worker_pool
from dmaf_lite.data.case import DEFAULT_MINIMUM, CaseError, CaseFiles, NormalisedCase, load_case, normalise_case
from dmaf_lite.data.finding import find_cohort
from dmaf_lite.data.layouts import Layout
from dmaf_lite.data.plausibility import border_notes, brightness, label_notes, skull_note, touching
from dmaf_lite.data.published_preparation import Preparation, check_brains

FORMAT = 1
PARTIAL = ".partial"
# Enough to centre crops on, small enough for a JSON file.
POINTS_PER_CLASS = 512
# More processes than this only wait for the disk, and each holds a case (about 0.5 GB at 240x240x155).
MOST_WORKERS = 8


@dataclass(frozen=True)
class Recipe:
    """What a store was prepared with; all its cases share one. `labels`: pairs (label value, internal label)."""

    layout: str
    minimum: tuple[int, int, int]
    spacing: float | None
    format: int = FORMAT
    spec: str = "brats"
    labels: tuple[tuple[int, int], ...] = ()
    preparation: Preparation = "own"


@dataclass
class PrepareReport:
    """What happened to every case asked for.

    Attributes:
        prepared, skipped: Names of the cases made now, and of those that were there already.
        failed: Name -> error, one sentence.
        warnings: Name -> what was odd about it (also said by `warnings.warn` and kept in case.json).
        notes: What was odd about the cohort as a whole, and which files are not used.
    """

    prepared: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.prepared)} prepared, {len(self.skipped)} there already, {len(self.failed)} failed"]
        lines += [f"  note {text}" for text in self.notes]
        lines += [f"  warning {name}: {text}" for name, texts in sorted(self.warnings.items()) for text in texts]
        lines += [f"  failed {name}: {error}" for name, error in sorted(self.failed.items())]
        return "\n".join(lines)


def prepare_cohort(folder: str | Path, out: str | Path, *, layout: str | Layout, names: Sequence[str] | None = None,
                   minimum: int | Sequence[int] = DEFAULT_MINIMUM, spacing: float | None = None,
                   workers: int | None = None, resume: bool = True, preparation: Preparation = "own"
                   ) -> PrepareReport:
    """Prepare all cases of a cohort; a bad case is reported and the next one is taken.

    One run per `out` at a time.

    Args:
        folder: The cohort as downloaded.
        out: The store; made if it does not exist.
        layout: Name of the layout, a key of `LAYOUTS`.
        names: Only these cases.
        minimum: Smallest stored size per axis (where the scan is that large); at least the training crop.
        spacing: Resample to this isotropic voxel size in mm; None keeps the grid of the files.
        workers: Processes; 0 or 1 works in this process, None takes one per core, at most 8.
        resume: Keep cases that are prepared already and whose source files have not changed since.
        preparation: See `normalise_case`.

    Raises:
        CaseError: The folder holds no case of this layout.
        ValueError: `out` was prepared with other settings, or is the cohort's own folder.
    """
    size = (minimum,) * 3 if isinstance(minimum, int) else tuple(minimum)
    if len(size) != 3 or min(size) < 1:
        raise ValueError(f"minimum is {minimum}; expected one number of voxels or three, 1 or more")
    if spacing is not None and not 0 < spacing < 100:
        raise ValueError(f"spacing is {spacing} mm; expected a voxel size above 0 and below 100")
    if workers is not None and workers < 0:
        raise ValueError(f"workers is {workers}; expected 0 or more")
    if names is not None and not names:
        raise ValueError("names is an empty list; expected at least one case")
    out = Path(out)
    if out.resolve() == Path(folder).resolve():
        raise ValueError(f"{out}: the prepared cohort needs a folder of its own, not that of the original files")
    found = find_cohort(folder, layout)
    layout = found.layout
    check_brains(preparation, layout.spec.stack)
    recipe = Recipe(layout.name, size, spacing, spec=layout.spec.name, labels=tuple(sorted(layout.labels.items())),
                    preparation=preparation)
    open_store(out, recipe, found.evidence)
    report = PrepareReport(notes=[*found.notes, *found.unused_lines()])
    wanted = found.names if names is None else list(dict.fromkeys(names))
    todo = []
    for name in wanted:
        if name in found.bad:
            report.failed[name] = str(found.bad[name])
        elif name not in found.cases:
            report.failed[name] = str(CaseError(folder, found=f"no case {name}", do="check the name",
                                                expected=f"one of the {len(found.names)} there"))
        elif resume and (notes := _kept_notes(found.cases[name], out)) is not None:
            report.skipped.append(name)
            report.warnings |= {name: notes} if notes else {}
        else:
            todo.append(found.cases[name])
    workers = min(cores(), MOST_WORKERS, len(todo)) if workers is None else workers
    job = partial(_prepare_one, out=out, layout=layout, size=size, spacing=spacing, preparation=preparation)
    for name, error, notes in tqdm(_each(job, todo, workers), total=len(todo), desc="prepare", unit="case",
                                   disable=not todo):
        if notes:
            report.warnings[name] = notes
            for note in notes:
                warnings.warn(note, stacklevel=2)
        if error is not None:
            report.failed[name] = error
        else:
            report.prepared.append(name)
    report.prepared.sort()
    done = [*report.prepared, *report.skipped]
    report.notes += label_notes(_by_class(out, done, "brightness"), layout.spec)
    report.notes += border_notes(_by_class(out, done, "touching"), layout.spec)
    return report


def _by_class(out: Path, names: Sequence[str], what: str) -> Iterator[dict[int, float]]:
    """What case.json tells of each class, such as how bright it is on T1ce, of the cases that tell it."""
    for name in names:
        try:
            told = json.loads((out / name / "case.json").read_text(encoding="utf-8")).get(what, {})
            yield {int(c): value for c, value in told.items()}
        except (OSError, ValueError):
            continue


def open_store(out: Path, recipe: Recipe, evidence: Sequence[str] = ()) -> None:
    """Make the store or check that it was made with the same settings, and clear away what a killed run left.

    `evidence` says, for a reader, why the label scheme is what it is.
    """
    path = out / "cohort.json"
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        asked = json.loads(json.dumps(asdict(recipe)))
        # Stores of earlier versions do not say all of it; they knew one preparation only.
        found = asked | {"preparation": "own"} | stored
        other = [f"{key} {found[key]} (asked: {value})" for key, value in asked.items() if found[key] != value]
        if other:
            raise ValueError(f"{out} was prepared with {', '.join(other)}; choose another folder or delete this one")
    else:
        with atomic_path(path) as temporary:
            content = asdict(recipe) | {"evidence": list(evidence)}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for left in out.glob(f".*{PARTIAL}"):
        shutil.rmtree(left)


Outcome = tuple[str, str | None, tuple[str, ...]]


def _each(job: Callable[[CaseFiles], Outcome], todo: Iterable[CaseFiles], workers: int) -> Iterator[Outcome]:
    """Run the job over all cases, here or in processes; a process that dies fails its cases, not the run."""
    if workers <= 1:
        yield from map(job, todo)
        return
    with worker_pool(workers) as pool:
        waiting = {pool.submit(job, folder): folder for folder in todo}
        for future in as_completed(waiting):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield (waiting[future].name, f"{waiting[future]}: a worker process died, perhaps for want of "
                       "memory; run again with fewer workers, what is prepared is kept (a script of your own does this "
                       'under `if __name__ == "__main__":`).', ())


def _prepare_one(files: CaseFiles, *, out: Path, layout: Layout, size: tuple[int, ...],
                 spacing: float | None, preparation: Preparation) -> Outcome:
    """Prepare one case: (name, error or None, warnings)."""
    name = files.name
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            case = load_case(files, spec=layout.spec, labels=layout.labels)
            normal = normalise_case(case, minimum=size, spacing=spacing, stack=layout.spec.stack,
                                    preparation=preparation)
            notes = files.notes + tuple(str(w.message) for w in caught if issubclass(w.category, UserWarning))
            notes += tuple(note for note in [skull_note(case, layout.spec), *_notes(normal)] if note)
            affine = case.affine if case.file_affine is None else case.file_affine
            write_case(out, normal, "".join(map(str, aff2axcodes(affine))), _sources(files), notes)
            return name, None, notes
        except CaseError as error:
            return name, str(error), ()
        except MemoryError:
            return name, f"{name}: found too little memory; run again with fewer workers.", ()
        except OSError as error:
            return name, f"{name}: found {error}; is the disk full or the folder read-only? "\
                                   "Run again when it is mended, what is prepared is kept.", ()


def _notes(normal: NormalisedCase) -> tuple[str, ...]:
    """What is odd, but no reason to refuse the case."""
    if not normal.label_outside:
        return ()
    lost = ", ".join(f"{count} of class {c}" for c, count in normal.label_outside.items())
    return (f"{normal.name}: label voxels outside the box around the scans ({lost}); they are not stored",)


def _sources(files: CaseFiles) -> dict[str, list]:
    """What tells whether a source file has changed: role -> [name, bytes, time in ns]."""
    paths = dict(files.images) | ({"label": files.label} if files.label else {})
    return {role: [path.name, path.stat().st_size, path.stat().st_mtime_ns] for role, path in paths.items()}


def _kept_notes(files: CaseFiles, out: Path) -> tuple[str, ...] | None:
    """The warnings of a case that is prepared already and whose files are unchanged; None if it must be prepared."""
    try:
        meta = json.loads((out / files.name / "case.json").read_text(encoding="utf-8"))
        kept = meta["sources"] == _sources(files) and ("turn" in meta or meta["orientation"] == "LPS")
        return tuple(meta["warnings"]) if kept else None
    except (OSError, ValueError, KeyError):  # preparing says what is wrong
        return None


def write_case(out: Path, normal: NormalisedCase, orientation: str, sources: dict[str, list],
               notes: Sequence[str] = ()) -> None:
    """Write one case folder, whole or not at all.

    Raises:
        CaseError: The place is taken by a folder that is no prepared case.
    """
    target = out / normal.name
    if target.exists() and not (target / "case.json").exists():
        raise CaseError(target, found="a folder that is no prepared case", expected="a free name",
                        do="choose another folder for the prepared cohort")
    temporary = out / f".{normal.name}.{uuid.uuid4().hex[:8]}{PARTIAL}"
    temporary.mkdir(parents=True)
    try:
        for modality, image in normal.images.items():
            np.save(temporary / f"{modality}.npy", image, allow_pickle=False)
        if normal.label is not None:
            np.save(temporary / "label.npy", normal.label, allow_pickle=False)
        if normal.truth is not None:
            np.save(temporary / "truth.npy", normal.truth, allow_pickle=False)
        meta = _meta(normal) | {"orientation": orientation, "sources": sources, "warnings": list(notes)}
        (temporary / "case.json").write_text(json.dumps(meta) + "\n", encoding="utf-8")
        if target.exists():  # a folder cannot be replaced in one step: the old one steps aside first
            aside = out / f".{normal.name}.{uuid.uuid4().hex[:8]}.old{PARTIAL}"
            os.replace(target, aside)
            os.replace(temporary, target)
            shutil.rmtree(aside)
        else:
            os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _meta(normal: NormalisedCase) -> dict:
    """What case.json says; `Cohort.meta` explains the keys."""
    points = normal.label_points(POINTS_PER_CLASS)
    return {
        "name": normal.name,
        "shape": normal.shape,
        "spacing": normal.spacing,
        "affine": normal.affine.tolist(),
        "box": [[s.start, s.stop] for s in normal.box],
        "boxes": {name: [[s.start, s.stop] for s in box] for name, box in normal.boxes.items()},
        "grid_shape": normal.grid_shape,
        "original_shape": normal.original_shape,
        "original_affine": normal.original_affine.tolist(),
        "turn": normal.turn,
        "brightness": {str(c): round(value, 4) for c, value in brightness(normal.images, normal.label).items()},
        "touching": {str(c): round(value, 4) for c, value in touching(normal.label).items()},
        **({"truth_box": [[s.start, s.stop] for s in normal.truth_box]} if normal.truth_box else {}),
        "modalities": list(normal.images),
        "labelled": normal.label is not None,
        "classes": sorted(points),
        "foreground": {str(c): flat.tolist() for c, flat in points.items()},
        "label_outside": {str(c): count for c, count in normal.label_outside.items()},
        "intensity": {name: list(pair) for name, pair in normal.intensity.items()},
    }
