"""Studies as bytes: the same voxels, whatever order the file has; letters and warnings that are true."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from widget_cases import AFFINE, FRONT, LEFT, SHAPE, TOP, quick_answer, small_study

from dmaf_lite.figures.planes import to_lps
from dmaf_lite.spec import BRATS, MYOPS
from dmaf_lite.widgets import Study, on_grid_of
from dmaf_lite.widgets.scene import Scene, answer_bytes, cohort_table, key_of, mask_of, scene_bytes, unpack
from dmaf_lite.widgets.static import warning_for

CODES = ["LPS", "RAS", "PSR", "LAS"]


def turned(study: Study, codes: str) -> Study:
    """The same patient in a file whose axes have another order."""
    turn = nib.orientations.ornt_transform(nib.io_orientation(study.affine), nib.orientations.axcodes2ornt(codes))
    def move(array):
        return np.ascontiguousarray(nib.orientations.apply_orientation(array, turn))
    affine = study.affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    return replace(study, images={m: move(i) for m, i in study.images.items()}, label=move(study.label), affine=affine)


@pytest.mark.parametrize("codes", CODES)
def test_any_order_of_axes_gives_the_same_scene(codes):
    first, other = (unpack(scene_bytes(Scene.of(s))) for s in (small_study(), turned(small_study(), codes)))
    assert nib.aff2axcodes(turned(small_study(), codes).affine) == tuple(codes)
    for name, volume in first[1].items():
        assert np.array_equal(other[1][name], volume), name
    assert first[0]["start"] == other[0]["start"] and first[0]["letters"]["axial"] == ["R", "L", "A", "P"]
    assert any(codes in note for note in other[0]["notes"]) == (codes != "LPS")


@pytest.mark.parametrize("codes", CODES)
def test_a_voxel_of_the_scene_is_told_by_the_index_of_its_file(codes):
    study = turned(small_study(), codes)
    frame = Scene.of(study)
    (at,) = np.argwhere(frame.crop(study.label) == 3)  # the only voxel of ET
    index = (frame.to_file @ [*at, 1])[:3].round().astype(int)
    assert study.label[tuple(index)] == 3
    mm = (study.affine @ [*index, 1])[:3]
    assert mm == pytest.approx(nib.affines.apply_affine(AFFINE, (LEFT, FRONT, TOP)))


def test_bytes_are_the_scan_to_half_a_grey_and_nothing_outside():
    study = small_study()
    frame = Scene.of(study)
    header, volumes = unpack(scene_bytes(frame))
    for name, image in study.images.items():
        shown, greys = frame.crop(image), volumes[f"scan/{name}"].astype(float)
        low, high = header["ranges"][name]
        assert np.array_equal(greys == 0, shown == 0)
        value = low + (greys - 1) / 254 * (high - low)
        inside = (shown > low) & (shown < high)
        assert inside.mean() > 0.2 and np.abs(value - shown)[inside].max() <= 0.51 * (high - low) / 254
        dark, bright = header["windows"][name]
        assert 1 <= dark < bright <= 255
    assert np.array_equal(volumes["reference"], frame.crop(study.label))


def test_only_the_head_is_sent_and_a_large_study_in_fewer_voxels():
    study = small_study()
    wide = replace(study, images={m: np.pad(i, 9) for m, i in study.images.items()}, label=np.pad(study.label, 9))
    assert all(n <= least + 4 for n, least in zip(Scene.of(wide).shape, SHAPE, strict=True)), "a margin of two voxels"
    shown = Scene.of(wide).crop(wide.label)
    assert np.array_equal(shown[shown > 0], study.label[study.label > 0])
    frame = Scene.of(study)
    small = Scene.of(study, most=1500)
    assert small.stride == 2 and np.prod(small.shape) <= 1500
    assert small.spacing == pytest.approx([2 * s for s in frame.spacing])
    assert any("every 2. voxel" in note for note in unpack(scene_bytes(small))[0]["notes"])
    head = small.crop(study.images["T1"])
    assert head.shape == small.shape and (head != 0).any()


def test_the_grid_of_the_network_lies_where_it_is():
    rng = np.random.default_rng(0)
    label = np.zeros((24, 30, 20), np.uint8)
    label[8:16, 10:20, 6:14] = rng.integers(1, 4, (8, 10, 8))
    images = {m: np.where(label > 0, 50.0, rng.uniform(1, 9, label.shape)).astype(np.float32) for m in BRATS.modalities}
    study = Study("grid", BRATS, images, label, np.diag([-1.5, -1.5, 1.5, 1.0]))
    seen = on_grid_of(study, {"spec": "brats", "spacing": [3.0] * 3, "window": [8, 8, 8]})
    frame = Scene.of(study)
    seen_label = frame.sample(to_lps(seen.label, seen.affine), frame.place_of(seen))
    assert seen_label.shape == frame.shape
    shown = frame.crop(study.label)
    overlap = 2 * ((seen_label > 0) & (shown > 0)).sum() / ((seen_label > 0).sum() + (shown > 0).sum())
    assert overlap > 0.9, "the coarse label lies over the fine one, within half a voxel"
    same = frame.sample(to_lps(study.label, study.affine), frame.place_of(study))
    assert np.array_equal(same, shown), "on the study's own grid, voxel by voxel"


def test_thick_slices_show_the_plane_with_the_fine_pixels_first():
    assert Scene.of(small_study()).planes == ["axial", "coronal", "sagittal"]  # edges of 1, 2 and 3 mm: 1.5 times
    heart = replace(small_study(), affine=np.diag([-1.2, -9.0, 1.2, 1.0]))
    assert Scene.of(heart).planes == ["coronal", "axial", "sagittal"]
    assert Scene.of(heart).spacing == pytest.approx((1.2, 9.0, 1.2))


def test_what_is_not_known_is_not_claimed():
    header, _ = unpack(scene_bytes(Scene.of(replace(small_study(), oriented=False))))
    assert set(header["letters"]["axial"]) == {"?"}
    assert header["names"]["axial"] == "plane 1 (directions unknown)" and len(set(header["names"].values())) == 3
    known, _ = unpack(scene_bytes(Scene.of(small_study())))
    assert known["names"] == {plane: plane for plane in ("axial", "coronal", "sagittal")}
    assert any("left and right are not known" in note for note in header["notes"])
    angle = np.radians(20)
    tilt = np.array([[np.cos(angle), -np.sin(angle), 0, 0], [np.sin(angle), np.cos(angle), 0, 0], [0, 0, 1, 0],
                     [0, 0, 0, 1.0]])
    header, _ = unpack(scene_bytes(Scene.of(replace(small_study(), affine=tilt @ AFFINE))))
    assert any("oblique, 20°" in note for note in header["notes"])
    assert not any("oblique" in note for note in unpack(scene_bytes(Scene.of(small_study())))[0]["notes"])


def test_a_patient_has_a_banner_and_a_phantom_none():
    patient, _ = unpack(scene_bytes(Scene.of(small_study())))
    phantom, _ = unpack(scene_bytes(Scene.of(replace(small_study(), synthetic=True))))
    assert "not a medical device" in patient["banner"] and "phantoms only" in patient["banner"]
    assert phantom["banner"] == "" and "(synthetic)" in phantom["title"]


@pytest.mark.parametrize(("layout", "known"), [("phantom", False), ("heart_phantom", False), ("nonsense", False),
                                               ("brats2020", True)])
def test_what_the_weights_know_is_told(layout, known):
    words = warning_for({"layout": layout})
    assert "not a medical device" in words and ("phantoms only" in words) != known


def test_an_answer_as_bytes():
    frame, answer = Scene.of(small_study()), quick_answer((True, False, True, True))
    header, volumes = unpack(answer_bytes((True, False, True, True), answer, frame.place_of(small_study()), BRATS))
    assert header["key"] == "1011" and mask_of("1011") == (True, False, True, True) == mask_of(key_of((1, 0, 1, 1)))
    assert np.array_equal(volumes["label"], answer.label) and np.array_equal(volumes["confidence"], answer.confidence)
    assert set(volumes) == {"label", "confidence", "weight/FLAIR", "weight/T1", "weight/T2"}, "none of what is missing"
    mask = (True, False, True, True)
    _, maps = unpack(answer_bytes(mask, answer, frame.place_of(small_study()), BRATS, small=True))
    assert np.array_equal(maps["label"], answer.label), "labels are never thinned"
    assert maps["confidence"].size < answer.confidence.size / 7
    assert np.abs(maps["confidence"].astype(int) - answer.confidence[::2, ::2, ::2]).max() <= 4


def test_what_a_new_patient_may_expect_comes_from_the_card():
    names = {BRATS.subset_name(m): {"WT": sum(m) / 4, "TC": 0.5, "ET": 0.25, "ET_post": 1} for m in BRATS.subsets()}
    table = cohort_table({"dice": names, "test_cases": 12, "data": "brain phantom (synthetic); says nothing"}, BRATS)
    assert len(table["table"]) == 15 and table["table"]["1010"] == {"WT": 0.5, "TC": 0.5, "ET": 0.25}
    assert table["source"] == "mean of 12 test cases, brain phantom (synthetic)"
    chosen = {"dice": names, "test_cases": 8, "data": "8 phantoms (synthetic, seed 1), used to choose; says nothing"}
    assert cohort_table(chosen, BRATS)["source"] == "mean of 8 test cases, 8 phantoms (synthetic, seed 1)"
    assert cohort_table({}, BRATS) is None and cohort_table(None, MYOPS) is None


def test_hearts_have_a_colour_for_every_class():
    images = {m: small_study().images["T1"] for m in MYOPS.modalities}
    header, _ = unpack(scene_bytes(Scene.of(Study("heart", MYOPS, images, None, AFFINE))))
    assert len(header["class_colours"]) == len(MYOPS.classes) == len(set(header["class_colours"]))
    assert "reference" not in header["arrays"]
