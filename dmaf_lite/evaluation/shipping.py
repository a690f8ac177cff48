"""Put finished weights where the kit finds them: with their subset table in the card, and the card beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmaf_lite.base.atomic import write_text
from dmaf_lite.evaluation.inference import windows_of
from dmaf_lite.evaluation.tables import subset_table
from dmaf_lite.methods.weights import load_weights, save_weights
from dmaf_lite.spec import SPECS

if TYPE_CHECKING:
    import pandas as pd

PHANTOM = "brain phantom (synthetic); its Dice says nothing about patients"
HEART_PHANTOM = "heart phantom (synthetic); its Dice says nothing about patients"


def ship_weights(weights: str | Path, rows: pd.DataFrame, target: str | Path, *, data: str = PHANTOM,
                 prediction: Mapping[str, Any] | None = None) -> Path:
    """Copy weights to `target` (.safetensors) with what was measured of them; the card also lies beside it as .json.

    Args:
        weights: Of a finished run.
        rows: The long table of their evaluation, of this run alone.
        target: The .safetensors file.
        data: In words, what the rows were measured on.
        prediction: How they are to predict where that is more than their crop: `largest`, `mirror` (`windows_of`).

    Raises:
        ValueError: If the rows are of several runs.
    """
    runs = sorted(set(rows["run"]))
    if len(runs) > 1:
        raise ValueError(f"the rows are of the runs {runs}; expected those of one run: choose them first")
    net, card = load_weights(weights)
    table = subset_table(rows, "dice", spec=SPECS[card["spec"]]).round(4)
    card |= {
        "data": data,
        "test_cases": int(rows["case"].nunique()),
        "dice": {str(subset): {str(k): float(v) for k, v in line.items()} for subset, line in table.iterrows()},
    }
    if prediction:
        card["prediction"] = dict(prediction)
        windows_of(card)  # what is no setting stops here
    path = save_weights(target, net, card)
    write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
    return path
