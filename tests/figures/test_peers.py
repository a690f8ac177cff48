"""Figures of the comparison: every number in its cell, every group inside its lines."""

import numpy as np
import pandas as pd

from dmaf_lite.figures import attention_picture, methods_heatmap


def test_the_heatmap_writes_every_number_where_it_belongs():
    tables = {region: pd.DataFrame({"baseline": [0.0, 0.5], "RFNet": [1.0, 0.256]}, index=["T1", "T1+T2"])
              for region in ("WT", "ET")}
    panels = methods_heatmap(tables).axes[:2]
    assert [ax.get_title() for ax in panels] == ["WT", "ET"]
    shown = {text.get_position(): text.get_text() for text in panels[0].texts}  # (subset, method)
    assert shown == {(0, 0): ".00", (1, 0): ".50", (0, 1): "1.00", (1, 1): ".26"}
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["T1", "T1+T2"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["baseline", "RFNet"]


def test_attention_has_one_scale_and_lines_between_the_groups():
    rows = np.full((6, 6), 1 / 6)
    peaked = np.eye(6)
    fig = attention_picture({"even": rows, "peaked": peaked}, ["FLAIR", "T1ce", "T1"])
    left, right = fig.axes[:2]
    assert left.images[0].get_clim() == right.images[0].get_clim() == (0, 1), "one scale, to compare the panels"
    level = [line.get_ydata()[0] for line in left.lines if len(set(line.get_ydata())) == 1]
    assert sorted(level) == [1.5, 3.5]
    np.testing.assert_allclose(left.get_xticks(), [0.5, 2.5, 4.5])
