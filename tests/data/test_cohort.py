"""A prepared cohort: what is known about a case, and crops that are read by themselves."""

import json
import mmap
import pickle
import shutil
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_images

from dmaf_lite.data.case import CaseError, load_case, normalise_case
from dmaf_lite.data.cohort import LAYOUTS, Cohort, files_in_folder, prepare_cohort
from dmaf_lite.data.stored_case import ask_for

FULL, HALF = "BraTS20_Training_002", "BraTS20_Training_004"


def test_names_layout_and_availability(tiny_cohort):
    assert tiny_cohort.names == [f"BraTS20_Training_{i:03d}" for i in range(1, 5)] and len(tiny_cohort) == 4
    assert tiny_cohort.layout is LAYOUTS["brats2020"] and tiny_cohort.spec.name == "brats"
    assert tiny_cohort.available(FULL).tolist() == [True] * 4
    assert tiny_cohort.available(HALF).tolist() == [True, True, False, False]
    assert tiny_cohort.available(HALF).dtype == bool


def test_the_whole_case_is_what_normalise_case_gives(tiny_cohort, tiny_folder):
    normal = normalise_case(load_case(files_in_folder(tiny_folder / FULL, "brats2020"),
                                      labels=LAYOUTS["brats2020"].labels), minimum=16)
    images, label = tiny_cohort.read(FULL)
    assert images.dtype == np.float32 and label.dtype == np.uint8
    assert (images == np.stack(list(normal.images.values()))).all() and (label == normal.label).all()
    assert label.max() == 3, "labels are internal"


def test_meta_leads_back_to_the_original_grid(tiny_cohort):
    meta = tiny_cohort.meta(FULL)
    assert meta["shape"] == tuple(b - a for a, b in meta["box"]) and meta["original_shape"] == (24, 28, 20)
    assert meta["modalities"] == ["FLAIR", "T1ce", "T1", "T2"] and meta["classes"] == [1, 2, 3]
    assert (tiny_cohort.to_original(FULL, tiny_cohort.read(FULL)[1]) == tiny_images(2)[1]).all()
    start = [a for a, _ in meta["box"]]
    np.testing.assert_allclose(meta["affine"] @ [0, 0, 0, 1], meta["original_affine"] @ [*start, 1])


def test_foreground_voxels_lie_in_their_class(tiny_cohort):
    _, label = tiny_cohort.read(FULL)
    for internal, voxels in tiny_cohort.meta(FULL)["foreground"].items():
        assert voxels.shape[1] == 3 and 0 < len(voxels) <= 512
        assert (label[tuple(voxels.T)] == internal).all()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_crop_is_that_part_of_the_padded_case(tiny_cohort, data):
    name = data.draw(st.sampled_from(tiny_cohort.names))
    start = data.draw(st.tuples(*[st.integers(-20, 30)] * 3))
    size = data.draw(st.tuples(*[st.integers(1, 20)] * 3))
    available = tiny_cohort.available(name) & np.array(data.draw(st.tuples(*[st.booleans()] * 4)))
    whole, mask = tiny_cohort.read(name)
    images, label = tiny_cohort.read(name, start, size, available)
    window = tuple(slice(s + 50, s + 50 + n) for s, n in zip(start, size, strict=True))
    expected = np.pad(whole, [(0, 0)] + [(50, 50)] * 3)[(slice(None), *window)] * available[:, None, None, None]
    assert images.dtype == np.float32 and label.dtype == np.uint8
    assert (images == expected).all() and (label == np.pad(mask, 50)[window]).all()


def big_case(tmp_path, side=160):
    """A store of one case with four 16 MB arrays, written without going through NIfTI."""
    out = tmp_path / "big"
    (out / "x").mkdir(parents=True)
    (out / "cohort.json").write_text(json.dumps({"format": 1, "layout": "brats2020"}))
    array = np.arange(side**3, dtype=np.float32).reshape(side, side, side)
    for name in ("FLAIR", "T1ce", "T1", "T2"):
        np.save(out / "x" / f"{name}.npy", array)
    np.save(out / "x" / "label.npy", np.zeros(array.shape, np.uint8))
    meta = {"shape": array.shape, "modalities": ["FLAIR", "T1ce", "T1", "T2"], "labelled": True, "foreground": {},
            "label_outside": {}, "spacing": [1, 1, 1], "affine": [], "grid_shape": [], "original_shape": [],
            "original_affine": []}
    (out / "x" / "case.json").write_text(json.dumps(meta))
    return Cohort(out), array


def test_a_crop_is_read_without_reading_the_case(tmp_path):
    cohort, array = big_case(tmp_path)
    cohort.read("x", (0, 0, 0), (8, 8, 8))
    tracemalloc.start()
    images, _ = cohort.read("x", (100, 90, 80), (32, 32, 32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (images[3] == array[100:132, 90:122, 80:112]).all()
    assert peak < 2 * images.nbytes < array.nbytes / 10, f"{peak} bytes were allocated for {images.nbytes}"
    times = []
    for i in range(7):
        start = time.perf_counter()
        cohort.read("x", (10 * i, 90, 80), (32, 32, 32))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02, "a 32^3 crop takes well under 5 ms on an idle machine"


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="this system takes no advice")
def test_the_planes_of_a_crop_are_asked_for_before_they_are_read(tmp_path):
    told = []

    class Pages(mmap.mmap):
        def madvise(self, option, start, length):
            told.append((option, start, start + length))

    plane, path = 64 * 64 * 4, tmp_path / "a.npy"
    np.save(path, np.zeros((12, 64, 64), np.float32))
    with path.open("rb") as file:
        pages = Pages(file.fileno(), 0, access=mmap.ACCESS_READ)
    array = np.ndarray((12, 64, 64), np.float32, buffer=pages, offset=len(pages) - 12 * plane)
    for first, last in ((2, 5), (0, 12), (7, 7), (12, 12)):
        ask_for(array, slice(first, last))
    header = len(pages) - 12 * plane
    assert [(option, stop) for option, _, stop in told] == [(mmap.MADV_WILLNEED, header + n * plane) for n in (5, 12)]
    assert all(start % mmap.PAGESIZE == 0 and 0 <= header + n * plane - start < mmap.PAGESIZE
               for (_, start, _), n in zip(told, (2, 0), strict=True))
    ask_for(np.zeros((3, 3, 3)), slice(0, 2))
    ask_for(np.ndarray(array.shape, np.float32, buffer=pages, offset=header, order="F"), slice(0, 2))
    assert len(told) == 2, "in memory already; planes that do not lie together"


def test_reading_asks_for_the_crop_of_what_is_read(tiny_cohort, monkeypatch):
    asked = []
    monkeypatch.setattr("dmaf_lite.data.stored_case.ask_for", lambda array, planes: asked.append((array.dtype, planes)))
    name = next(n for n in tiny_cohort.names if tiny_cohort.meta(n)["labelled"] and tiny_cohort.available(n).sum() > 1)
    one = np.zeros_like(tiny_cohort.available(name))
    one[np.flatnonzero(tiny_cohort.available(name))[0]] = True
    tiny_cohort.read(name, (1, 0, 0), (2, 3, 3), one)
    assert asked == [(np.float32, slice(1, 3)), (np.uint8, slice(1, 3))]


def test_modalities_that_are_not_asked_for_are_not_opened(tmp_path):
    cohort, _ = big_case(tmp_path, 16)
    (cohort.folder / "x" / "T1.npy").write_bytes(b"nothing")
    images, _ = cohort.read("x", (0, 0, 0), (4, 4, 4), (True, True, False, True))
    assert images[0].any() and (images[2] == 0).all()
    with pytest.raises(CaseError, match=r"T1\.npy: found a damaged or missing array"):
        cohort.read("x")


def test_a_stored_array_is_never_unpickled(tmp_path):
    cohort, _ = big_case(tmp_path, 16)
    np.save(cohort.folder / "x" / "T2.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CaseError, match=r"T2\.npy"):
        cohort.read("x")


def test_asking_for_a_modality_that_does_not_exist_is_an_error(tiny_cohort):
    with pytest.raises(ValueError, match=r"BraTS20_Training_004.*it has \['FLAIR', 'T1ce'\]"):
        tiny_cohort.read(HALF, available=(True, False, True, False))
    with pytest.raises(ValueError, match="asked for"):
        tiny_cohort.read(FULL, available=(True, True))


def test_a_case_without_a_label_has_none(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder / FULL, tmp_path / "c" / FULL)
    (tmp_path / "c" / FULL / f"{FULL}_seg.nii.gz").unlink()
    prepare_cohort(tmp_path / "c", tmp_path / "s", layout="brats2020", workers=0)
    cohort = Cohort(tmp_path / "s")
    assert cohort.read(FULL)[1] is None and cohort.meta(FULL)["foreground"] == {} and not cohort.meta(FULL)["labelled"]


def test_half_cases_and_hidden_folders_are_not_listed(tiny_cohort, tmp_path):
    shutil.copytree(tiny_cohort.folder, tmp_path / "s")
    (tmp_path / "s" / FULL / "case.json").unlink()
    (tmp_path / "s" / HALF).rename(tmp_path / "s" / f".{HALF}.0.partial")
    assert Cohort(tmp_path / "s").names == ["BraTS20_Training_001", "BraTS20_Training_003"]


def test_what_is_no_store_is_refused(tmp_path, tiny_cohort):
    with pytest.raises(CaseError, match="no prepared cohort"):
        Cohort(tmp_path)
    (tmp_path / "cohort.json").write_text(json.dumps({"format": 1, "layout": "brats2020"}))
    with pytest.raises(CaseError, match="no prepared case"):
        Cohort(tmp_path)
    (tmp_path / "cohort.json").write_text(json.dumps({"format": 99, "layout": "brats2020"}))
    with pytest.raises(CaseError, match="format 99"):
        Cohort(tmp_path)
    with pytest.raises(CaseError, match="no prepared case of this name"):
        tiny_cohort.meta("nobody")


def test_a_cohort_travels_to_worker_processes(tiny_cohort):
    again = pickle.loads(pickle.dumps(tiny_cohort))
    assert (again.read(FULL)[0] == tiny_cohort.read(FULL)[0]).all()


def test_a_clinical_study_is_prepared_without_a_warning(patient, tmp_path):
    report = prepare_cohort(patient.parent, tmp_path, layout="brats2020", workers=0)
    assert report.prepared == [patient.name] and not report.warnings
    images, label = Cohort(tmp_path).read(patient.name, (10, 12, 8), (32, 32, 24))
    assert np.isfinite(images).all() and images.shape == (4, 32, 32, 24) and label.shape == (32, 32, 24)
    assert all(abs(image[image != 0].mean()) < 1 for image in images)
