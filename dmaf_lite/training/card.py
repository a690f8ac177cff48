"""The card of trained weights: recipe, data, hardware, versions, commit.  No path and no user name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import torch

from dmaf_lite.base.provenance import NOT_A_DEVICE, commit, hardware
from dmaf_lite.data.cohort import Cohort


def describe_run(
    cohort: Cohort, names: Sequence[str], recipe: dict[str, Any], *, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """The card of a trained network."""
    meta = cohort.meta(names[0])
    return {
        "network": recipe["network"],
        "network_options": recipe["network_options"],
        "spec": cohort.spec.name,
        "spacing": [round(float(s), 4) for s in meta["spacing"]],
        "window": list(recipe["crop"]),
        "layout": cohort.layout.name,
        "training_cases": len(names),
        "recipe": recipe,
        "seed": recipe["seed"],
        "precision": str(dtype).removeprefix("torch."),
        "hardware": hardware(device),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "commit": commit(),
        "note": NOT_A_DEVICE,
    }
