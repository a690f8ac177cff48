"""Probabilities that keep their word are left alone, others are mended, and the background is not counted."""

import numpy as np
import pytest

from dmaf_lite.evaluation.reliability import (
    Scaling,
    entropy,
    expected_calibration_error,
    fit_scaling,
    reliability,
    zone,
    zone_of,
)


def drawn(n: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [4, n] and classes that are drawn from them: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.7] * 4, n).T
    return p, (rng.random(n) > p.cumsum(0)).sum(0)


def test_scaling_finds_what_was_done_to_the_probabilities():
    p, truth = drawn()
    told = Scaling(2.5, (0.0, 0.8, -0.4, 0.3))(p)  # far too sure, and in favour of class 1
    mended = fit_scaling(told, truth)
    assert mended.slope == pytest.approx(1 / 2.5, abs=0.02)
    assert np.abs(mended(told) - p).max() < 0.05
    before, after = (expected_calibration_error(q[1], truth == 1) for q in (told, mended(told)))
    assert before > 0.08 and after < 0.01


def test_scaling_leaves_alone_what_keeps_its_word():
    p, truth = drawn()
    found = fit_scaling(p, truth)
    assert found.slope == pytest.approx(1, abs=0.03) and np.abs(found.bias).max() < 0.05
    assert np.allclose(Scaling()(p), p, atol=1e-5)


def test_scaled_classes_still_sum_to_one_and_weights_count_voxels():
    p, truth = drawn(400)
    q = Scaling(0.6, (0.0, 1.0, -1.0, 0.5))(p.reshape(4, 20, 20))
    assert q.shape == (4, 20, 20) and np.allclose(q.sum(0), 1, atol=1e-6)
    twice = fit_scaling(np.tile(p, 2), np.tile(truth, 2), strength=0)
    weighted = fit_scaling(p, truth, np.full(400, 2.0), strength=0)
    assert twice.slope == pytest.approx(weighted.slope, abs=1e-3)


def test_a_class_that_never_occurs_keeps_a_finite_bias():
    p, truth = drawn(500)
    found = fit_scaling(p, np.where(truth == 3, 0, truth))
    assert -12 < found.bias[3] < -1
    assert fit_scaling(p[:, :0], truth[:0]) == Scaling(1.0, (0.0,) * 4)


def test_calibration_error_of_hand_made_promises():
    promise, came = np.array([0.9] * 10 + [0.2] * 10), np.array([True] * 5 + [False] * 5 + [True] * 2 + [False] * 8)
    assert expected_calibration_error(promise, came) == pytest.approx(0.5 * 0.4)
    table = reliability(promise, came)
    assert table[9] == pytest.approx([0.5, 0.9, 0.5]) and table[2] == pytest.approx([0.5, 0.2, 0.2])
    assert np.isnan(table[5, 1:]).all() and table[:, 0].sum() == pytest.approx(1)
    assert reliability(np.ones(3), np.ones(3, bool))[9] == pytest.approx([1, 1, 1]), "1 belongs to the last bin"
    assert np.isnan(expected_calibration_error(promise[:0], came[:0]))


def test_easy_background_would_hide_the_error_and_is_not_in_the_zone():
    p = np.full((4, 1000), 0.001)
    p[0] = 0.997
    p[:, :10] = np.array([0.1, 0.9, 0, 0])[:, None]  # promised, and never comes
    truth = np.zeros(1000, int)
    assert zone(p).sum() == zone_of(p, {1, 3}).sum() == 10 and zone_of(p, {2}).sum() == 0
    everywhere = expected_calibration_error(p[1], truth == 1)
    inside = expected_calibration_error(p[1][zone(p)], (truth == 1)[zone(p)])
    assert everywhere < 0.02 and inside == pytest.approx(0.9)


def test_entropy_is_nothing_for_the_certain_and_log_k_for_the_clueless():
    assert entropy(np.eye(4)) == pytest.approx(np.zeros(4), abs=1e-4)
    assert entropy(np.full((4, 2), 0.25)) == pytest.approx(np.log(4))
