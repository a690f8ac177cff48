"""Changes of a crop: repeatable, the same for images and label, and the background stays background."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from dmaf_lite.data.augmentation import PLANES, AugmentationSettings, apply, draw, rotate

STRONG = AugmentationSettings(rotation=10.0)


def crop(seed=1):
    rng = np.random.default_rng(seed)
    label = torch.from_numpy(rng.integers(0, 4, (4, 5, 6)))
    return label.float().expand(4, -1, -1, -1).clone(), label


def test_a_change_can_be_repeated_and_moves_images_and_label_together():
    images, label = crop()
    changes = [draw(np.random.default_rng(9), 4, STRONG) for _ in range(2)]
    first, moved = apply(changes[0], images, label)
    again, _ = apply(changes[1], images, label)
    assert torch.equal(first, again) and moved.dtype == label.dtype
    assert torch.equal(first[0] != 0, moved > 0)  # the background stays exactly 0
    for m in range(4):
        expected = torch.where(moved > 0, moved * changes[0].gain[m] + changes[0].shift[m], 0)
        torch.testing.assert_close(first[m], expected, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_without_strength_nothing_changes():
    change = draw(np.random.default_rng(0), 2, AugmentationSettings(flip=0, gain=0, shift=0))
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32))
    assert torch.equal(apply(change, images, images[0])[0], images)


def test_the_rotation_does_not_change_what_else_is_drawn():
    with_it, without = (draw(np.random.default_rng(5), 4, s) for s in (STRONG, AugmentationSettings()))
    assert with_it.flips == without.flips and np.array_equal(with_it.gain, without.gain)
    assert with_it.angle != 0 and without.angle == 0


@pytest.mark.parametrize("plane", PLANES)
def test_a_quarter_turn_is_exact(plane):
    cube = torch.from_numpy(np.random.default_rng(2).normal(size=(2, 6, 6, 6)).astype(np.float32))
    axes = [axis + 1 for axis in plane]
    turned = rotate(cube, plane, 90)
    assert torch.equal(turned, torch.rot90(cube, 1, axes)) or torch.equal(turned, torch.rot90(cube, -1, axes))
    torch.testing.assert_close(rotate(turned, plane, -90), cube)


@pytest.mark.parametrize("plane", PLANES)
def test_rotation_equals_scipy(plane):
    """Nearest neighbour about the centre, not only for cubes; scipy turns the other way round."""
    volume = scipy.ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(20, 24, 30)), 2).astype(np.float32)
    ours = rotate(torch.from_numpy(volume)[None], plane, 8.0)[0].numpy()
    theirs = min((scipy.ndimage.rotate(volume, angle, axes=plane, reshape=False, order=0, mode="constant")
                  for angle in (8.0, -8.0)), key=lambda other: np.abs(other - ours).mean())
    inside = np.s_[4:-4, 4:-4, 4:-4]  # scipy ends a volume at the centres of its last voxels, torch at their borders
    assert (ours == theirs)[inside].mean() > 0.99  # the rest lies just between two voxels


def test_the_label_moves_exactly_as_the_images_do():
    """A crop large enough for a turn of a few degrees, and every kind of change at once: an image that *is* the label
    stays it."""
    blocks = np.kron(np.random.default_rng(4).integers(0, 4, (6, 7, 8)), np.ones((4, 4, 4), int))
    label = torch.from_numpy(blocks)
    images = label.float().expand(2, -1, -1, -1)
    settings = AugmentationSettings(flip=0.5, gain=0, shift=0, rotation=10.0)
    turned = set()
    for seed in range(30):
        change = draw(np.random.default_rng(seed), 2, settings)
        got, moved = apply(change, images, label)
        assert torch.equal(got[0], moved.float()) and torch.equal(got[1], moved.float())
        if abs(change.angle) > 3:
            unturned = label.flip(change.flips)
            assert (moved != unturned).any() and (moved == unturned).float().mean() > 0.3
            turned.add(change.plane)
    assert turned == set(PLANES)


def test_each_strength_changes_the_result():
    images, label = crop()
    images, label = images.repeat(1, 4, 4, 4), label.repeat(4, 4, 4)

    def result(**more):
        change = draw(np.random.default_rng(9), 4, AugmentationSettings(**({"flip": 0, "gain": 0, "shift": 0} | more)))
        return apply(change, images, label)[0]

    plain = result()
    for other in ({"flip": 1.0}, {"gain": 0.3}, {"shift": 0.3}, {"rotation": 20.0}):
        assert not torch.equal(result(**other), plain), other
