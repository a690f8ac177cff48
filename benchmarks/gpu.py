"""``python -m benchmarks.gpu``: everything that only a GPU can tell, in one unattended command.

The parts of `PARTS` run one after another, the most telling first; after each the JSON is written again, so that a
kill loses only the rest.  A part that fails says so in its place and the next one starts; no part starts after the
budget is used up.  Numbers stand beside what was predicted for them on the meta device (`benchmarks/counting.py`).

``--device cpu --small`` tries the command itself where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_checks, gpu_speed
from benchmarks.counting import Cost, Machine
from benchmarks.gpu_work import step_cost
from benchmarks.machine import roof
from dmaf_lite.base.atomic import write_text
from dmaf_lite.base.provenance import commit

HERE = Path(__file__).parent
PREDICTIONS = HERE / "gpu_predictions.json"
SHAPES = ((32, 2), (80, 1), (80, 2), (112, 1), (112, 2))  # side of the crop, studies

# name -> (what it does, seconds it may take on a GPU); in the order of what is wanted first
PARTS: dict[str, tuple[Callable[[torch.device, bool], Any], int]] = {
    "machine": (lambda device, small: machine(device), 10),
    "same numbers as the CPU": (gpu_checks.same_as_cpu, 15),
    "nothing waits for the device": (gpu_checks.no_waiting, 20),
    "a missing scan never matters": (gpu_checks.missing_never_matters, 5),
    "small steps": (gpu_speed.small_steps, 40),
    "graphs": (gpu_speed.graphs, 30),
    "interpolation": (gpu_speed.interpolation, 5),
    "steps of full size": (gpu_speed.full_steps, 45),
    "determinism": (gpu_checks.determinism, 10),
    "exact resume": (gpu_checks.resume, 25),
    "15 subsets of a case": (gpu_speed.case, 20),
    "processes": (gpu_speed.processes, 60),
    "loader": (gpu_speed.loader, 30),
    "compile": (gpu_speed.compile_step, 60),
}


def machine(device: torch.device) -> dict[str, Any]:
    """Name, versions, memory and roof of the device."""
    found = roof(device) | {"cudnn": torch.backends.cudnn.version(), "cuda": torch.version.cuda,
                            "python": sys.version.split()[0]}
    if device.type == "cuda":
        found |= {"memory_gbytes": torch.cuda.get_device_properties(device).total_memory / 1e9,
                  "capability": torch.cuda.get_device_capability(device)}
    return found


def predict() -> dict[str, Any]:
    """Cost and predicted seconds of every shape that is measured; minutes on a slow CPU, so they are kept in a file."""
    found: dict[str, Any] = {"machine": vars(Machine()), "steps": []}
    for side, batch in SHAPES:
        cost = step_cost(side, batch)
        # bfloat16: each of about 300 parameters is cast, and its gradient cast back; maps have half the bytes.
        half = Cost(cost.launches + 600, int(0.55 * cost.bytes), cost.flop)
        for precision, one in (("float32", cost), ("bfloat16", half)):
            found["steps"].append({"side": side, "batch": batch, "precision": precision} | vars(one) | {
                "seconds": Machine().seconds(one), "device_seconds": Machine().device_seconds(one)})
    return found


def run(device: torch.device, out: Path, *, budget: float, small: bool, only: list[str] | None = None) -> int:
    """Run the parts, writing after each; returns how many failed or were left out."""
    start = time.monotonic()
    found: dict[str, Any] = {"commit": commit(), "date": date.today().isoformat(), "device": str(device),
                             "small": small, "parts": {}}
    bad = 0
    for name, (work, seconds) in PARTS.items():
        if only and name not in only:
            continue
        spent = time.monotonic() - start
        if spent + min(seconds, 15) > budget:
            result: Any = {"left_out": f"{spent:.0f} s of {budget:.0f} s were used"}
            bad += 1
        else:
            try:
                result = work(device, small)
            except Exception as error:  # one part must not take the others along
                result = {"error": f"{type(error).__name__}: {error}"[:2000],
                          "where": traceback.format_exc().splitlines()[-12:]}
                bad += 1
        if device.type == "cuda":
            clean_up()
        found["parts"][name] = {"seconds": round(time.monotonic() - start - spent, 1), "result": result}
        write_text(out, json.dumps(found, indent=1, default=str) + "\n")
        print(f"{time.monotonic() - start:6.1f} s  {name}: {json.dumps(result, default=str)[:600]}", flush=True)
    return bad


def clean_up() -> None:
    """Leave nothing of a part behind: memory, sync checks, a half-done capture."""
    import gc

    gc.collect()
    try:
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    except RuntimeError as error:  # a kernel that failed makes every later call fail: say it, go on writing
        print(f"the device answers with an error: {error}", flush=True)


def main() -> int:
    """Measure, predict, or do one piece of work of another process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "gpu.json",
                        help="JSON, written after each part")
    parser.add_argument("--budget", type=float, default=480, help="seconds after which no part starts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the command itself")
    parser.add_argument("--only", action="append", help="a part by its name; may be given again")
    parser.add_argument("--predict", action="store_true", help=f"count on the meta device and write {PREDICTIONS.name}")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.predict:
        write_text(PREDICTIONS, json.dumps(predict(), indent=1) + "\n")
        return 0
    device = torch.device(args.device)
    if args.work:
        print(json.dumps(gpu_speed.WORK[args.work](device, args.small)))
        return 0
    args.out.parent.mkdir(parents=True, exist_ok=True)
    bad = run(device, args.out, budget=args.budget, small=args.small, only=args.only)
    print(f"{args.out}: {bad} parts failed or were left out")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
