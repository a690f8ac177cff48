"""Changes of each scan by itself: repeatable, the background stays background, every kind of change does its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dmaf_lite.data.augmentation import AugmentationSettings, apply, draw
from dmaf_lite.data.scan_augmentation import ScanChange, blur, change_scans, draw_scans, hashed_noise

NOTHING = ScanChange(blur=np.zeros((2, 3), np.float32), gamma=np.ones(2, np.float32),
                     bias=np.zeros((2, 3, 3, 3), np.float32), gain=np.ones(2, np.float32),
                     shift=np.zeros(2, np.float32), noise=np.zeros(2, np.float32), seed=1)


@pytest.fixture
def scans() -> torch.Tensor:
    """Two z-scored scans with background around."""
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 16, 18, 14)).astype(np.float32))
    images[:, :3], images[:, :, -4:] = 0, 0
    return images


def test_no_change_changes_nothing(scans):
    torch.testing.assert_close(change_scans(NOTHING, scans), scans, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_change_can_be_repeated_and_leaves_the_background(scans, strength):
    for seed in range(5):
        first, again = (change_scans(draw_scans(np.random.default_rng(seed), 2, strength), scans) for _ in range(2))
        assert torch.equal(first, again) and torch.isfinite(first).all()
        assert torch.equal(first == 0, scans == 0) and not torch.equal(first, scans)


@pytest.mark.parametrize("field,value", [("blur", np.ones((2, 3))), ("gamma", [1.3, 1.0]), ("gain", [2.0, 1.0]),
                                         ("shift", [0.5, 0.0]), ("noise", [0.2, 0.0])])
def test_each_kind_of_change_does_its_own(scans, field, value):
    changed = change_scans(replace(NOTHING, **{field: np.asarray(value, np.float32)}), scans)
    inside = scans[0] != 0
    before, after = scans[0][inside], changed[0][inside]
    if field == "blur":
        assert after.std() < 0.6 * before.std()
    elif field == "noise":
        assert 0.15 < (after - before).std() < 0.25
    elif field == "gamma":
        order = torch.argsort(before)
        usual = before[order] < 4
        assert (torch.diff(after[order])[usual[1:]] >= -1e-5).all(), "gamma keeps the order of grey values"
    else:
        torch.testing.assert_close(after, before * 2 if field == "gain" else before + 0.5)


def test_an_edge_does_not_fade_when_it_is_blurred():
    flat = torch.zeros(1, 20, 20, 20)
    flat[:, 5:15, 5:15, 5:15] = 2.0
    change = replace(NOTHING, blur=np.full((2, 3), 1.2, np.float32))
    torch.testing.assert_close(change_scans(change, flat.repeat(2, 1, 1, 1))[:1], flat, atol=1e-4, rtol=0)


def test_the_blur_is_a_gaussian():
    volume = np.zeros((1, 21, 21, 21), np.float32)
    volume[0, 8:12, 10, 9:13] = 1
    ours = blur(torch.from_numpy(volume), np.array([[0.8, 1.1, 0.5]]))[0].numpy()
    np.testing.assert_allclose(ours, gaussian_filter(volume[0], (0.8, 1.1, 0.5), truncate=8), atol=2e-3)


def test_the_noise_is_standard_and_white():
    noise = hashed_noise((32, 32, 32), 7, torch.device("cpu"))
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02 and noise.abs().max() < 3.5
    for axis in range(3):
        assert abs((noise * noise.roll(1, axis)).mean()) < 0.02
    other = hashed_noise((32, 32, 32), 8, torch.device("cpu"))
    assert abs((noise * other).mean()) < 0.02 and not torch.equal(noise, other)


def test_half_strength_is_weaker_and_seldom():
    def drawn(strength):
        return [draw_scans(np.random.default_rng(seed), 4, strength) for seed in range(150)]

    half, full = drawn(0.5), drawn(1.0)
    for name in ("noise", "blur"):
        weak, strong = (np.array([getattr(c, name).max() for c in changes]) for changes in (half, full))
        assert weak.mean() < 0.7 * strong.mean() and (weak > 0).mean() < (strong > 0).mean()
    assert 0.4 < np.std([c.gain for c in half]) / np.std([c.gain for c in full]) < 0.6


def test_it_does_not_change_what_else_is_drawn():
    off, on = (draw(np.random.default_rng(3), 4, AugmentationSettings(scans=s)) for s in (0.0, 0.5))
    assert off.scans is None and on.scans is not None
    assert off.flips == on.flips and np.array_equal(off.gain, on.gain) and off.angle == on.angle
    images = torch.ones(4, 8, 8, 8)
    assert not torch.equal(apply(on, images, images[0])[0], apply(off, images, images[0])[0])
    with pytest.raises(ValueError, match="scans"):
        AugmentationSettings(scans=-1)
