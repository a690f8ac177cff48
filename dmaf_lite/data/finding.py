"""Find the cases of a cohort: the one reader that inspect, prepare and predict share.

Every NIfTI file of a case is either used or named in `CaseFiles.unused`; nothing is dropped without a word.

Taught in lesson 01.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from dmaf_lite.data.case import CaseFiles
from dmaf_lite.data.described import described_cases
from dmaf_lite.data.layouts import Layout, layout_of, other_layouts
from dmaf_lite.data.listing import NiftiFile, check_fetched, nifti_files, subfolders
from dmaf_lite.data.nifti import CaseError
from dmaf_lite.data.scan_names import LABEL, OTHER_TISSUE, names_known, role_of

# The deepest known nesting is download/MICCAI_BraTS_2018_Data_Training/HGG/case; BIDS adds session and anat.
DEEPEST = 5


class UnclearNames(CaseError):
    """Files whose names do not tell which is which scan; where a person can say it, the caller adds how."""


class SeveralCases(CaseError):
    """One case was asked for, and the folder holds several."""


@dataclass
class FoundCohort:
    """What a folder holds.

    Attributes:
        layout: As asked for; of a "listed" layout with the label scheme that its dataset.json names.
        cases: Case -> its files, sorted by name.
        bad: Case -> why it cannot be used.
        notes: What is odd about the folder as a whole.
        evidence: Why the layout's label scheme is what it is.
    """

    layout: Layout
    cases: dict[str, CaseFiles] = field(default_factory=dict)
    bad: dict[str, CaseError] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    evidence: tuple[str, ...] = ()

    def unused_lines(self) -> list[str]:
        """Which files of the cases are not used, like ones together."""
        kinds: dict[str, list[Path]] = {}
        for files in self.cases.values():
            for path in files.unused:
                kinds.setdefault(path.name.removeprefix(files.name), []).append(path)
        return [f"not used: {paths[0]}" + (f" and {len(paths) - 1} more that end in {kind}" if len(paths) > 1 else "")
                for kind, paths in sorted(kinds.items())]

    @property
    def names(self) -> list[str]:
        """All cases, good and bad, sorted."""
        return sorted({*self.cases, *self.bad})


def find_cohort(folder: str | Path, layout: str | Layout, *, with_label: bool = True) -> FoundCohort:
    """All cases below a folder, searched a few levels deep (HGG/, LGG/, archives' own folders).

    A prepared cohort that lies below the folder is not looked into. Without `with_label`, segmentations are not
    looked for; those that are there count as unused.

    Raises:
        CaseError: The folder does not exist, it holds no case, or two cases have one name.
    """
    top, layout = Path(folder), layout_of(layout)
    if not top.is_dir():
        raise CaseError(top, found="no such folder", expected=f"a cohort of layout {layout.name}", do="check the path")
    if layout.kind == "listed":
        bound, cases, bad, notes, evidence = described_cases(top, layout)
        cases = cases if with_label else {name: replace(files, label=None) for name, files in cases.items()}
        return FoundCohort(bound, dict(sorted(cases.items())), bad, notes, evidence)
    found = FoundCohort(layout, evidence=(f"layout {layout.name} was asked for",))
    apart: dict[str, Path] = {}
    groups: list[_Group] = []
    for here, below in _walk(top, layout, found.notes):
        files = nifti_files(here)
        if layout.label_folder and re.fullmatch(layout.label_folder, here.name) and here != top:
            apart |= _labels_apart(files, layout, found.notes)
        else:
            groups += _groups(here, files, below, layout)
    groups = _without_loose(groups, found)
    for group in groups:
        _add(found, group, layout, apart, with_label)
    if apart and with_label:
        names = ", ".join(sorted(path.name for path in apart.values())[:4])
        found.notes.append(f"{top}: {len(apart)} segmentations belong to no case ({names})")
    if not found.names:
        raise CaseError(top, found="no case", expected=f"{_example(layout)} (layout {layout.name}), or other scans "
                        f"named {names_known(layout.spec)}", do="check the path and the layout")
    found.cases = dict(sorted(found.cases.items()))
    return found


def bound_layout(folder: str | Path, layout: str | Layout) -> Layout:
    """The layout with the label values that a dataset.json in the folder names; other layouts have their own.

    Raises:
        CaseError: See `find_cohort`.
    """
    layout = layout_of(layout)
    return find_cohort(folder, layout, with_label=False).layout if layout.kind == "listed" else layout


def files_in_folder(case_dir: str | Path, layout: str | Layout, *, with_label: bool = True) -> CaseFiles:
    """The files of one case; any non-empty subset of modalities, the label may be missing.

    Args:
        case_dir: Its folder; scans may also lie in the one case that is below it.
        layout: How the files are named.
        with_label: False does not look for the segmentation; one that is there is counted as unused.

    Raises:
        CaseError: The folder does not exist, no modality at all, two files for one modality, or several cases.

    Warns:
        UserWarning: The notes of the case, such as a segmentation under an unusual name.
    """
    files = one_case(case_dir, layout, with_label=with_label)
    for note in files.notes:
        warnings.warn(note, stacklevel=2)
    return files


def one_case(case_dir: str | Path, layout: str | Layout, *, with_label: bool = True,
             named: Mapping[str, Path] = MappingProxyType({})) -> CaseFiles:
    """`files_in_folder` without warnings: the notes stay in `CaseFiles.notes`.

    Args:
        case_dir, layout, with_label: As there.
        named: Modality -> file: a person's word on which file is which scan, which wins over all names.
    """
    folder, layout = Path(case_dir), layout_of(layout)
    if not folder.is_dir():
        raise CaseError(folder, found="no such folder", expected="the folder of one case", do="check the path")
    folder = folder.resolve() if not folder.name else folder  # "." has no name
    if named:
        files = nifti_files(folder)
        return _assign(_Group(_case_name(folder, layout), folder, files), layout, None, with_label,
                       _named_files(named, folder, layout))
    found = FoundCohort(layout)
    if layout.kind != "listed":
        for group in _groups(folder, nifti_files(folder), subfolders(folder), layout):
            _add(found, group, layout, {}, with_label)
    if not found.names:
        try:
            found = find_cohort(folder, layout, with_label=with_label)
        except CaseError:
            present = ", ".join(f.path.name for f in nifti_files(folder)[:4]) or "no NIfTI file"
            raise UnclearNames(folder, found=f"no modality at all ({present})",
                               expected=f"at least one file whose name ends in one of {names_known(layout.spec)}",
                               do="rename the files so that they do") from None
    if len(found.names) > 1:
        raise SeveralCases(folder, found=f"{len(found.names)} cases ({', '.join(found.names[:4])} ...)",
                        expected="one case", do="name the folder of one of them")
    for error in found.bad.values():
        raise error
    return next(iter(found.cases.values()))


def find_cases(folder: str | Path, layout: str | Layout) -> list[CaseFiles]:
    """All usable cases of a cohort, sorted by name.

    Raises:
        CaseError: See `find_cohort`.

    Warns:
        UserWarning: For every case that is left out, and all notes.
    """
    found = find_cohort(folder, layout)
    for note in [*found.notes, *(f"left out: {error}" for error in found.bad.values()),
                 *(note for files in found.cases.values() for note in files.notes)]:
        warnings.warn(note, stacklevel=2)
    return list(found.cases.values())


@dataclass(frozen=True)
class _Group:
    """Files that make up one case."""

    name: str
    folder: Path
    files: list[NiftiFile]


def _walk(top: Path, layout: Layout, notes: list[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder to look into, and the folders in it."""
    waiting = [(top, 0)]
    while waiting:
        here, depth = waiting.pop()
        if (here / "cohort.json").exists():  # a store of prepared arrays
            if here == top:
                raise CaseError(here, found="a prepared cohort", expected="a cohort as downloaded",
                                do="name the folder of the original files")
            continue
        below = subfolders(here)
        skipped = [d for d in below if layout.skip and re.fullmatch(layout.skip, d.name)]
        notes += [f"{d}: not looked into (layout {layout.name})" for d in skipped]
        below = [d for d in below if d not in skipped]
        yield here, below
        if depth < DEEPEST:
            waiting += [(d, depth + 1) for d in reversed(below)]


def _groups(here: Path, files: list[NiftiFile], below: list[Path], layout: Layout) -> list[_Group]:
    """The cases of one folder."""
    roles = {f: role_of(f.stem, layout.spec) for f in files}
    if layout.kind == "flat":
        by_name: dict[str, list[NiftiFile]] = {}
        for f, role in roles.items():
            if role is not None:
                by_name.setdefault(role.rest or here.name, []).append(f)
        strangers = [f for f, role in roles.items() if role is None]
        groups = [_Group(name, here, members) for name, members in by_name.items()]
        # What the table does not know goes with the case whose name it begins with, or with the only one there is.
        for f in strangers:
            home = next((g for g in groups if f.stem.lower().startswith(g.name.lower())), None)
            if home or len(groups) == 1:
                (home or groups[0]).files.append(f)
        return groups
    name = _case_name(here, layout)
    if not files and (scans := _scan_folders(below, layout)):
        return [_Group(name, here, scans)]
    # A folder of the usual name without scans is reported, unless it is an archive's own folder around the case.
    if any(roles.values()) or (layout.is_usual(name) and (files or not below)):
        return [_Group(name, here, files)]
    return []


def _scan_folders(below: list[Path], layout: Layout) -> list[NiftiFile]:
    """One folder a scan, each named for its scan and with one file in it; empty where it is not so."""
    found = []
    for folder in below:
        files = nifti_files(folder)
        if role_of(folder.name, layout.spec) is None or len(files) != 1 or subfolders(folder):
            return []
        found.append(NiftiFile(folder.name, files[0].path, files[0].note))
    return found


def _case_name(folder: Path, layout: Layout) -> str:
    """The folder's name; in BIDS (sub-01/ses-1/anat) those of subject and session."""
    if folder.name == "anat":
        above = [p.name for p in (folder.parent.parent, folder.parent) if p.name.startswith(("sub-", "ses-"))]
        if above:
            return "_".join(above)
    return folder.name.removesuffix(layout.folder_end) if layout.folder_end else folder.name


def _without_loose(groups: list[_Group], found: FoundCohort) -> list[_Group]:
    """Files beside the folders of the cases are no case."""
    around = {parent for group in groups for parent in group.folder.parents}
    kept = [group for group in groups if group.folder not in around]
    for folder in dict.fromkeys(group.folder for group in groups if group.folder in around):
        found.notes.append(f"{folder}: scans lie loose beside the folders of the cases; they are not a case")
    return kept


def _labels_apart(files: Iterable[NiftiFile], layout: Layout, notes: list[str]) -> dict[str, Path]:
    """Case -> its segmentation in a folder of segmentations; encrypted ones are never read."""
    labels: dict[str, Path] = {}
    encrypted = []
    for f in files:
        if "encrypt" in f.stem.lower():
            encrypted.append(f.path.name)
            continue
        role = role_of(f.stem, layout.spec)
        own = f.stem.lower().endswith(layout.label_suffix.lower())
        name = f.stem[: -len(layout.label_suffix)] if own else role.rest if role and role.what == LABEL else f.stem
        labels[name] = f.path
    if encrypted:
        notes.append(f"{len(encrypted)} encrypted segmentations ({encrypted[0]} ...) are not read")
    return labels


def _add(found: FoundCohort, group: _Group, layout: Layout, apart: dict[str, Path], with_label: bool = True) -> None:
    """Take a group in as a case, good or bad; a label that lies apart is taken out of `apart`."""
    if not group.files and group.name in found.names:
        return  # an archive's empty folder beside the case of that name
    label = apart.pop(group.name, None) if with_label else None
    only_labels = all((role := role_of(f.stem, layout.spec)) and role.what == LABEL for f in group.files)
    if layout.kind == "flat" and only_labels:
        apart[group.name] = group.files[0].path
        return
    if group.name in found.names:
        other = found.cases.get(group.name)
        where = next(iter(other.images.values())).parent if other else "elsewhere"
        raise CaseError(group.folder, found=f"a second case of this name, {group.name} (the other is {where})",
                        expected="every name once", do="move one of them out of the cohort's folder")
    try:
        found.cases[group.name] = _assign(group, layout, label, with_label)
    except CaseError as error:
        found.bad[group.name] = error


def _assign(group: _Group, layout: Layout, label: Path | None, with_label: bool,
            named: Mapping[str, Path] = MappingProxyType({})) -> CaseFiles:
    """Give every file of a case its role, or name it as unused; `named` has the last word."""
    by_role: dict[str, list[NiftiFile]] = {}
    spoken_for = {path.resolve() for path in named.values()}
    for f in group.files:
        if f.path.resolve() in spoken_for:
            continue
        role = role_of(f.stem, layout.spec)
        by_role.setdefault(role.what if role else "", []).append(f)
    used: dict[str, NiftiFile] = {}
    for what in (*layout.spec.modalities, *([LABEL] if with_label else [])):
        one = None if what in named else _one_of(by_role.get(what, []), what, group, layout)
        if one is not None:
            used[what] = one
    notes = [f.note for f in used.values() if f.note]
    if with_label and LABEL not in used:
        odd = [f for f in by_role.get("", []) if "seg" in f.stem.lower() and not _of_other_tissue(f.stem)]
        if len(odd) == 1 and label is None:
            used[LABEL] = odd[0]
    if LABEL in used and not used[LABEL].stem.lower().endswith((layout.label_suffix.lower(), layout.label_suffix[1:])):
        notes.append(f"{group.folder}: the segmentation bears an unusual name, {used[LABEL].path.name}; it is used")
    images = {what: named.get(what) or check_fetched(used[what].path)
              for what in layout.spec.modalities if what in named or what in used}
    if not images:
        present = ", ".join(f.path.name for f in group.files[:4]) or "no NIfTI file"
        raise CaseError(group.folder, found=f"no modality at all ({present})",
                        expected=f"at least one file whose name ends in one of {names_known(layout.spec)}",
                        do="check the file names against the layout")
    own_label = check_fetched(used[LABEL].path) if LABEL in used else None
    if own_label and label:
        notes.append(f"{group.folder}: {own_label.name} and {label} are both there; the first is used")
    if (own_label or label) and (others := other_layouts(group.name, layout)):
        raise CaseError(group.folder, found=f"a case with the usual name of layout {' or '.join(others)}",
                        expected=f"one of layout {layout.name}, whose label values mean something else",
                        do=f"ask for --layout {others[0]}, or rename the folder if its labels are of {layout.name}")
    taken = {f.path for f in used.values()}
    unused = tuple(f.path for f in group.files if f.path not in taken and f.path.resolve() not in spoken_for)
    return CaseFiles(group.name, images, own_label or label, unused=unused, notes=tuple(notes))


def _one_of(files: list[NiftiFile], what: str, group: _Group, layout: Layout) -> NiftiFile | None:
    """The one file of a role, the one that bears the case's name and the layout's own suffix first."""
    suffix = layout.label_suffix if what == LABEL else layout.suffixes[what]
    own = [f for f in files if f.stem.lower() in ((group.name + suffix).lower(), (group.folder.name + suffix).lower())]
    found = own or files
    if len(found) > 1:
        names = ", ".join(f.path.name for f in found[:4])
        scan = "the segmentation" if what == LABEL else what
        raise UnclearNames(group.folder, found=f"{len(found)} files that could be {scan} ({names})",
                        expected="one of each", do="take the others out, or put every case into a folder of its own")
    return found[0] if found else None


def _of_other_tissue(stem: str) -> bool:
    return any(word in OTHER_TISSUE for word in re.split(r"[_\-. +]+", stem.lower()))


def _example(layout: Layout) -> str:
    first = next(iter(layout.suffixes.values()))
    folder = "" if layout.kind == "flat" else f"{layout.example}{layout.folder_end}/"
    return f"{'files' if layout.kind == 'flat' else 'folders'} such as {folder}{layout.example}{first}.nii.gz"


def _named_files(named: Mapping[str, Path], folder: Path, layout: Layout) -> dict[str, Path]:
    """Modality as the spec writes it -> the file that a person named, as seen from here or from the case's folder.

    Raises:
        CaseError: An unknown modality, or a file that is not there.
    """
    found: dict[str, Path] = {}
    for what, path in named.items():
        modality = next((m for m in layout.spec.modalities if m.lower() == what.lower()), None)
        if modality is None:
            raise CaseError(path, found=f"the modality {what!r}", do="correct the name before the =",
                            expected=f"one of {', '.join(layout.spec.modalities)}")
        place = next((p for p in (path, folder / path) if p.exists() or p.is_symlink()), None)
        if place is None:
            raise CaseError(path, found="no such file", expected=f"the {modality} of {folder.name}",
                            do="correct the path after the =")
        found[modality] = check_fetched(place)
    return found
