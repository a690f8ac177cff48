"""Dynamic training monitoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from two_processes import RATES, monitor_process, monitor_step

from dmaf_lite.objectives.monitor import (
    MonitorSettings,
    TrainingMonitor,
    corrected,
    project_weights,
    start_weights,
    track_,
)


class SlowMonitor:
    """The formulas in plain numbers, pair by pair."""

    def __init__(self, terms: tuple[str, ...], modalities: int, rho: float = 0.98) -> None:
        self.rho, self.gap, self.n = rho, [0.0] * modalities, [0] * modalities
        self.scale, self.scale_n = dict.fromkeys(terms, 0.0), 0

    def observe(self, terms: dict[str, Tensor], available: Tensor) -> None:
        pairs = [(b, m) for b, row in enumerate(available.tolist()) if sum(row) >= 2 for m in range(len(row)) if row[m]]
        if not pairs:
            return
        self.scale_n += 1
        for t in self.scale:
            mean = np.mean([terms[t][b, m].item() for b, m in pairs])
            self.scale[t] = self.rho * self.scale[t] + (1 - self.rho) * mean
        for m in range(available.shape[1]):
            gaps = []
            for b in (b for b, other in pairs if other == m):
                k = int(available[b].sum())
                d = sum(terms[t][b, m].item() / (s / (1 - self.rho**self.scale_n)) for t, s in self.scale.items())
                gaps.append(d / (1 - 1 / k))
            if gaps:
                self.n[m] += 1
                self.gap[m] = self.rho * self.gap[m] + (1 - self.rho) * np.mean(gaps)

    def tracked_gap(self) -> list[float]:
        return [d / (1 - self.rho**n) if n else 0.0 for d, n in zip(self.gap, self.n, strict=True)]


@pytest.mark.parametrize("modalities", [2, 3, 4])
@pytest.mark.parametrize("names", [("cov",), ("att", "proto"), ("cov", "att", "proto")])
def test_slow_form_equals_fast_form(modalities, names):
    monitor = TrainingMonitor(names, RATES[:modalities])
    slow = SlowMonitor(names, modalities)
    generator = torch.Generator().manual_seed(modalities)
    for _ in range(60):
        step = monitor_step(generator, modalities)
        monitor.observe(*step)
        slow.observe(*step)
    np.testing.assert_allclose(monitor.tracked_gap().numpy(), slow.tracked_gap(), rtol=1e-4)
    assert monitor.gap_updates.tolist() == slow.n
    gap = np.array(slow.tracked_gap())
    np.testing.assert_allclose(monitor.relative_gap().numpy(), gap / gap.mean() - 1, atol=1e-4)


def constant_step(values: list[float], available: list[list[bool]]) -> tuple[dict[str, Tensor], Tensor]:
    """Gaps that depend on the modality only, with the factor 1 - 1/k taken out beforehand."""
    mask = torch.tensor(available)
    k = mask.sum(1, keepdim=True)
    return {"att": torch.where(mask, torch.tensor(values) * (1 - 1 / k), 0)}, mask


def test_bias_correction_gives_the_mean_from_the_first_update_on():
    monitor = TrainingMonitor(["att"], RATES)
    step = constant_step([1.0, 1.0, 1.0, 1.0], [[True, True, True, True]])
    for _ in range(3):
        monitor.observe(*step)
        # Every raw value is 3/4, so the scale is 3/4 and the gap 1 / (3/4), at once and for ever.
        torch.testing.assert_close(monitor.tracked_gap(), torch.full((4,), 4 / 3), rtol=1e-5, atol=0)


def test_a_rare_modality_is_not_mistaken_for_an_advanced_one():
    monitor = TrainingMonitor(["att"], RATES)
    for t in range(20):  # all equally far; the last modality is there in one step of five
        monitor.observe(*constant_step([2.0] * 4, [[True, True, True, t % 5 == 0]]))
    assert monitor.gap_updates.tolist() == [20, 20, 20, 4]
    assert monitor.gap[3] < 0.5 * monitor.gap[0]  # what is read without the correction
    # What is left is the running mean of the scale, which moves with k; far below the factor 4 of above.
    torch.testing.assert_close(monitor.relative_gap(), torch.zeros(4), atol=0.05, rtol=0)


def test_few_modalities_are_no_merit():
    """Same distance of e^m to the others: with k = 2 the raw gap is smaller, and the factor makes up for it."""
    monitor = TrainingMonitor(["att"], RATES[:3])
    monitor.observe(*constant_step([1.0, 1.0, 1.0], [[True, True, False], [True, True, True]]))
    torch.testing.assert_close(monitor.relative_gap(), torch.zeros(3), atol=1e-6, rtol=0)


def test_terms_are_commensurate_whatever_their_size():
    generator = torch.Generator().manual_seed(0)
    one, other = (TrainingMonitor(["cov", "att", "proto"], RATES) for _ in range(2))
    for _ in range(20):
        terms, available = monitor_step(generator)
        one.observe(terms, available)
        other.observe(terms | {"cov": 1000 * terms["cov"]}, available)
    torch.testing.assert_close(one.tracked_gap(), other.tracked_gap())


def test_a_falling_loss_does_not_favour_a_modality_that_is_seen_less_often():
    monitor = TrainingMonitor(["att"], RATES)
    raw, updates = torch.zeros(4), torch.zeros(4)  # the same track of the values themselves, not divided by the scale
    for t in range(300):
        step = constant_step([10 * 0.99**t] * 4, [[True, True, True, t % 7 == 0]])
        monitor.observe(*step)
        track_(raw, updates, step[0]["att"][0], step[1][0].float(), 0.98)
    assert corrected(raw, updates, 0.98)[3] > 3 * corrected(raw, updates, 0.98)[0]  # what it guards against
    assert monitor.relative_gap().abs().max() < 0.15


def test_single_modalities_and_missing_ones_are_not_looked_at():
    monitor = TrainingMonitor(["att"], RATES)
    available = torch.tensor([[True, False, False, False], [True, True, False, False]])
    value = torch.tensor([[9.0, torch.nan, torch.inf, 3.0], [1.0, 2.0, torch.nan, torch.nan]])
    monitor.observe({"att": value}, available)
    assert monitor.gap_updates.tolist() == [1, 1, 0, 0]
    # Scale (1 + 2) / 2; gaps value / scale / (1/2).
    torch.testing.assert_close(monitor.tracked_gap(), torch.tensor([4 / 3, 8 / 3, 0, 0]), rtol=1e-5, atol=0)
    torch.testing.assert_close(monitor.relative_gap(), torch.tensor([-1 / 3, 1 / 3, 0, 0]), rtol=1e-5, atol=0)


def test_a_step_without_students_changes_nothing():
    monitor = TrainingMonitor(["att"], RATES)
    monitor.observe(*constant_step([1.0, 2.0, 3.0, 4.0], [[True] * 4]))
    before = {name: tensor.clone() for name, tensor in monitor.state_dict().items()}
    monitor.observe({"att": torch.zeros(2, 4)}, torch.eye(4, dtype=torch.bool)[:2])
    torch.testing.assert_close(monitor.state_dict(), before)


def test_a_term_of_zero_gives_no_gap_and_no_nan():
    monitor = TrainingMonitor(["att", "cov"], RATES)
    mask = torch.ones(1, 4, dtype=torch.bool)
    monitor.observe({"att": torch.zeros(1, 4), "cov": torch.zeros(1, 4)}, mask)
    assert monitor.relative_gap().tolist() == [0, 0, 0, 0]
    monitor.observe({"att": torch.zeros(1, 4), "cov": torch.tensor([[1.0, 1.0, 1.0, 2.0]])}, mask)
    assert monitor.tracked_gap().isfinite().all() and monitor.relative_gap()[3] > 0
    assert monitor.update_epoch().isfinite().all()


def test_nothing_before_the_first_step():
    monitor = TrainingMonitor(["att"], RATES)
    assert monitor.relative_gap().tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(monitor.update_epoch(), monitor.start)
    assert monitor.gamma.tolist() == [1, 1, 1, 1]


# ---- loss weights --------------------------------------------------------------------------------------------------

def test_start_is_proportional_to_rarity_with_mean_one():
    start = start_weights(RATES)
    torch.testing.assert_close(start * (1 - torch.tensor(RATES, dtype=torch.float64)),
                               torch.full((4,), start[0].item() * 0.4, dtype=torch.float64))
    assert start.mean().item() == pytest.approx(1)


def test_a_modality_that_never_occurs_has_no_weight():
    monitor = TrainingMonitor(["att"], (0.5, 1.0, 0.0))
    for _ in range(5):
        monitor.observe(*constant_step([1.0, 0.0, 4.0], [[True, False, True]]))
        beta = monitor.update_epoch()
    assert beta[1] == 0 and beta.sum().item() == pytest.approx(2) and beta[2] > monitor.start[2]


def test_start_keeps_the_bounds_under_extreme_rates():
    start = start_weights((0.0, 0.0, 0.999))
    assert start.min() >= 0.1 - 1e-12 and start.mean().item() == pytest.approx(1)


@pytest.mark.parametrize("rates", [(1.0, 1.0), (-0.1, 0.5), (0.5, float("nan")), (2.0, 0.1)])
def test_impossible_rates_are_refused(rates):
    with pytest.raises(ValueError, match="missing rates"):
        start_weights(rates)


@settings(max_examples=60)
@given(st.lists(st.floats(-5, 8), min_size=1, max_size=6), st.floats(0, 0.9))
def test_projection_is_the_nearest_point_with_these_bounds(values, floor):
    from scipy.optimize import minimize  # here, because the two processes below import this file again

    weights = torch.tensor(values, dtype=torch.float64)
    projected = project_weights(weights, floor)
    assert projected.mean().item() == pytest.approx(1) and projected.min() >= floor - 1e-12
    found = minimize(lambda x: ((x - np.array(values))**2).sum(), np.ones(len(values)), method="SLSQP",
                     jac=lambda x: 2 * (x - np.array(values)), bounds=[(floor, None)] * len(values),
                     constraints={"type": "eq", "fun": lambda x: x.mean() - 1}, options={"ftol": 1e-12, "maxiter": 300})
    np.testing.assert_allclose(projected.numpy(), found.x, atol=1e-5)


def test_projection_leaves_points_that_fit_and_meets_a_value_by_hand():
    weights = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    torch.testing.assert_close(project_weights(weights), weights)
    # Shift by -1/2 to mean 1 (3.5, -1.5, .5, ...): the second falls below and stays at 0.1.
    torch.testing.assert_close(project_weights(torch.tensor([3.0, -5.0], dtype=torch.float64)),
                               torch.tensor([1.9, 0.1], dtype=torch.float64))


def test_laggards_gain_weight_inside_the_bounds_for_ever():
    monitor = TrainingMonitor(["att"], RATES)
    step = constant_step([1.0, 1.0, 1.0, 9.0], [[True] * 4])
    monitor.observe(*step)
    first = monitor.update_epoch()
    # One step by hand: equal means, so the projection moves nothing but the float rounding.
    torch.testing.assert_close(first, monitor.start + 0.1 * torch.tensor([-2 / 3, -2 / 3, -2 / 3, 2.0]))
    for _ in range(300):
        monitor.observe(*step)
        beta = monitor.update_epoch()
        assert beta.mean().item() == pytest.approx(1, abs=1e-6) and beta.min() >= 0.1 - 1e-6
    assert beta[3] > first[3] and beta[0].item() == pytest.approx(0.1, abs=1e-6)


def test_the_leak_brings_the_weights_home_when_all_are_level():
    monitor = TrainingMonitor(["att"], RATES, settings=MonitorSettings(rho=0.0))  # forgets at once
    monitor.observe(*constant_step([1.0, 1.0, 1.0, 3.0], [[True] * 4]))
    monitor.update_epoch()
    away = (monitor.beta - monitor.start).abs().max()
    monitor.observe(*constant_step([1.0] * 4, [[True] * 4]))
    monitor.update_epoch()
    torch.testing.assert_close((monitor.beta - monitor.start).abs().max(), 0.98 * away, rtol=1e-3, atol=0)


# ---- gradients -----------------------------------------------------------------------------------------------------

def test_who_is_ahead_is_slowed_and_who_lags_is_not():
    monitor = TrainingMonitor(["att"], RATES, mode="gradients")
    monitor.observe(*constant_step([0.5, 1.0, 1.0, 1.5], [[True] * 4]))
    assert monitor.gamma.tolist() == [1, 1, 1, 1]  # not before the epoch ends
    monitor.update_epoch()
    expected = torch.tensor([1 - np.tanh(0.5 * 0.5), 1, 1, 1], dtype=torch.float32)
    torch.testing.assert_close(monitor.gamma, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("mode", "weighs", "slows"), [("none", False, False), ("reweighting", True, False),
                                                       ("gradients", False, True), ("both", True, True)])
def test_modes(mode, weighs, slows):
    monitor = TrainingMonitor(["att"], RATES, mode=mode)
    monitor.observe(*constant_step([0.5, 1.0, 1.0, 1.5], [[True] * 4]))
    monitor.update_epoch()
    assert (monitor.beta != 1).any().item() is weighs and (monitor.gamma != 1).any().item() is slows
    assert (monitor.gap_updates == 1).all()  # it tracks in every mode


@pytest.mark.parametrize(("kind", "ratio"), [(torch.optim.AdamW, 1.0), (torch.optim.SGD, 0.6)])
def test_a_factor_on_the_gradient_is_lost_under_adam_and_one_on_the_learning_rate_is_not(kind, ratio):
    def moved(*, on_gradient: float, on_rate: float) -> float:
        weight = torch.nn.Parameter(torch.ones(50))
        optimiser = kind([{"params": [weight], "lr": 1e-3 * on_rate}], lr=1e-3, weight_decay=0.0)
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            weight.grad = on_gradient * torch.randn(50, generator=generator)
            optimiser.step()
        return (weight - 1).norm().item()

    plain = moved(on_gradient=1, on_rate=1)
    assert moved(on_gradient=0.6, on_rate=1) / plain == pytest.approx(ratio, abs=1e-3)
    assert moved(on_gradient=1, on_rate=0.6) / plain == pytest.approx(0.6, abs=1e-3)


# ---- state, devices, processes -------------------------------------------------------------------------------------

def run(monitor: TrainingMonitor, generator: torch.Generator, steps: int) -> TrainingMonitor:
    for t in range(steps):
        monitor.observe(*monitor_step(generator))
        if t % 5 == 4:
            monitor.update_epoch()
    return monitor


def test_checkpoint_round_trip_goes_on_bit_by_bit(tmp_path: Path):
    names = ["cov", "att", "proto"]
    first = run(TrainingMonitor(names, RATES), torch.Generator().manual_seed(0), 12)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = TrainingMonitor(names, (0.0, 0.0, 0.0, 0.0))
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for monitor in (first, second):
        run(monitor, torch.Generator().manual_seed(1), 12)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    assert all(isinstance(tensor, Tensor) for tensor in first.state_dict().values())


def test_nothing_is_read_back_from_the_device():
    """Tensors on the meta device have no values: any read-back raises."""
    monitor = TrainingMonitor(["att", "cov"], RATES).to("meta")
    terms = {name: torch.rand(2, 4, device="meta") for name in ("att", "cov")}
    monitor.observe(terms, torch.tensor([[True, True, False, True], [True, False, False, False]]))
    assert monitor.gap.device.type == "meta"


def test_what_is_observed_is_detached_and_beta_is_a_copy():
    monitor = TrainingMonitor(["att"], RATES)
    terms, available = constant_step([1.0, 2.0, 3.0, 4.0], [[True] * 4])
    value = terms["att"].requires_grad_()
    beta = monitor.beta
    monitor.observe({"att": value}, available)
    monitor.update_epoch()
    assert not monitor.gap.requires_grad
    torch.testing.assert_close(beta, monitor.start)


def test_two_processes_agree_with_one_that_saw_both_batches(tmp_path: Path):
    mp.spawn(monitor_process, (str(tmp_path),), nprocs=2)
    together, generator = TrainingMonitor(["cov", "att", "proto"], RATES), torch.Generator().manual_seed(4)
    for _ in range(15):
        (one, first), (other, second) = (monitor_step(generator, studies=2) for _ in range(2))
        together.observe({name: torch.cat([one[name], other[name]]) for name in one}, torch.cat([first, second]))
    together.update_epoch()
    for rank in range(2):
        state = torch.load(tmp_path / f"state_{rank}.pt", weights_only=True)
        for name, tensor in together.state_dict().items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-5, atol=1e-6)
    assert (together.gap_updates > 0).all()


# ---- settings ------------------------------------------------------------------------------------------------------

def test_a_monitor_without_terms_or_of_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="no distillation term"):
        TrainingMonitor([], RATES)
    with pytest.raises(ValueError, match="dtm"):
        TrainingMonitor(["att"], RATES, mode="on")


@pytest.mark.parametrize("wrong", [{"rho": 1.0}, {"kappa": -0.1}, {"floor": 1.0}, {"eta": -1.0}, {"alpha": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MonitorSettings(**wrong)
