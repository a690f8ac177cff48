"""The NIfTI files of one folder, as a person would count them.

Hidden files (macOS leaves ``._*``) do not count.  A file that is there compressed and uncompressed counts once.
A folder in a file's place (``x_flair.nii/`` with one file in it, as unpacked from some archives) counts as that
file.  A link whose target was never fetched counts, and is said when it is needed.

Taught in lesson 01.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dmaf_lite.data.nifti import CaseError

ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class NiftiFile:
    """One file: its `stem` (name without ending), its `path`, and what is odd about it."""

    stem: str
    path: Path
    note: str | None = None


def stem_of(name: str) -> str | None:
    """A file name without .nii or .nii.gz; None for other names and hidden ones."""
    ending = next((e for e in ENDINGS if name.lower().endswith(e)), None)
    return None if ending is None or name.startswith(".") else name[: -len(ending)]


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted, without those that stand in a file's place."""
    return sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith(".") and stem_of(d.name) is None)


def nifti_files(folder: Path) -> list[NiftiFile]:
    """The files of a folder, sorted by name.

    Raises:
        CaseError: The folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise CaseError(folder, found=f"a folder that cannot be read ({error.strerror or error})",
                        expected="a readable folder", do="check the path and the permissions") from error
    by_stem: dict[str, list[Path]] = {}
    for path in entries:
        stem = stem_of(path.name)
        if stem is not None and (path.is_file() or path.is_dir() or path.is_symlink()):
            by_stem.setdefault(stem.lower(), []).append(path)
    found = []
    for paths in by_stem.values():
        path, note = paths[-1], None
        if len(paths) > 1:
            note = f"{folder}: {' and '.join(p.name for p in paths)} are both there; {path.name} is used"
        stem = str(stem_of(path.name))
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if stem_of(p.name) is not None and not p.is_dir()]
            if len(inside) == 1:
                note = f"{folder}: {path.name} is a folder; the one file in it, {inside[0].name}, counts"
                path = inside[0]
        found.append(NiftiFile(stem, path, note))
    return found


def check_fetched(path: Path) -> Path:
    """Refuse what stands in a file's place without being one.

    Raises:
        CaseError: A link to a file that is not there, or a folder.
    """
    if path.is_symlink() and not path.exists():
        raise CaseError(path, found="a link whose file was not fetched", expected="the file itself",
                        do="fetch it (git-annex or DataLad: `git annex get` or `datalad get`), copy it, or take the "
                           "link away")
    if path.is_dir():
        count = sum(stem_of(p.name) is not None for p in path.iterdir())
        raise CaseError(path, found=f"a folder with {count} NIfTI files in a file's place", expected="a file",
                        do="put the right file there, or take the folder away")
    return path
