"""A study on a shelf has the values of one in memory, and takes the room of one scan."""

import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from dmaf_lite.data.case import CaseFiles, load_case
from dmaf_lite.data.shelf import Scans, Shelf, shape_of
from dmaf_lite.spec import BRATS


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "<f4", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_shelf_keeps_values_and_kind(dtype, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 200, (5, 6, 7)), dtype=dtype, order=order)
    shelf = Shelf()
    kept = shelf.put(array)
    assert kept.dtype == array.dtype and np.array_equal(kept, array)
    shelf.tidy()
    assert np.array_equal(kept, array), "and again after its memory was given back"


@pytest.mark.parametrize("dtype", ["f8", "i4", "u4"])
def test_wide_numbers_are_kept_as_the_float32_that_they_will_be(dtype):
    array = np.random.default_rng(0).normal(1e6, 1e5, (5, 6, 7)).astype(dtype)
    assert np.array_equal(Shelf().put(array), array.astype(np.float32))


def test_an_array_is_changed_before_it_is_put_down():
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    array.flags.writeable = False

    def change(whole):
        whole[whole < 5] = 0

    assert np.array_equal(Shelf(change).put(array), np.where(array < 5, 0, array))


def test_a_scan_is_a_new_array_each_time():
    shelf = Shelf()
    scans = Scans(shelf, {"T1": shelf.put(np.ones((2, 3, 4), np.int16))})
    scans["T1"][:] = 5
    assert scans["T1"].dtype == np.float32 and (scans["T1"] == 1).all()
    assert "T1" in scans and "T2" not in scans and len(scans) == 1 and shape_of(scans) == (2, 3, 4)


def test_reading_to_a_shelf_holds_less_than_reading_to_memory(tmp_path):
    rng, n = np.random.default_rng(0), 64
    files = CaseFiles("large", {m: tmp_path / f"{m}.nii" for m in BRATS.modalities})
    for path in files.images.values():
        nib.save(nib.Nifti1Image(rng.integers(0, 900, (n, n, n), dtype=np.int16), np.diag([-1.0, -1, 1, 1])), path)

    def held(shelf):
        tracemalloc.start()
        case = load_case(files, labels={0: 0}, shelf=shelf)
        images = {name: case.images[name].mean() for name in case.images}
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return images, now / (4 * n**3), most / (4 * n**3)  # in scans of float32

    memory, disk = held(None), held(Shelf())
    assert memory[0] == disk[0]
    assert memory[1] > 4, "all four stay"
    assert disk[1] < 0.2 and disk[2] < 2, "none stays, and never two at once"


def test_every_scan_that_is_read_is_told(tmp_path, tiny_folder):
    from dmaf_lite.data.cohort import layout_of
    from dmaf_lite.data.finding import one_case

    layout, told = layout_of("phantom"), []
    files = one_case(sorted(p for p in tiny_folder.iterdir() if p.is_dir())[0], layout)
    load_case(files, spec=layout.spec, labels=layout.labels, progress=lambda read, of: told.append((read, of)))
    assert told == [(i + 1, len(files.images)) for i in range(len(files.images))]
