r"""AdaMM's objective: a teacher who sees every scan that exists, and a student who sees what was drawn.

Both are trained together from the start, by one optimiser, and nothing of the teacher is detached: it is pulled
towards the student as well (spec adamm, section 4).  With p, q, k, g the probabilities, presences, content and
style of either, y the label, z which lesion classes are in the crop, c over lesion classes, per study:

.. math::
    0.4\, R(p^T, q^T) + 0.6\, R(p^S, q^S) + \lambda(t) \sum_c \mathrm{MSE}(p^T_c, p^S_c) + 0.2\, \mathrm{MSE}(k^T, k^S)
    + \mathrm{BCE}(q^T, z) + \mathrm{BCE}(q^S, z) + L_{style} + 2 \cdot 10^{-4}\, L_{adv} + L_D,
    \qquad R = \sum_c (1 + |q_c - z_c|)\, D(p_c, y_c)

Where the released code has defects this differs from it (ours).  ``faithful=True`` brings all of them back; the
settings among them hold where they are written out:

* ``smooth: 0, voxel: 0``: no term says anything against false positives where a class is absent;
* style is compared over slices, not layers, and ``lambda_style: 100`` belongs to that;
* a Gram loss on the style map that is numerically 0;
* ``discriminator: released`` takes crops of 128 x 192 x 128 and more only;
* the discriminator's optimiser forgets everything before each step.

Ours as well: where a case lacks a scan of its own, the teacher sees those that exist, zeros for the others; masks are
drawn per study, not per batch; AdamW with the kit's schedule, also for the discriminator; the ramp runs over steps.

Taught in lesson 11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from dmaf_lite.base.settings import checked, is_written, with_defaults
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.segmentation import LabelStats, sum_over_voxels
from dmaf_lite.objectives.terms import Term
from dmaf_lite.peers.adamm.discriminator import StyleDiscriminator, fooling_loss, telling_apart_loss
from dmaf_lite.peers.adamm.network import AdammFeatures, AdammNet, AdammPrediction
from dmaf_lite.peers.adamm.style_gap import layer_style_gap, slice_style_gap, style_gram_gap
from dmaf_lite.spec import DatasetSpec

TEACHER_SHARE = 0.4  # of the teacher in the segmentation terms, as published; the student has the rest
LAMBDA_STYLE_GRAM = 1e-4  # of the released code

# Settings of the released code.
RELEASED = {"smooth": 0.0, "voxel": 0.0, "lambda_style": 100.0, "discriminator": "released"}


@checked
class AdammSettings:
    """Settings of AdaMM's objective.

    Attributes:
        smooth: Of the Dice; 1 (ours) also judges absent classes, 0 is the released form.
        voxel: Weight of a binary cross-entropy per voxel, shared like the Dice; 1 (ours) or 0, released.
        lambda_consistency: Largest weight of the consistency.
        ramp: Part of all steps over which it rises there.
        lambda_content, lambda_adversarial: Weights, as published.
        lambda_style: Weight of the style, which is compared over layers, see `style_gap.py`.
        discriminator: See `StyleDiscriminator`.
        faithful: The released form: the defects above, and `RELEASED` for every setting that is not written out.
    """

    smooth: float = 1.0
    voxel: float = 1.0
    lambda_consistency: float = 10.0
    ramp: float = 0.1  # published: 20 of 200 epochs
    lambda_content: float = 0.2
    lambda_style: float = 1.0
    lambda_adversarial: float = 2e-4
    discriminator: Literal["pooled", "released"] = "pooled"
    faithful: bool = False

    @model_validator(mode="before")
    @classmethod
    def _faithful(cls, given: Any) -> Any:
        return with_defaults(given, RELEASED) if is_written(given, "faithful") is True else given

    def __post_init__(self) -> None:
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp is {self.ramp}; expected a part, from 0 to 1")
        for name in ("smooth", "voxel", "lambda_consistency", "lambda_content", "lambda_style", "lambda_adversarial"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")


def squared_dice_loss(p: Tensor, y: Tensor, *, smooth: float = 0.0) -> Tensor:
    """D = 1 - (2 sum p y + s) / (sum p^2 + sum y^2 + s + 1e-7) of each class: float32 [B, L, D, H, W] twice -> [B, L].

    With s = 0 (released) an absent class is the constant 1: nothing is said against predicting it.
    """
    overlap = 2 * sum_over_voxels(p, y) + smooth
    return 1 - overlap / (sum_over_voxels(p, p) + sum_over_voxels(y, y) + smooth + 1e-7)


def reliability_weights(q: Tensor, z: Tensor) -> Tensor:
    """w = 1 + |q - z|, [B, L]: a class whose presence is misjudged counts up to twice.  Not detached: q learns."""
    return 1 + (q - z).abs()


def consistency_weight(progress: float, largest: float = 10.0) -> float:
    r"""lambda = largest exp(-5 (1 - t)^2), t = `progress` through the ramp, 1 at its end and after."""
    return largest * math.exp(-5 * (1 - min(1.0, progress)) ** 2)


class AdammObjective(Objective):
    """AdaMM for the network `AdammNet`; owns the teacher and the discriminator.

    Args:
        spec: The data set.
        net: The student.
        settings: See `AdammSettings`.
        missing_rates: Not used.
        total_steps: Steps of the whole training, for the ramp.

    Attributes:
        reads_dropped: True: scans that were dropped for the student stay in ``batch.images``, for the teacher.

    Raises:
        ValueError: If the network is another, or `total_steps` is needed and not given.
    """

    Settings = AdammSettings
    reads_dropped = True

    def __init__(self, spec: DatasetSpec, net: nn.Module, settings: AdammSettings | None = None, *,
                 missing_rates: Sequence[float] | None = None, total_steps: int | None = None) -> None:
        super().__init__(spec, net, settings)
        if not isinstance(net, AdammNet):
            raise ValueError(f"objective 'adamm' got the network {type(net).__name__}; expected AdammNet, as it "
                             "compares content, style and presence of two of them. Choose another objective")
        s = self.settings
        if s.ramp > 0 and not total_steps:
            raise ValueError(f"total_steps is {total_steps}, but the consistency rises over {s.ramp:.0%} of all steps; "
                             "pass total_steps, or set ramp to 0")
        self.ramp_steps = s.ramp * (total_steps or 0)
        self.teacher = AdammNet(spec, net.settings, adapters=False)
        self.discriminator = StyleDiscriminator(net.channels[-1], s.discriminator)

    def forward(self, net: nn.Module, features: AdammFeatures, prediction: AdammPrediction, batch,
                step: int) -> dict[str, Term]:
        """Terms of one batch, [B] each.

        Args:
            net: Not used; part of every objective's call.
            features: The student's.
            prediction: The student's.
            batch: ``batch.label`` integer [B, D, H, W]; ``batch.images`` with every scan of ``batch.existing``,
                bool[B, M] on the CPU, what the teacher sees.
            step: Number of steps done before this one.

        Returns:
            "seg", "seg_teacher", "consistency", "content", "presence", "style", "adversarial", "discriminator", and
            "voxel" where its weight is not 0, "style_gram" where `faithful`.
        """
        s = self.settings
        existing = batch.existing
        seen = self.teacher.encode(batch.images, existing)
        answer = self.teacher.decode(seen, existing)
        stats = LabelStats.of(batch.label, self.classes, weighting="none")
        y, z = stats.one_hot[:, 1:], (stats.counts[:, 1:] > 0).float()
        p_t, p_s = answer.lesion_logits.float().sigmoid(), prediction.lesion_logits.float().sigmoid()
        maps_t, maps_s = ([f.transition, f.style, f.content] for f in (seen, features))
        terms = {
            "seg": Term(self._dice(p_s, y, prediction, z), 1 - TEACHER_SHARE),
            "seg_teacher": Term(self._dice(p_t, y, answer, z), TEACHER_SHARE),
            "consistency": Term((p_t - p_s).square().mean((2, 3, 4)).sum(1), self.ramp(step)),
            "content": Term((seen.content.float() - features.content.float()).square().mean((1, 2, 3, 4)),
                            s.lambda_content),
            "presence": Term(binary_loss(answer.presence_logits, z).mean(1)
                             + binary_loss(prediction.presence_logits, z).mean(1)),
            "style": Term((slice_style_gap if s.faithful else layer_style_gap)(maps_t, maps_s), s.lambda_style),
            "adversarial": Term(fooling_loss(self.discriminator, features.style), s.lambda_adversarial),
            "discriminator": Term(telling_apart_loss(self.discriminator, seen.style, features.style)),
        }
        if s.voxel:
            shares = ((prediction, 1 - TEACHER_SHARE), (answer, TEACHER_SHARE))
            losses = [share * binary_loss(given.lesion_logits, y).mean((2, 3, 4)).sum(1) for given, share in shares]
            terms["voxel"] = Term(losses[0] + losses[1], s.voxel)
        if s.faithful:
            terms["style_gram"] = Term(style_gram_gap(seen.style, features.style), LAMBDA_STYLE_GRAM)
        return terms

    def _dice(self, p: Tensor, y: Tensor, prediction: AdammPrediction, z: Tensor) -> Tensor:
        """Dice, each class weighted by how far its presence is misjudged, summed over classes: [B]."""
        weights = reliability_weights(prediction.presence_logits.float().sigmoid(), z)
        return (weights * squared_dice_loss(p, y, smooth=self.settings.smooth)).sum(1)

    def ramp(self, step: int) -> float:
        """lambda, the weight of the consistency at a step."""
        progress = step / self.ramp_steps if self.ramp_steps else 1.0
        return consistency_weight(progress, self.settings.lambda_consistency)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The discriminator's own group: Adam's published betas, no weight decay."""
        return [{"params": list(self.discriminator.parameters()), "betas": (0.9, 0.99), "weight_decay": 0.0}]

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Where `faithful`: the discriminator's moments start anew in every step."""
        if self.settings.faithful:
            for parameter in self.discriminator.parameters():
                optimizer.state.pop(parameter, None)


def binary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of every entry, from logits, in float32."""
    return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
