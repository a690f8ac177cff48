"""Networks for stacks of thick slices: what is not mixed through the plane, and which kernels nnU-Net's rule gives."""

from __future__ import annotations

import pytest
import torch

from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.nn.dmaf_net import DmafNetSettings
from dmaf_lite.objectives.segmentation import LabelStats, segmentation_loss
from dmaf_lite.spec import MYOPS, OUTSIDE

FLAT = {"dmaf_net": {"through_plane": False, "kernel_through": 1, "width": 4, "levels": 3, "depth": 1},
        "baseline": {"through_plane": False, "kernel_through": 1, "width": 4, "levels": 3},
        "rfnet": {"through_plane": False, "width": 4},
        "mmformer": {"through_plane": False, "width": 4, "grid": 2, "token_width": 16, "heads": 2, "hidden": 16}}


def test_the_rule_of_nnunet_gives_flat_kernels_where_slices_are_far_apart():
    def through(anisotropy: float, **options) -> list[int]:
        settings = DmafNetSettings(through_plane=False, anisotropy=anisotropy, **options)
        assert all(kernel[:2] == (3, 3) for kernel in settings.kernels)
        return [kernel[2] for kernel in settings.kernels]

    assert through(14 / 1.5) == [1, 1, 1, 3], "at 1.5 mm and 14 mm only the deepest level mixes slices"
    assert through(7) == [1, 1, 3, 3] and through(1) == [3, 3, 3, 3] and through(2) == [3, 3, 3, 3]
    assert through(7, kernel_through=3) == [3] * 4 and through(1, kernel_through=1) == [1] * 4
    assert [k[2] for k in DmafNetSettings(anisotropy=4).kernels] == [1] * 4, "strided alike, a voxel keeps its shape"
    with pytest.raises(ValueError, match="anisotropy"):
        DmafNetSettings(anisotropy=0)


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_network_takes_one_slice(name: str):
    torch.manual_seed(0)
    net = build_network(name, MYOPS, **FLAT[name]).eval()
    images, available = torch.randn(2, 3, 32, 32, 1), torch.tensor([[True, True, False], [False, False, True]])
    assert net.stride[2] == 1 and net(images, available).logits.shape == (2, 6, 32, 32, 1)
    objective = build_objective("dmaf", MYOPS, net, missing_rates=[0.3, 0.5, 0.7], total_steps=2)
    assert objective.classes == 6


@pytest.mark.parametrize("name", ["baseline", "rfnet"])
def test_convolutions_of_a_flat_network_do_not_mix_slices(name: str):
    torch.manual_seed(0)
    encoder = build_network(name, MYOPS, **FLAT[name]).encoders[0]
    for module in encoder.modules():
        if isinstance(module, torch.nn.Conv3d):
            assert module.kernel_size[2] == 1 and module.stride[2] == 1
    level = encoder.levels[0].enter
    x = torch.randn(1, 1, 8, 8, 3)
    other = x.clone()
    other[..., 2] += 1
    if isinstance(level, torch.nn.Conv3d):
        a, b = level(x), level(other)
        assert torch.equal(a[..., :2], b[..., :2]) and not torch.equal(a[..., 2], b[..., 2])


def test_what_lies_outside_changes_no_loss():
    torch.manual_seed(0)
    inside, label = torch.randn(2, 6, 8, 8, 3), torch.randint(0, 6, (2, 8, 8, 3))
    logits = torch.cat([inside, 9 * torch.randn(2, 6, 8, 8, 2)], -1).requires_grad_()
    padded = torch.cat([label, torch.full((2, 8, 8, 2), OUTSIDE)], -1)
    for weighting in ("none", "rarity"):
        plain = segmentation_loss(inside, LabelStats.of(label, 6, weighting=weighting), smooth=1.0)
        marked = segmentation_loss(logits, LabelStats.of(padded, 6, weighting=weighting, padded=True), smooth=1.0)
        torch.testing.assert_close(marked, plain)
    marked.sum().backward()
    assert not logits.grad[..., 3:].any() and logits.grad[..., :3].any()
    chosen = LabelStats.of(padded, 6, padded=True).select(torch.tensor([1, 0, 1]))
    assert chosen.inside.shape == (3, 1, 8, 8, 5)


def test_slices_slip_in_plane_only():
    import numpy as np

    from dmaf_lite.data.augmentation import AugmentationSettings, apply, draw, slipped

    images = torch.arange(2 * 5 * 6 * 3, dtype=torch.float32).view(2, 5, 6, 3) + 1
    slip = np.zeros((2, 3, 2), np.int64)
    slip[1, 2] = (1, -2)
    moved = slipped(images, slip)
    assert torch.equal(moved[0], images[0]) and torch.equal(moved[1, ..., :2], images[1, ..., :2])
    assert torch.equal(moved[1, 1:, :-2, 2], images[1, :-1, 2:, 2])
    settings = AugmentationSettings(flip=0.9, rotation=20.0, in_plane=True, slip=1.0)
    for seed in range(20):
        change = draw(np.random.default_rng(seed), 2, settings, slices=3)
        assert set(change.flips) <= {2} and change.plane == (0, 1) and change.slip.shape == (2, 3, 2)
    label = torch.randint(0, 6, (5, 6, 3))
    still = AugmentationSettings(flip=0.0, gain=0.0, shift=0.0, slip=2.0)
    assert torch.equal(apply(draw(np.random.default_rng(1), 2, still, slices=3), images, label)[1], label)
