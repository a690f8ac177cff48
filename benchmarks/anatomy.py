"""Where the processor time of a small training step goes: a profile, by kinds of operation.

The question behind it: what would make a step of 32^3 twice as fast?  Only a kind that takes half of it.
"""

from __future__ import annotations

import time

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.step import blocks_label, ours
from dmaf_lite.base.memory import keep_freed_memory
from dmaf_lite.data.batches import Batch
from dmaf_lite.nn import convolution
from dmaf_lite.spec import BRATS

# Kind -> parts of the names of torch's operations; the first that fits counts.
KINDS = {
    "convolutions": ("conv", "mkldnn_weight", "mkldnn_reorder"),
    "norms": ("batch_norm", "layer_norm", "var_mean"),
    "interpolation and pooling": ("upsample", "pool"),
    "matrix products": ("mm", "bmm", "attention", "linalg", "dot", "matmul", "linear"),
    "optimizer": ("adam", "foreach", "norm"),
    "copies, casts and layouts": ("copy", "clone", "cat", "index", "gather", "contiguous", "fill", "zero", "pad",
                                  "empty", "stack", "one_hot", "scatter"),
    "softmax, sums and comparisons": ("softmax", "sum", "mean", "max", "min", "logsumexp", "exp", "log", "topk", "sort",
                                      "cumsum"),
    "element by element": ("add", "sub", "mul", "div", "relu", "gelu", "sigmoid", "pow", "sqrt", "neg", "where",
                           "clamp", "ge", "le", "eq", "lt", "gt", "and", "not", "abs"),
}
REST = "views and the rest"


def kind_of(operation: str) -> str:
    """The kind of a torch operation, by its name."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), REST)


def measure_anatomy(*, side: int, batch: int = 1, modalities: int = 3, precision: str = "float32", halves: bool = True,
                    repeats: int = 5) -> dict[str, object]:
    """Processor seconds of a step of DMAF-Net on one thread, and the share of each kind of operation.

    Args:
        side, batch, modalities, precision: As in `measure_step`.
        halves: False: convolutions of one study as torch does them (`nn/convolution.py`).
        repeats: Profiled steps.

    Returns:
        seconds: Of a step, not profiled, the smallest of `repeats`.
        operations: How many a step calls.
        shares: Kind -> share of the profiled time; what Python does between operations is "Python".
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    if not halves:
        convolution.SMALL = 0
    torch.manual_seed(0)
    available = torch.zeros(batch, BRATS.M, dtype=torch.bool)
    available[:, :modalities] = True
    images = torch.randn(batch, BRATS.M, side, side, side)
    label = blocks_label(batch, side)
    step = ours("dmaf_net + dmaf", Batch(images, available, label, ("",) * batch), precision, "lite", False)
    step()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        start = time.perf_counter()  # as the profiler's
        for _ in range(repeats):
            step()
        profiled = time.perf_counter() - start
    shares, calls = dict.fromkeys([*KINDS, REST], 0.0), 0
    for event in seen.key_averages():
        if event.key.startswith("aten::"):
            shares[kind_of(event.key)] += event.self_cpu_time_total / 1e6 / profiled
            calls += event.count
    shares["Python"] = 1 - sum(shares.values())
    return {"seconds": min(taken), "operations": round(calls / repeats),
            "shares": {kind: round(share, 3) for kind, share in shares.items()}}
