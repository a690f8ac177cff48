"""How a cohort lies on disk: file names and label values of every known layout, and how to find its cases.

The label scheme is a property of the layout, never guessed from the values: label 4 is enhancing tumour
in BraTS 2020 and a resection cavity in BraTS 2024.

Taught in lesson 01.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmaf_lite.data.case import CaseError, CaseFiles
from dmaf_lite.spec import BRATS, DatasetSpec

ENDINGS = (".nii.gz", ".nii")
# The deepest known nesting is download/MICCAI_BraTS_2018_Data_Training/HGG/case.
DEEPEST = 4


@dataclass(frozen=True)
class Layout:
    """One way a cohort is laid out: one folder per case, one file per modality.

    Attributes:
        name: Key in `LAYOUTS`.
        spec: Modalities and classes.
        suffixes: Modality -> end of its file's stem, with the separator.
        label_suffix: The same for the segmentation.
        labels: Label value in the file -> internal label.
        pattern: Regular expression of a case folder's usual name. A folder of another name is a case too if
            its files end rightly; a folder of this name is reported even if they do not.
    """

    name: str
    spec: DatasetSpec
    suffixes: Mapping[str, str]
    label_suffix: str
    labels: Mapping[int, int]
    pattern: str


_UNTIL_2021 = {"FLAIR": "_flair", "T1ce": "_t1ce", "T1": "_t1", "T2": "_t2"}
_FROM_2023 = {"FLAIR": "-t2f", "T1ce": "-t1c", "T1": "-t1n", "T2": "-t2w"}
_ET_IS_4 = {0: 0, 1: 1, 2: 2, 4: 3}
_ET_IS_3 = {0: 0, 1: 1, 2: 2, 3: 3}
# The resection cavity of the post-treatment cases lies outside whole tumour, tumour core and enhancing tumour.
_ET_IS_3_CAVITY_IS_4 = {**_ET_IS_3, 4: 0}

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("brats2018", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"Brats18_.+"),
        Layout("brats2020", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"BraTS20_(Training|Validation)_\d+"),
        Layout("brats2021", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"BraTS2021_\d+"),
        Layout("brats2023", BRATS, _FROM_2023, "-seg", _ET_IS_3, r"BraTS-GLI-\d+-\d+"),
        Layout("brats2024", BRATS, _FROM_2023, "-seg", _ET_IS_3_CAVITY_IS_4, r"BraTS-GLI-\d+-\d+"),
        Layout("phantom", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"Phantom_\d+"),
    )
}


def layout_of(name: str | Layout) -> Layout:
    """The layout of a name.

    Raises:
        ValueError: Listing the known names.
    """
    if isinstance(name, Layout):
        return name
    if name not in LAYOUTS:
        raise ValueError(f"layout {name!r} is not known; choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def _nifti_stems(folder: Path) -> dict[str, list[Path]]:
    """Lower-case stem -> the NIfTI files of that stem in a folder; hidden files (macOS leaves `._*`) do not count."""
    stems: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), None)
        if ending and not path.name.startswith(".") and path.is_file():
            stems.setdefault(path.name[: -len(ending)].lower(), []).append(path)
    return stems


def _file_of(folder: Path, stems: Mapping[str, list[Path]], suffix: str, what: str) -> Path | None:
    """The one file that ends in `suffix`, the one that bears the folder's name first; None if there is none."""
    own = (folder.name + suffix).lower()
    found = [own] if own in stems else [stem for stem in stems if stem.endswith(suffix) or stem == suffix[1:]]
    if len(found) > 1:
        names = ", ".join(stems[stem][0].name for stem in sorted(found)[:4])
        raise CaseError(folder, found=f"{len(found)} files that could be {what} ({names})", expected="one of each",
                        do="put every case into a folder of its own and take the other files out")
    if not found:
        return None
    paths = stems[found[0]]
    if len(paths) > 1:
        warnings.warn(f"{folder}: {' and '.join(p.name for p in paths)} are both there; {paths[-1].name} is used",
                      stacklevel=4)
    return paths[-1]


def _odd_label(folder: Path, stems: Mapping[str, list[Path]], taken: set[Path]) -> Path | None:
    """A segmentation under another name, as in case 355 of the Kaggle copy of BraTS2020."""
    odd = [paths[-1] for stem, paths in stems.items() if "seg" in stem and paths[-1] not in taken]
    if len(odd) != 1:
        return None
    warnings.warn(f"{folder}: the segmentation bears an unusual name, {odd[0].name}; it is used", stacklevel=4)
    return odd[0]


def files_in_folder(case_dir: str | Path, layout: str | Layout) -> CaseFiles:
    """The files of one case; any non-empty subset of modalities, the label may be missing.

    Raises:
        CaseError: The folder does not exist, no modality at all, or two files for one modality.

    Warns:
        UserWarning: The segmentation bears an unusual name, or a file is there compressed and uncompressed.
    """
    folder, layout = Path(case_dir), layout_of(layout)
    if not folder.is_dir():
        raise CaseError(folder, found="no such folder", expected="the folder of one case", do="check the path")
    folder = folder.resolve() if not folder.name else folder  # "." has no name
    stems = _nifti_stems(folder)
    images = {}
    for modality in layout.spec.modalities:
        path = _file_of(folder, stems, layout.suffixes[modality], modality)
        if path is not None:
            images[modality] = path
    if not images:
        there = ", ".join(p[0].name for p in list(stems.values())[:4]) or "no NIfTI file"
        raise CaseError(folder, found=f"no modality at all ({there})",
                        expected=f"at least one file that ends in {', '.join(layout.suffixes.values())} "
                                 f"(layout {layout.name})",
                        do=_other_layout(stems, layout) or "check the file names against the layout")
    label = _file_of(folder, stems, layout.label_suffix, "the segmentation") \
        or _odd_label(folder, stems, set(images.values()))
    return CaseFiles(folder.name, images, label)


def _other_layout(stems: Mapping[str, list[Path]], layout: Layout) -> str | None:
    """A hint where the file names are those of another layout."""
    for other in LAYOUTS.values():
        if other.suffixes != layout.suffixes and any(s.endswith(tuple(other.suffixes.values())) for s in stems):
            kin = " or ".join(x.name for x in LAYOUTS.values() if x.suffixes == other.suffixes and x.name != "phantom")
            return f"these names are of the layout {kin}"
    return None


def case_folders(folder: str | Path, layout: str | Layout) -> dict[str, Path]:
    """Case name -> its folder, sorted by name, searched a few levels deep (HGG/, LGG/, archives' own folders).

    Raises:
        CaseError: The folder does not exist, it holds no case, or two folders have one name.
    """
    top, layout = Path(folder), layout_of(layout)
    if not top.is_dir():
        raise CaseError(top, found="no such folder", expected=f"a cohort of layout {layout.name}", do="check the path")
    ends = (*layout.suffixes.values(), layout.label_suffix)
    usual = re.compile(layout.pattern)
    cases: dict[str, Path] = {}
    hint = None
    waiting = [(top, 0)]
    while waiting:
        here, depth = waiting.pop()
        stems = _nifti_stems(here)
        below = [d for d in here.iterdir() if d.is_dir() and not d.name.startswith(".")]
        # A folder of the usual name without scans is reported, unless it is an archive's own folder around the case.
        if any(stem.endswith(ends) for stem in stems) or (usual.fullmatch(here.name) and (stems or not below)):
            if here.name in cases:
                raise CaseError(here, found=f"a second case of this name (the other is {cases[here.name]})",
                                expected="every name once", do="move one of them out of the cohort's folder")
            cases[here.name] = here
        hint = hint or _other_layout(stems, layout)
        waiting += [(d, depth + 1) for d in below if depth < DEEPEST]
    around = {parent for path in cases.values() for parent in path.parents}
    for name in [name for name, path in cases.items() if path in around]:
        warnings.warn(f"{cases.pop(name)}: scans lie loose beside the folders of the cases; they are not a case",
                      stacklevel=2)
    if not cases:
        raise CaseError(top, found="no case", expected=f"folders such as {_example(layout)} (layout {layout.name})",
                        do=hint or "check the path and the layout")
    return dict(sorted(cases.items()))


def _example(layout: Layout) -> str:
    name = {"brats2018": "Brats18_2013_2_1", "brats2020": "BraTS20_Training_001", "brats2021": "BraTS2021_00000",
            "phantom": "Phantom_000"}.get(layout.name, "BraTS-GLI-00000-000")
    return f"{name}/{name}{layout.suffixes['FLAIR']}.nii.gz"


def find_cases(folder: str | Path, layout: str | Layout) -> list[CaseFiles]:
    """All usable cases of a cohort, sorted by name.

    Raises:
        CaseError: See `case_folders`.

    Warns:
        UserWarning: For every case that is left out, and as in `files_in_folder`.
    """
    found = []
    for path in case_folders(folder, layout).values():
        try:
            found.append(files_in_folder(path, layout))
        except CaseError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    return found
