"""The heart phantom: MyoPS 2020's files, same bytes from the same seed, and scans that show what they should show."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage as ndi
from tiny import load_script

from dmaf_lite.phantom.fields import Chance
from dmaf_lite.phantom.heart import acquisition, heart_cohort, heart_realism
from dmaf_lite.phantom.heart.heart_cohort import heart_files, write_heart_cohort
from dmaf_lite.phantom.heart.hearts import LABELS, MODALITIES, HeartSettings, make_heart, make_heart_case
from dmaf_lite.phantom.heart.infarct import Infarct, Injury, draw_injury
from dmaf_lite.phantom.heart.plane import PlaneGrid
from dmaf_lite.phantom.heart.sequences import SIGNAL, TISSUES, WALL
from dmaf_lite.phantom.heart.shape import Heart, Polar, draw_chambers, height_profile
from dmaf_lite.spec import MYOPS

COARSE = HeartSettings(spacing=4.0)
Cases = list[dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def cases() -> Cases:
    """Twenty-five cases, as many as MyoPS 2020 has, at 3 mm."""
    return [make_heart(0, index, HeartSettings(spacing=3.0)) for index in range(25)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three coarse cases on disk, made by two processes."""
    folder = tmp_path_factory.mktemp("hearts") / "cohort"
    report = write_heart_cohort(folder, count=3, seed=1, settings=COARSE, workers=2)
    assert report.written == [f"HeartPhantom_00{i}" for i in range(3)] and not report.failed
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- files ----------------------------------------------------------------------------------------

def test_files_are_those_of_myops2020(cohort: Path):
    names = {str(path.relative_to(cohort)) for path in cohort.rglob("*.nii.gz")}
    assert names == {f"train/HeartPhantom_00{i}_{end}.nii.gz" for i in range(3) for end in ("C0", "DE", "T2")} \
        | {f"train_gd/HeartPhantom_00{i}_gd.nii.gz" for i in range(3)}
    files = heart_files(cohort, 1)
    shapes = {nib.load(path).shape for path in files.values()}
    assert len(shapes) == 1 and shapes.pop()[:2] == (90, 90)
    label = nib.load(files["gd"])
    assert label.get_data_dtype() == np.int16  # 2221 does not fit into a byte
    assert set(np.unique(np.asarray(label.dataobj))) <= {0, 200, 500, 600, 1220, 2221}
    assert 12 <= label.header.get_zooms()[2] <= 23 and label.header.get_zooms()[:2] == (4, 4)


def test_bytes_do_not_depend_on_workers_or_on_what_else_is_made(cohort: Path, tmp_path: Path):
    write_heart_cohort(tmp_path, count=2, seed=1, settings=COARSE, workers=0)
    alone = digests(tmp_path)
    assert len(alone) == 9 and alone.items() <= digests(cohort).items()


def test_resume_makes_only_what_is_missing_and_a_full_disk_leaves_nothing_half(tmp_path, monkeypatch):
    write_heart_cohort(tmp_path, count=1, settings=COARSE, workers=0)
    before, real = digests(tmp_path), heart_cohort.write_nifti

    def full_disk(path: Path, *rest: object) -> None:
        if "_T2" in path.name:
            path.write_bytes(b"half")
            raise OSError("No space left on device")
        real(path, *rest)

    monkeypatch.setattr(heart_cohort, "write_nifti", full_disk)
    report = write_heart_cohort(tmp_path, count=2, settings=COARSE, workers=0)
    assert "No space left" in report.failed["HeartPhantom_001"] and digests(tmp_path) == before
    monkeypatch.undo()
    report = write_heart_cohort(tmp_path, count=2, settings=COARSE, workers=0)
    assert report.skipped == ["HeartPhantom_000"] and report.written == ["HeartPhantom_001"]
    assert before.items() <= digests(tmp_path).items() and len(digests(tmp_path)) == 9


def test_hearts_and_brains_or_two_seeds_are_not_mixed(cohort: Path, capsys: pytest.CaptureFixture):
    script = load_script("make_phantom")
    for arguments in (["--count", "1"], ["--kind", "heart", "--seed", "7", "--spacing", "4"]):
        before = digests(cohort)
        assert script.main([str(cohort), *arguments]) == 2
        assert "another phantom cohort" in capsys.readouterr().err and digests(cohort) == before
    assert script.main([str(cohort), "--kind", "heart", "--seed", "1", "--spacing", "4", "--count", "5",
                        "--dry-run"]) == 0
    assert "3 there already" in capsys.readouterr().out
    assert "synthetic" in json.loads((cohort / "phantom.json").read_text())["what"]


def test_a_case_in_memory_has_internal_labels():
    case, made = make_heart_case(1, 2, COARSE), make_heart(1, 2, COARSE)
    for name, value in LABELS.items():
        assert np.array_equal(case.label == MYOPS.classes.index(name), made["gd"] == value)
    assert tuple(case.images) == MYOPS.modalities and case.spacing[2] == pytest.approx(made["affine"][2, 2])


# ---- what is in a case ----------------------------------------------------------------------------

def test_another_seed_or_index_is_another_heart():
    one, again, index, seed = (make_heart(*key, COARSE) for key in ((0, 0), (0, 0), (0, 1), (1, 0)))
    for key in (*MODALITIES, "gd"):
        assert np.array_equal(one[key], again[key])
        assert one[key].shape != index[key].shape or not np.array_equal(one[key], index[key])
        assert one[key].shape != seed[key].shape or not np.array_equal(one[key], seed[key])


def test_the_same_seed_is_the_same_heart_at_every_spacing():
    fine, coarse = make_heart(0, 3, HeartSettings(spacing=2.0))["gd"], make_heart(0, 3, COARSE)["gd"]
    assert fine.shape[2] == coarse.shape[2]
    for values in ((500,), (600,), (200, 1220, 2221)):
        a = np.isin(fine, values).reshape(90, 2, 90, 2, -1).mean((1, 3)) > 0.5
        b = np.isin(coarse, values)
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.85, values


def test_volumes_and_thresholds_are_those_of_real_hearts(cases: Cases):
    assert heart_realism.faults(cases) == []


def test_the_realism_check_sees_what_is_wrong(cases: Cases):
    swapped = [{**case, "LGE": case["T2"], "T2": case["LGE"]} for case in cases]
    assert any(text.startswith("scar: threshold") for text in heart_realism.faults(swapped))
    same = heart_realism.faults([cases[3]] * 25)  # no spread at all
    assert any(" to " in text and text.startswith("scar") for text in same)
    small = [{**case, "affine": case["affine"] @ np.diag([0.5, 0.5, 1, 1])} for case in cases]
    assert any(text.startswith("LV: quartiles") for text in heart_realism.faults(small))


def test_scar_lies_in_the_wall_at_the_cavity_and_the_wall_is_a_ring(cases: Cases):
    for case in cases:
        gd = case["gd"]
        assert set(np.unique(gd)) == {0, *LABELS.values()}, "every class in every case, as in MyoPS 2020"
        for k in range(gd.shape[2]):
            lv, wall = gd[..., k] == 500, np.isin(gd[..., k], (200, 1220, 2221))
            assert lv.any()
            grown = ndi.binary_dilation(lv, iterations=1)
            assert not (grown & ~lv & ~wall).any(), "nothing but wall touches the left cavity"
        scar = gd == 2221
        touching = ndi.binary_dilation(gd == 500, structure=np.ones((3, 3, 1)), iterations=2) & scar
        assert touching.any(), "a scar begins at the endocardium"


def test_slices_follow_the_real_numbers(cases: Cases):
    numbers = [Heart.draw(Chance(0, index)).slices for index in range(400)]
    assert set(numbers) == {2, 3, 4, 5, 6} and 0.33 < np.mean(np.array(numbers) == 3) < 0.47
    for index in range(50):
        heart = Heart.draw(Chance(0, index))
        assert 12 <= heart.gap <= 23 and heart.heights[-1] > 0, "no slice below the apex"


def test_the_left_ventricle_follows_the_measured_mean_shape():
    """Radii of a published mean shape at five heights, its length scaled to 95 mm (spec myops, section 4.2)."""
    radii = [22.8 * height_profile(t) for t in (0.21, 0.37, 0.53, 0.68, 0.84)]
    assert np.allclose(radii, [17.4, 20.4, 22.6, 22.5, 18.5], rtol=0.06)


def test_oedema_holds_scar_and_scar_holds_core():
    grid, seen = PlaneGrid(2.0), 0
    for index in range(12):
        chance = Chance(3, index)
        fields = {name: grid.field(chance, name, size) for name, size in (("fine", 14), ("lumps", 22), ("coarse", 60))}
        heart, infarcts = Heart.draw(chance), Infarct.draw_all(chance)
        polar = Polar.of(heart, grid, infarcts[0].middle, np.zeros(2), 1.0, fields["lumps"])
        chambers = draw_chambers(heart, polar, np.ones_like(polar.phi), fields)
        injury: Injury = draw_injury(infarcts, polar, chambers, fields)
        assert not (injury.scar & ~injury.oedema).any() and not (injury.core & ~injury.scar).any()
        assert not (injury.oedema & ~chambers.ring).any() and injury.scar.any()
        assert not (chambers.lv & chambers.ring).any() and not (chambers.rv & (chambers.ring | chambers.lv)).any()
        seen += injury.core.any()
    assert seen, "some infarct has a dark core"


# ---- the scanner ----------------------------------------------------------------------------------

def test_scans_are_shifted_against_the_label_and_lge_is_not():
    motion = acquisition.Motion.draw(6, Chance(0, 0), misregistration=1.0)
    assert not motion.left_over["LGE"].any() and motion.left_over["C0"].std() > 0.3
    assert motion.squeeze["LGE"] == 1 and motion.squeeze["T2"] != 1
    still = acquisition.Motion.draw(6, Chance(0, 0), misregistration=0.0)
    assert np.array_equal(still.walk, motion.walk) and not still.left_over["T2"].any()


def test_dark_rim_and_ghosts_come_where_they_should():
    grid, chance = PlaneGrid(2.0), Chance(0, 0)
    fields = {name: grid.field(chance, name, 20) for name in ("fine", "coarse", "lumps")}
    heart = Heart.draw(chance)
    polar = Polar.of(heart, grid, 0.5, np.zeros(2), 1.0, fields["lumps"])
    chambers = draw_chambers(heart, polar, np.ones_like(polar.phi), fields)
    rims = [acquisition.dark_rim(chambers, "LGE", Chance(1, index)) for index in range(60)]
    dark = [rim for rim in rims if not isinstance(rim, float)]
    assert 0.2 < len(dark) / 60 < 0.6
    assert all((rim[~chambers.ring] == 1).all() and rim[chambers.ring].min() < 0.95 for rim in dark)
    assert acquisition.dark_rim(chambers, "T2", chance) == 1.0
    signal = np.ones((grid.n, grid.n), np.float32)
    ghosts = [acquisition.ghost(signal, chambers.ring, "T2", np.random.default_rng(i)) for i in range(60)]
    seen = [image for image in ghosts if image is not signal]
    assert 0.05 < len(seen) / 60 < 0.4 and all(image.max() > 1 and image.min() == 1 for image in seen)


def test_scar_is_bright_on_lge_only_and_oedema_on_t2():
    excess = {m: dict(zip(TISSUES, np.array(values) - values[WALL], strict=True)) for m, values in SIGNAL.items()}
    assert excess["LGE"]["scar"] > 5 * excess["LGE"]["oedema"] > 0
    assert excess["T2"]["oedema"] > 0.3 and abs(excess["C0"]["scar"]) < 0.05 > abs(excess["C0"]["oedema"])


def test_fields_are_standard_and_the_same_at_every_spacing():
    fine, coarse = (PlaneGrid(s).field(Chance(3, 4), "test", 40) for s in (2.0, 4.0))
    assert 0.8 < fine.std() < 1.2
    assert np.corrcoef(fine.reshape(90, 2, 90, 2).mean((1, 3)).ravel(), coarse.ravel())[0, 1] > 0.99


def test_settings_out_of_range_are_refused():
    for options in ({"spacing": 5.0}, {"spacing": 0.2}, {"misregistration": -1.0}):
        with pytest.raises(ValueError, match="expected"):
            HeartSettings(**options)
