"""Where a result comes from: recipe, data, hardware, versions, commit.  No path and no user name."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from dmaf_lite.cohort import Cohort

NOT_A_DEVICE = "For research and teaching, not a medical device; shipped weights know phantoms only."


def hardware(device: torch.device) -> str:
    """Readable name of what computes: the GPU's name, or the processor's and its thread count."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"


def commit() -> str:
    """Short commit of the kit's checkout, with ``+changes`` if it was edited; ``unknown`` outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=here, capture_output=True, text=True)
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


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
