"""New studies: the evaluator's result on the study's own grid, any modalities, no bad study costs another."""

import argparse
import itertools
import json
import shutil
import warnings
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import write_nifti, write_tiny_case

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.cohort import LAYOUTS
from dmaf_lite.evaluation.evaluate import EvaluationSettings
from dmaf_lite.evaluation.file_grid import label_on_files
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.evaluation.predict import (
    add_arguments,
    main,
    predict_case,
    predict_folders,
    study_files,
    write_prediction,
)
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import save_weights
from dmaf_lite.phantom.heart.heart_cohort import write_heart
from dmaf_lite.phantom.heart.hearts import HeartSettings
from dmaf_lite.spec import BRATS, MYOPS

TINY = {"width": 4, "levels": 2}
CARD = {"network": "dmaf_net", "network_options": TINY, "spec": "brats", "spacing": [1.0, 1.0, 1.0],
        "recipe": {}, "seed": 3, "commit": "0000000", "date": "2000-01-01", "window": [16, 16, 16]}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    net = build_network("dmaf_net", BRATS, **TINY).eval()
    for name, parameter in net.named_parameters():
        if "restore" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return net


class Threshold(torch.nn.Module):
    """A network whose answer is known: voxels whose mean z-score is above 1.4 are class 3, the others background."""

    def __init__(self):
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images, available):
        from dmaf_lite.nn import Pairs, Prediction

        mask = available[..., None, None, None].to(images)
        mean = (torch.nan_to_num(images) * mask).sum(1) / mask.sum(1)
        logits = torch.zeros(len(images), 4, *images.shape[2:])
        logits[:, 3] = 20 * (mean - 1.4)
        return Prediction(logits, Pairs.of(available))


def only(folder, target, *suffixes):
    """Copy the files of a case folder that end in one of the suffixes."""
    target.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name.endswith(tuple(f"{suffix}.nii.gz" for suffix in suffixes)):
            shutil.copy(path, target)
    return target


@pytest.mark.parametrize("names", [("T1",), ("FLAIR", "T2"), BRATS.modalities])
def test_predict_gives_what_the_evaluator_gives(net, tiny_folder, tiny_cohort, tmp_path, names):
    """Same box by construction: every tiny scan shows the whole head."""
    name = tiny_cohort.names[0]
    suffixes = [LAYOUTS["brats2020"].suffixes[m] for m in names]
    folder = only(tiny_folder / name, tmp_path / name, *suffixes)
    result = predict_case(net, CARD, study_files(folder, "brats2020"))
    images, _ = tiny_cohort.read(name)
    settings = EvaluationSettings(windows=WindowSettings(window=(16, 16, 16)))
    probabilities = subset_probabilities(net, images, np.array(BRATS.subsets()), settings=settings.windows)
    label = probabilities[BRATS.subsets().index(BRATS.mask_of(names))].argmax(0).numpy()
    assert result.modalities == tuple(names) and len(np.unique(label)) > 1
    assert np.array_equal(result.label, tiny_cohort.to_original(name, label.astype(np.uint8)))


def test_files_on_disk(net, tiny_folder, tmp_path):
    folder = tiny_folder / "BraTS20_Training_004"  # has FLAIR and T1ce only
    files = study_files(folder, "brats2020")
    assert files.label is None
    result = predict_case(net, CARD, files)
    path = write_prediction(tmp_path, result, files, CARD)
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{folder.name}{end}" for end in ("_seg.nii.gz", ".json", "_weights_FLAIR.nii.gz", "_weights_T1ce.nii.gz")}
    written, scan = nib.load(path), nib.load(files.images["FLAIR"])
    values = np.asarray(written.dataobj)
    assert written.shape == scan.shape and np.array_equal(written.affine, scan.affine)
    assert values.dtype == np.uint8 and set(np.unique(values)) <= {0, 1, 2, 4}
    assert np.array_equal(values, np.array([0, 1, 2, 4])[result.label])  # 4, not 3, is ET in BraTS 2020
    maps = [np.asarray(nib.load(tmp_path / f"{folder.name}_weights_{m}.nii.gz").dataobj) for m in ("FLAIR", "T1ce")]
    total = sum(maps)
    assert np.allclose(total[total > 0], 1, atol=5e-3)  # bfloat16
    assert (total > 0).mean() > 0.3 and maps[0].std() > 0
    summary = json.loads((tmp_path / f"{folder.name}.json").read_text())
    assert "not a medical device; shipped weights know phantoms only" in summary["note"]
    assert sum(summary["modality_weights"].values()) == pytest.approx(1, abs=1e-3)
    assert summary["label_values"]["ET"] == 4 and summary["modalities"] == ["FLAIR", "T1ce"]
    assert summary["volumes_ml"]["WT"] == pytest.approx((values > 0).sum() / 1000)
    assert load_case(study_files(folder, "brats2020"), labels={}).shape == values.shape


def test_the_label_scheme_comes_from_the_layout_and_names_from_the_files(net, tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS-GLI-00001-000", layout="brats2023")
    for layout, et in (("brats2020", 4), ("brats2023", 3)):
        files = study_files(folder, layout)
        assert set(files.images) == set(BRATS.modalities)
        result = predict_case(Threshold(), CARD, files, layout=layout)
        path = write_prediction(tmp_path / layout, result, files, CARD, layout=layout)
        assert set(np.unique(np.asarray(nib.load(path).dataobj))) == {0, et}
    with pytest.raises(CaseError, match="no modality"):
        study_files(only(folder, tmp_path / "seg_only", "-seg"), "brats2020")


def test_a_network_without_weights_writes_none(tiny_folder, tmp_path):
    files = study_files(tiny_folder / "BraTS20_Training_001", "brats2020")
    result = predict_case(Threshold(), CARD, files)
    write_prediction(tmp_path, result, files, CARD)
    assert not result.weight_maps and not list(tmp_path.glob("*weights*"))


def ball_study(folder, spacing):
    """A head with a bright ball in FLAIR: (files, the ball)."""
    shape = (40, 44, 36)
    grid = np.indices(shape)
    ball = sum((axis - c) ** 2 for axis, c in zip(grid, (15, 24, 20), strict=True)) < 8**2
    head = sum(((axis - (n - 1) / 2) / (n / 2 - 2)) ** 2 for axis, n in zip(grid, shape, strict=True)) < 1
    noise = 20 * np.random.default_rng(0).standard_normal(shape)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = (7, -3, 11)
    write_nifti(folder / "Study" / "Study_flair.nii.gz", np.where(head, 100 + noise + 400 * ball, 0).astype(np.int16),
                affine)
    return study_files(folder / "Study", "brats2020"), ball


@pytest.mark.parametrize("study, known, expected", [(2.0, 1.0, 1.0), (1.04, 1.0, None), (1.0, 2.0, 2.0)])
def test_another_spacing_is_resampled_and_mapped_back(tmp_path, study, known, expected):
    """A bright ball is found where it is, whatever grid the weights know."""
    files, ball = ball_study(tmp_path, study)
    result = predict_case(Threshold(), CARD | {"spacing": [known] * 3}, files)
    assert (result.resampled_to is None) == (expected is None)
    assert expected is None or result.resampled_to == pytest.approx((expected,) * 3)
    assert result.label.shape == ball.shape and dice(result.label == 3, ball) > 0.9
    centre, true_centre = (np.argwhere(mask).mean(axis=0) for mask in (result.label == 3, ball))
    assert np.abs(centre - true_centre).max() < 0.2  # voxels; a grid that is half a voxel off would show
    assert result.volumes_ml["ET"] == pytest.approx((result.label == 3).sum() * study**3 / 1000)
    written = nib.load(write_prediction(tmp_path / "out", result, files, CARD))
    assert np.array_equal(written.affine, nib.load(files.images["FLAIR"]).affine)


def test_probabilities_are_interpolated_not_labels(tmp_path):
    """A label map from twice the voxel size is the same in every 2^3 block; interpolated probabilities cut through."""
    files, _ = ball_study(tmp_path, 1.0)
    label = predict_case(Threshold(), CARD | {"spacing": [2.0] * 3}, files).label
    blocks = label.reshape(20, 2, 22, 2, 18, 2)
    cut = blocks.max(axis=(1, 3, 5)) != blocks.min(axis=(1, 3, 5))
    assert cut.sum() > 50


def test_the_way_back_is_edge_to_edge_and_does_not_spread_over_the_box():
    """Two voxels of a grid of eight are eight of 32: 8..15, and beyond the box there is background."""
    normal = SimpleNamespace(grid_shape=(8,) * 3, original_shape=(32,) * 3, box=(slice(2, 4),) * 3)
    certain = np.zeros((4, 2, 2, 2), np.float32)
    certain[3] = 1
    found = np.argwhere(label_on_files(torch.from_numpy(certain), normal) == 3)
    assert found.min() == 8 and found.max() == 15


def test_weights_of_thick_slices_are_not_guessed(net, tiny_folder):
    files = study_files(tiny_folder / "BraTS20_Training_001", "brats2020")
    with pytest.raises(CaseError, match="no cubes"):
        predict_case(net, CARD | {"spacing": [0.75, 0.75, 12.0]}, files)
    with pytest.raises(ValueError, match="myops"):
        predict_case(net, CARD | {"spec": "myops"}, files)


def test_a_study_is_never_overwritten(net, tmp_path):
    folder = write_tiny_case(tmp_path, "Study")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    report = predict_folders(net, CARD, [folder], folder, progress=False)
    assert "--out" in report.failed[str(folder)]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


CODES = ["".join(choice) for order in itertools.permutations(("LR", "PA", "SI"))
         for choice in itertools.product(*order)]


@pytest.fixture(scope="module")
def study_in_lps(tmp_path_factory):
    """A study of two scans in LPS, and what is predicted for it."""
    folder = only(write_tiny_case(tmp_path_factory.mktemp("lps"), "Study"), tmp_path_factory.mktemp("two") / "Study",
                  "_flair", "_t1")
    card = CARD | {"spacing": [1.5] * 3}
    return folder, card, predict_case(Threshold(), card, study_files(folder, "brats2020"))


@pytest.mark.parametrize("codes", CODES)
def test_one_study_in_48_axis_orders_gives_the_same_voxels(study_in_lps, tmp_path, codes):
    folder, card, expected = study_in_lps
    (tmp_path / "Study").mkdir()

    def reoriented(image):
        return image.as_reoriented(nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))))

    for path in folder.iterdir():
        nib.save(reoriented(nib.load(path)), tmp_path / "Study" / path.name)
    files = study_files(tmp_path / "Study", "brats2020")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*holds .* litres")  # the study is tiny
        result = predict_case(Threshold(), card, files)
    assert expected.label.any() and result.volumes_ml == expected.volumes_ml
    written = nib.load(write_prediction(tmp_path / "out", result, files, card))
    scan = nib.load(files.images["FLAIR"])
    assert written.shape == scan.shape and np.array_equal(written.affine, scan.affine)
    wanted = reoriented(nib.Nifti1Image(np.array([0, 1, 2, 4], np.uint8)[expected.label], expected.affine))
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(wanted.dataobj))


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SLP", "AIR", "PSL", "IRA", "LSA"])
def test_a_heart_with_its_slices_along_any_axis_gives_the_same_voxels(tmp_path, codes):
    """The axis of the slices is found by the size of the voxels, and the segmentation has the axes of the file."""
    write_heart(tmp_path / "raw", 0, 0, HeartSettings(spacing=4.0))
    torch.manual_seed(0)
    options = {"width": 2, "levels": 2, "through_plane": False, "kernel_through": 1}
    net = build_network("baseline", MYOPS, **options).eval()
    card = CARD | {"network": "baseline", "network_options": options, "spec": "myops", "spacing": [4.0, 4.0, 14.0],
                   "window": [32, 32, 1]}
    expected = predict_case(net, card, study_files(tmp_path / "raw" / "train", "myops2020"), layout="myops2020")
    assert expected.label.any()

    def reoriented(image):
        return image.as_reoriented(nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(codes))))

    (tmp_path / "study").mkdir()
    for path in (tmp_path / "raw" / "train").iterdir():
        nib.save(reoriented(nib.load(path)), tmp_path / "study" / path.name)
    files = study_files(tmp_path / "study", "myops2020")
    result = predict_case(net, card, files, layout="myops2020")
    assert result.volumes_ml == expected.volumes_ml
    written = nib.load(write_prediction(tmp_path / "out", result, files, card, layout="myops2020"))
    scan = nib.load(files.images["C0"])
    assert written.shape == scan.shape and np.allclose(written.affine, scan.affine)
    values = np.array([0, 200, 500, 600, 1220, 2221], np.int16)[expected.label]
    wanted = reoriented(nib.Nifti1Image(values, expected.affine))
    assert np.array_equal(np.asarray(written.dataobj), np.asarray(wanted.dataobj))


def test_an_identity_affine_says_that_it_cannot_know(tmp_path):
    folder = write_tiny_case(tmp_path, "Study")
    for path in folder.iterdir():
        nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.eye(4)), path)
    with pytest.warns(UserWarning, match="does not tell where the axes point to"):
        result = predict_case(Threshold(), CARD, study_files(folder, "brats2020"))
    assert any("taken for LPS" in note for note in result.notes)


def test_where_names_are_unclear_predict_says_how_to_name_a_scan(tmp_path):
    folder = write_tiny_case(tmp_path, "Study")
    (folder / "Study_t1ce.nii.gz").rename(folder / "other_t1gd.nii.gz")
    (folder / "Study_t2.nii.gz").rename(folder / "other_t1c.nii.gz")
    with pytest.raises(CaseError, match=r"2 files that could be T1ce .*, or say it with --modality NAME=FILE"):
        study_files(folder, "brats2020")


def test_which_scan_is_which_is_said_and_a_person_may_correct_it(net, tmp_path, capsys):
    weights = save_weights(tmp_path / "w.safetensors", net, CARD)
    folder = write_tiny_case(tmp_path, "Study")
    (folder / "Study_t1ce.nii.gz").rename(folder / "Study_km.nii.gz")
    common = ["--weights", weights, "--device", "cpu"]
    assert main(arguments(*common, "--out", tmp_path / "a", folder)) == 0
    said = capsys.readouterr().out
    assert "FLAIR = Study_flair.nii.gz, T1ce missing, T1 = Study_t1.nii.gz" in said
    assert "not used: Study_km.nii.gz, Study_seg.nii.gz" in said
    summary = json.loads((tmp_path / "a" / "Study.json").read_text())
    assert summary["unused"] == ["Study_km.nii.gz", "Study_seg.nii.gz"]
    assert main(arguments(*common, "--out", tmp_path / "b", "--modality", "t1ce=Study_km.nii.gz", folder)) == 0
    assert "T1ce = Study_km.nii.gz" in capsys.readouterr().out
    assert json.loads((tmp_path / "b" / "Study.json").read_text())["files"]["T1ce"] == "Study_km.nii.gz"
    for wrong in (("--modality", "T1ce", folder), ("--modality", "T1ce=x", folder, folder)):
        with pytest.raises(ValueError, match="--modality"):
            main(arguments(*common, "--out", tmp_path / "c", *wrong))


def test_a_cohort_stands_for_its_studies(net, tmp_path):
    for name in ("A", "B"):
        write_tiny_case(tmp_path / "c", name)
    bad = write_tiny_case(tmp_path / "c", "C", modalities=("T1",))
    (bad / "C_t1.nii.gz").unlink()
    (bad / "C_t1.nii.gz").symlink_to(tmp_path / "nowhere")
    report = predict_folders(net, CARD, [tmp_path / "c"], tmp_path / "out", progress=False)
    assert sorted(report.written) == ["A", "B"]
    ((which, why),) = report.failed.items()
    assert which.endswith("c: C") and "not fetched" in why


def arguments(*words) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_line_goes_on_past_bad_studies(net, tiny_folder, tmp_path, capsys):
    weights = save_weights(tmp_path / "w.safetensors", net, CARD)
    good = tiny_folder / "BraTS20_Training_001"
    cut = only(tiny_folder / "BraTS20_Training_002", tmp_path / "cut", "_t1")
    (path,) = cut.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    twin = shutil.copytree(good, tmp_path / "twin" / good.name)
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    common = ("--weights", weights, "--device", "cpu")
    bad = [cut, empty, tmp_path / "nowhere", twin]
    assert main(arguments(*common, "--out", out, cut, good, empty, tmp_path / "nowhere", twin)) == 1
    error = capsys.readouterr().err
    assert "1 of 5 studies" in error and all(f"failed: {folder}" in error for folder in bad)
    assert path.name in error and "Traceback" not in error
    assert (out / f"{good.name}_seg.nii.gz").exists() and not list(out.glob(".*"))
    assert main(arguments(*common, "--out", tmp_path / "two", "--window", 8, good)) == 0
    assert "not a medical device" in capsys.readouterr().out


def test_a_clinical_study_with_all_scans_and_with_one(net, patient, tmp_path):
    """Random weights: the way through the files is tested, not the segmentation."""
    folder = patient
    card = CARD | {"spacing": [4.0] * 3}
    one = only(folder, tmp_path / folder.name, "_t1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = predict_folders(net, card, [folder], tmp_path / "all", progress=False)
        report_one = predict_folders(net, card, [one], tmp_path / "one", progress=False)
    assert not report.failed and not report_one.failed
    scan = nib.load(next(folder.glob("*_t1.nii.gz")))
    for out, modalities in (("all", 4), ("one", 1)):
        seg = nib.load(tmp_path / out / f"{folder.name}_seg.nii.gz")
        assert seg.shape == scan.shape and np.array_equal(seg.affine, scan.affine)
        assert set(np.unique(np.asarray(seg.dataobj))) <= {0, 1, 2, 4}
        assert len(list((tmp_path / out).glob("*_weights_*.nii.gz"))) == modalities
    summary = json.loads((tmp_path / "one" / f"{folder.name}.json").read_text())
    assert summary["modality_weights"] == {"T1": 1.0}
    assert summary["resampled_to_mm"] == pytest.approx([4, 4, 4], rel=0.02)


@pytest.mark.parametrize("window", ["0", "-1"])
def test_a_window_that_is_none_is_refused_at_once(net, tmp_path, window):
    weights = save_weights(tmp_path / "w.safetensors", net, CARD)
    with pytest.raises(ValueError, match="at least 1"):
        main(arguments("--weights", weights, "--device", "cpu", "--out", tmp_path / "o", "--window", window, tmp_path))
    assert not (tmp_path / "o").exists()
