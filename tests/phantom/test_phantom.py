"""The phantom: same bytes from the same seed, BraTS2020's files, and modalities as unequal as in patients."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage as ndi

from dmaf_lite import phantom
from dmaf_lite.data.case import load_case
from dmaf_lite.data.cohort import LAYOUTS, find_cases
from dmaf_lite.phantom import fields
from dmaf_lite.phantom.brain import anatomy, tumour
from dmaf_lite.phantom.brain import recipe as brain
from dmaf_lite.phantom.brain.realism import EXPECTED_RANGES, threshold_dice, yardstick
from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain, make_brain_case, write_brain_cohort

COARSE = BrainSettings(spacing=4.0)
MODALITIES = ("FLAIR", "T1ce", "T1", "T2")


@pytest.fixture(scope="module")
def cases() -> list[dict[str, np.ndarray]]:
    """Sixteen cases at the lessons' spacing."""
    return [make_brain(0, index) for index in range(16)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three coarse cases on disk, made by two processes."""
    folder = tmp_path_factory.mktemp("phantom") / "cohort"
    report = write_brain_cohort(folder, count=3, seed=1, settings=COARSE, workers=2)
    assert report.written == ["Phantom_000", "Phantom_001", "Phantom_002"] and not report.failed
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> hash of every file."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- files ----------------------------------------------------------------------------------------

def test_files_are_those_of_brats2020(cohort: Path):
    assert sorted(p.name for p in (cohort / "Phantom_001").iterdir()) == [
        f"Phantom_001_{part}.nii.gz" for part in ("flair", "seg", "t1", "t1ce", "t2")]
    for part, dtype in (("flair", np.int16), ("t1ce", np.int16), ("seg", np.uint8)):
        image = nib.load(cohort / "Phantom_001" / f"Phantom_001_{part}.nii.gz")
        assert image.get_data_dtype() == dtype and image.shape == (60, 60, 39)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == (4, 4, 4)
        assert image.header["qform_code"] == image.header["sform_code"] == 1


def test_bytes_do_not_depend_on_workers_count_or_what_else_is_made(cohort: Path, tmp_path: Path):
    write_brain_cohort(tmp_path / "one", count=2, seed=1, settings=COARSE, workers=0)
    alone = digests(tmp_path / "one")
    assert len(alone) == 11 and alone.items() <= digests(cohort).items()


def test_gzip_header_has_no_time_and_no_name(cohort: Path):
    header = (cohort / "Phantom_000" / "Phantom_000_t2.nii.gz").read_bytes()[:10]
    assert header[3] == 0 and header[4:8] == bytes(4)  # flags (file name, comment) and time stamp


def test_another_seed_or_index_is_another_brain():
    first, other = make_brain(0, 0, COARSE), make_brain(0, 1, COARSE)
    fields._knots.cache_clear()
    again, reseeded = make_brain(0, 0, COARSE), make_brain(1, 0, COARSE)
    for key in (*MODALITIES, "seg"):
        assert np.array_equal(first[key], again[key])
        assert not np.array_equal(first[key], other[key]) and not np.array_equal(first[key], reseeded[key])


def test_resume_makes_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_brain_cohort(tmp_path, count=1, settings=COARSE, workers=0)
    before = digests(tmp_path)
    (tmp_path / ".Phantom_001.partial").mkdir()  # what a killed run leaves
    (tmp_path / ".Phantom_001.partial" / "half.nii.gz").write_bytes(b"half")
    report = write_brain_cohort(tmp_path, count=2, settings=COARSE, workers=0)
    assert report.skipped == ["Phantom_000"] and report.written == ["Phantom_001"]
    after = digests(tmp_path)
    assert before.items() <= after.items() and not any("half" in name or "partial" in name for name in after)


def test_a_killed_case_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real, calls = brain.write_nifti, []

    def full_disk(path: Path, *rest: object) -> None:
        calls.append(path)
        if path.name == "Phantom_000_t1.nii.gz":
            raise OSError("No space left on device")
        real(path, *rest)

    monkeypatch.setattr(brain, "write_nifti", full_disk)
    report = write_brain_cohort(tmp_path, count=2, settings=COARSE, workers=0)
    assert list(report.failed) == ["Phantom_000"] and "No space left" in report.failed["Phantom_000"]
    assert report.written == ["Phantom_001"], "the batch goes on"
    assert not (tmp_path / "Phantom_000").exists() and calls
    assert "1 failed" in str(report) and "Phantom_000" in str(report)


def test_cohorts_of_different_seeds_or_settings_are_not_mixed(cohort: Path):
    before = digests(cohort)
    for seed, other in ((2, COARSE), (1, replace(COARSE, wobble=0.0))):
        with pytest.raises(ValueError, match="another phantom cohort") as error:
            write_brain_cohort(cohort, count=1, seed=seed, settings=other, workers=0)
        assert "phantom.json" in str(error.value) and "expected" in str(error.value)
    assert digests(cohort) == before
    assert "synthetic" in json.loads((cohort / "phantom.json").read_text())["what"]


def test_the_kit_reads_what_the_phantom_writes(cohort: Path):
    layout = LAYOUTS["phantom"]
    found = find_cases(cohort, layout)
    assert [files.name for files in found] == ["Phantom_000", "Phantom_001", "Phantom_002"]
    loaded, made = load_case(found[2], labels=layout.labels), make_brain_case(1, 2, COARSE)
    assert loaded.name == made.name and loaded.spacing == made.spacing
    assert np.array_equal(loaded.label, made.label) and np.array_equal(loaded.affine, made.affine)
    for modality in MODALITIES:
        assert np.array_equal(loaded.images[modality], made.images[modality])


# ---- space and chance -----------------------------------------------------------------------------

def test_at_1_mm_the_grid_is_that_of_brats2020():
    grid = fields.Grid.field_of_view(1.0)
    assert grid.full == (240, 240, 155)
    assert np.array_equal(grid.affine(), [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("spacing", [1.0, 1.5, 2.0, 3.0, 4.0])
def test_the_field_of_view_keeps_its_centre(spacing: float):
    grid = fields.Grid.field_of_view(spacing)
    centre = grid.affine() @ [*((np.array(grid.full) - 1) / 2), 1]
    assert np.allclose(centre[:3], [-119.5, 119.5, 77])
    assert np.allclose(np.array(grid.full) * spacing, fields.FIELD_OF_VIEW, atol=spacing / 2 + 1e-9)


def test_fields_are_standard_and_the_same_at_every_spacing():
    chance = fields.Chance(3, 4)
    fine, coarse = fields.Grid.field_of_view(2.0), fields.Grid.field_of_view(4.0)
    a, b = (chance.field("test", grid, 30, octaves=2) for grid in (fine, coarse))
    assert abs(a.mean()) < 0.15 and 0.85 < a.std() < 1.1
    # Voxel i of the coarse grid lies between voxels 2i and 2i+1 of the fine one along x and y; z is symmetric too.
    halves = a.reshape(60, 2, 60, 2, 39, 2).mean((1, 3, 5))
    assert np.corrcoef(halves.ravel(), b.ravel())[0, 1] > 0.99
    box = fine.cover((-30, -20, -10), (25, 40, 30))
    assert np.allclose(chance.field("test", box, 30, octaves=2), a[box.slices_in(fine)], atol=1e-5)
    assert not np.allclose(chance.field("other", coarse, 30), chance.field("test", coarse, 30))


def test_the_same_seed_is_the_same_head_at_every_spacing():
    fine, coarse = make_brain(0, 3, BrainSettings(spacing=2.0)), make_brain(0, 3, COARSE)
    for name in ("brain", "tumour"):
        a, b = ((case["T1"] if name == "brain" else case["seg"]) > 0 for case in (fine, coarse))
        a = a.reshape(60, 2, 60, 2, 39, 2).mean((1, 3, 5)) > 0.5
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85, name


# ---- what is in a case ----------------------------------------------------------------------------

def test_a_case_is_a_skull_stripped_brain_with_a_labelled_tumour(cases: list[dict[str, np.ndarray]]):
    for case in cases:
        masks = [case[modality] > 0 for modality in MODALITIES]
        assert case["seg"].shape == (80, 80, 52) and set(np.unique(case["seg"])) <= {0, 1, 2, 4}
        assert all(case[m].dtype == np.int16 and case[m].min() == 0 for m in MODALITIES)
        assert all(np.array_equal(mask, masks[0]) for mask in masks)
        assert 950 < masks[0].sum() * 0.027 < 1800, "brain in cm3"
        assert 8 < (case["seg"] > 0).sum() * 0.027 < 260, "tumour in cm3"
        components, _ = ndi.label(masks[0])
        assert np.bincount(components.ravel())[1:].max() > 0.98 * masks[0].sum(), "one brain"


def test_cases_differ_as_patients_and_sites_do(cases: list[dict[str, np.ndarray]]):
    enhancing = [int((case["seg"] == 4).sum()) for case in cases]
    assert 1 <= sum(volume == 0 for volume in enhancing) <= 6, "about one in six has no enhancing tumour"
    volumes = 0.027 * np.array([volume for volume in enhancing if volume])
    assert 5 < np.median(volumes) < 40, "ET in cm3"
    grey = [np.median(case["T1"][case["T1"] > 0]) for case in cases]
    assert max(grey) / min(grey) > 6, "scanners differ about 13-fold in scale"
    outside = [int(((case["seg"] > 0) & (case["T1"] == 0)).sum()) for case in cases]
    assert max(outside) > 0, "some labels leak out of the brain mask, as in real files"
    parts = []
    for case in cases:
        components, _ = ndi.label(np.isin(case["seg"], (1, 4)))
        parts.append(sum(np.bincount(components.ravel())[1:] * 0.027 > 0.5))  # of half a cm3 or more
    assert 1 <= sum(count > 1 for count in parts) <= 8, "some tumours have several foci"


def test_switches_do_what_they_say():
    never, always = (replace(COARSE, without_enhancement=share) for share in (0.0, 1.0))
    assert (make_brain(0, 5, never)["seg"] == 4).any(), "case 5 does not enhance by itself"
    assert not (make_brain(0, 0, always)["seg"] == 4).any()
    steady, shaky = (make_brain(0, 1, replace(COARSE, wobble=wobble)) for wobble in (0.0, 3.0))
    assert not np.array_equal(steady["seg"], shaky["seg"]) and np.array_equal(steady["T2"], shaky["T2"])
    for bad in ({"spacing": 0.0}, {"spacing": 9.0}, {"without_enhancement": 1.2}, {"wobble": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            BrainSettings(**bad)


def test_tissue_fractions_sum_to_one_and_the_tumour_pushes_outwards():
    chance = fields.Chance(0, 0)
    head = anatomy.Head.draw(chance)
    grid = head.box(fields.Grid.field_of_view(4.0))
    tissue = anatomy.make_anatomy(grid, chance, head)
    whole = tissue.csf + tissue.grey + tissue.white
    assert np.allclose(whole[tissue.brain], 1, atol=1e-5) and not whole[~tissue.brain].any()
    focus = tumour.Focus(centre=np.array([20.0, 0, 0]), radius=20.0, axes=np.ones(3), rim=6.0, pressure=0.3)
    push = tumour.mass_effect(grid, (focus,))
    for k, x in enumerate(grid.mesh()):
        side = np.sign(np.broadcast_to(x - focus.centre[k], grid.shape))
        assert (push[k] * side >= 0).all() and 3 < np.abs(push[k]).max() <= 6.01


def test_oedema_keeps_out_of_fluid_and_prefers_white_matter():
    chance = fields.Chance(0, 0)
    head = anatomy.Head.draw(chance)
    plan = brain.plan_tumour(chance, head, BrainSettings())
    tissue = anatomy.make_anatomy(plan.plan, chance, head, tumour.mass_effect(plan.plan, plan.foci))
    lesion = tumour.make_lesion(plan.plan, tissue, chance, plan)
    assert (lesion.whole <= 1 + 1e-5).all() and all((part >= 0).all() for part in vars(lesion).values())
    drowned = lesion.oedema[tissue.csf > 0.9].sum()
    assert drowned < 0.01 * lesion.oedema.sum()
    assert np.average(tissue.white, weights=lesion.oedema) > 1.3 * tissue.white[tissue.brain].mean()


# ---- realism --------------------------------------------------------------------------------------

def test_modalities_are_as_unequal_as_in_patients(cases: list[dict[str, np.ndarray]]):
    median = {key: np.nanmedian(dice) for key, dice in yardstick(cases).items()}
    for key, (low, high) in EXPECTED_RANGES.items():
        assert low <= median[key] <= high, (key, median[key])
    best = {region: max(MODALITIES, key=lambda m, region=region: median[region, m]) for region in ("WT", "ET")}
    assert best == {"WT": "FLAIR", "ET": "T1ce"}  # TC: no threshold keeps a bright rim and its dark core; see below
    assert sorted(MODALITIES, key=lambda m: median["WT", m])[-2] == "T2"
    assert max(median.values()) < 0.97, "nothing is trivial"


def test_only_t1ce_tells_the_core_from_the_oedema(cases: list[dict[str, np.ndarray]]):
    """Area under the ROC curve between necrosis and oedema, enhancing cases only: 0.5 is a coin, 1 is certainty."""
    seen = {modality: [] for modality in MODALITIES}
    for case in cases:
        if (case["seg"] == 4).any() and (case["seg"] == 1).sum() > 50:
            for modality in MODALITIES:
                core, oedema = (case[modality][case["seg"] == label].astype(float) for label in (1, 2))
                area = (core[:, None] < oedema[None]).mean() + 0.5 * (core[:, None] == oedema[None]).mean()
                seen[modality].append(max(area, 1 - area))
    assert np.median(seen["T1ce"]) > 0.82
    assert all(np.median(seen[modality]) < 0.75 for modality in ("FLAIR", "T1", "T2"))


@settings(max_examples=60)
@given(npst.arrays(np.int16, 24, elements=st.integers(0, 6)), npst.arrays(bool, 24))
def test_threshold_dice_is_the_best_over_all_thresholds(image: np.ndarray, region: np.ndarray):
    found = threshold_dice(image, region)
    if not region.any():
        assert np.isnan(found)
        return
    candidates = [2 * ((image > t) & region).sum() / ((image > t).sum() + region.sum()) for t in range(0, 7)]
    assert found == pytest.approx(max(candidates))


def test_threshold_dice_refuses_different_shapes():
    with pytest.raises(ValueError, match="same shape"):
        threshold_dice(np.zeros((2, 2)), np.zeros((2, 3), bool))


# ---- package and command line ---------------------------------------------------------------------

def test_the_base_ships_with_its_notice():
    folder = Path(phantom.__file__).parent / "data"
    assert "McConnell Brain Imaging Centre" in (folder / "NOTICE.txt").read_text(encoding="utf-8")
    base = anatomy.load_base()
    assert base.grey.shape == base.white.shape == base.depth.shape
    assert 1500 < (base.depth > 0).sum() * 8 / 1000 < 2200, "the average brain in cm3"


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = Path(__file__).parents[2] / "data_scripts" / "make_phantom.py"
    spec = importlib.util.spec_from_file_location("make_phantom", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    arguments = [str(tmp_path / "out"), "--count", "2", "--spacing", "4", "--workers", "0"]
    assert script.main([*arguments, "--dry-run"]) == 0
    assert "2 synthetic brains" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert script.main(arguments) == 0
    assert "2 synthetic cases written, 0 were there" in capsys.readouterr().out
    assert gzip.decompress((tmp_path / "out/Phantom_001/Phantom_001_seg.nii.gz").read_bytes())[344:348] == b"n+1\x00"
    assert script.main([*arguments, "--seed", "7"]) == 2
    assert "another phantom cohort" in capsys.readouterr().err
