r"""Dice and class-weighted cross-entropy, deep supervision, and the baseline's objective.

For one study, with p the probabilities, y the one-hot label, V voxels, K classes and N_c voxels of class c
(spec peers, section 4.1; background is a class like the others):

.. math::
    w_c = 1 - N_c / V, \qquad \mathrm{WCE} = -\tfrac1V \sum_v \sum_c w_c\, y_{c,v} \ln p_{c,v}, \qquad
    \mathrm{DL} = 1 - \tfrac1K \sum_c \frac{2 \sum_v p_{c,v} y_{c,v}}{\sum_v p_{c,v} + N_c + 10^{-7}}

That is the published form, and the functions' default.  In a crop without a target it is blind: w_0 = 0 there, and
the Dice of an absent class has no gradient, so nothing is said against inventing one.  Long trainings
live with it; a short one on small crops does not (whole-tumour precision 0.3 on the brain phantom).  Ours, and the
objectives' default (`PlainSettings`): no class weights, and 1 added to numerator and denominator of the Dice.

Ours, too: the logarithm comes from a log-softmax, so that a confident error keeps its gradient.  The published codes
clip p at 0.005 first, where the gradient is exactly 0; ``clip=0.005`` gives their values.

Taught in lesson 02.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmaf_lite.base.device import in_float32
from dmaf_lite.base.settings import checked
from dmaf_lite.nn.blocks import in_layout
from dmaf_lite.nn.contract import Features, Prediction
from dmaf_lite.nn.interpolation import trilinear
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.terms import Term

# Probabilities that were interpolated have no log-softmax; this floor keeps ln finite and is far below any
# probability that a float32 softmax of sensible logits gives.
TINY = 1e-7



@dataclass(frozen=True)
class LabelStats:
    """What every loss of a batch needs of the label, computed once.

    Attributes:
        one_hot: float32 [B, K, D, H, W], 0 or 1.
        counts: float32 [B, K], voxels per class.
        weights: float32 [B, K], the class weights.
        inside: float32 [B, 1, D, H, W], 0 where the label is `spec.OUTSIDE`; None where nothing is.
    """

    one_hot: Tensor
    counts: Tensor
    weights: Tensor
    inside: Tensor | None = None

    @classmethod
    def of(cls, label: Tensor, classes: int, *, weighting: str = "rarity", padded: bool = False) -> LabelStats:
        """Statistics of an integer label map [B, D, H, W] with values 0 .. classes - 1.

        Args:
            label: The labels.
            classes: K.
            weighting: ``"rarity"``, class weights 1 - N_c / V (published), or ``"none"``, all 1.
            padded: Whether some voxels are `spec.OUTSIDE` (-1): they count for no loss. Said by who made the batch, so
                that nobody has to wait for a GPU to answer.

        Raises:
            ValueError: If the label is not an integer map of four axes, or for another weighting.
        """
        if weighting not in ("rarity", "none"):
            raise ValueError(f"weighting is {weighting!r}; expected rarity or none")
        if label.ndim != 4 or label.is_floating_point() or label.is_complex():
            raise ValueError(f"a label must be integer [B, D, H, W], got {label.dtype} of shape {tuple(label.shape)}; "
                             "convert it with .long() and drop one-hot or channel axes")
        names = torch.arange(classes, device=label.device, dtype=label.dtype)
        one_hot = in_layout((label.unsqueeze(-1) == names).movedim(-1, 1)).float()
        counts = one_hot.flatten(2).sum(2)  # exact: a crop has far fewer than 2^24 voxels
        inside = one_hot.sum(1, keepdim=True) if padded else None
        voxels = counts.sum(1, keepdim=True).clamp(min=1) if padded else label[0].numel()
        weights = 1 - counts / voxels if weighting == "rarity" else torch.ones_like(counts)
        return cls(one_hot, counts, weights, inside)

    def select(self, study: Tensor) -> LabelStats:
        """The statistics of the studies ``study`` (int64 [P]), one entry per index."""
        tensors = (self.one_hot, self.counts, self.weights, self.inside)
        return LabelStats(*(None if tensor is None else tensor.index_select(0, study) for tensor in tensors))

    @property
    def voxels(self) -> Tensor | int:
        """V, the number of voxels inside: [B], or one number where nothing is outside."""
        return self.one_hot[0, 0].numel() if self.inside is None else self.counts.sum(1).clamp(min=1)


def sum_over_voxels(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a * b over the voxels, float32 [B, K, D, H, W] twice -> [B, K], without a map of the products."""
    if a.device.type == "cuda":  # there `vecdot` is a matrix product with one row, which few processors share
        return (a * b).flatten(2).sum(2)
    with in_float32(a.device):
        return torch.linalg.vecdot(a.flatten(2), b.flatten(2))


def dice_loss(probabilities: Tensor, label: LabelStats, *, smooth: float = 0.0) -> Tensor:
    """Soft Dice loss per study, mean over all classes.

    Args:
        probabilities: [B, K, D, H, W], float32.
        label: Statistics of the B labels.
        smooth: Added to numerator and denominator. With 0 (published) an absent class adds the constant 1/K and no
            gradient; with 1 it adds nothing where it is not predicted, and a gradient where it is.

    Returns:
        [B].
    """
    overlap = sum_over_voxels(probabilities, label.one_hot)
    inside = probabilities if label.inside is None else probabilities * label.inside
    size = inside.flatten(2).sum(2) + label.counts
    return 1 - ((2 * overlap + smooth) / (size + smooth + 1e-7)).mean(1)


def weighted_cross_entropy(log_probabilities: Tensor, label: LabelStats) -> Tensor:
    """Cross-entropy per study with the label's class weights, mean over voxels.

    Args:
        log_probabilities: [B, K, D, H, W], float32, finite.
        label: Statistics of the B labels.

    Returns:
        [B].
    """
    per_class = sum_over_voxels(log_probabilities, label.one_hot)
    return -(label.weights * per_class).sum(1) / label.voxels


def segmentation_loss(logits: Tensor, label: Tensor | LabelStats, *, clip: float | None = None,
                      smooth: float = 0.0) -> Tensor:
    """L_seg = weighted cross-entropy + Dice, one value per study, in float32.

    Args:
        logits: [B, K, d, h, w], at the label's size or smaller (a deep head): there the probabilities are
            interpolated, as the published codes do, not the logits.
        label: Integer [B, D, H, W], or its statistics.
        clip: None, or the floor of the probabilities inside the logarithm (the published codes: 0.005).
        smooth: Of the Dice.
    """
    stats = label if isinstance(label, LabelStats) else LabelStats.of(label, logits.shape[1])
    size = stats.one_hot.shape[2:]
    logits = logits.float()  # sums over a million voxels, and a logarithm
    if logits.shape[2:] == size:
        log_probabilities = F.log_softmax(logits, dim=1)
        probabilities = log_probabilities.exp()
        if clip is not None:
            log_probabilities = probabilities.clamp(clip, 1).log()
    else:
        probabilities = trilinear(F.softmax(logits, dim=1), size, align_corners=True)
        log_probabilities = probabilities.clamp(TINY if clip is None else clip, 1).log()
    return weighted_cross_entropy(log_probabilities, stats) + dice_loss(probabilities, stats, smooth=smooth)


def deep_supervision_loss(deep_logits: Sequence[Tensor], label: LabelStats, **form: Any) -> Tensor:
    """Sum over the deep heads of 2^-(l-1) L_seg; the first head is level l = 2, half the size.  Returns [B].

    `form` are the keywords of `segmentation_loss`.
    """
    losses = [2.0 ** -(index + 1) * segmentation_loss(logits, label, **form)
              for index, logits in enumerate(deep_logits)]
    return torch.stack(losses).sum(0)


@checked
class PlainSettings:
    """Settings of the segmentation terms.

    With ``weighting="rarity", smooth=0, clip=0.005`` each study's loss has the published form. A batch is their mean
    here; the public code sums over it, which is the same at its batch of 1 and otherwise another learning rate.

    Attributes:
        clip: Floor of the probabilities inside the logarithm; None is the stable form (ours), 0.005 the published.
        weighting: Class weights of the cross-entropy: ``"none"`` (ours) or ``"rarity"``, the published 1 - N_c / V.
        smooth: Of the Dice; 1 (ours) also judges crops without a target, 0 is the published form.
    """

    clip: float | None = None
    weighting: Literal["none", "rarity"] = "none"
    smooth: float = 1.0

    def __post_init__(self) -> None:
        if self.smooth < 0:
            raise ValueError(f"smooth is {self.smooth}; expected 0 or more")
        if self.clip is not None and not 0 < self.clip < 1:
            raise ValueError(f"clip is {self.clip}; expected None or a probability between 0 and 1")


def segmentation_terms(prediction: Prediction, stats: LabelStats, settings: PlainSettings) -> dict[str, Term]:
    """L_seg of the fused prediction ("seg" [B]), of the deep heads ("deep" [B]), per modality ("unimodal" [B, M]).

    Deep heads and unimodal predictions that the network does not give are left out.
    """
    form = {"clip": settings.clip, "smooth": settings.smooth}
    terms = {"seg": Term(segmentation_loss(prediction.logits, stats, **form))}
    if prediction.deep_logits:
        terms["deep"] = Term(deep_supervision_loss(prediction.deep_logits, stats, **form))
    if prediction.unimodal_logits is not None:
        pairs = prediction.pairs
        alone = segmentation_loss(prediction.unimodal_logits, stats.select(pairs.study), **form)
        terms["unimodal"] = Term(pairs.to_dense(alone))
    return terms


class PlainObjective(Objective):
    """The shared-decoder baseline of spec dmaf_net, section 7: segmentation terms, no distillation."""

    Settings = PlainSettings
    constant_after = 0  # no term depends on the step's number

    def forward(self, net: nn.Module, features: Features, prediction: Prediction, batch, step: int) -> dict[str, Term]:
        """Terms of one batch; `batch.label` is integer [B, D, H, W]."""
        stats = LabelStats.of(batch.label, self.classes, weighting=self.settings.weighting, padded=batch.padded)
        return segmentation_terms(prediction, stats, self.settings)
