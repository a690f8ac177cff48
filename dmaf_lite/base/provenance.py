"""Where a result comes from: hardware and commit.  No path and no user name."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

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
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def commit() -> str:
    """Short commit of the kit's checkout, with ``+changes`` if it was edited; ``unknown`` outside a checkout."""
    here = Path(__file__).parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "--", "."], cwd=here, capture_output=True, text=True)
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")
