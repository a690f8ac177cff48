"""Finished weights become shipped ones; the rows of several runs become one table."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from tiny import load_script

from dmaf_lite.evaluation.shipping import ship_weights
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import read_card, save_weights
from dmaf_lite.spec import BRATS

TINY = {"width": 4, "levels": 2}
CARD = {"network": "dmaf_net", "network_options": TINY, "spec": "brats", "spacing": [3.0] * 3, "recipe": {"steps": 5},
        "seed": 3, "commit": "0000000", "date": "2000-01-01", "window": [8, 8, 8], "hardware": "none"}


@pytest.fixture
def run(tmp_path):
    """Weights, card and rows of a run."""
    torch.manual_seed(0)
    save_weights(tmp_path / "weights.safetensors", build_network("dmaf_net", BRATS, **TINY), CARD)
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    names = ["+".join(m for m, used in zip(BRATS.modalities, mask, strict=True) if used) for mask in BRATS.subsets()]
    pd.DataFrame([
        {"run": "r", "case": case, "subset": subset, "region": region, "metric": metric, "convention": "", "value": 0.5}
        for case in ("a", "b") for subset in names for region in BRATS.regions for metric in ("dice", "sensitivity")
    ]).to_parquet(tmp_path / "rows.parquet")
    return tmp_path


def test_the_card_tells_what_was_measured(run):
    rows = pd.read_parquet(run / "rows.parquet")
    path = ship_weights(run / "weights.safetensors", rows, run / "shipped.safetensors", data="synthetic")
    card = read_card(path)
    assert card["data"] == "synthetic" and card["test_cases"] == 2 and card["recipe"] == CARD["recipe"]
    assert card["dice"]["mean over subsets"] == {"WT": 0.5, "TC": 0.5, "ET": 0.5} and len(card["dice"]) == 16
    assert json.loads(path.with_suffix(".json").read_text()) == card
    with pytest.raises(ValueError, match="of one"):
        ship_weights(run / "weights.safetensors", pd.concat([rows, rows.assign(run="other")]), run / "no.safetensors")


def test_command_lines(run, capsys):
    ship = load_script("ship_weights")
    arguments = [str(run / "weights.safetensors"), str(run / "rows.parquet"), "mine", "--folder", str(run / "there")]
    assert ship.main(arguments) == 0 and read_card(run / "there" / "mine.safetensors")["test_cases"] == 2
    gather = load_script("gather_rows")
    one = ["--run", "main", "with everything", str(run / "card.json"), str(run / "rows.parquet")]
    assert gather.main([str(run / "all"), *one, "--run", "control", "without", *one[3:]]) == 0
    rows, card = pd.read_parquet(run / "all.parquet"), json.loads((run / "all.json").read_text())
    assert set(rows["run"]) == {"main", "control"} and set(rows["metric"]) == {"dice"}
    assert card["runs"] == {"main": "with everything", "control": "without"} and card["hardware"] == "none"
    assert gather.main([str(run / "all"), *one, *one]) == 2 and "twice" in capsys.readouterr().err
