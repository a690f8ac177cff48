r"""Relative preference as in PASSION: which modalities lag behind the fused features, and what they get for it.

With D [B, M] the distances of one step (0 where a modality takes no part) and k_b >= 2 modalities in study b
(spec peers, sections 4.7 and 4.8):

============ =============================================================================================
per step     :math:`\rho_m = \sum_b (D_{b,m} / \bar D_b - 1)`, :math:`\chi_m = 1[\rho_m > 0]`: weak, farther
             away than the mean of its study
per epoch    :math:`\widehat{RP}_m = 1 - \hat D_m / \mathrm{mean}_j \hat D_j`: above 0 it is ahead
balance      :math:`\beta \leftarrow \sqrt M\, c / \lVert c \rVert`, c = clip(:math:`\beta - \eta \widehat{RP}`,
             0.1, 4); eta grows by half at epochs 0, 100, 200, ...
rarity       :math:`\omega_m` = studies / studies that have m
============ =============================================================================================

Everything is detached, stays on the device, and is state of a run: it is in every checkpoint.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dmaf_lite.base.processes import sum_over_processes
from dmaf_lite.base.settings import checked
from dmaf_lite.objectives.monitor import start_weights

# Of the balance, as published.
GROWTH = 1.5  # factor on eta at epochs 0, GROWTH_EVERY, 2 GROWTH_EVERY, ...
GROWTH_EVERY = 100
LOW, HIGH = 0.1, 4.0  # bounds of beta before it is normalised


@checked
class PreferenceSettings:
    """The step of the balance, and how distances and rarity are counted.

    Attributes:
        eta: Step of beta per epoch and unit of preference, before it grows.
        distances: What an epoch's sum of distances is divided by: ``"students"``, the studies where m takes part
            (ours); ``"cases"``, all that have m, also those that have nothing else and add 0 (released, condition
            imbalanced); ``"steps"`` (released, other conditions): a rare modality then looks close and loses weight.
        faithful: Two defects of the released code: 0 / 0 of a study with one modality is kept and switches chi off
            for the whole batch; omega stays that of the table, where ours counts what has been drawn so far (the
            table's in the first epoch), since imbalanced+drop takes away more than the table does.
    """

    eta: float = 0.01
    distances: Literal["students", "cases", "steps"] = "students"
    faithful: bool = False

    def __post_init__(self) -> None:
        if self.eta < 0:
            raise ValueError(f"eta is {self.eta}; expected 0 or more")


def relative_distance(distance: Tensor, available: Tensor, *, nan_preference: bool = False) -> Tensor:
    """D / mean of the study - 1 for each modality that is there; above 0 it is farther away than the others.

    Args:
        distance: [B, M], 0 where a modality is missing or alone.
        available: [B, M], 1 or 0, on the same device.
        nan_preference: Keep 0 / 0 where a study has no distance at all; else 0 stands there.

    Returns:
        [B, M].
    """
    mean = distance.sum(1, keepdim=True) / available.sum(1, keepdim=True)
    if nan_preference:
        return available * (distance / mean - 1)
    return torch.where(mean > 0, available * (distance / torch.where(mean > 0, mean, 1) - 1), 0)


def relative_preference(distance: Tensor) -> Tensor:
    """RP [M] of mean distances [M], NaN where nothing is known; 0 there, and where all distances are 0."""
    known = ~distance.isnan()
    mean = torch.where(known, distance, 0).sum() / known.sum().clamp(min=1)
    return torch.where(known & (mean > 0), 1 - distance / mean, 0)


def balanced(beta: Tensor, preference: Tensor, eta: Tensor | float, *, low: float = LOW, high: float = HIGH) -> Tensor:
    """beta [M] after one epoch: less for who is ahead, clipped, then of the length of (1, ..., 1)."""
    moved = (beta - eta * preference).clamp(low, high)
    return moved * len(beta) ** 0.5 / torch.linalg.vector_norm(moved)


class RelativePreference(nn.Module):
    """Tracks distances; gives chi per step, beta and omega per epoch.

    Args:
        missing_rates: Missing rate of every modality in the training table, M numbers.
        settings: The constants.

    Raises:
        ValueError: If a rate is not in [0, 1], or no modality occurs.

    Attributes:
        beta, omega: [M], in use until the end of the epoch.
        gap, preference: [M], mean distance and RP of the last whole epoch; 0 before it.
        chi: [M], of the last step.
    """

    def __init__(self, missing_rates: Sequence[float], settings: PreferenceSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or PreferenceSettings()
        start_weights(missing_rates)  # refuses rates that are none
        rates = torch.tensor(list(missing_rates), dtype=torch.float64)
        omega = torch.where(rates < 1, 1 / (1 - rates).clamp(min=1e-9), 0).float()
        self.register_buffer("omega", omega)
        self.register_buffer("beta", torch.ones_like(omega))
        for name in ("gap", "preference", "chi"):
            self.register_buffer(name, torch.zeros_like(omega))
        # Sums of the running epoch: distances, studies where m is a student, studies that have m, steps.
        for name in ("distance_sum", "student_count", "case_count", "step_count"):
            self.register_buffer(name, torch.zeros_like(omega))
        # Sums of the whole run: studies that have m, studies.
        self.register_buffer("drawn_cases", torch.zeros_like(omega))
        self.register_buffer("drawn_studies", torch.zeros(1))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, distance: Tensor, available: Tensor) -> Tensor:
        """chi [M] of one step; in training mode the step is also tracked.  Nothing is read back from the device.

        Args:
            distance: [B, M], 0 where a modality is missing or alone.
            available: [B, M], 1 or 0, on the same device.
        """
        distance, available = distance.detach().float(), available.float()
        rho = relative_distance(distance, available, nan_preference=self.settings.faithful).sum(0)
        is_student = available * (available.sum(1, keepdim=True) >= 2)
        sums = torch.stack([rho, distance.sum(0), is_student.sum(0), available.sum(0),
                            torch.full_like(rho, len(distance))])
        if self.training:
            sum_over_processes(sums)  # every process then sees one large batch
        rho, distances, students, cases, studies = sums
        chi = (rho > 0).to(rho.dtype)  # NaN is not above 0
        if self.training:
            self.chi.copy_(chi)
            for total, value in ((self.distance_sum, distances), (self.student_count, students),
                                 (self.case_count, cases), (self.step_count, 1), (self.drawn_cases, cases),
                                 (self.drawn_studies, studies[:1])):
                total.add_(value)
        return chi

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Move beta (and omega, where it is counted) and start the sums anew."""
        s = self.settings
        count = {"students": self.student_count, "cases": self.case_count, "steps": self.step_count}[s.distances]
        mean = torch.where(count > 0, self.distance_sum / count.clamp(min=1), torch.nan)
        self.gap.copy_(mean.nan_to_num(0))
        self.preference.copy_(relative_preference(mean))
        eta = s.eta * GROWTH ** (self.epoch // GROWTH_EVERY + 1).to(self.beta.dtype)
        self.beta.copy_(balanced(self.beta, self.preference, eta))
        if not s.faithful:
            self.omega.copy_(torch.where(self.drawn_cases > 0, self.drawn_studies / self.drawn_cases.clamp(min=1),
                                         self.omega))
        for total in (self.distance_sum, self.student_count, self.case_count, self.step_count):
            total.zero_()
        self.epoch.add_(1)
