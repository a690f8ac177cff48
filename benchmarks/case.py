"""Evaluation of one case over subsets of its scans: one pass, and everything anew for each subset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.machine import seconds
from dmaf_lite.base.memory import keep_freed_memory, peak_memory
from dmaf_lite.evaluation.conventions import CONVENTIONS
from dmaf_lite.evaluation.inference import subset_probabilities
from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import BRATS


def measure_case(*, form: str, shape: Sequence[int], window: int | None = None, subsets: int = 15,
                 repeats: int = 1, device: str = "cpu") -> dict[str, float]:
    """Seconds and peak bytes of predicting a case of `shape` from its first `subsets` subsets; a random network.

    Args:
        form: ``naive``, the peers' windows one at a time and every subset by itself; ``one pass``, the
            same windows and precision, each encoded once; ``default``, the kit's own settings.
        shape: Of the case, in voxels.
        window: Side of the window; default 80, the peers'.
        subsets: How many of the 15, smallest first.
        repeats: Timed calls; the fastest counts.
        device: cpu or cuda.
    """
    where = torch.device(device)
    if where.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(0)
    net = build_network("dmaf_net", BRATS).to(where).eval()
    images = np.random.default_rng(0).normal(size=(BRATS.M, *shape)).astype(np.float32)
    masks = np.array(BRATS.subsets()[:subsets])
    side = (window or 80,) * 3
    settings = {
        "naive": replace(CONVENTIONS["passion"].windows, window=side, windows_at_once=1, precision="float32"),
        "one pass": replace(CONVENTIONS["passion"].windows, window=side, precision="float32"),
        "default": replace(CONVENTIONS["kit"].windows, window=side),
    }[form]
    import monai.inferers  # takes seconds, and none of them is the case's  # noqa: F401

    before = peak_memory()

    def case() -> None:
        subset_probabilities(net, images, masks, settings=settings, share_encoder=form != "naive").argmax(1)

    taken = seconds(case, where, repeats=repeats, warm_up=False)
    peak = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else peak_memory() - before
    return {"seconds": taken, "peak_gbytes": peak / 1e9}
