"""A busy machine: one step while other programs use every core, by how long waiting threads spin.

OpenMP's threads wait for each other by spinning.  Alone that is quickest; beside other work a thread that spins takes
the core from the one that it waits for.  `dmaf_lite/__init__.py` makes them sleep soon; this is what it buys and costs.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

# name -> what stands in the environment; "" leaves the library's own value
FORMS: dict[str, dict[str, str]] = {
    "library": {"GOMP_SPINCOUNT": "", "KMP_BLOCKTIME": ""},
    "kit": {},
    "never spin": {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
CHILD = """
import os, sys
form = dict(pair.split('=') for pair in sys.argv[1].split(',') if pair)
import dmaf_lite  # sets what the kit sets
for name, value in form.items():
    os.environ.pop(name, None) if value == '' else os.environ.update({name: value})
from benchmarks.busy import steps
print(steps(int(sys.argv[2]), int(sys.argv[3])))
"""


def measure_busy(*, form: str, side: int = 32, repeats: int = 9) -> dict[str, float]:
    """Median seconds of a step, and its processor seconds, alone and beside one busy loop for every core."""
    alone = child(form, side, repeats)
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        beside = child(form, side, repeats)
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    return {"quiet_s": alone[0], "quiet_cpu_s": alone[1], "busy_s": beside[0], "busy_cpu_s": beside[1]}


def child(form: str, side: int, repeats: int) -> tuple[float, float]:
    """`steps` in a process whose threads start with the form's environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
    pairs = ",".join(f"{name}={value}" for name, value in FORMS[form].items())
    done = subprocess.run([sys.executable, "-c", CHILD, pairs, str(side), str(repeats)], capture_output=True, text=True,
                          check=True, env=environment, cwd=Path(__file__).parents[1])
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def steps(side: int, repeats: int) -> list[float]:
    """Median wall seconds of a step of `lite`, and mean processor seconds of all threads."""
    import torch

    from benchmarks.step import blocks_label, ours
    from dmaf_lite.data.batches import Batch
    from dmaf_lite.spec import BRATS

    torch.manual_seed(0)
    available = torch.ones(1, BRATS.M, dtype=torch.bool)
    batch = Batch(torch.randn(1, BRATS.M, side, side, side), available, blocks_label(1, side), ("",))
    step = ours("dmaf_net + dmaf", batch, "float32", "lite", False)
    step()
    times, before = [], used()
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return [statistics.median(times), (used() - before) / repeats]


def used() -> float:
    """Processor seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
