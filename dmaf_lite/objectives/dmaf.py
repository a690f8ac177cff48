r"""The whole objective of DMAF-Net: segmentation, relation and prototype distillation, watched by DTM.

Per study (spec dmaf_net, section 7), then the mean over studies:

.. math::
    L_{seg}(z) + \sum_l 2^{-(l-1)} L_{seg}(\mathrm{head}_l) + \sum_m a_m \bigl[ L_{seg}(z^m)
    + \beta^m w(t) ( \lambda_{cov} L^m_{cov} + \lambda_{att} L^m_{att} + \lambda_{proto} L^m_{proto} ) \bigr]

w(t) is the warm-up.  Every part can be switched off; with all of them off this *is* `PlainObjective`.

Taught in lesson 07.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Literal

import torch
from torch import Tensor, nn

from dmaf_lite.base.settings import checked
from dmaf_lite.nn.contract import Features, Pairs, Prediction
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.monitor import MonitorSettings, TrainingMonitor
from dmaf_lite.objectives.prototype import prototype_loss
from dmaf_lite.objectives.relation import RelationAlignment
from dmaf_lite.objectives.segmentation import LabelStats, PlainSettings, segmentation_terms
from dmaf_lite.objectives.terms import Term
from dmaf_lite.spec import DatasetSpec


@checked
class DmafSettings(PlainSettings):
    """The ablations of spec dmaf_net, section 8, one setting each.

    Attributes:
        relation: ``"none"``, ``"cov"``, ``"att"`` or ``"both"``.
        prototype: How students and teacher are compared, ``"cosine"`` or ``"l2"``, or ``"none"``.
        dtm: ``"none"`` (it tracks only), ``"reweighting"``, ``"gradients"`` or ``"both"``.
        lambda_cov, lambda_att, lambda_proto: Weights of the distillation terms.
        warmup: Part of all steps over which they rise linearly; DTM tracks but does not act in that time.
        monitor: Constants of DTM.
    """

    relation: Literal["none", "cov", "att", "both"] = "both"
    prototype: Literal["cosine", "l2", "none"] = "cosine"
    dtm: Literal["none", "reweighting", "gradients", "both"] = "both"
    # Ours: chosen so that each term is 5 to 20 % of the segmentation loss ("seg") at the end of the warm-up.
    # Measured on the phantom (3 mm, `lite`, 32^3 crops, batch 2, 44 cases, steps 45 to 75 of 600, 2 seeds; rates
    # FLAIR 0.6, T1ce 0.4, T1 0.2, T2 0.8 missing): the bare terms are 1.4-1.5 %, 76-86 % and 50-52 % of it.
    lambda_cov: float = 10.0
    lambda_att: float = 0.15
    lambda_proto: float = 0.25
    warmup: float = 0.1
    monitor: MonitorSettings = field(default_factory=MonitorSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lambda_cov", "lambda_att", "lambda_proto"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is {self.warmup}; expected a part of all steps, from 0 to 1")
        if self.dtm != "none" and not self.distillation:
            raise ValueError(f"dtm is {self.dtm!r}, but relation and prototype are 'none': there is no gap to watch; "
                             "switch on a distillation term or set dtm to 'none'")

    @property
    def distillation(self) -> tuple[str, ...]:
        """Names of the distillation terms that are switched on."""
        return (*(name for name in ("cov", "att") if self.relation in (name, "both")),
                *(("proto",) if self.prototype != "none" else ()))


class DmafObjective(Objective):
    """The objective of DMAF-Net for any network that gives `fused_features`.

    Args:
        spec: The data set.
        net: The network; only its deepest width ``net.channels[-1]`` is used here.
        settings: What is switched on.
        missing_rates: Missing rate of every modality in the training table, M numbers; DTM starts from them.
        total_steps: Steps of the whole training, for the warm-up.

    Raises:
        ValueError: If `missing_rates` or `total_steps` is needed and not given, or does not fit.
    """

    Settings = DmafSettings

    def __init__(self, spec: DatasetSpec, net: nn.Module, settings: DmafSettings | None = None, *,
                 missing_rates: Sequence[float] | None = None, total_steps: int | None = None) -> None:
        super().__init__(spec, net, settings)
        s = self.settings
        self.lambdas = {name: getattr(s, f"lambda_{name}") for name in s.distillation}
        self.relation = self.monitor = None
        self.warmup_steps = 0
        if not s.distillation:
            return
        if s.warmup > 0 and not total_steps:
            raise ValueError(f"total_steps is {total_steps}, but the warm-up is {s.warmup:.0%} of all steps; "
                             "pass total_steps, or set warmup to 0")
        if missing_rates is None and s.dtm == "none":
            missing_rates = [0.0] * spec.M  # only tracked: where beta would start does not matter
        if missing_rates is None or len(missing_rates) != spec.M:
            raise ValueError(f"missing_rates is {missing_rates}; expected {spec.M} numbers, one for each of "
                             f"{', '.join(spec.modalities)} (realised_rates of the training table)")
        self.warmup_steps = round(s.warmup * (total_steps or 0))
        if s.relation != "none":
            self.relation = RelationAlignment(net.channels[-1], relation=s.relation)
        # Without DTM it still tracks, so that runs with and without can be compared.
        self.monitor = TrainingMonitor(s.distillation, missing_rates, mode=s.dtm, settings=s.monitor)
        # Counts up to the end of the warm-up.  A buffer, so that a run resumed at the end of an epoch still knows
        # whether it is over.
        self.register_buffer("steps_done", torch.zeros((), dtype=torch.int64))

    def forward(self, net: nn.Module, features: Features, prediction: Prediction, batch, step: int) -> dict[str, Term]:
        """Terms of one batch.

        Args:
            net: Not used; part of every objective's call.
            features: `Features`; the deepest level holds the students.
            prediction: `Prediction`; its deepest fused map is the teacher.
            batch: ``batch.label`` integer [B, D, H, W].
            step: Number of steps done before this one.

        Returns:
            "seg" and "deep" [B], "unimodal" [B, M], and those of "cov", "att", "proto" [B, M] that are switched on.
        """
        stats = LabelStats.of(batch.label, self.classes, weighting=self.settings.weighting, padded=batch.padded)
        terms = segmentation_terms(prediction, stats, self.settings)
        if not self.lambdas:
            return terms
        if prediction.fused_features is None:
            raise ValueError(f"{type(net).__name__} gives no fused features, and the distillation terms need them as "
                             "teacher; use a network that fuses per level, or relation='none' and prototype='none'")
        student, teacher = features.levels[-1].shape[1:], prediction.fused_features[-1].shape[1:]
        if student != teacher:
            raise ValueError(f"{type(net).__name__}: the deepest features of one modality are {tuple(student)} and the "
                             f"fused ones {tuple(teacher)}; expected equal channels and sizes: students are compared "
                             "with the teacher there. Use another network, or relation='none' and prototype='none'")
        gaps = self.gaps(features, prediction.fused_features[-1], stats)
        if self.training:
            # Also in a step without any student: every process must take part in the exchange.
            self.monitor.observe(gaps, features.pairs.available_on_device)
            self.steps_done.fill_(min(step + 1, self.warmup_steps))
        weight = self.monitor.beta * self.warmup_factor(step)
        return terms | {name: Term(gap, self.lambdas[name] * weight) for name, gap in gaps.items()}

    def gaps(self, features: Features, teacher: Tensor, stats: LabelStats) -> dict[str, Tensor]:
        """The unweighted distillation terms [B, M]; exactly 0 for single modalities and missing ones."""
        pairs, rows = students(features.pairs)
        if not rows.numel():
            return {name: teacher.new_zeros(pairs.available.shape, dtype=torch.float32) for name in self.lambdas}
        student = features.levels[-1]
        if rows.numel() < features.pairs.P:
            student = student.index_select(0, rows)
        packed = {} if self.relation is None else self.relation(student, teacher, pairs.study)
        if "proto" in self.lambdas:
            packed["proto"] = prototype_loss(student, teacher, stats, pairs.study, distance=self.settings.prototype)
        return {name: pairs.to_dense(values) for name, values in packed.items()}

    @property
    def constant_after(self) -> int:
        """Number of the first step from which on no term depends on the step's number."""
        return max(0, self.warmup_steps - 1)

    def warmup_factor(self, step: int) -> float:
        """w(t): rises linearly over the warm-up and is 1 from its last step on."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    def end_epoch(self) -> None:
        """Let DTM act, once the warm-up is over."""
        if self.monitor is not None and int(self.steps_done) >= self.warmup_steps:
            self.monitor.update_epoch()

    def learning_rate_factors(self) -> Tensor:
        """gamma [M], the factor on the learning rate of each modality's encoder."""
        return torch.ones(self.modalities) if self.monitor is None else self.monitor.gamma

    def log_state(self) -> dict[str, Tensor]:
        """What DTM sees and does, each [M]: tracked gap, relative gap, loss weight and update factor."""
        if self.monitor is None:
            return {}
        return {"gap": self.monitor.tracked_gap(), "relative_gap": self.monitor.relative_gap(),
                "beta": self.monitor.beta, "gamma": self.monitor.gamma}


def students(pairs: Pairs) -> tuple[Pairs, Tensor]:
    """The pairs of studies with at least two modalities, and their rows in the packed order.

    With one modality f is e itself (k_b >= 2, spec dmaf_net, section 4).
    """
    return pairs.of_several
