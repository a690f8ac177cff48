"""Which scan a file is, told by its name: one table of the names that people give to scans and to classes.

A name is cut at ``_ - . space``, and its end is looked up: ``sub-01_ses-2_T1w`` ends in ``T1w``.  What the
table does not know has no role; nothing is taken for a scan because it looks like one.

Taught in lesson 01.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dmaf_lite.spec import BRATS, MYOPS, DatasetSpec

LABEL = "label"

# Ends of names without separators and in lower case; t1n, t1c, t2w, t2f are those of BraTS since 2023,
# t1gad and t1gd those of UCSF-PDGM and UPENN-GBM, t1km what German scanners write.
ALIASES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    BRATS.name: {
        "FLAIR": ("flair", "fla", "t2f", "t2flair", "t2wflair", "flairt2", "tirmdarkfluid"),
        "T1ce": ("t1ce", "t1c", "ct1", "t1gd", "t1gad", "t1post", "t1contrast", "t1wce", "t1wc", "t1wgd", "t1cw",
                 "t1km", "t1wpost", "t1wcontrast", "cet1", "cet1w", "gdt1", "postt1", "contrastt1", "t1mprgd"),
        "T1": ("t1", "t1n", "t1w", "t1native", "t1pre", "t1nativ", "pret1", "t1wpre"),
        "T2": ("t2", "t2w", "t2tse"),
        LABEL: ("seg", "segm", "segmentation", "tumorseg", "tumorsegmentation", "tumoursegmentation", "label", "gt"),
    },
    MYOPS.name: {
        "C0": ("c0", "bssfp"),
        "LGE": ("lge", "de"),
        "T2": ("t2", "t2w"),
        LABEL: ("gd", "seg", "label", "gt"),
    },
}

# A T1 with one of these words right before its end was taken with contrast agent (sub-01_acq-post_T1w), and so was
# one with the entity ce- of BIDS (sub-01_ce-gadolinium_T1w). Farther ahead they may be part of a patient's name.
CONTRAST = ("gd", "gad", "gadolinium", "contrast", "postcontrast", "post", "gadovist")
_BIDS_CONTRAST = re.compile(r"(?:^|_)ce-(?!none)[a-z0-9]+_", re.IGNORECASE)
# A segmentation of these is none of a tumour: UCSF-PDGM-0004_brain_segmentation.
OTHER_TISSUE = ("brain", "parenchyma", "tissue", "skull", "wm", "gm", "csf", "head")


@dataclass(frozen=True)
class Role:
    """What the end of a name says: `what` (a modality or "label") and the `rest` of the name before it."""

    what: str
    rest: str


def role_of(stem: str, spec: DatasetSpec) -> Role | None:
    """The role of a file by its name without ending; None where the table does not know it.

    Args:
        stem: Such as ``BraTS20_Training_001_t1ce``.
        spec: Whose modalities.
    """
    table = {alias: what for what, aliases in ALIASES.get(spec.name, {}).items() for alias in aliases}
    words = [(m.group().lower(), m.start()) for m in re.finditer(r"[^_\-. +]+", stem)]
    for first in range(max(0, len(words) - 3), len(words)):  # the longest end first: t1-gd before gd
        what = table.get("".join(word for word, _ in words[first:]))
        if what is None:
            continue
        before = [word for word, _ in words[:first]]
        if what == LABEL and before and before[-1] in OTHER_TISSUE:
            return None
        if what == "T1" and "T1ce" in spec.modalities and (set(before[-1:]) & set(CONTRAST)
                                                           or _BIDS_CONTRAST.search(stem)):
            what = "T1ce"
        return Role(what, stem[: words[first][1]].rstrip("_-. +"))
    return None


def modality_of(name: str, spec: DatasetSpec) -> str | None:
    """The modality that a word such as ``t1gd`` or ``T2-FLAIR`` means; None where the table does not know it.

    The whole word must be known, not only its end.
    """
    role = role_of(name, spec)
    return role.what if role and not role.rest and role.what != LABEL else None


# Words that name an internal class in the `labels` of a dataset.json; the first line that fits counts.
_CLASS_WORDS: Mapping[str, tuple[tuple[str, int], ...]] = {
    BRATS.name: (
        (r"background|^bg$", 0),
        (r"cavity|^rc$", 0),
        (r"non.?enhanc|necro|^ncr|^net|cyst", 1),
        (r"o?edema|snfh|^ed$|peritumou?ral", 2),
        (r"enhanc|^et$|active", 3),
    ),
    MYOPS.name: (
        (r"background|^bg$", 0),
        (r"scar|infarct", 5),
        (r"o?edema", 4),
        (r"^rv|right.?ventric", 3),
        (r"myo", 1),
        (r"^lv|left.?ventric", 2),
    ),
}


def class_of(name: str, spec: DatasetSpec) -> int | None:
    """The internal class that a name such as ``non-enhancing tumor`` means; None where no word fits."""
    for pattern, internal in _CLASS_WORDS.get(spec.name, ()):
        if re.search(pattern, name.strip().lower()):
            return internal
    return None


def names_known(spec: DatasetSpec) -> str:
    """The table in words, for messages: ``FLAIR (flair, fla, t2f, ...), T1ce (...)``."""
    table = ALIASES.get(spec.name, {})
    return ", ".join(f"{what} ({', '.join(table[what][:4])} ...)" for what in spec.modalities if what in table)
