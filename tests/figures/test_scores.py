"""Pictures of scores over steps and over numbers of cases."""

import numpy as np
import pandas as pd

from dmaf_lite.figures import own_cases_picture, validation_picture


def test_every_run_is_a_line_with_its_looks():
    looks = {"a": pd.DataFrame({"step": [1, 2], "score": [0.1, 0.4]}), "b": pd.DataFrame({"step": [1], "score": [0.2]})}
    ax, = validation_picture(looks, unit="mean Dice").axes
    assert [line.get_label() for line in ax.lines] == ["a", "b"] and ax.get_ylabel() == "mean Dice"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.1, 0.4])


def test_own_cases_are_evenly_spaced_and_intervals_reach_where_the_table_says():
    lines = [("weights", 0, 0.7, 0.6, 0.75), ("weights", 30, 0.8, 0.7, 0.9), ("nothing", 0, 0.1, 0.0, 0.2)]
    table = pd.DataFrame(lines, columns=["start", "own", "mean", "low", "high"])
    ax, = own_cases_picture(table).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "30"]
    weights, nothing = ax.containers
    np.testing.assert_allclose(weights.lines[0].get_ydata(orig=False), [0.7, 0.8])
    np.testing.assert_allclose(np.array(weights.lines[2][0].get_segments())[:, :, 1], [[0.6, 0.75], [0.7, 0.9]])
    assert nothing.lines[0].get_xdata()[0] > weights.lines[0].get_xdata()[0], "two lines do not hide each other"
