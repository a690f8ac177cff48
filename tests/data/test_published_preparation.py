"""The public code's preparation, against its steps written out for one study at a time."""

import numpy as np
import pytest
from tiny import load_script, lps_affine, tiny_images, write_tiny_case

from dmaf_lite.data.case import Case, CaseError, load_case, normalise_case
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.finding import files_in_folder
from dmaf_lite.data.layouts import LAYOUTS
from dmaf_lite.data.published_preparation import published_box, standardise_together

NAMES = ("FLAIR", "T1ce", "T1", "T2")


def by_steps(stack: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Section 1.1 of the specification, number by number: [4, X, Y, Z] -> borders of the box, z-scored crop."""
    borders = []
    for axis in range(3):
        largest = stack.max(0)
        indices = [i for i in range(largest.shape[axis]) if (np.take(largest, i, axis) != 0).any()]
        low, high = indices[0], indices[-1]
        extent = high - low
        if extent < 128:
            k = (128 - extent) // 2
            low, high = low - k, high + k + 1
        if low < 0:
            low, high = 0, high - low
        borders.append((low, high))
    crop = stack[:, borders[0][0]: borders[0][1], borders[1][0]: borders[1][1], borders[2][0]: borders[2][1]]
    support = crop.sum(0) > 0
    result = np.stack([(x - x[support].mean()) / x[support].std() for x in crop])
    return borders, result


@pytest.mark.parametrize("first, size", [((5, 9, 3), (140, 131, 129)), ((60, 2, 10), (20, 30, 133))])
def test_box_and_values_are_those_of_the_public_code(first, size):
    rng = np.random.default_rng(0)
    stack = np.zeros((4, 170, 150, 145))
    inside = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))
    stack[(slice(None), *inside)] = rng.normal(100, 20, (4, *size)) * np.array([1, 2, 3, 4])[:, None, None, None]
    stack[:, 65:70, 15:20, 50:60] = 0  # not of the support
    stack = stack.astype(np.float32)
    images = dict(zip(NAMES, stack, strict=True))
    borders, expected = by_steps(stack.astype(np.float64))
    box = published_box(images)
    cut = [(a, min(b, n)) for (a, b), n in zip(borders, stack.shape[1:], strict=True)]
    assert [(s.start, s.stop) for s in box] == cut
    found, support, intensity = standardise_together({name: image[box] for name, image in images.items()})
    np.testing.assert_allclose(np.stack(list(found.values())), expected, atol=2e-4)
    outside = ~support
    assert outside.any()
    for name, image in found.items():
        mean, deviation = intensity[name]
        assert np.allclose(image[outside], -mean / deviation, atol=1e-4) and abs(image[support].mean()) < 1e-3


def test_a_scan_looks_different_beside_others_only_in_this_preparation():
    images, label = tiny_images()
    images["T1"][:12] = 0  # T1 saw half of the head
    whole = Case("x", images, label, lps_affine(), (1.0, 1.0, 1.0))
    alone = Case("x", {"T1": images["T1"]}, label, lps_affine(), (1.0, 1.0, 1.0))
    own, published = ([normalise_case(case, preparation=form).intensity["T1"] for case in (whole, alone)]
                      for form in ("own", "published"))
    assert own[0] == own[1] and published[0] != published[1]


def test_the_store_says_how_it_was_prepared_and_is_never_mixed(tmp_path):
    write_tiny_case(tmp_path / "raw", "BraTS20_Training_001")
    options = {"layout": "brats2020", "workers": 0}
    assert not prepare_cohort(tmp_path / "raw", tmp_path / "p", preparation="published", **options).failed
    store = Cohort(tmp_path / "p")
    assert store.preparation == "published" and (store.read(store.names[0])[0] != 0).mean() > 0.99
    with pytest.raises(ValueError, match=r"preparation published \(asked: own\)"):
        prepare_cohort(tmp_path / "raw", tmp_path / "p", **options)
    prepare_cohort(tmp_path / "raw", tmp_path / "own", **options)
    # A store of an earlier version does not say it: it is the kit's own.
    path = tmp_path / "own" / "cohort.json"
    path.write_text(path.read_text().replace(',\n "preparation": "own"', ""))
    assert Cohort(tmp_path / "own").preparation == "own"
    with pytest.raises(ValueError, match=r"preparation own \(asked: published\)"):
        prepare_cohort(tmp_path / "raw", tmp_path / "own", preparation="published", **options)


def test_stacks_are_refused_before_anything_is_written(tmp_path, capsys):
    write_tiny_case(tmp_path / "raw", "myops_training_101", "myops2020")
    with pytest.raises(ValueError, match="whole brains"):
        prepare_cohort(tmp_path / "raw", tmp_path / "out", layout="myops2020", preparation="published")
    assert not (tmp_path / "out").exists()
    words = [str(tmp_path / "raw"), str(tmp_path / "out"), "--layout", "myops2020", "--published"]
    assert load_script("prepare_cohort").main(words) == 2
    said = capsys.readouterr().err
    assert "(--published)" in said and said.count("\n") == 1 and not (tmp_path / "out").exists()


def test_what_cannot_be_prepared_so_is_refused(tmp_path):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_001")
    case = load_case(files_in_folder(folder, "brats2020"), labels=LAYOUTS["brats2020"].labels)
    with pytest.raises(ValueError, match="whole brains"):
        normalise_case(case, stack=True, preparation="published")
    case.images["T2"][...] = 7
    with pytest.raises(CaseError, match="no contrast"):
        normalise_case(case, preparation="published")
