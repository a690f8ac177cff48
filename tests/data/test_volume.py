"""Pure functions on one array."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import lps_affine, tiny_images

from dmaf_lite.data import volume
from dmaf_lite.data.volume import (
    any_foreground,
    background_value,
    bounding_box,
    crop_to,
    foreground,
    overlap,
    paste,
    resample,
    resampled_grid,
    spread,
    zscore,
)

SIZES = st.tuples(*[st.integers(1, 12)] * 3)


def test_negative_voxels_belong_to_the_brain():
    image = np.zeros((9, 9, 9), np.int16)
    image[2:7, 2:7, 2:7] = np.arange(125).reshape(5, 5, 5) - 60
    expected = np.zeros((9, 9, 9), bool)
    expected[2:7, 2:7, 2:7] = image[2:7, 2:7, 2:7] != 0
    assert (foreground(image) == expected).all() and foreground(image)[2, 2, 2]


@pytest.mark.parametrize("background", [-7, 0, 3, -1024.5])
def test_any_constant_around_the_head_is_background(background):
    head = tiny_images()[0]["FLAIR"] != 0
    image = np.where(head, tiny_images()[0]["FLAIR"].astype(np.float32), np.float32(background))
    assert background_value(image) == background
    assert (foreground(image) == head).all()
    assert (zscore(image)[~head] == 0).all()


def test_a_brain_cut_off_by_the_field_of_view_keeps_its_background():
    images, _ = tiny_images()
    cut = images["T2"][:, 10:, 4:]
    assert background_value(cut) == 0 and (foreground(cut) == (cut != 0)).all()
    assert foreground(cut)[:, 0].any(), "the cut must go through the head"


def test_a_volume_without_background_is_all_foreground():
    image = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    assert background_value(image) is None and foreground(image).all()


def test_any_foreground_is_where_any_modality_differs():
    a, b = np.zeros((2, 6, 6, 6))
    a[2, 2, 2], b[4, 4, 4] = 5, -5
    assert np.argwhere(any_foreground({"FLAIR": a, "T2": b})).tolist() == [[2, 2, 2], [4, 4, 4]]
    with pytest.raises(ValueError, match="at least one"):
        any_foreground({})


@given(st.floats(0.1, 20), st.floats(-500, 500), st.integers(0, 5))
@settings(max_examples=25)
def test_zscore_takes_out_gain_and_offset(gain, offset, seed):
    image = tiny_images(seed)[0]["T1"].astype(np.float64)
    head = image != 0
    once, again = zscore(image), zscore(np.where(head, gain * image + offset, -9999.0))
    assert abs(once[head].mean()) < 1e-4 and abs(once[head].std() - 1) < 1e-4 and (once[~head] == 0).all()
    np.testing.assert_allclose(once, again, atol=2e-4)


def test_zscore_without_contrast_is_refused():
    image = np.zeros((6, 6, 6))
    image[2:4, 2:4, 2:4] = 7
    with pytest.raises(ValueError, match="no contrast"):
        zscore(image)


@given(SIZES, st.integers(1, 16), st.data())
def test_bounding_box_holds_the_mask_and_the_minimum_inside_the_volume(shape, minimum, data):
    mask = np.zeros(shape, bool)
    for _ in range(data.draw(st.integers(1, 4))):
        mask[tuple(data.draw(st.integers(0, n - 1)) for n in shape)] = True
    box = bounding_box(mask, minimum)
    assert crop_to(mask, box).sum() == mask.sum()
    for axis, (part, length) in enumerate(zip(box, shape, strict=True)):
        extent = np.ptp(np.argwhere(mask)[:, axis]) + 1
        assert 0 <= part.start and part.stop <= length
        assert part.stop - part.start == max(extent, min(minimum, length))


def test_bounding_box_of_nothing_is_refused():
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros((3, 3, 3), bool))


@given(SIZES, st.data())
def test_paste_undoes_crop(shape, data):
    whole = np.arange(1, np.prod(shape) + 1).reshape(shape)
    box = tuple(slice(a, data.draw(st.integers(a + 1, n)))
                for n in shape for a in [data.draw(st.integers(0, n - 1))])
    back = paste(crop_to(whole, box), box, shape)
    inside = paste(np.ones_like(crop_to(whole, box)), box, shape) == 1
    assert (back[inside] == whole[inside]).all() and (back[~inside] == 0).all()


@given(SIZES, st.data())
def test_overlap_gives_the_zero_padded_crop(shape, data):
    start = tuple(data.draw(st.integers(-15, 15)) for _ in shape)
    size = tuple(data.draw(st.integers(1, 14)) for _ in shape)
    whole = np.arange(1, np.prod(shape) + 1).reshape(shape)
    inside, within = overlap(start, size, shape)
    crop = np.zeros(size, int)
    crop[within] = whole[inside]
    padded = np.pad(whole, 30)
    assert (crop == padded[tuple(slice(s + 30, s + 30 + n) for s, n in zip(start, size, strict=True))]).all()


@given(st.integers(0, 400), st.integers(1, 60))
def test_spread_takes_true_voxels_from_end_to_end(count, most):
    mask = np.zeros((10, 8, 5), bool)
    mask.flat[np.random.default_rng(count).permutation(400)[:count]] = True
    points = spread(mask, most)
    assert len(points) == len(set(points.tolist())) == min(count, most) and mask.flat[points].all()
    if count > 1 and most > 1:
        assert points[0] == np.flatnonzero(mask)[0] and points[-1] == np.flatnonzero(mask)[-1]


def test_resampling_keeps_a_linear_ramp_in_place_and_labels_whole():
    affine = lps_affine(1.0, (24, 30, 18))
    shape, moved = resampled_grid((24, 30, 18), affine, 3.0)
    assert shape == (8, 10, 6)
    ramp = np.broadcast_to(np.arange(24, dtype=np.float32)[:, None, None], (24, 30, 18))
    coarse = resample(ramp, shape, order=1)
    # The mm position of voxel i must carry the value of the ramp at that position.
    for i in range(1, 7):  # the outer voxels are means over what lies inside the volume
        millimetres = moved @ [i, 0, 0, 1]
        assert coarse[i, 3, 3] == pytest.approx((np.linalg.inv(affine) @ millimetres)[0], abs=1e-5)
    label = np.random.default_rng(0).choice([0, 1, 3], (24, 30, 18)).astype(np.uint8)
    assert set(np.unique(resample(label, (17, 21, 30), order=0))) <= {0, 1, 3}
    assert (resample(resample(label, (48, 60, 36), 0), (24, 30, 18), 0) == label).all()


def test_a_coarser_grid_is_low_passed_and_an_edge_keeps_its_brightness():
    """Noise of one voxel is averaged away as by a thicker slice; the mean of a plateau is its value up to its edge."""
    noise = np.random.default_rng(0).normal(size=(48, 48, 48)).astype(np.float32)
    points, smooth = noise[1::3, 1::3, 1::3], resample(noise, (16, 16, 16), order=1)
    assert points.std() > 0.95 and smooth[2:-2, 2:-2, 2:-2].std() < 0.35
    inside = np.zeros((48, 48, 48), bool)
    inside[10:38, 7:41, 12:33] = True
    plateau = resample(np.where(inside, np.float32(7), np.float32(0)), (16, 16, 16), 1, inside)
    kept = resample(inside, (16, 16, 16), order=0)
    np.testing.assert_allclose(plateau[kept], 7, rtol=1e-5)
    assert not plateau[:2].any(), "far from the plateau there is nothing"


def test_a_finer_grid_is_plain_linear_interpolation():
    from scipy.ndimage import zoom

    image = np.random.default_rng(1).normal(size=(9, 10, 11)).astype(np.float32)
    np.testing.assert_allclose(resample(image, (18, 20, 22), order=1),
                               zoom(image, 2, order=1, mode="nearest", grid_mode=True), atol=1e-5)


def test_the_low_pass_agrees_with_filtering_and_sampling_one_after_the_other():
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(2).normal(size=(30, 24, 27)).astype(np.float32)
    expected = gaussian_filter(image, np.sqrt((9 - 1) / 12), truncate=3)[1::3, 1::3, 1::3]
    np.testing.assert_allclose(resample(image, (10, 8, 9), 1)[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=1e-5)


def test_a_large_volume_is_resampled_a_slab_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    image = np.asfortranarray(rng.normal(size=(96, 96, 96)).astype(np.float32))  # as a NIfTI's axes run
    inside = image > 0
    tracemalloc.start()
    sampled = resample(image, (40, 30, 24), order=1, inside=inside)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * image.nbytes, "several copies of 512^3 would fill the memory"
    monkeypatch.setattr(volume, "SLAB", 1000)
    assert np.array_equal(resample(image, (40, 30, 24), order=1, inside=inside), sampled), "to the last digit"
