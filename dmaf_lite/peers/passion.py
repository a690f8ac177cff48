r"""PASSION (arXiv 2407.14796) as an objective for any network that decodes one modality alone.

Per study, then the mean over studies (spec peers, section 4.8; s the unimodal and k, pi the distillation terms):

.. math::
    L_{seg}(z) + \sum_l 2^{-l} L_{seg}(\mathrm{head}_l) + \sum_m a_m \bigl[ \chi_m \beta_m \omega_m s_m
    + \tfrac12 \beta_m \omega_m k_m + \tfrac1{10} \chi_m \omega_m \pi_m \bigr]

chi asks the weak modalities for two tasks more, beta and omega balance who learns how fast: `preference.py`.
The students are decoded in one batched pass, a row for each modality of each study with at least two; with one
modality the student is the teacher, and k = pi = rho = 0.

Ours differs from the released code where that has defects (table of spec peers, section 6).  ``faithful=True``
brings all of them back; the settings among them hold where they are written out:

=====================  ==============================================================================================
study                  one with a single modality gives 0 / 0, and chi is off for its whole batch (4)
class                  one that a study of the batch lacks gives no prototype to anybody (5)
batch                  sum over the batch, omega by steps per epoch: larger batches weigh distillation less (6)
rarity                 omega from the table although imbalanced+drop takes away more (8)
``distances``          ``"cases"``; ``"steps"`` in the conditions other than imbalanced, to be named beside it (7)
``clip: 0.005``        no gradient from confident errors; KD of numbers that do not sum to 1 (14)
``weighting, smooth``  not defects: the published cross-entropy and Dice, see `segmentation.py`
=====================  ==============================================================================================

At batch 1 the sum over the batch is the mean.  Not reproduced: dropout noise in the distance of a lone modality
(mmFormer); T2's student in mmFormer, which is given T1's bottleneck tokens (1), as the contract ties a row to one
modality; students of modalities that were dropped in the condition complete (3), as they are not encoded here; the
rounding of n / B in omega.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from dmaf_lite.base.settings import checked, is_written, with_defaults
from dmaf_lite.nn.contract import Features, Prediction
from dmaf_lite.objectives.dmaf import students
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.segmentation import LabelStats, PlainSettings, segmentation_terms
from dmaf_lite.objectives.terms import Term
from dmaf_lite.peers.preference import PreferenceSettings, RelativePreference
from dmaf_lite.peers.self_distillation import pixel_gap, similarity_gap
from dmaf_lite.spec import DatasetSpec

# Settings of the released code; `distances` is that of the condition imbalanced.
RELEASED = {"weighting": "rarity", "smooth": 0.0, "clip": 0.005, "distances": "cases"}


@checked
class PassionSettings(PlainSettings, PreferenceSettings):
    """Settings of PASSION, those of the segmentation terms and of the preference included.

    Attributes:
        temperature: T of the pixel-wise distillation.
        lambda_unimodal, lambda_pixel, lambda_proto: Weights of the three terms per modality, as published.
        task_wise: chi; without it every modality has all tasks.
        balance: beta; without it every modality weighs 1, and beta is tracked all the same.
        faithful: The released form: the defects above (a batch is what one process holds at once), and `RELEASED` for
            every setting that is not written out.
    """

    temperature: float = 4.0
    lambda_unimodal: float = 1.0
    lambda_pixel: float = 0.5
    lambda_proto: float = 0.1
    task_wise: bool = True
    balance: bool = True

    @model_validator(mode="before")
    @classmethod
    def _faithful(cls, given: Any) -> Any:
        return with_defaults(given, RELEASED) if is_written(given, "faithful") is True else given

    def __post_init__(self) -> None:
        PlainSettings.__post_init__(self)
        PreferenceSettings.__post_init__(self)
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; expected a number above 0")
        for name in ("lambda_unimodal", "lambda_pixel", "lambda_proto"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")


class PassionObjective(Objective):
    """PASSION for any network that gives `decoder_features`.

    Args:
        spec: The data set.
        net: Not looked at; part of every objective's making.
        settings: What is switched on.
        missing_rates: Missing rate of every modality in the training table, M numbers; omega starts from them.
        total_steps: Not used; PASSION has no warm-up in its published setting.

    Raises:
        ValueError: If `missing_rates` is not given or does not fit.
    """

    Settings = PassionSettings

    def __init__(self, spec: DatasetSpec, net: nn.Module, settings: PassionSettings | None = None, *,
                 missing_rates: Sequence[float] | None = None, total_steps: int | None = None) -> None:
        super().__init__(spec, net, settings)
        if missing_rates is None or len(missing_rates) != spec.M:
            raise ValueError(f"missing_rates is {missing_rates}; expected {spec.M} numbers, one for each of "
                             f"{', '.join(spec.modalities)} (realised_rates of the training table)")
        self.preference = RelativePreference(missing_rates, self.settings)

    def forward(self, net: nn.Module, features: Features, prediction: Prediction, batch, step: int) -> dict[str, Term]:
        """Terms of one batch.

        Args:
            net: Decodes the students.
            features: `Features` of what is there.
            prediction: `Prediction` from all that is there, the teacher.
            batch: ``batch.label`` integer [B, D, H, W].
            step: Number of steps done before this one.

        Returns:
            "seg" and "deep" [B], "unimodal", "pixel" and "proto" [B, M]; what the network does not give is left out.
        """
        s = self.settings
        stats = LabelStats.of(batch.label, self.classes, weighting=s.weighting, padded=batch.padded)
        terms = segmentation_terms(prediction, stats, s)
        pixel, proto, distance = self.distil(net, features, prediction, stats)
        # Also in a step without any student: every process must take part in the exchange.
        available = features.pairs.to_dense(torch.ones_like(features.pairs.study, dtype=distance.dtype))
        chi = self.preference(distance, available)
        beta = self.preference.beta.clone() if s.balance else 1.0  # a copy: a later update must not reach the graph
        omega = self.preference.omega.clone()
        tasks = chi if s.task_wise else 1.0
        if "unimodal" in terms:
            terms["unimodal"] = Term(terms["unimodal"].value, s.lambda_unimodal * tasks * beta * omega)
        terms["pixel"] = Term(pixel, s.lambda_pixel * beta * omega)
        terms["proto"] = Term(proto, s.lambda_proto * tasks * omega)
        if s.faithful:
            # The sum, B times our mean, meets an omega by steps per epoch, 1 / B of ours, in all terms but these.
            terms |= {name: Term(terms[name].value, float(len(batch.label))) for name in ("seg", "deep")
                      if name in terms}
        return terms

    def distil(self, net: nn.Module, features: Features, prediction: Prediction, stats: LabelStats
               ) -> tuple[Tensor, Tensor, Tensor]:
        """k, pi and D, each [B, M]; exactly 0 for single modalities and missing ones, D without gradient."""
        s, teacher = self.settings, prediction.decoder_features
        if teacher is None:
            raise ValueError(f"{type(net).__name__} gives no decoder features, and the prototypes of PASSION are taken "
                             "from them; use a network whose decoder returns the input of its last convolution")
        pairs, _ = students(features.pairs)
        if not pairs.P:
            nothing = prediction.logits.new_zeros(pairs.available.shape, dtype=torch.float32)
            return nothing, nothing, nothing
        alone = decode_alone(net, features)
        size, present = stats.one_hot.shape[2:], stats.counts > 0
        form = {"temperature": s.temperature, "clip": s.clip}
        pixel = pixel_gap(alone.logits, prediction.logits, pairs.study, size, **form)
        for level, (ours, theirs) in enumerate(zip(alone.deep_logits or (), prediction.deep_logits or (), strict=True)):
            pixel = pixel + 2.0 ** -(level + 1) * pixel_gap(ours, theirs, pairs.study, size, **form)
        if s.faithful:
            present = present.all(0, keepdim=True).expand_as(present)
        proto, distance = similarity_gap(alone.decoder_features, teacher, stats.one_hot, present, pairs.study)
        return pairs.to_dense(pixel), pairs.to_dense(proto), pairs.to_dense(distance)

    def end_epoch(self) -> None:
        """Move beta by the preferences of the epoch."""
        self.preference.end_epoch()

    def log_state(self) -> dict[str, Tensor]:
        """Distance and its relative gap (minus the preference) in the last epoch, beta, and chi now, each [M]."""
        p = self.preference
        return {"gap": p.gap, "relative_gap": -p.preference,
                "beta": p.beta if self.settings.balance else torch.ones_like(p.beta), "chi": p.chi}


def decode_alone(net: nn.Module, features: Features) -> Prediction:
    """Every modality of every study that has at least two, by itself, in one pass; rows in the order of `students`."""
    pairs, _ = students(features.pairs)
    # On the CPU, where the availability is: the masks decide shapes.
    modality, study = pairs.available.T.nonzero(as_tuple=True)
    one = F.one_hot(modality, pairs.M).bool()
    return net.decode(features.select(one, study=study), one)
