"""The map of effects shows every cell and colours what is shown, nothing else."""

import numpy as np
import pandas as pd

from dmaf_lite.figures import effect_map
from dmaf_lite.figures.map_of_effects import words

TABLE = pd.DataFrame(
    [(rates, one, "before", region, difference, difference - 0.01, difference + 0.01, seeds, verdict)
     for rates, one, region, difference, seeds, verdict in (
         ("complete", "a", "WT", 0.05, 3, "helps"), ("complete", "a", "TC", -0.05, 3, "hurts"),
         ("complete", "b", "WT", 0.002, 3, "not shown"), ("complete", "b", "TC", 0.04, 1, "one seed only"),
         ("rare", "a", "WT", np.nan, 0, "missing"), ("rare", "a", "TC", np.nan, 0, "missing"),
         ("rare", "b", "WT", 0.03, 2, "helps"), ("rare", "b", "TC", 0.0, 2, "not shown"))],
    columns=["rates", "one", "before", "region", "difference", "low", "high", "seeds", "verdict"])


def test_each_cell_is_there_with_its_number_and_the_words_of_the_part():
    ax, = effect_map(TABLE, names={("a", "before"): "+ attention"}).axes
    texts = [text.get_text() for text in ax.texts]
    assert len(ax.patches) == len(TABLE) and texts.count("missing") == 2
    assert {"+0.050", "-0.050", "+0.002", "+0.040", "+0.030"} <= set(texts)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["+ attention", "b"]
    assert len(effect_map(pd.concat([TABLE, TABLE.assign(before="c")])).axes[0].patches) == 2 * len(TABLE)
    assert {"complete (1 or 3 seeds)", "rare (0 or 2 seeds)"} <= set(texts)


def test_only_what_is_shown_is_coloured_and_one_seed_is_pale():
    ax, = effect_map(TABLE).axes
    spread = pd.Series([np.ptp(patch.get_facecolor()[:3]) for patch in ax.patches])
    colourful = {verdict: spread[TABLE["verdict"] == verdict].tolist() for verdict in set(TABLE["verdict"])}
    assert max(colourful["not shown"] + colourful["missing"]) < 0.01
    assert min(colourful["helps"] + colourful["hurts"]) > max(colourful["one seed only"]) > 0.05


def test_seeds_in_words():
    assert (words([1]), words([3]), words([1, 2])) == ("1 seed", "3 seeds", "1 or 2 seeds")


def test_black_letters_can_be_read_on_the_strongest_colours():
    ax, = effect_map(TABLE).axes
    light = [np.dot([0.2126, 0.7152, 0.0722], np.power(patch.get_facecolor()[:3], 2.2)) for patch in ax.patches]
    assert (min(light) + 0.05) / 0.05 > 4.5
