"""Expected Dice is the mean of the true one where the probabilities are true."""

import numpy as np
import pytest

from dmaf_lite.evaluation.expected import doubts, expected_dice
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.spec import BRATS


def test_expected_dice_is_the_mean_over_truths_that_are_drawn_from_the_probabilities():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.4] * 4, 4000).T
    label = p.argmax(0)
    promised = expected_dice(p, BRATS)
    scores = {region: [] for region in BRATS.regions}
    for _ in range(40):
        truth = (rng.random(4000) > p.cumsum(0)).sum(0)
        for region in scores:
            scores[region].append(dice(BRATS.region_mask(label, region), BRATS.region_mask(truth, region)))
    for region in BRATS.regions:
        assert promised[region] == pytest.approx(np.mean(scores[region]), abs=0.01)


def test_certainty_and_emptiness():
    label = np.array([0, 1, 2, 3, 3])
    assert expected_dice(np.eye(4)[:, label], BRATS) == pytest.approx({"WT": 1, "TC": 1, "ET": 1})
    assert expected_dice(np.eye(4)[:, [0, 0]], BRATS) == {"WT": 1, "TC": 1, "ET": 1}
    doubtful = np.array([[0.6, 0.4, 0, 0]]).T
    assert expected_dice(doubtful, BRATS)["WT"] == 0, "nothing is shown, though there may be something"


def test_counts_of_a_region():
    q = np.array([[0.1, 0.9], [0.2, 0.0], [0.3, 0.1], [0.4, 0.0]])
    found = doubts(q.argmax(0), q, BRATS, weight=3)
    assert (found["WT"].mask, found["WT"].inside, found["WT"].everywhere) == pytest.approx((3, 2.7, 3.0))
    assert found["TC"].everywhere == pytest.approx(3 * 0.6) and found["ET"].inside == pytest.approx(3 * 0.4)
    assert found["ET"].dice == pytest.approx(2 * 1.2 / (3 + 1.2))
