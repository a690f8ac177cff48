"""What this machine can do at best: the roof that measured speeds are held against."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dmaf_lite.base.provenance import hardware


def seconds(work: Callable[[], object], device: torch.device, *, repeats: int = 5, warm_up: bool = True) -> float:
    """Smallest wall time of one call, after one call to warm up where asked for; waits for the device."""
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(repeats + warm_up):
        wait()
        start = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - start)
    return min(times[warm_up:])


def roof(device: torch.device) -> dict[str, object]:
    """Matrix product (GFLOP/s in float32 and bfloat16) and stream copy (GB/s, read and written) of a device."""
    n = 3072 if device.type == "cpu" else 8192
    found: dict[str, object] = {"hardware": hardware(device), "torch": torch.__version__}
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        a = torch.randn(n, n, device=device).to(dtype)
        found[f"matrix_product_{name}_gflops"] = 2 * n**3 / seconds(lambda a=a: a @ a, device) / 1e9
    source = torch.randn(2**26, device=device)
    target = torch.empty_like(source)
    found["copy_gbytes"] = 2 * source.nbytes / seconds(lambda: target.copy_(source), device) / 1e9
    return found
