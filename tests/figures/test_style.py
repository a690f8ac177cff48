"""Gram losses against loops, and the discriminator's game without leaks."""

import math

import pytest
import torch

from dmaf_lite.peers.adamm.discriminator import StyleDiscriminator, fooling_loss, telling_apart_loss
from dmaf_lite.peers.adamm.style_gap import (
    cross_grams,
    layer_style_gap,
    slice_grams,
    slice_style_gap,
    style_gram_gap,
)


def three_maps(seed, studies=1, channels=2, size=(3, 2, 2)):
    torch.manual_seed(seed)
    return [torch.randn(studies, channels, *size) for _ in range(3)]


def test_layers_against_layers():
    teacher, student = three_maps(0, 2), three_maps(1, 2)
    expected = torch.zeros(2)
    for b in range(2):
        for i, j in ((0, 2), (1, 0), (2, 1)):
            m_t, m_s = (maps[i][b].flatten(1) @ maps[j][b].flatten(1).T / 12 for maps in (teacher, student))
            expected[b] += ((m_t - m_s) ** 2).sum() / 4 / 3
    torch.testing.assert_close(layer_style_gap(teacher, student), expected)
    assert (layer_style_gap(teacher, teacher) == 0).all()


def test_layer_style_forgets_where_things_are():
    teacher = three_maps(0)
    order = torch.randperm(12)
    moved = [map_.flatten(2)[:, :, order].view_as(map_) for map_ in teacher]
    torch.testing.assert_close(cross_grams(moved), cross_grams(teacher))
    assert layer_style_gap(teacher, [map_ * 2 for map_ in teacher]).item() > 0


def test_slices_against_slices_for_one_study():
    """The released form at batch 1: per channel, ||F F^T / N (T) - (S)||^2 / (4 D^2 N^2)."""
    teacher, student = three_maps(0), three_maps(1)
    expected = 0.0
    for map_t, map_s in zip(teacher, student, strict=True):
        for channel in range(2):
            f_t, f_s = (map_[0, channel].reshape(3, 4) for map_ in (map_t, map_s))
            expected += float(((f_t @ f_t.T / 4 - f_s @ f_s.T / 4) ** 2).sum()) / (4 * 3**2 * 4**2)
    assert slice_style_gap(teacher, student).tolist() == pytest.approx([expected])


def test_slices_of_a_study_meet_those_of_the_one_before():
    first, second, third = three_maps(0, 2)
    grams = slice_grams([first, second, third])
    assert grams.shape == (2, 6, 3, 3)
    torch.testing.assert_close(grams[1, 2], second[1, 0].reshape(3, 4) @ second[0, 0].reshape(3, 4).T / 4)


def test_the_style_gram_in_closed_form():
    teacher, student = torch.full((1, 1, 1, 2, 1), 2.0), torch.full((1, 1, 1, 2, 1), 1.0)
    # G = F F^T / (1 * 1 * 2): 8 / 2 and 2 / 2; divided by 4 * 1 * (1 * 2)^2
    assert style_gram_gap(teacher, student).item() == pytest.approx((4 - 1) ** 2 / 16)
    both = style_gram_gap(torch.randn(3, 2, 2, 2, 2), torch.randn(3, 2, 2, 2, 2))
    assert both.shape == (3,) and len(set(both.tolist())) == 1


def test_the_released_style_gram_does_nothing():
    """The specification measured 6.6e-17 at the full crop, weight included."""
    torch.manual_seed(0)
    gap = 1e-4 * style_gram_gap(*torch.randn(2, 1, 128, 20, 24, 16)).item()
    assert 0 < gap < 1e-14


def test_discriminators():
    with torch.device("meta"):
        released = StyleDiscriminator(128, "released")
        assert released(torch.empty(2, 128, 20, 24, 16)).shape == (2,)
        assert released.body(torch.empty(2, 128, 20, 24, 16)).shape == (2, 1, 1, 1, 1)
    assert sum(p.numel() for p in released.parameters()) == 3_149_249
    with pytest.raises(ValueError, match="needs 16 x 24 x 16, a crop of 128 x 192 x 128"):
        released(torch.empty(1, 128, 8, 8, 8))
    for side in (2, 4, 7):
        assert StyleDiscriminator(8)(torch.randn(3, 8, side, side, side)).shape == (3,)


def test_the_two_losses_in_numbers():
    d = StyleDiscriminator(8)
    teacher, student = torch.randn(2, 2, 8, 4, 4, 4).unbind()
    with torch.no_grad():
        real, fake = d(teacher), d(student)
        for b in range(2):
            to_teacher, to_student = 1 / (1 + math.exp(real[b])), 1 / (1 + math.exp(-fake[b]))
            assert telling_apart_loss(d, teacher, student)[b].item() == pytest.approx(
                -math.log(to_teacher) - math.log(to_student), rel=1e-4)
            assert fooling_loss(d, student)[b].item() == pytest.approx(-math.log(1 - to_student), rel=1e-4)


def test_no_gradient_leaks_either_way():
    d = StyleDiscriminator(8)
    teacher, student = (torch.randn(2, 8, 4, 4, 4, requires_grad=True) for _ in range(2))
    fooling_loss(d, student).sum().backward()
    assert (student.grad != 0).any() and all(p.grad is None for p in d.parameters())
    student.grad = None
    telling_apart_loss(d, teacher, student).sum().backward()
    assert teacher.grad is None and student.grad is None
    assert all((p.grad != 0).any() for p in d.parameters())
