"""The card of trained weights: recipe, data, hardware, versions, commit.  No path and no user name."""

from __future__ import annotations

from datetime import date
from typing import Any

import torch

from dmaf_lite.base.provenance import NOT_A_DEVICE, commit, hardware
from dmaf_lite.data.training_set import TrainingSet


def describe_run(training_set: TrainingSet, recipe: dict[str, Any], *, options: dict[str, Any], dtype: torch.dtype,
                 device: torch.device) -> dict[str, Any]:
    """The card of a trained network; `options` are those that the network was built with."""
    cohort, names = training_set.cohort, training_set.names
    meta = cohort[names[0]].meta
    return {
        "network": recipe["network"],
        "network_options": options,
        "spec": cohort.spec.name,
        "spacing": [round(float(s), 4) for s in meta["spacing"]],
        "window": list(recipe["crop"]),
        "layout": cohort.layout.name,
        "preparation": cohort.preparation,
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
