"""Steps from a subset to one scan more, and the share in which entropy rises."""

import numpy as np
import pytest

from dmaf_lite.evaluation.inclusion import steps, violations
from dmaf_lite.spec import BRATS, MYOPS


def test_steps_add_one_scan():
    found = steps(BRATS.subsets())
    assert len(found) == 28 and len(steps(MYOPS.subsets())) == 9
    for small, large, scan in found:
        assert not small[scan] and large[scan] and sum(large) == sum(small) + 1
        assert all(a == b for m, (a, b) in enumerate(zip(small, large, strict=True)) if m != scan)


def test_a_network_that_is_surer_with_every_scan_violates_nothing():
    entropies = {mask: np.full(50, 1.0 / sum(mask)) for mask in BRATS.subsets()}
    found = violations(entropies)
    assert (found.steps, found.voxels) == (0, 0) and set(found.by_scan.values()) == {0}


def test_one_scan_that_confuses_is_named():
    entropies = {mask: np.full(50, 1.0 - 0.1 * sum(mask) + 0.5 * mask[2]) for mask in BRATS.subsets()}
    found = violations(entropies)
    assert found.by_scan == {0: 0, 1: 0, 2: 1, 3: 0}
    assert found.steps == pytest.approx(7 / 28)


def test_voxels_are_counted_by_themselves_and_rounding_is_no_rise():
    half = {(True, False, False, False): np.zeros(10), (True, True, False, False): np.r_[np.full(3, 0.5), -np.ones(7)]}
    assert violations(half).steps == 0 and violations(half).voxels == pytest.approx(0.3)
    rounding = {mask: np.full(10, 1e-3 * sum(mask)) for mask in half}
    assert violations(rounding).voxels == 0
