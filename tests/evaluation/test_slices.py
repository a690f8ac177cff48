"""Scores slice by slice: the published convention of hearts, and HD95 that does not jump from slice to slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dmaf_lite.evaluation.conventions import CONVENTIONS
from dmaf_lite.evaluation.metrics import HD95, Dice, dice, hd95
from dmaf_lite.evaluation.scoring import score_case
from dmaf_lite.evaluation.slices import WHOLE, SliceTruth
from dmaf_lite.evaluation.tables import subset_table
from dmaf_lite.spec import MYOPS

SPACING = (2.0, 2.0, 14.0)


def label_maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction uint8[24, 24, 4]; slice 3 of the truth is empty, slice 0 of the prediction."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(24) - 12, np.arange(24) - 12, indexing="ij")
    truth, found = np.zeros((2, 24, 24, 4), np.uint8)
    for k in range(4):
        dx, dy = rng.integers(-2, 3, 2)
        truth[..., k] = (np.hypot(x, y) < 8) + 1 * (np.hypot(x, y) < 5)
        found[..., k] = (np.hypot(x - dx, y - dy) < 8) + 1 * (np.hypot(x - dx, y - dy) < 5)
    truth[..., 3], found[..., 0] = 0, 0
    return truth, found


def rows_under(name: str, truth: np.ndarray, found: np.ndarray) -> pd.DataFrame:
    settings = CONVENTIONS[name]
    rows = score_case(found[None], truth, subsets=[(True, True, True)], spec=MYOPS, spacing=SPACING, diagonal=500.0,
                      dice=settings.dice, hd95=settings.hd95)
    return pd.DataFrame(rows).assign(run="r", case="c")


def test_published_scores_every_slice_in_pixels():
    truth, found = label_maps()
    rows = rows_under("published", truth, found)
    for metric, plain in (("dice", lambda a, b: dice(a, b)),
                          ("hd95", lambda a, b: hd95(a, b, (1, 1), setting=HD95("pooled", "one")))):
        some = rows[(rows["metric"] == metric) & (rows["region"] == "LV")].set_index("slice")["value"]
        assert list(some.index) == [0, 1, 2, 3]
        for k in range(4):
            assert some[k] == pytest.approx(plain(found[..., k] == 2, truth[..., k] == 2))
    lv = rows[(rows["region"] == "LV") & (rows["metric"] == "hd95")]
    assert set(lv["unit"]) == {"px"} and lv["value"].iloc[0] == 1.0, "one side empty counts 1, as published"
    scar = rows[(rows["region"] == "scar") & (rows["metric"] == "dice")]
    assert (scar["value"] == 1).all(), "both empty counts 1, as published"


def test_patient_measures_in_plane_where_both_are_there():
    truth, found = label_maps()
    rows = rows_under("patient", truth, found)
    assert set(rows["slice"]) == {WHOLE} and set(rows.loc[rows["metric"] == "hd95", "unit"]) == {"mm"}
    value = rows.loc[(rows["metric"] == "hd95") & (rows["region"] == "LV"), "value"].item()
    each = [hd95(found[..., k] == 2, truth[..., k] == 2, SPACING[:2]) for k in (1, 2)]
    assert value == pytest.approx(np.mean(each)) and value < 12
    volume = hd95(found == 2, truth == 2, SPACING)
    assert volume >= 14, "in 3-D a slice that is missed costs the distance of the slices"
    three_d = rows.loc[(rows["metric"] == "dice") & (rows["region"] == "LV"), "value"].item()
    assert three_d == pytest.approx(dice(found == 2, truth == 2))


@pytest.mark.parametrize("found, true, expected", [((), (0,), 500.0), ((0,), (), 500.0), ((0,), (1,), 500.0),
                                                   ((), (), 0.0), ((0,), (0,), 0.0)])
def test_a_side_that_is_empty_in_every_slice(found: tuple, true: tuple, expected: float):
    masks = np.zeros((2, 8, 8, 2), bool)
    for mask, slices in zip(masks, (found, true), strict=True):
        mask[2:5, 2:5, list(slices)] = True
    rows = score_case(2 * masks[:1].astype(np.uint8), 2 * masks[1].astype(np.uint8), subsets=[(True, True, True)],
                      spec=MYOPS, spacing=SPACING, diagonal=500.0, hd95=(HD95(by="slice_mean"),))
    values = [row["value"] for row in rows if row["metric"] == "hd95" and row["region"] == "LV"]
    assert values == [expected]


def test_tables_of_the_published_convention_average_over_slices():
    rows = []
    for case, seed in (("a", 0), ("b", 1)):
        truth, found = label_maps(seed)
        if case == "b":
            truth, found = truth[..., :2], found[..., :2]  # fewer slices: a patient counts less
        rows.append(rows_under("published", truth, found).assign(case=case))
    rows = pd.concat(rows, ignore_index=True)
    table = subset_table(rows, "dice", "both_empty_1/slice", spec=MYOPS)
    every = rows[(rows["metric"] == "dice") & (rows["region"] == "LV")]["value"]
    assert len(every) == 6 and table.loc["C0+LGE+T2", "LV"] == pytest.approx(every.mean())


def test_names_say_what_was_done_and_nonsense_is_refused():
    assert Dice(by="slice").name == "both_empty_1/slice" and HD95().name == "pooled/diagonal"
    assert HD95("pooled", "one", "slice", "px").name == "pooled/one/slice/px"
    for make in (lambda: Dice(by="case"), lambda: HD95(by="case"), lambda: HD95(unit="px")):
        with pytest.raises(ValueError, match="choose"):
            make()


def test_surfaces_are_found_once_for_all_subsets():
    truth, found = label_maps()
    planes = SliceTruth(truth == 2, SPACING)
    first = planes._surfaces["mm"][1]
    planes.hd95(found == 2, HD95(by="slice"))
    assert planes._surfaces["mm"][1] is first
