"""Cohorts that describe themselves in a dataset.json: the Medical Segmentation Decathlon and nnU-Net.

The order of the channels and the meaning of the labels are read from the names in the file, never from the
numbers: people reuse the file of Task01_BrainTumour for sets with another order.

Taught in lesson 01.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmaf_lite.data.case import CaseFiles
from dmaf_lite.data.layouts import Layout
from dmaf_lite.data.listing import NiftiFile, check_fetched, nifti_files, subfolders
from dmaf_lite.data.nifti import CaseError
from dmaf_lite.data.scan_names import class_of, modality_of, names_known
from dmaf_lite.spec import SPECS, DatasetSpec

NAME = "dataset.json"


@dataclass(frozen=True)
class Description:
    """What a dataset.json says.

    Attributes:
        path: The file.
        kind: ``"msd"``, one 4-D file a case; ``"nnunet"``, one file a channel.
        spec: The data set whose modalities the channels are.
        channels: Modality -> number of its channel.
        labels: Label value -> internal label.
        evidence: The two lines that say so, for the record.
    """

    path: Path
    kind: str
    spec: DatasetSpec
    channels: Mapping[str, int]
    labels: Mapping[int, int]
    evidence: tuple[str, ...]


def description_in(folder: Path) -> Path | None:
    """The dataset.json of a folder or of one of the folders in it."""
    return next((p for p in (folder / NAME, *(d / NAME for d in subfolders(folder))) if p.is_file()), None)


def read_description(path: Path) -> Description:
    """Read a dataset.json.

    Raises:
        CaseError: Not readable, or channels or labels whose names are unknown or repeated.
    """
    do = "correct the names in the file, or rearrange the cohort in another layout"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = content.get("channel_names") or content["modality"]
        labels = content["labels"]
        names = {int(number): str(name) for number, name in _items(names)}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CaseError(path, found=f"a description that cannot be read ({type(error).__name__}: {error})",
                        expected="JSON with `modality` or `channel_names`, and `labels`", do=do) from error
    spec = next((s for s in SPECS.values() if all(modality_of(n, s) for n in names.values())), None)
    brats = SPECS["brats"]
    if spec is None:
        unknown = [f"{number}: {name}" for number, name in names.items() if modality_of(name, brats) is None]
        raise CaseError(path, found=f"channels of unknown names ({', '.join(unknown)})",
                        expected=names_known(brats), do=do)
    channels: dict[str, int] = {}
    for number, name in names.items():
        modality = str(modality_of(name, spec))
        if modality in channels:
            raise CaseError(path, found=f"two channels that are {modality} ({names[channels[modality]]}, {name})",
                            expected="every modality once", do=do)
        channels[modality] = number
    values = _label_values(path, labels, spec, do)
    kind = "nnunet" if "channel_names" in content or str(content.get("tensorImageSize", "")).upper() == "3D" else "msd"
    evidence = (f"{NAME} names the channels {', '.join(f'{n} {name}' for n, name in sorted(names.items()))}",
                f"{NAME} names the labels " + ", ".join(
                    f"{value} {spec.classes[internal]}" for value, internal in sorted(values.items())))
    ordered = {m: channels[m] for m in spec.modalities if m in channels}
    return Description(path, kind, spec, ordered, values, evidence)


def _items(names: Any) -> list[tuple[Any, Any]]:
    return list(names.items()) if isinstance(names, Mapping) else list(enumerate(names))


def _label_values(path: Path, labels: Any, spec: DatasetSpec, do: str) -> dict[int, int]:
    """Label value -> internal label, from {"1": "edema"} (MSD) or {"edema": 1} (nnU-Net)."""
    values: dict[int, int] = {}
    for key, item in _items(labels):
        name, value = (key, item) if not str(key).strip().lstrip("-").isdigit() else (item, key)
        if str(name).lower() == "ignore":
            continue
        if isinstance(value, (list, tuple)):
            raise CaseError(path, found=f"labels that are regions ({name}: {value})", expected="one value a class",
                            do=do)
        internal = class_of(str(name), spec)
        if internal is None or int(value) in values:
            raise CaseError(path, found=f"the label {value}: {name}, which is " + (
                "there twice" if internal is not None else "not understood"),
                expected=f"names such as {', '.join(spec.classes)}", do=do)
        values[int(value)] = internal
    absent = [name for internal, name in enumerate(spec.classes) if internal not in values.values()]
    if absent:
        raise CaseError(path, found=f"no label for {', '.join(absent)}",
                        expected=f"one for each of {', '.join(spec.classes)}", do=do)
    return values


Described = tuple[Layout, dict[str, CaseFiles], dict[str, CaseError], list[str], tuple[str, ...]]


def described_cases(folder: Path, layout: Layout) -> Described:
    """The cases of a "listed" layout: (layout with its label scheme, cases, bad cases, notes, evidence).

    Raises:
        CaseError: No dataset.json, one that is not understood, or no case.
    """
    path = description_in(folder)
    if path is None:
        raise CaseError(folder, found=f"no {NAME}", expected=f"one there or one level down (layout {layout.name})",
                        do="check the path and the layout")
    about = read_description(path)
    if about.kind != layout.name:
        raise CaseError(path, found=f"the description of a cohort of layout {about.kind}",
                        expected=f"one of layout {layout.name}", do=f"ask for --layout {about.kind}")
    root = path.parent
    parts = [d for d in subfolders(root) if d.name.lower().startswith("images")]
    labels = {f.stem: f.path for d in subfolders(root) if d.name.lower().startswith("labels") for f in nifti_files(d)}
    cases: dict[str, CaseFiles] = {}
    bad: dict[str, CaseError] = {}
    notes: list[str] = []
    for part in parts:
        for name, files in _by_case(nifti_files(part), about, notes).items():
            if name in cases or name in bad:
                raise CaseError(part, found=f"a second case named {name}", expected="every name once",
                                do="move one of them out of the cohort's folder")
            try:
                cases[name] = _case(name, files, labels.pop(name, None), about)
            except CaseError as error:
                bad[name] = error
    if not cases and not bad:
        raise CaseError(root, found="no case", expected=f"imagesTr/{layout.example}... beside {NAME}",
                        do="check the path and the layout")
    if labels:
        notes.append(f"{root}: {len(labels)} segmentations belong to no case ({', '.join(sorted(labels)[:4])})")
    return replace(layout, spec=about.spec, labels=dict(about.labels)), cases, bad, notes, about.evidence


def _by_case(files: list[NiftiFile], about: Description, notes: list[str]) -> dict[str, dict[int, NiftiFile]]:
    """Case -> channel -> file; a 4-D file stands under channel -1."""
    if about.kind == "msd":
        return {f.stem: {-1: f} for f in files}
    cases: dict[str, dict[int, NiftiFile]] = {}
    for f in files:
        match = re.fullmatch(r"(.+)_(\d{4})", f.stem)
        if match is None:
            notes.append(f"{f.path}: not used, its name does not end in the number of a channel (_0000)")
        else:
            cases.setdefault(match[1], {})[int(match[2])] = f
    return cases


def _case(name: str, files: Mapping[int, NiftiFile], label: Path | None, about: Description) -> CaseFiles:
    for f in files.values():
        check_fetched(f.path)
    if label is not None:
        check_fetched(label)
    if about.kind == "msd":
        path = files[-1].path
        return CaseFiles(name, dict.fromkeys(about.channels, path), label, channels=dict(about.channels))
    images = {modality: files[number].path for modality, number in about.channels.items() if number in files}
    unused = tuple(f.path for number, f in files.items() if number not in about.channels.values())
    if not images:
        raise CaseError(name, found=f"the channels {sorted(files)}",
                        expected=f"some of {sorted(about.channels.values())}",
                        do=f"compare the file names with {about.path}")
    return CaseFiles(name, images, label, unused=unused)
