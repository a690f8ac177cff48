r"""DTM, dynamic training monitoring: who lags behind the fused features, and what to do about it.

The paper's abstract says: track distillation gaps in real time, re-weight losses, scale gradients.  The formulas
are ours (spec dmaf_net, section 6), after PASSION's preference and OGM-GE.  Everything here is detached.

=========== ==================================================================================================
gap         :math:`d^m_b = \sum_t (L^m_{t,b} / s_t) / (1 - 1/k_b)`, t over the distillation terms, s_t the
            running mean of term t over all modalities, k_b >= 2 the number of modalities of study b
track       in steps where m occurs :math:`D^m \leftarrow \rho D^m + (1 - \rho)\,\mathrm{mean}_b d^m_b`; read
            as :math:`D^m / (1 - \rho^{n_m})`, or a rare modality looks far ahead at the start
relative    :math:`r^m = D^m / \mathrm{mean}_k D^k - 1`; above 0 it lags, below 0 it is ahead
weights     once per epoch :math:`\beta \leftarrow \mathrm{Proj}(\beta_0 + (1-\kappa)(\beta - \beta_0) + \eta r)`
gradients   :math:`\gamma^m = 1 - \tanh(\alpha \max(0, -r^m))`, a factor on encoder m's learning rate: under
            Adam a constant factor on the gradient is normalised away
=========== ==================================================================================================

Taught in lesson 06.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dmaf_lite.base.processes import sum_over_processes
from dmaf_lite.base.settings import checked

MODES = ("none", "reweighting", "gradients", "both")


@checked
class MonitorSettings:
    """Constants of the monitor, all ours.

    Attributes:
        rho: Memory of the running means; 0.98 looks back over about 50 steps.
        eta: Step of the loss weights per epoch and unit of relative gap.
        kappa: Leak of the loss weights towards their start; without it they run to the bound.
        alpha: Strength of the gradient scaling.
        floor: Smallest loss weight; no modality that occurs is ever switched off.
    """

    rho: float = 0.98
    eta: float = 0.1
    kappa: float = 0.02
    alpha: float = 0.5
    floor: float = 0.1

    def __post_init__(self) -> None:
        for name, low, high in (("rho", 0, 1), ("kappa", 0, 1), ("floor", 0, 1)):
            if not low <= getattr(self, name) < high:
                raise ValueError(f"{name} of the monitor is {getattr(self, name)}; expected {low} <= {name} < {high}")
        for name in ("eta", "alpha"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of the monitor is {getattr(self, name)}; expected 0 or more")


def project_weights(weights: Tensor, floor: float = 0.1) -> Tensor:
    """The nearest point (Euclidean) with mean 1 and no entry below `floor`; exact, by one sort.

    Above the floor this is the projection on a simplex: subtract one number theta from every entry and clip at 0;
    theta follows from the entries that stay above.

    Args:
        weights: [n], n >= 1.
        floor: Below 1.
    """
    n = weights.numel()
    room = n * (1 - floor)  # what the entries hold together above the floor
    above = weights - floor
    ordered = above.sort(descending=True).values
    thetas = (ordered.cumsum(0) - room) / torch.arange(1, n + 1, dtype=weights.dtype, device=weights.device)
    theta = thetas[(ordered > thetas).sum() - 1]
    return (above - theta).clamp(min=0) + floor


def start_weights(missing_rates: Sequence[float], floor: float = 0.1) -> Tensor:
    """beta_0: proportional to 1 / (1 - missing rate), mean 1 over modalities that occur, 0 for one that never does.

    Ours: projected on the bounds at once, so that the leak pulls towards a point that keeps them.

    Raises:
        ValueError: If a rate is not in [0, 1], or no modality occurs.
    """
    rates = torch.as_tensor(list(missing_rates), dtype=torch.float64)
    if rates.ndim != 1 or not ((rates >= 0) & (rates <= 1)).all() or not (rates < 1).any():
        raise ValueError(f"missing rates are {list(missing_rates)}; expected one number from 0 to 1 per modality, "
                         "and at least one modality that occurs (below 1)")
    occurs = rates < 1
    weights = torch.zeros_like(rates)
    rarity = 1 / (1 - rates[occurs])
    weights[occurs] = project_weights(rarity / rarity.mean(), floor)
    return weights


def track_(mean: Tensor, updates: Tensor, value: Tensor, counts: Tensor, rho: float) -> None:
    """One step of an exponential mean in place, entry by entry, only where something was counted."""
    seen = counts > 0
    mean.copy_(torch.where(seen, rho * mean + (1 - rho) * value, mean))
    updates.add_(seen)


def corrected(mean: Tensor, updates: Tensor, rho: float) -> Tensor:
    """Bias-corrected exponential mean, mean / (1 - rho^n); 0 before the first update."""
    return torch.where(updates > 0, mean / (1 - rho ** updates.clamp(min=1)), 0)


class TrainingMonitor(nn.Module):
    """Tracks the gaps and turns them into loss weights beta and update factors gamma.

    Its whole state is buffers, so that it moves with its owner and is in every `state_dict` as plain tensors.
    float32 throughout: float64 does not exist on every device, and a few per cent of a running mean are enough.

    Args:
        terms: Names of the distillation terms that are switched on.
        missing_rates: Missing rate of every modality in the training table, M numbers.
        mode: ``"none"`` (tracks only; beta = gamma = 1), ``"reweighting"``, ``"gradients"`` or ``"both"``.
        settings: The constants.

    Raises:
        ValueError: Without any term, or for another mode.
    """

    def __init__(self, terms: Sequence[str], missing_rates: Sequence[float], *, mode: str = "both",
                 settings: MonitorSettings | None = None) -> None:
        super().__init__()
        if not terms:
            raise ValueError("the monitor watches distillation gaps, but no distillation term is switched on; "
                             "switch on relation or prototype, or set dtm to 'none'")
        if mode not in MODES:
            raise ValueError(f"dtm is {mode!r}; expected one of {', '.join(MODES)}")
        self.terms, self.mode, self.settings = tuple(terms), mode, settings or MonitorSettings()
        start = start_weights(missing_rates, self.settings.floor).float()
        self.register_buffer("start", start)  # beta_0
        self.register_buffer("weights", start.clone())  # beta as if it were switched on
        self.register_buffer("factors", torch.ones_like(start))  # gamma, likewise
        self.register_buffer("gap", torch.zeros_like(start))  # D, not corrected
        self.register_buffer("gap_updates", torch.zeros_like(start))  # n_m
        self.register_buffer("scale", torch.zeros(len(self.terms)))  # s, not corrected
        self.register_buffer("scale_updates", torch.zeros(1))

    @property
    def beta(self) -> Tensor:
        """[M], the loss weights in use; a copy, so that a later update does not reach into a graph."""
        return self.weights.clone() if self.mode in ("reweighting", "both") else torch.ones_like(self.weights)

    @property
    def gamma(self) -> Tensor:
        """[M], the factors in use on the encoders' updates."""
        return self.factors.clone() if self.mode in ("gradients", "both") else torch.ones_like(self.factors)

    @torch.no_grad()
    def observe(self, terms: Mapping[str, Tensor], available: Tensor) -> None:
        """Take in one step: the unweighted terms of the batch.  Nothing is read back from the device.

        Args:
            terms: Values [B, M] of (at least) the terms watched; entries of missing modalities are not looked at.
            available: bool [B, M].
        """
        rho, device = self.settings.rho, self.gap.device
        k = available.sum(1, keepdim=True)
        takes_part = (available & (k >= 2)).to(device, non_blocking=True)
        k = k.to(device, torch.float32, non_blocking=True)
        values = torch.stack([terms[name].detach().to(device, torch.float32) for name in self.terms])
        values = torch.where(takes_part, values, 0)  # [T, B, M]
        # f holds e^m itself with a weight of about 1/k: few modalities make a small gap without any merit.
        fair = torch.where(takes_part, values / (1 - 1 / k.clamp(min=2)), 0)
        # d is linear in the terms, so the scale can be applied after the sums: one message for everything.
        sums = torch.cat([values.sum((1, 2)), fair.sum(1).flatten(), takes_part.sum(0).to(torch.float32)])
        sum_over_processes(sums)
        raw, fair, counts = sums.split([len(self.terms), len(self.terms) * len(self.gap), len(self.gap)])
        everyone = counts.sum().unsqueeze(0)
        track_(self.scale, self.scale_updates, raw / everyone.clamp(min=1), everyone, rho)
        scale = corrected(self.scale, self.scale_updates, rho).unsqueeze(1)
        # A term that has been 0 so far says nothing about anybody.
        relative = torch.where(scale > 0, fair.unflatten(0, (len(self.terms), -1)) / scale, 0)
        track_(self.gap, self.gap_updates, relative.sum(0) / counts.clamp(min=1), counts, rho)

    def tracked_gap(self) -> Tensor:
        """[M], the bias-corrected gap D; 0 for a modality that has not been seen."""
        return corrected(self.gap, self.gap_updates, self.settings.rho)

    def relative_gap(self) -> Tensor:
        """[M], r: above 0 for a modality that lags; 0 where nothing is known."""
        seen, gap = self.gap_updates > 0, self.tracked_gap()
        mean = gap.sum() / seen.sum().clamp(min=1)
        return torch.where(seen & (mean > 0), gap / mean - 1, 0)

    @torch.no_grad()
    def update_epoch(self) -> Tensor:
        """Move beta and gamma once, at the end of an epoch after the warm-up.  Returns beta [M] as in use."""
        s, r = self.settings, self.relative_gap()
        # On the CPU in float64: once per epoch a copy costs nothing, and the bounds then hold to the last digit.
        start, weights = self.start.double().cpu(), self.weights.double().cpu()
        occurs = start > 0
        wanted = start + (1 - s.kappa) * (weights - start) + s.eta * r.double().cpu()
        weights[occurs] = project_weights(wanted[occurs], s.floor)
        self.weights.copy_(weights)
        self.factors.copy_(1 - torch.tanh(s.alpha * (-r).clamp(min=0)))
        return self.beta
