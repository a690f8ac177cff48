"""Relative preference: who is weak in a step, and how beta and omega move by the epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor
from two_processes import RATES, preference_process, preference_step

from dmaf_lite.peers.preference import (
    PreferenceSettings,
    RelativePreference,
    balanced,
    relative_distance,
    relative_preference,
)

CHECK = torch.tensor([0.2, 0.1, 0.3, 0.2])  # the distances of the check vector, spec peers, section 4.8


def step_of(distance: list[list[float]], available: list[list[int]]) -> tuple[Tensor, Tensor]:
    available = torch.tensor(available, dtype=torch.float32)
    return torch.tensor(distance) * available * (available.sum(1, keepdim=True) >= 2), available


def test_the_check_vector_epoch_by_epoch():
    preference = RelativePreference([0.0] * 4)
    expected = {0: (0.999986, 0.992486, 1.007486, 0.999986), 1: (0.999944, 0.984944, 1.014943, 0.999944),
                2: (0.999873, 0.977376, 1.022371, 0.999873), 99: (0.8743, 0.1879, 1.5607, 0.8743),
                299: (0.2400, 0.0992, 1.9685, 0.2400)}
    for epoch in range(300):
        preference(CHECK[None], torch.ones(1, 4))
        preference.end_epoch()
        if epoch in expected:
            tolerance = 1e-6 if epoch < 3 else 1e-4
            torch.testing.assert_close(preference.beta, torch.tensor(expected[epoch]), atol=tolerance, rtol=0)
    torch.testing.assert_close(preference.preference, torch.tensor([0, 0.5, -0.5, 0]))


def test_beta_is_clipped_and_then_has_the_length_of_ones():
    beta = balanced(torch.ones(3), torch.tensor([5.0, -9.0, 0.0]), 1.0)
    clipped = torch.tensor([0.1, 4.0, 1.0])
    torch.testing.assert_close(beta, clipped * 3**0.5 / clipped.norm())
    assert beta.norm().item() == pytest.approx(3**0.5) and beta[0] < 0.1  # may leave the bounds again, as published


def test_rarity_of_the_published_table():
    """mr2468 of BraTS 2020: 90, 135, 184 and 43 of 219 cases have FLAIR, T1ce, T1, T2."""
    rates = [1 - n / 219 for n in (90, 135, 184, 43)]
    expected = torch.tensor([2.4333, 1.6222, 1.1902, 5.0930])
    torch.testing.assert_close(RelativePreference(rates).omega, expected, atol=5e-5, rtol=0)
    assert RelativePreference([0.0, 1.0, 0.5, 0.0]).omega.tolist() == [1, 0, 2, 1]


def test_weak_is_who_is_farther_away_than_the_mean_of_its_study():
    preference = RelativePreference(RATES)
    chi = preference(*step_of([[0.3, 0.1, 0.2, 0.9]], [[1, 1, 1, 0]]))
    assert chi.tolist() == [1, 0, 0, 0]  # exactly the mean is not weak
    rho = relative_distance(*step_of([[0.3, 0.1, 0.2, 0.9], [0.1, 0.7, 0.0, 0.4]], [[1, 1, 1, 0], [1, 0, 0, 1]]))
    torch.testing.assert_close(rho, torch.tensor([[0.5, -0.5, 0, 0], [-0.6, 0, 0, 0.6]]))
    chi = preference(*step_of([[0.3, 0.1, 0.2, 0.9], [0.1, 0.7, 0.0, 0.4]], [[1, 1, 1, 0], [1, 0, 0, 1]]))
    assert chi.tolist() == [0, 0, 0, 1]  # .5 - .6 for the first


def test_a_study_with_one_modality_says_nothing_unless_the_defect_is_on():
    step = step_of([[0.3, 0.1, 0.2, 0.9], [0.5, 0, 0, 0]], [[1, 1, 1, 0], [1, 0, 0, 0]])
    assert RelativePreference(RATES)(*step).tolist() == [1, 0, 0, 0]
    faulty = RelativePreference(RATES, PreferenceSettings(faithful=True))
    assert faulty(*step).tolist() == [0, 0, 0, 0]
    assert faulty(*step_of([[0.3, 0.1, 0.2, 0.9]], [[1, 1, 1, 0]])).tolist() == [1, 0, 0, 0]
    for preference in (RelativePreference(RATES), faulty):  # alone in the batch: no difference
        assert preference(*step_of([[0.5, 0, 0, 0]], [[1, 0, 0, 0]])).tolist() == [0, 0, 0, 0]
        preference.end_epoch()
        assert preference.beta.isfinite().all()


def test_what_the_distances_of_an_epoch_are_divided_by():
    """Equal distances of .2 wherever a modality is a student; T2 is rare, and once it is alone."""
    def after(distances: str) -> RelativePreference:
        preference = RelativePreference([0.0] * 4, PreferenceSettings(distances=distances))
        for available in ([1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]):
            preference(*step_of([[0.2] * 4], [available]))
        preference.end_epoch()
        return preference

    torch.testing.assert_close(after("students").preference, torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(after("students").gap, torch.full((4,), 0.2))
    torch.testing.assert_close(after("cases").gap, torch.tensor([0.2, 0.2, 0.2, 0.1]))
    steps = after("steps")
    torch.testing.assert_close(steps.gap, torch.tensor([0.15, 0.15, 0.15, 0.05]))
    assert steps.preference[3] > 0.5 and steps.beta[3] < steps.beta[0]  # the rare one looks close and loses weight


def test_an_epoch_starts_anew():
    preference = RelativePreference(RATES)
    for size in (0.2, 0.6):
        preference(*step_of([[size] * 4], [[1, 1, 1, 1]]))
        preference.end_epoch()
        torch.testing.assert_close(preference.gap, torch.full((4,), size))


def test_a_modality_that_was_not_a_student_keeps_its_balance():
    mean = torch.tensor([0.1, 0.3, torch.nan, torch.nan])
    torch.testing.assert_close(relative_preference(mean), torch.tensor([0.5, -0.5, 0, 0]))
    assert relative_preference(torch.full((4,), torch.nan)).tolist() == [0] * 4
    assert relative_preference(torch.zeros(4)).tolist() == [0] * 4
    preference = RelativePreference(RATES)
    preference.end_epoch()  # an epoch without any student
    torch.testing.assert_close(preference.beta, torch.ones(4))


def test_rarity_is_counted_from_what_was_drawn_unless_the_released_form_is_asked_for():
    for faithful, expected in ((False, [4 / 3, 4 / 2, 4 / 4, 1 / 0.2]), (True, [1 / 0.4, 1 / 0.6, 1 / 0.8, 5])):
        preference = RelativePreference(RATES, PreferenceSettings(faithful=faithful))
        preference(*step_of([[0.1] * 4] * 2, [[1, 1, 1, 0], [1, 0, 1, 0]]))
        torch.testing.assert_close(preference.omega, torch.tensor([1 / 0.4, 1 / 0.6, 1 / 0.8, 1 / 0.2]))
        preference.end_epoch()
        preference(*step_of([[0.1] * 4] * 2, [[0, 1, 1, 0], [1, 0, 1, 0]]))
        preference.end_epoch()
        torch.testing.assert_close(preference.omega, torch.tensor(expected))  # T2 never came: the table's


def test_evaluation_does_not_track():
    preference = RelativePreference(RATES).eval()
    assert preference(CHECK[None], torch.ones(1, 4)).tolist() == [0, 0, 1, 0]
    assert preference.step_count.sum() == 0 and preference.drawn_studies == 0 and preference.chi.sum() == 0


def run(preference: RelativePreference, generator: torch.Generator, steps: int) -> RelativePreference:
    for t in range(steps):
        preference(*preference_step(generator))
        if t % 5 == 4:
            preference.end_epoch()
    return preference


def test_checkpoint_in_the_middle_of_an_epoch_goes_on_bit_by_bit(tmp_path: Path):
    first = RelativePreference(RATES)
    first.epoch.fill_(97)  # eta grows at 100, after the checkpoint
    run(first, torch.Generator().manual_seed(0), 13)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = RelativePreference([0.0] * 4)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for preference in (first, second):
        run(preference, torch.Generator().manual_seed(1), 12)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert first.epoch == 101 and not torch.equal(first.beta, torch.ones(4))


def test_nothing_is_read_back_from_the_device():
    """Tensors on the meta device have no values: any read-back raises."""
    preference = RelativePreference(RATES).to("meta")
    chi = preference(torch.rand(2, 4, device="meta"), torch.ones(2, 4, device="meta"))
    preference.end_epoch()
    assert chi.device.type == preference.beta.device.type == "meta"


def test_two_processes_agree_with_one_that_saw_both_batches(tmp_path: Path):
    mp.spawn(preference_process, (str(tmp_path),), nprocs=2)
    together, generator = RelativePreference(RATES), torch.Generator().manual_seed(4)
    for _ in range(10):
        both = [preference_step(generator) for _ in range(2)]
        chi = together(*(torch.cat(parts) for parts in zip(*both, strict=True)))
    together.end_epoch()
    for rank in range(2):
        state = torch.load(tmp_path / f"state_{rank}.pt", weights_only=True)
        for name, tensor in (together.state_dict() | {"of the step": chi}).items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-5, atol=1e-6)
    assert not torch.equal(together.beta, torch.ones(4))


@pytest.mark.parametrize("wrong", [{"distances": "epochs"}, {"faithful": "perhaps"}, {"eta": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PreferenceSettings(**wrong)


def test_rates_are_checked():
    with pytest.raises(ValueError, match="missing rates"):
        RelativePreference([0.5, 1.5, 0.0, 0.0])
