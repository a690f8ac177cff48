"""A damaged scan is still a scan: z-scored, nothing outside the brain, worse with the level, the same again."""

from itertools import pairwise

import numpy as np
import pytest

from dmaf_lite.data.damage import DAMAGES, damage


@pytest.fixture
def scan() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.zeros((20, 24, 18), np.float32)
    brain = (slice(3, 17), slice(3, 21), slice(2, 16))
    smooth = np.add.outer(np.add.outer(np.linspace(-1, 1, 14), np.sin(np.arange(18))), np.linspace(0, 1, 14))
    inside = smooth + 0.1 * rng.standard_normal(smooth.shape)
    values[brain] = (inside - inside.mean()) / inside.std()
    return values


@pytest.mark.parametrize("kind", DAMAGES)
def test_it_stays_a_scan(scan, kind):
    spoiled = damage(scan, kind, 1.5, seed=1)
    assert spoiled.dtype == np.float32 and ((spoiled == 0) == (scan == 0)).all()
    inside = spoiled[scan != 0]
    assert inside.mean() == pytest.approx(0, abs=1e-4) and inside.std() == pytest.approx(1, abs=1e-3)
    assert np.array_equal(spoiled, damage(scan, kind, 1.5, seed=1))
    assert not np.array_equal(spoiled, damage(scan, kind, 1.5, seed=2))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_higher_level_is_further_from_the_scan(scan, kind):
    brain = scan != 0
    likeness = [np.corrcoef(scan[brain], damage(scan, kind, level)[brain])[0, 1] for level in (0, 0.5, 1, 2)]
    assert likeness[0] == 1 and all(a > b for a, b in pairwise(likeness))


def test_unknown_damage_is_refused(scan):
    with pytest.raises(ValueError, match=r"rust.*expected one of.*noise"):
        damage(scan, "rust", 1)
    with pytest.raises(ValueError, match="level of 0 or more"):
        damage(scan, "noise", -1)
