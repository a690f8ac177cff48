"""How a cohort lies on disk: the file names and label values of every known layout.

The label scheme is a property of the layout, never guessed from the values: label 4 is enhancing tumour
in BraTS 2020 and a resection cavity in BraTS 2024.  The table in docs/layouts.md says what each one is;
`finding.py` looks for the cases.

Taught in lesson 01.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dmaf_lite.spec import BRATS, MYOPS, DatasetSpec

KINDS = ("folder", "flat", "listed")


@dataclass(frozen=True)
class Layout:
    """One way a cohort is laid out.

    Attributes:
        name: Key in `LAYOUTS`.
        spec: Modalities and classes.
        suffixes: Modality -> end of its file's stem as the data set itself writes it, with the separator. Files with
            other known names (`scan_names.py`) are read too; where both are there, this one counts.
        label_suffix: The same for the segmentation.
        labels: Label value in the file -> internal label; of a "listed" layout dataset.json decides.
        pattern: Regular expression of a case's usual name. A case of another name counts if its files' names are
            known; a folder of this name is reported even if they are not.
        kind: ``"folder"``, a folder is a case; ``"flat"``, a case is the files that share a name, wherever they lie;
            ``"listed"``, dataset.json says what is what.
        label_folder: Regular expression of folders in which segmentations lie apart from the scans.
        skip: Regular expression of folders that are not looked into.
        folder_end: What a case folder's name has behind the name of the case.
        example: A usual case name, for messages.
        synthetic: What the studies are if nobody was scanned, for cards; empty for real ones.
    """

    name: str
    spec: DatasetSpec
    suffixes: Mapping[str, str]
    label_suffix: str
    labels: Mapping[int, int]
    pattern: str
    kind: str = "folder"
    label_folder: str = ""
    skip: str = ""
    folder_end: str = ""
    example: str = ""
    synthetic: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"layout {self.name}: kind {self.kind!r}; expected one of {', '.join(KINDS)}")

    def is_usual(self, name: str) -> bool:
        """Whether a case of this layout usually has such a name."""
        return bool(re.fullmatch(self.pattern, name))


_UNTIL_2021 = {"FLAIR": "_flair", "T1ce": "_t1ce", "T1": "_t1", "T2": "_t2"}
_FROM_2023 = {"FLAIR": "-t2f", "T1ce": "-t1c", "T1": "-t1n", "T2": "-t2w"}
_ET_IS_4 = {0: 0, 1: 1, 2: 2, 4: 3}
_ET_IS_3 = {0: 0, 1: 1, 2: 2, 3: 3}
# The resection cavity of the post-treatment cases lies outside whole tumour, tumour core and enhancing tumour.
_ET_IS_3_CAVITY_IS_4 = {**_ET_IS_3, 4: 0}
_MYOPS_2020 = {0: 0, 200: 1, 500: 2, 600: 3, 1220: 4, 2221: 5}
_HEART_LABELS = r"(?i).*(gd|label).*"


def _brats_2023(name: str, kind: str, labels: Mapping[int, int]) -> Layout:
    return Layout(name, BRATS, _FROM_2023, "-seg", labels, rf"BraTS-{kind}-\d+-\d+", example=f"BraTS-{kind}-00000-000")


def _upenn(name: str, label_suffix: str, label_folder: str, other_labels: str) -> Layout:
    """Manual and automatic segmentations are two layouts, so that they are never mixed."""
    suffixes = {"FLAIR": "_FLAIR", "T1ce": "_T1GD", "T1": "_T1", "T2": "_T2"}
    return Layout(name, BRATS, suffixes, label_suffix, _ET_IS_4, r"UPENN-GBM-\d+_\d+", label_folder=label_folder,
                  skip=rf".*unstripped.*|{other_labels}", example="UPENN-GBM-00001_11")


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("brats2018", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"Brats18_.+", example="Brats18_2013_2_1"),
        Layout("brats2020", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"BraTS20_(Training|Validation)_\d+",
               example="BraTS20_Training_001"),
        Layout("brats2021", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"BraTS2021_\d+", example="BraTS2021_00000"),
        _brats_2023("brats2023", "GLI", _ET_IS_3),
        _brats_2023("brats2024", "GLI", _ET_IS_3_CAVITY_IS_4),
        # Metastases from 2025 on, and Pretreat-MetsToBrain-Masks, which has the same names and no cavity.
        _brats_2023("mets2023", "MET", _ET_IS_3_CAVITY_IS_4),
        _brats_2023("ssa2023", "SSA", _ET_IS_3),
        _brats_2023("peds2023", "PED", _ET_IS_3),
        _brats_2023("men2023", "MEN", _ET_IS_3),
        Layout("ucsf_pdgm", BRATS, {"FLAIR": "_FLAIR", "T1ce": "_T1c", "T1": "_T1", "T2": "_T2"},
               "_tumor_segmentation", _ET_IS_4, r"UCSF-PDGM-\d+(_FU\d+d)?", folder_end="_nifti",
               example="UCSF-PDGM-0004"),
        _upenn("upenn_gbm", "_segm", "images_segm", "automated_segm"),
        _upenn("upenn_gbm_automated", "_automated_approx_segm", "automated_segm", "images_segm"),
        Layout("msd", BRATS, {}, "", {}, r"BRATS_\d+", kind="listed", example="BRATS_001"),
        Layout("nnunet", BRATS, {}, "", {}, r".+", kind="listed", example="BRATS_001"),
        Layout("myops2020", MYOPS, {"C0": "_C0", "LGE": "_DE", "T2": "_T2"}, "_gd", _MYOPS_2020,
               r"myops_(training|test)_\d+", kind="flat", label_folder=_HEART_LABELS, example="myops_training_101"),
        Layout("myopspp", MYOPS, {"C0": "_C0", "LGE": "_LGE", "T2": "_T2"}, "_gd", _MYOPS_2020,
               r"Case\d+", kind="flat", label_folder=_HEART_LABELS, example="Case2001"),
        Layout("heart_phantom", MYOPS, {"C0": "_C0", "LGE": "_DE", "T2": "_T2"}, "_gd", _MYOPS_2020,
               r"HeartPhantom_\d+", kind="flat", label_folder=_HEART_LABELS, example="HeartPhantom_000",
               synthetic="heart phantom"),
        Layout("phantom", BRATS, _UNTIL_2021, "_seg", _ET_IS_4, r"Phantom_\d+", example="Phantom_000",
               synthetic="brain phantom"),
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


def other_layouts(name: str, layout: Layout) -> list[str]:
    """Layouts with other label values whose usual case names fit `name`, where those of `layout` do not."""
    if layout.kind == "listed" or layout.is_usual(name):
        return []
    return [other.name for other in LAYOUTS.values()
            if other.kind != "listed" and other.is_usual(name) and dict(other.labels) != dict(layout.labels)]
