"""Segment new studies: NIfTI in, NIfTI out, on the study's own grid.

    python -m dmaf_lite predict --weights FILE --out DIR CASE_DIR...

Any non-empty subset of the modalities will do.  A study goes through the same normalising as a
prepared cohort, so a folder with T1 alone gives what the evaluator gives for {T1}.  For research
and teaching, not a medical device; shipped weights know phantoms only.

Taught in lesson 09.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.base.device import choose_device
from dmaf_lite.base.provenance import NOT_A_DEVICE
from dmaf_lite.data.case import Case, CaseError, CaseFiles, load_case, normalise_case, save_label
from dmaf_lite.data.cohort import LAYOUTS, Layout, find_cohort, layout_of
from dmaf_lite.data.finding import SeveralCases, UnclearNames, one_case
from dmaf_lite.data.plausibility import skull_note
from dmaf_lite.evaluation.calibration import Calibration
from dmaf_lite.evaluation.file_grid import SPACING_TOLERANCE, label_on_files, mm, on_files, same_spacing
from dmaf_lite.evaluation.inference import WindowSettings, probabilities_and_weights, windows_of
from dmaf_lite.evaluation.metrics import volume_ml
from dmaf_lite.evaluation.promise import calibration_of, promise
from dmaf_lite.methods.weights import load_weights, weights_file
from dmaf_lite.spec import STACKS, DatasetSpec


@dataclass(frozen=True, eq=False)
class StudyPrediction:
    """What is predicted for one study, all on the grid of its files.

    Attributes:
        name: Name of the study.
        label: uint8 (X, Y, Z), internal labels.
        affine: (4, 4) of the files.
        modalities: What was used, in the order of the spec.
        weight_maps: Modality -> float32 (X, Y, Z), 0 outside the prepared box; empty where the network has none.
        weights: Modality -> mean weight over the foreground.
        volumes_ml: Region -> millilitres.
        resampled_to: mm, where the study was resampled to the grid of the weights; else None.
        notes: Warnings of loading, and what is outside the experience of the weights.
        confidence: How sure, per region, and which scan would help most (`promise.py`); empty without a calibration.
        confidence_map: float32 (X, Y, Z), probability that the label is right; None without a calibration.
    """

    name: str
    label: np.ndarray
    affine: np.ndarray
    modalities: tuple[str, ...]
    weight_maps: Mapping[str, np.ndarray]
    weights: Mapping[str, float]
    volumes_ml: Mapping[str, float]
    resampled_to: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()
    confidence: Mapping[str, Any] = field(default_factory=dict)
    confidence_map: np.ndarray | None = None


@dataclass
class PredictReport:
    """What came of a batch: `written` name -> segmentation, `failed` folder -> reason."""

    written: dict[str, Path] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def study_files(case_dir: str | Path, layout: str | Layout,
                named: Mapping[str, Path] = MappingProxyType({})) -> CaseFiles:
    """The scans of a folder; a segmentation that may lie there is not looked at.

    Args:
        case_dir: Folder of one study.
        layout: Its names count first, all other known names are read too. The label scheme of the output is the
            layout's, never guessed.
        named: Modality -> file, a person's word that wins over the file names.

    Raises:
        CaseError: No scan under any known name, two for one modality, or several studies.
    """
    try:
        return one_case(case_dir, layout_of(layout), with_label=False, named=named)
    except UnclearNames as error:
        raise CaseError(error.file, found=error.found, expected=error.expected,
                        do=f"{error.do}, or say it with --modality NAME=FILE") from error


def scans_in_words(files: CaseFiles, spec: DatasetSpec) -> str:
    """Which file is taken for which scan, and which files are not used, in a line for a person."""
    taken = [f"{name} = {files.images[name].name}" + (f" (volume {files.channels[name]})" if files.channels else "")
             if name in files.images else f"{name} missing" for name in spec.modalities]
    unused = f"; not used: {', '.join(path.name for path in files.unused)}" if files.unused else ""
    return f"{files.name}: {', '.join(taken)}{unused}"


def predict_case(net: nn.Module, card: Mapping[str, Any], files: CaseFiles, *, layout: str | Layout = "brats2020",
                 windows: WindowSettings | None = None, progress: bool = False,
                 calibration: Calibration | None = None) -> StudyPrediction:
    """Segment one study.

    Args:
        net: The network of the weights.
        card: Its card: the spacing that it knows, and the window.
        files: At least one modality.
        layout: Names the data set.
        windows: Default: the window that the card names.
        progress: Show a bar over the windows.
        calibration: How sure the weights may be; without one nothing is said of it.

    Raises:
        CaseError: Bad files, or a grid that the weights cannot be used on.
        ValueError: If the weights are for another data set.
    """
    layout = layout_of(layout)
    spec = layout.spec
    if card["spec"] != spec.name:
        raise ValueError(f"the weights were trained on {card['spec']}, the layout {layout.name} is of {spec.name}; "
                         "use weights and layout of one data set")
    windows = windows or windows_of(card)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        case = load_case(files, spec=spec, labels=layout.labels)
    notes = [*files.notes, *(str(w.message) for w in caught if issubclass(w.category, UserWarning))]
    target = target_spacing(case, card)
    normal = normalise_case(case, minimum=windows.window, spacing=target, stack=spec.stack,
                            preparation=card.get("preparation", "own"))
    empty = np.zeros(normal.shape, np.float32)
    images = np.stack([normal.images.get(name, empty) for name in spec.modalities])
    available = np.array(case.available(spec))
    probabilities, weights = probabilities_and_weights(net, images, available, settings=windows, progress=progress)

    probabilities = probabilities.cpu().numpy()
    sure = promise(probabilities, images, available, normal.spacing, spec=spec, calibration=calibration)
    notes += [f"{case.name}: {sentence}" for sentence in sure.warnings]
    if not any("skull" in note for note in notes):  # said better where the weights bring a calibration
        notes += [note for note in [skull_note(case, spec)] if note]
    for note in notes:
        warnings.warn(note, stacklevel=2)
    label = label_on_files(probabilities, normal)
    maps, shares = {}, {}
    if weights is not None:
        foreground = (images != 0).any(axis=0)
        for name, one in zip(spec.modalities, weights, strict=True):
            if name in case.images:
                maps[name] = case.in_file_order(on_files(one, normal).cpu().numpy())
                shares[name] = float(one.cpu().numpy()[foreground].mean())
    return StudyPrediction(
        name=case.name, label=case.in_file_order(label), modalities=tuple(case.images), weight_maps=maps,
        affine=case.affine if case.file_affine is None else case.file_affine, weights=shares, notes=tuple(notes),
        resampled_to=None if target is None else normal.spacing,
        volumes_ml={region: volume_ml(spec.region_mask(label, region), case.spacing) for region in spec.regions},
        confidence=sure.summary, confidence_map=None if sure.map is None else case.in_file_order(
            on_files(torch.as_tensor(sure.map), normal, outside=1.0).numpy()),
    )


def target_spacing(case: Case, card: Mapping[str, Any]) -> float | None:
    """The voxel size to resample to, or None where the study's own will do."""
    known, own = np.asarray(card["spacing"], dtype=float), np.asarray(case.spacing)
    if card["spec"] in STACKS:
        known, own = known[:2], own[:2]  # thick slices stay as they are
    if same_spacing(own, known):
        return None
    if known.max() / known.min() > 1 + SPACING_TOLERANCE:
        raise CaseError(case.name, found=f"voxels of {mm(case.spacing)}", expected=f"the {mm(known)} of the weights, "
                        "whose voxels are no cubes", do="resample the study to that grid first")
    return float(known.mean())


def write_prediction(out: str | Path, prediction: StudyPrediction, files: CaseFiles, card: Mapping[str, Any], *,
                     layout: str | Layout = "brats2020", with_confidence_map: bool = False) -> Path:
    """Write <name>_seg.nii.gz, <name>_weights_<modality>.nii.gz where there are weights, and <name>.json.

    With `with_confidence_map` also <name>_confidence.nii.gz, where there is a calibration.

    Each file is written whole or not at all, the JSON last. Results of an earlier run are replaced, files of
    the study never.

    Returns:
        The segmentation.

    Raises:
        CaseError: If a result would replace a file of the study.
    """
    layout, out, name = layout_of(layout), Path(out), prediction.name
    target = out / f"{name}_seg.nii.gz"
    if any(path.parent.resolve() == out.resolve() for path in files.images.values()):
        raise CaseError(out, found="the folder of the study itself", expected="another folder for the results",
                        do="choose another --out: a segmentation that lies there must not be replaced")
    save_label(target, prediction.label, prediction.affine, layout.labels, like=next(iter(files.images.values())))
    for modality, weight in prediction.weight_maps.items():
        with atomic_path(out / f"{name}_weights_{modality}.nii.gz") as partial:
            nib.save(nib.Nifti1Image(weight.astype(np.float32), prediction.affine), partial)
    if with_confidence_map and prediction.confidence_map is not None:
        with atomic_path(out / f"{name}_confidence.nii.gz") as partial:
            nib.save(nib.Nifti1Image(prediction.confidence_map.astype(np.float32), prediction.affine), partial)
    summary = {
        "name": name,
        "modalities": list(prediction.modalities),
        "files": {modality: path.name for modality, path in files.images.items()},
        "unused": [path.name for path in files.unused],
        "segmentation": target.name,
        "layout": layout.name,
        "label_values": {layout.spec.classes[internal]: value for value, internal in layout.labels.items() if internal},
        "volumes_ml": {region: round(v, 3) for region, v in prediction.volumes_ml.items()},
        "confidence": dict(prediction.confidence),
        "modality_weights": {modality: round(v, 4) for modality, v in prediction.weights.items()},
        "resampled_to_mm": prediction.resampled_to and [round(s, 4) for s in prediction.resampled_to],
        "weights": {key: card[key] for key in ("network", "network_options", "seed", "commit", "date")},
        "warnings": list(prediction.notes),
        "note": NOT_A_DEVICE,
    }
    with atomic_path(out / f"{name}.json") as partial:
        partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return target


def predict_folders(net: nn.Module, card: Mapping[str, Any], case_dirs: Sequence[str | Path], out: str | Path, *,
                    layout: str | Layout = "brats2020", windows: WindowSettings | None = None,
                    progress: bool = True, named: Mapping[str, Path] = MappingProxyType({}),
                    calibration: Calibration | None = None, with_confidence_map: bool = False) -> PredictReport:
    """Segment a batch of studies; a bad one is reported and the next goes on.

    Args:
        net, card, windows: As in `predict_case`.
        case_dirs: Folders of studies; one that holds several studies stands for all of them.
        out: Folder for the results.
        layout: How files are named and which label values are written.
        progress: Show a bar, and say of every study which file is taken for which scan.
        named: Modality -> file, for a single study.
        calibration: As in `predict_case`.
        with_confidence_map: As in `write_prediction`.
    """
    report, layout = PredictReport(), layout_of(layout)
    studies = _studies(case_dirs, layout, named, report)
    one = len(studies) == 1  # then the bar runs over its windows
    for case_dir, files, bound in tqdm(studies, desc="predict", unit="study", disable=one or not progress):
        try:
            if progress:
                tqdm.write(scans_in_words(files, bound.spec))
            if files.name in report.written:
                raise CaseError(case_dir, found=f"a second study named {files.name}", expected="each name once",
                                do="rename the folder, or predict it into another --out")
            prediction = predict_case(net, card, files, layout=bound, windows=windows, progress=one and progress,
                                      calibration=calibration)
            report.written[files.name] = write_prediction(out, prediction, files, card, layout=bound,
                                                          with_confidence_map=with_confidence_map)
        # What bad files or a full disk or device raise; a bug in the kit (TypeError, ...) still stops the batch.
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            report.failed[str(case_dir)] = str(error) or type(error).__name__
    return report


def _studies(case_dirs: Sequence[str | Path], layout: Layout, named: Mapping[str, Path],
             report: PredictReport) -> list[tuple[str, CaseFiles, Layout]]:
    """What to call each study in messages, its files, and the layout with the label values that its dataset.json may
    name; what cannot be read goes to the report."""
    if named and layout.kind == "listed":
        raise ValueError(f"--modality cannot be given with layout {layout.name}, where dataset.json says which scan is "
                         "which; correct the names there, or choose the layout that the label values belong to")
    studies: list[tuple[str, CaseFiles, Layout]] = []
    for case_dir in case_dirs:
        try:
            if layout.kind == "listed":
                _add_several(case_dir, layout, report, studies)
            else:
                studies.append((str(case_dir), study_files(case_dir, layout, named), layout))
        except SeveralCases:
            _add_several(case_dir, layout, report, studies)
        except (ValueError, OSError) as error:
            report.failed[str(case_dir)] = str(error)
    return studies


def _add_several(case_dir: str | Path, layout: Layout, report: PredictReport,
                 studies: list[tuple[str, CaseFiles, Layout]]) -> None:
    """All studies of a cohort."""
    found = find_cohort(case_dir, layout, with_label=False)
    studies += [(f"{case_dir}: {name}", files, found.layout) for name, files in found.cases.items()]
    report.failed |= {f"{case_dir}: {name}": str(error) for name, error in found.bad.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m dmaf_lite predict``."""
    parser.description = f"Segment studies with any of the modalities. {NOT_A_DEVICE}"
    parser.add_argument("case_dirs", nargs="+", type=Path, metavar="CASE_DIR",
                        help="folder with the scans of one study, or a cohort of several")
    parser.add_argument("--modality", action="append", default=[], metavar="NAME=FILE",
                        help="say which file is which scan, such as T1ce=post.nii.gz; wins over the file names; "
                             "for one study, may be given several times")
    parser.add_argument("--weights", type=Path, required=True,
                        help="a .safetensors file with its card, or the name of the kit's own")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--layout", default="brats2020", choices=sorted(LAYOUTS),
                        help="decides the label values that are written (ET is 4 up to 2021, 3 from 2023); the scans "
                             "may be named as in any layout")
    parser.add_argument("--window", type=int, help="side of the window in voxels; default: as in training")
    parser.add_argument("--mirror", action=argparse.BooleanOptionalAction,
                        help="the mean with the prediction for the mirrored study, in twice the time; default: as the "
                             "weights' card says")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--confidence-map", action="store_true",
                        help="write NAME_confidence.nii.gz too: the probability that the label is right")


def _named(args: argparse.Namespace) -> dict[str, Path]:
    """What --modality says: name -> file."""
    if args.modality and len(args.case_dirs) > 1:
        raise ValueError(f"--modality names the scans of one study, {len(args.case_dirs)} were given; predict them one "
                         "by one")
    wrong = [item for item in args.modality if "=" not in item]
    if wrong:
        raise ValueError(f"--modality {wrong[0]}: expected NAME=FILE, such as T1ce=post.nii.gz")
    return {name: Path(file) for name, file in (item.split("=", 1) for item in args.modality)}


def main(args: argparse.Namespace) -> int:
    """Run ``python -m dmaf_lite predict``; 0, or 1 where a study failed."""
    args.weights = weights_file(args.weights)
    net, card = load_weights(args.weights, choose_device(args.device))
    windows = windows_of(card)
    if args.window is not None:
        windows = replace(windows, window=(args.window,) * 3, largest=None)
    if args.mirror is not None:
        windows = replace(windows, mirror=args.mirror)
    calibration, why_not = calibration_of(args.weights, net)
    if why_not:
        print(f"expected Dice and intervals are left out: {why_not}", file=sys.stderr)
    report = predict_folders(net, card, args.case_dirs, args.out, layout=args.layout, windows=windows,
                             named=_named(args), calibration=calibration, with_confidence_map=args.confidence_map)
    for case_dir, reason in report.failed.items():
        print(f"failed: {case_dir}: {reason}", file=sys.stderr)
    asked = len(report.written) + len(report.failed)
    print(f"{len(report.written)} of {asked} studies segmented into {args.out}. {NOT_A_DEVICE}",
          file=sys.stderr if report.failed else sys.stdout)
    return 1 if report.failed else 0
