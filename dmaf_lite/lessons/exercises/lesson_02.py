"""Checks of lesson 02: mean fusion, packed pairs, soft Dice."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dmaf_lite.lessons.exercises import exercise
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.objectives.segmentation import LabelStats, dice_loss


@exercise("2.1")
def check_2_1(mean_over_available: Callable) -> None:
    """The mean divides by k, reads nothing of a missing scan, and keeps gradients finite."""
    available = torch.tensor([[True, True, False, True], [False, False, True, False]])
    e = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([e[0, [0, 1, 3]].mean(0), e[1, 2]])
    for fill in (0.0, 7.0, torch.nan):
        filled = torch.where(available[:, :, None], e, fill).requires_grad_()
        f = mean_over_available(filled, available)
        assert f.shape == (2, 3), "one fused vector per study"
        assert torch.isfinite(f).all(), "NaN in a missing scan reached the mean: 0 * NaN is NaN, take it out by where"
        assert torch.allclose(f, expected, atol=1e-6), "divide by the number of scans that are there, and add only them"
        f.sum().backward()
        assert torch.isfinite(filled.grad).all(), "the gradients must be finite too"


@exercise("2.2")
def check_2_2(list_pairs: Callable) -> None:
    """Every existing pair once, modality-major."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        available = torch.rand(4, 3, generator=generator) < 0.5
        available[:, 0] |= ~available.any(1)
        pairs = Pairs.of(available)
        expected = list(zip(pairs.study.tolist(), pairs.modality.tolist(), strict=True))
        found = [(int(b), int(m)) for b, m in list_pairs(available)]
        assert len(found) == int(available.sum()), "as many pairs as there are scans"
        assert sorted(found) == sorted(expected), "a pair is (study, modality) of a scan that is there"
        assert found == expected, "sort by modality first, then by study"


@exercise("2.3")
def check_2_3(soft_dice_loss: Callable) -> None:
    """The formula, with all classes alike and absent ones allowed."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (1, 4, 4, 4), generator=generator)  # class 3 is absent
    stats = LabelStats.of(label, 4)
    y = stats.one_hot[0].flatten(1).float()
    assert abs(float(soft_dice_loss(y, y))) < 1e-4, \
        "a perfect answer costs nothing, also where class 3 is absent: s stands above and below"
    p = torch.randn(4, 64, generator=generator).softmax(0)
    expected = float(dice_loss(p.reshape(1, 4, 4, 4, 4), stats, smooth=1.0))
    assert abs(float(soft_dice_loss(p, y)) - expected) < 1e-4, \
        "a Dice for each class over its voxels, then the mean over all classes, then 1 minus that"
