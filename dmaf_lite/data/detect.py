"""Which layout a folder has, told by votes: a help for a person, whose word always wins.

Looked at, in this order: a dataset.json; the names of the files; the values in a few segmentations; where the
axes of the first scan point to.  The same values with another meaning (1, 2, 3) cannot be told apart by values;
`plausibility.py` looks at the brightness after preparing.

Taught in lesson 01.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from dmaf_lite.data.described import description_in, read_description
from dmaf_lite.data.finding import DEEPEST, FoundCohort, find_cohort
from dmaf_lite.data.layouts import LAYOUTS, Layout
from dmaf_lite.data.listing import NiftiFile, nifti_files, subfolders
from dmaf_lite.data.nifti import CaseError, read_header, read_nifti, volumes_in
from dmaf_lite.data.turning import has_geometry

ENOUGH = 0.9  # share of the files that the winner must explain
MOST_FILES = 2000
MOST_LABELS = 5


@dataclass
class Detection:
    """What the votes say.

    Attributes:
        folder: What was looked at.
        files: How many NIfTI files were looked at.
        votes: Layout -> files that bear its names, most first; layouts without any are left out.
        layout: The winner, or None.
        problem: Why there is none.
        evidence: What speaks for it, and what a person should look at.
    """

    folder: Path
    files: int = 0
    votes: dict[str, int] = field(default_factory=dict)
    layout: str | None = None
    problem: str | None = None
    evidence: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.files} NIfTI files looked at"]
        lines += [f"  {count:5d} bear names of {name}" for name, count in self.votes.items()]
        lines += [f"  {line}" for line in self.evidence]
        if self.layout is None:
            return "\n".join([*lines, f"no layout: {self.problem}"])
        return "\n".join([*lines, f"layout {self.layout}; to prepare it:",
                          f"  python data_scripts/prepare_cohort.py {self.folder} OUT --layout {self.layout}"])


def detect_layout(folder: str | Path, *, inside: bool = True) -> Detection:
    """Look at a folder and say which layout it seems to have.

    Args:
        folder: Of a cohort or a study.
        inside: Look into the files of the winner, too, for evidence.

    Raises:
        CaseError: No such folder, or a dataset.json that is not understood.
    """
    top = Path(folder)
    if not top.is_dir():
        raise CaseError(top, found="no such folder", expected="a cohort as downloaded", do="check the path")
    told = Detection(top)
    if (path := description_in(top)) is not None:
        about = read_description(path)
        told.layout, told.evidence = about.kind, list(about.evidence)
        told.files = sum(1 for _ in _files(top))
    else:
        files = list(_files(top))
        told.files = len(files)
        _vote(told, files)
    if inside and told.layout is not None:
        _look_inside(told, find_cohort(top, told.layout))
    return told


def _files(top: Path) -> Iterator[NiftiFile]:
    waiting, count = [(top, 0)], 0
    while waiting and count < MOST_FILES:
        here, depth = waiting.pop()
        if (here / "cohort.json").exists():
            continue
        for file in nifti_files(here):
            count += 1
            yield file
        waiting += [(d, depth + 1) for d in reversed(subfolders(here)) if depth < DEEPEST]


def _vote(told: Detection, files: Sequence[NiftiFile]) -> None:
    """Fill in votes and winner from the names of the files."""
    if not files:
        told.problem = "there is no NIfTI file"
        return
    named = {name: {f.path for f in files if re.match(rf"(?:{layout.pattern})[_-]", f.stem)}
             for name, layout in LAYOUTS.items() if layout.kind != "listed"}
    named = {name: paths for name, paths in sorted(named.items(), key=lambda item: -len(item[1])) if paths}
    told.votes = {name: len(paths) for name, paths in named.items()}
    if not named:
        first = files[0].path
        if volumes_in(read_header(first, several=True)) > 1:
            told.problem = f"{first.name} is 4-D and there is no dataset.json to say which volume is which scan"
        else:
            told.problem = (f"names such as {first.name} are of no known data set; if each folder is a case, any "
                            "layout whose label values are right will read them")
        return
    best = next(iter(named))
    rest = [f for f in files if f.path not in named[best]]
    if len(rest) > (1 - ENOUGH) * len(files):
        others = [f"{len(paths - named[best])} of {name}" for name, paths in named.items() if paths - named[best]]
        mixed = f", {', '.join(others[:3])}" if others else ""
        told.problem = (f"{len(named[best])} of {len(files)} files bear names of {best}{mixed}; not understood are "
                        f"{', '.join(f.path.name for f in rest[:4])} and {max(0, len(rest) - 4)} more: separate them, "
                        "or name the layout")
        return
    told.layout = best
    if rest:
        told.evidence.append(f"not of these names: {', '.join(f.path.name for f in rest[:4])}")
    equal = [name for name, paths in named.items() if len(paths) == len(named[best])]
    if len(equal) > 1:
        _by_labels(told, equal)


def _by_labels(told: Detection, equal: Sequence[str]) -> None:
    """Layouts with the same names: the one whose label values are the narrowest that hold those found."""
    found = {name: find_cohort(told.folder, name) for name in equal}
    # A layout that finds more segmentations, then the one with fewer values.
    def order(name: str) -> tuple[int, int]:
        labelled = sum(files.label is not None for files in found[name].cases.values())
        return -labelled, len(LAYOUTS[name].labels)

    fitting = [name for name in sorted(equal, key=order)
               if not _strangers(_label_values(found[name]), LAYOUTS[name])]
    told.layout = (fitting or list(equal))[0]
    told.evidence.append(f"the same names: {', '.join(equal)}; decided by the segmentations" if fitting else
                         f"the same names: {', '.join(equal)}; the label values fit none of them")


def _label_values(found: FoundCohort) -> set[int]:
    """Values in the first few segmentations."""
    values: set[int] = set()
    for path in [files.label for files in found.cases.values() if files.label is not None][:MOST_LABELS]:
        values |= {round(float(v)) for v in np.unique(read_nifti(path, is_label=True).data)}
    return values


def _strangers(values: set[int], layout: Layout) -> list[int]:
    return sorted(values - set(layout.labels))


def _look_inside(told: Detection, found: FoundCohort) -> None:
    """Label values and orientation, as evidence."""
    told.evidence += found.notes
    values = _label_values(found)
    if strangers := _strangers(values, found.layout):
        fit = [name for name, layout in LAYOUTS.items() if layout.labels and values <= set(layout.labels)]
        told.evidence.append(f"label values {strangers} are not of this layout; those found would fit "
                             f"{', '.join(fit) or 'no known one'}")
    elif values:
        told.evidence.append(f"label values {sorted(values)} in the first segmentations")
    first = next(iter(found.cases.values()), None)
    if first is not None:
        affine = np.asarray(read_header(next(iter(first.images.values())), several=True).get_best_affine())
        told.evidence.append(f"axes point to {''.join(map(str, aff2axcodes(affine)))}" if has_geometry(affine) else
                             "the affine is the identity: where the axes point to cannot be known")
