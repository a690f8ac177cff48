"""Lesion-wise scores: components by corners, found by touch, false positives, sizes."""

from __future__ import annotations

import numpy as np
import pytest

from dmaf_lite.evaluation.lesions import lesion_table, lesions, size_name


def empty() -> np.ndarray:
    return np.zeros((30, 30, 30), bool)


def test_lesions_touching_at_a_corner_are_one():
    truth = empty()
    truth[2:4, 2:4, 2:4] = truth[4:6, 4:6, 4:6] = True
    assert len(lesions(empty(), truth, (1, 1, 1))) == 1
    truth[4:6, 4:6, 4:6] = False
    truth[5:7, 5:7, 5:7] = True
    assert len(lesions(empty(), truth, (1, 1, 1))) == 2


def test_found_missed_and_invented_by_size():
    truth, predicted = empty(), empty()
    truth[2:12, 2:12, 2:12] = True  # 1 ml at 1 mm, found by one voxel
    truth[20:24, 20:24, 20:24] = True  # 0.064 ml, missed
    truth[20:26, 2:8, 2:8] = True  # 0.216 ml, found
    predicted[11:13, 5, 5] = True
    predicted[22:28, 4:6, 4:6] = True
    predicted[28, 28, 28] = True  # invented
    rows = lesions(predicted, truth, (1, 1, 1))
    real = rows[rows["kind"] == "lesion"]
    assert dict(zip(real["ml"].round(3), real["found"], strict=True)) == {1.0: True, 0.064: False, 0.216: True}
    table = lesion_table([rows, lesions(empty(), empty(), (1, 1, 1))])
    assert table["lesions"].tolist() == [1, 1, 1, 3] and table["found"].tolist() == [0, 1, 1, 2]
    assert table.loc["all", "sensitivity"] == pytest.approx(2 / 3)
    assert table["false positives per study"].tolist() == [0.5, 0, 0, 0.5]


def test_voxels_have_a_size_and_edges_of_sizes_belong_upwards():
    truth = empty()
    truth[:5, :5, :5] = True
    assert lesions(empty(), truth, (2, 2, 2))["ml"].item() == pytest.approx(1.0)
    assert [size_name(ml) for ml in (0.05, 0.1, 0.99, 1.0)] == ["below 0.1 ml", "0.1 to 1 ml", "0.1 to 1 ml",
                                                                 "above 1 ml"]


def test_nothing_at_all():
    table = lesion_table([lesions(empty(), empty(), (1, 1, 1))])
    assert table["lesions"].sum() == 0 and table["sensitivity"].isna().all()
    with pytest.raises(ValueError, match="no study"):
        lesion_table([])
    with pytest.raises(ValueError, match="shape"):
        lesions(empty(), empty()[1:], (1, 1, 1))


def test_exchanging_truth_and_prediction_exchanges_missed_and_invented():
    rng = np.random.default_rng(0)
    a, b = (rng.random((20, 20, 20)) > 0.985 for _ in range(2))
    one, other = lesions(a, b, (1, 1, 1)), lesions(b, a, (1, 1, 1))
    missed = (~one.loc[one["kind"] == "lesion", "found"]).sum()
    assert missed == (other["kind"] == "false positive").sum() > 0


def test_the_phantom_of_metastases_has_many_small_lesions():
    from dmaf_lite.phantom.brain.ingredients import BrainSettings
    from dmaf_lite.phantom.brain.recipe import make_brain

    found = []
    for index in range(3):
        brain = make_brain(0, index, BrainSettings(spacing=2.0, metastases=True, without_enhancement=0.0))
        core = np.isin(brain["seg"], (1, 4))
        found.append(lesions(np.zeros_like(core), core, (2, 2, 2)))
        assert (brain["seg"] == 2).any(), "with oedema around them"
    counts = [len(rows) for rows in found]
    assert min(counts) >= 3 and max(counts) > 5
    assert np.median(np.concatenate([rows["ml"] for rows in found])) < 1
