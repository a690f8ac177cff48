"""Published numbers: each with its source, no two conditions in one table, none of the method of this kit."""

import pytest

from dmaf_lite.peers.published_results import AVERAGE, CONTEXT, SPEC, TABLE, published_rows, published_table
from dmaf_lite.spec import BRATS

CONDITIONS = {"complete", "imbalanced", "not stated"}


def test_every_number_stands_with_where_it_comes_from():
    rows = published_rows()
    assert len(rows) > 100 and TABLE.stat().st_size < 100_000
    assert rows["source"].str.startswith("https://").all() and set(rows["condition"]) <= CONDITIONS
    for column in ("method", "dataset", "split", "region", "metric"):
        assert (rows[column] != "").all(), column
    far = rows["metric"].str.startswith("HD95")
    assert (rows.loc[far, "hd95_convention"] != "").all() and (rows.loc[~far, "hd95_convention"] == "").all()
    dice = rows.loc[~far, "value"]
    assert dice.between(0, 100).all() and dice.max() > 1, "Dice in percent"
    assert set(rows["region"]) - {"ET_post", "mean"} == set(SPEC.regions)
    assert set(rows["subset"]) - {AVERAGE} <= {BRATS.subset_name(mask) for mask in BRATS.subsets()}


def test_no_number_of_dmaf_net():
    text = TABLE.read_text(encoding="utf-8").lower()
    assert "dmaf" not in text and "2506.11691" not in text


def test_no_number_is_there_twice_with_two_values():
    keys = ["method", "dataset", "condition", "split", "subset", "region", "metric", "note", "source"]
    assert not published_rows().duplicated(keys).any()


def test_a_table_holds_one_condition():
    complete, other = published_table("complete"), published_table("not stated")
    assert list(complete.index.names) == list(CONTEXT) and not set(complete.index) & set(other.index)
    readme = complete.xs(("BraTS2020", "219/50/100", "RFNet", ""), level=CONTEXT[:4])
    assert readme.iloc[0].dropna().to_dict() == {"WT": 86.98, "TC": 78.23, "ET": 61.47}
    with pytest.raises(ValueError, match="imbalanced"):
        published_table("imbalanced")


def test_hd95_carries_its_convention():
    table = published_table("not stated", "HD95 mm", dataset="BraTS2024")
    assert set(table.index.get_level_values("hd95_convention")) == {"pooled/zero"}


def test_callers_cannot_spoil_each_others_rows():
    rows = published_rows()
    rows.loc[:, "value"] = 0.0
    assert published_rows()["value"].max() > 0
