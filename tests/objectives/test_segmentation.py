"""Dice, weighted cross-entropy, deep supervision and the baseline's objective."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from golden import field, golden_label
from torch import Tensor

from dmaf_lite.nn.contract import Pairs, Prediction
from dmaf_lite.objectives.segmentation import (
    LabelStats,
    PlainObjective,
    PlainSettings,
    deep_supervision_loss,
    dice_loss,
    segmentation_loss,
    weighted_cross_entropy,
)
from dmaf_lite.objectives.terms import total
from dmaf_lite.spec import BRATS

PUBLISHED = {"clip": 0.005}


def parts(logits: Tensor, label: Tensor, clip: float | None = 0.005) -> tuple[Tensor, Tensor]:
    """WCE and DL of full-size logits in the published, clipped form."""
    stats = LabelStats.of(label, 4)
    probabilities = logits.softmax(1)
    return weighted_cross_entropy(probabilities.clamp(clip, 1).log(), stats), dice_loss(probabilities, stats)


def test_golden_values():
    label = golden_label()
    assert LabelStats.of(label, 4).counts.tolist() == [[53, 56, 56, 51], [51, 53, 56, 56]]
    wce, dice = parts(2 * field((2, 4, 6, 6, 6), 0.37, 0.1), label)
    torch.testing.assert_close(wce, torch.tensor([1.660910, 1.686072]), atol=2e-6, rtol=0)
    torch.testing.assert_close(dice, torch.tensor([0.745262, 0.762051]), atol=2e-6, rtol=0)


def test_golden_values_with_an_absent_class():
    label = golden_label()
    label[0][label[0] == 3] = 0
    wce, dice = parts(2 * field((2, 4, 6, 6, 6), 0.37, 0.1), label)
    torch.testing.assert_close(wce, torch.tensor([1.398284, 1.686072]), atol=2e-6, rtol=0)
    torch.testing.assert_close(dice, torch.tensor([0.785501, 0.762051]), atol=2e-6, rtol=0)


def test_golden_values_where_the_clip_acts_and_through_the_whole_loss():
    logits, label = 6 * field((2, 4, 6, 6, 6), 0.37, 0.1), golden_label()
    wce, dice = parts(logits, label)
    torch.testing.assert_close(wce, torch.tensor([2.556007, 2.658256]), atol=3e-6, rtol=0)
    torch.testing.assert_close(segmentation_loss(logits, label, **PUBLISHED), wce + dice)
    assert (segmentation_loss(logits, label) > wce + dice).all()  # without the clip confident errors cost more


def test_golden_values_of_a_deep_head():
    deep = 2 * field((2, 4, 3, 3, 3), 0.37, 0.1)
    expected = torch.tensor([1.247833 + 0.753853, 1.249768 + 0.749111])
    torch.testing.assert_close(segmentation_loss(deep, golden_label(), **PUBLISHED), expected, atol=3e-6, rtol=0)


def slow_loss(logits: Tensor, label: Tensor) -> Tensor:
    """The formulas, voxel by voxel, for one study: logits [K, D, H, W], label [D, H, W]."""
    classes, voxels = logits.shape[0], label.numel()
    z, y = logits.flatten(1), label.flatten()
    p = [z[:, v].exp() / z[:, v].exp().sum() for v in range(voxels)]
    count = [int((y == c).sum()) for c in range(classes)]
    wce = -sum((1 - count[int(y[v])] / voxels) * p[v][int(y[v])].log() for v in range(voxels)) / voxels
    dice = sum(2 * sum(p[v][c] for v in range(voxels) if y[v] == c)
               / (sum(p[v][c] for v in range(voxels)) + count[c] + 1e-7) for c in range(classes))
    return wce + 1 - dice / classes


@pytest.mark.parametrize("classes", [2, 4])
def test_slow_form_equals_fast_form_values_and_gradients(classes):
    torch.manual_seed(1)
    logits = torch.randn(2, classes, 3, 2, 4, requires_grad=True)
    label = torch.randint(classes, (2, 3, 2, 4))
    fast = segmentation_loss(logits, label)
    slow = torch.stack([slow_loss(z, y) for z, y in zip(logits, label, strict=True)])
    torch.testing.assert_close(fast, slow)
    weights = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(*(torch.autograd.grad((weights * loss).sum(), logits)[0] for loss in (fast, slow)))


def test_the_loss_of_a_study_does_not_depend_on_its_neighbours():
    logits, label = torch.randn(3, 4, 4, 4, 4), torch.randint(4, (3, 4, 4, 4))
    label[1] = 0
    together = segmentation_loss(logits, label)
    alone = torch.cat([segmentation_loss(logits[b:b + 1], label[b:b + 1]) for b in range(3)])
    torch.testing.assert_close(together, alone)


def test_a_confident_error_keeps_its_gradient_unless_clipped():
    logits = torch.zeros(1, 2, 2, 2, 2)
    logits[:, 1] = 12.0
    label = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    label[0, 0, 0, 0] = 1  # both classes there, or the weight of class 0 is 0

    def slope(clip: float | None) -> float:
        z = logits.clone().requires_grad_()
        segmentation_loss(z, label, clip=clip).backward()
        return z.grad[0, 0, 1, 1, 1].abs().item()

    assert slope(None) > 1e-2
    assert slope(0.005) < 1e-5


def test_an_absent_class_adds_a_constant_to_dice_and_no_gradient():
    stats = LabelStats.of(torch.zeros(1, 2, 2, 2, dtype=torch.long), 4)
    p = torch.rand(1, 4, 2, 2, 2, requires_grad=True)
    dice_loss(p, stats).backward()
    assert (p.grad[:, 1:] == 0).all() and (p.grad[:, 0] != 0).any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_any_integer_label_type(dtype):
    label = golden_label()
    stats = LabelStats.of(label.to(dtype), 4)
    torch.testing.assert_close(stats.one_hot, F.one_hot(label, 4).movedim(-1, 1).float())
    torch.testing.assert_close(stats.weights, 1 - stats.counts / 216)


def test_labels_that_are_no_labels_are_refused():
    with pytest.raises(ValueError, match="integer"):
        LabelStats.of(torch.zeros(1, 2, 2, 2), 4)
    with pytest.raises(ValueError, match="integer"):
        LabelStats.of(torch.zeros(1, 4, 2, 2, 2, dtype=torch.long), 4)


def test_bfloat16_logits_give_float32_losses_close_to_the_exact_ones():
    logits, label = 2 * torch.randn(2, 4, 6, 6, 6), golden_label()
    low = segmentation_loss(logits.bfloat16(), label)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, segmentation_loss(logits, label), rtol=1e-2, atol=0)


def test_deep_heads_weigh_half_a_quarter_an_eighth():
    label = torch.randint(4, (2, 8, 8, 8))
    stats = LabelStats.of(label, 4)
    heads = [torch.randn(2, 4, n, n, n) for n in (4, 2, 1)]
    expected = sum(w * segmentation_loss(z, stats) for w, z in zip((0.5, 0.25, 0.125), heads, strict=True))
    torch.testing.assert_close(deep_supervision_loss(heads, stats), expected)


def test_of_a_deep_head_the_probabilities_are_interpolated_not_the_logits():
    torch.manual_seed(0)
    deep, label = 4 * torch.randn(1, 4, 2, 2, 2), torch.randint(4, (1, 4, 4, 4))
    resize = partial(F.interpolate, size=(4, 4, 4), mode="trilinear", align_corners=True)
    loss = segmentation_loss(deep, label)
    torch.testing.assert_close(loss, segmentation_loss(resize(deep.softmax(1)).log(), label))
    assert (loss - segmentation_loss(resize(deep), label)).abs() > 1e-3


def make_prediction(available: list[list[bool]], *, training: bool = True) -> Prediction:
    pairs = Pairs.of(torch.tensor(available))
    logits = torch.randn(pairs.B, 4, 8, 8, 8, requires_grad=True)
    if not training:
        return Prediction(logits, pairs)
    return Prediction(logits, pairs, unimodal_logits=torch.randn(pairs.P, 4, 8, 8, 8, requires_grad=True),
                      deep_logits=[torch.randn(pairs.B, 4, n, n, n, requires_grad=True) for n in (4, 2)])


def test_plain_objective_term_by_term():
    available = [[True, False, True, True], [False, True, False, False]]
    prediction, label = make_prediction(available), torch.randint(4, (2, 8, 8, 8), dtype=torch.uint8)
    objective = PlainObjective(BRATS, torch.nn.Identity(), PlainSettings(weighting="rarity", smooth=0.0))
    terms = objective(None, None, prediction, SimpleNamespace(label=label, padded=False), 0)
    assert list(terms) == ["seg", "deep", "unimodal"]
    torch.testing.assert_close(terms["seg"].value, segmentation_loss(prediction.logits, label))
    rows = {(0, 0): 0, (1, 1): 1, (0, 2): 2, (0, 3): 3}  # packed order: by modality, then study
    for b in range(2):
        for m in range(4):
            value = terms["unimodal"].value[b, m]
            if not available[b][m]:
                assert value == 0
            else:
                z = prediction.unimodal_logits[rows[b, m]]
                torch.testing.assert_close(value, segmentation_loss(z[None], label[b:b + 1])[0])
    total(terms).backward()
    assert prediction.logits.grad.isfinite().all() and prediction.unimodal_logits.grad.abs().sum() > 0


def test_plain_objective_takes_what_the_network_gives():
    terms = PlainObjective(BRATS, torch.nn.Identity())(
        None, None, make_prediction([[True, True, True, True]], training=False),
        SimpleNamespace(label=torch.zeros(1, 8, 8, 8, dtype=torch.long), padded=False), 0)
    assert list(terms) == ["seg"]


def test_plain_objective_holds_no_encoder_back():
    objective = PlainObjective(BRATS, torch.nn.Identity())
    objective.end_epoch()
    assert objective.learning_rate_factors().tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("wrong", [{"clip": 0.0}, {"clip": 1.5}, {"weighting": "both"}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PlainSettings(**wrong)


def test_inventing_a_tumour_in_a_crop_without_one_costs_something_only_with_our_settings():
    """The published form says nothing: the background's weight is 0, and an absent class has no Dice gradient."""
    label = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    gradients = {}
    for name, (weighting, smooth) in {"published": ("rarity", 0.0), "ours": ("none", 1.0)}.items():
        torch.manual_seed(0)
        logits = torch.randn(1, 4, 4, 4, 4, requires_grad=True)
        stats = LabelStats.of(label, 4, weighting=weighting)
        segmentation_loss(logits, stats, smooth=smooth).sum().backward()
        gradients[name] = logits.grad[:, 3].abs().mean()  # of the logit of ET
    assert gradients["ours"] > 10 * gradients["published"]


def test_smoothing_leaves_an_absent_class_that_is_not_predicted_without_loss():
    stats = LabelStats.of(torch.zeros(1, 4, 4, 4, dtype=torch.long), 4)
    nothing = torch.zeros(1, 4, 4, 4, 4)
    nothing[:, 0] = 1
    assert dice_loss(nothing, stats, smooth=1.0).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(nothing, stats).item() == pytest.approx(0.75)
