"""``python -m benchmarks run`` measures; ``python -m benchmarks report`` writes table and figure again."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.anatomy import measure_anatomy
from benchmarks.busy import FORMS, measure_busy
from benchmarks.case import measure_case
from benchmarks.loading import measure_cases, measure_loading, measure_workers
from benchmarks.machine import roof
from benchmarks.report import write_report
from benchmarks.step import measure_step
from benchmarks.store_forms import measure_store
from dmaf_lite.base.atomic import write_text
from dmaf_lite.base.device import cpu_has_bfloat16
from dmaf_lite.base.provenance import commit, hardware

MEASURES = {"step": measure_step, "case": measure_case, "loading": measure_loading,
            "workers": measure_workers, "cases": measure_cases, "store": measure_store, "busy": measure_busy,
            "anatomy": measure_anatomy}
DOCS = Path(__file__).parents[1] / "docs"
OURS, BASELINE = "dmaf_net + dmaf", "baseline + plain"
FULL_SIZE = [136, 170, 140]  # a brain at 1 mm; 36 windows of the peers


def plan(size: str) -> list[dict[str, Any]]:
    """What is measured: `small` takes a minute, `cpu` about a quarter of an hour, `gpu` adds sizes and batches."""
    if size == "small":
        return [
            *({"what": "step", "method": m, "side": 32, "repeats": 2}
              for m in ("plain rfnet", "plain rfnet + passion", OURS)),
            {"what": "case", "form": "naive", "shape": [40, 40, 32], "window": 32},
            {"what": "case", "form": "one pass", "shape": [40, 40, 32], "window": 32},
            {"what": "loading", "side": 32, "spacing": 3.0},
            *({"what": "workers", "workers": w, "side": 32, "spacing": 3.0} for w in (0, 1)),
            *({"what": "cases", "cases": n} for n in (1, 10)),
            {"what": "store", "spacing": 3.0, "sides": [16, 32, 40]},
            {"what": "anatomy", "side": 16, "repeats": 1},
        ]
    steps = [
        {"method": "plain rfnet", "side": 80, "repeats": 2},
        {"method": "plain rfnet + passion", "side": 80, "repeats": 1},
        *({"method": OURS, "side": 80, "precision": p} for p in ("float32", "bfloat16")),
        {"method": BASELINE, "side": 80},
        *({"method": OURS, "side": s, "precision": "bfloat16"} for s in (32, 48, 112)),
        *({"method": OURS, "side": 48, "batch": b, "precision": "bfloat16"} for b in (2, 4, 8)),
        *({"method": OURS, "side": 80, "modalities": m, "precision": "bfloat16"} for m in (1, 2, 4)),
    ]
    cases = [{"form": f, "shape": FULL_SIZE} for f in ("naive", "one pass", "default")]
    cases += [{"form": "one pass", "shape": [80, 80, 80], "subsets": n} for n in (1, 4, 10, 15)]
    if size == "gpu":
        steps += [{"method": OURS, "side": s, "batch": b, "precision": "bfloat16", "preset": preset, "compile": c}
                  for s in (80, 112) for b in (1, 2, 4) for preset in ("lite", "full") for c in (False, True)]
    loading = [{"side": s} for s in (48, 80, 112)]
    workers = [{"workers": w} for w in (0, 1, 2)]
    many = [{"cases": n} for n in (1, 10, 100, 1000)]
    busy = [{"form": form} for form in FORMS]
    forms = [("float32", False), ("float32", True), *([("bfloat16", True)] if cpu_has_bfloat16() else [])]
    anatomy = [{"side": s, "precision": p, "halves": h} for s in (32, 48) for p, h in forms]
    return [{"what": what} | one
            for what, configs in (("step", steps), ("case", cases), ("loading", loading), ("workers", workers),
                                  ("cases", many), ("store", [{}]), ("busy", busy), ("anatomy", anatomy))
            for one in configs]


def measure_alone(config: dict[str, Any]) -> dict[str, Any]:
    """Run one measurement in a process of its own and return its numbers; an error becomes part of the result."""
    done = subprocess.run([sys.executable, "-m", "benchmarks", "measure", json.dumps(config)],
                          capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        return config | {"error": done.stderr.strip().splitlines()[-1] if done.stderr else f"exit {done.returncode}"}
    return config | json.loads(done.stdout.splitlines()[-1])


def renewed(found: dict[str, Any], results: list[dict[str, Any]], machine: dict[str, Any]) -> dict[str, Any]:
    """Earlier measurements, those of some kinds replaced; the new ones say themselves where and when they were made."""
    here = {"hardware": machine["hardware"], "torch": machine["torch"], "commit": commit(),
            "date": date.today().isoformat(), "load": machine.get("load", 0.0)}
    kinds = {one["what"] for one in results}
    kept = [one for one in found["results"] if one["what"] not in kinds]
    return found | {"results": kept + [one | {"measured": here} for one in results]}


def main() -> int:
    """Measure, or write the report anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure and write the report")
    run.add_argument("--size", choices=("small", "cpu", "gpu"), default="cpu", help="how much is measured")
    run.add_argument("--only", nargs="+", choices=tuple(MEASURES), help="measure these kinds again; keep the others")
    run.add_argument("--out", type=Path, default=DOCS, help="folder for benchmarks.json, .md and .png")
    report = commands.add_parser("report", help="write table and figure from benchmarks.json")
    report.add_argument("--out", type=Path, default=DOCS)
    measure = commands.add_parser("measure", help="one measurement, JSON in and out")
    measure.add_argument("config", type=json.loads)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.command == "measure":
        config = dict(args.config)
        what = config.pop("what")
        if what in ("step", "case"):
            config.setdefault("device", device)
        print(json.dumps(MEASURES[what](**config)))
        return 0
    if args.command == "run":
        earlier = args.out / "benchmarks.json"
        if args.only and not earlier.is_file():  # before minutes of measuring
            parser.error(f"--only renews a part of {earlier}, which is not there; run without --only first")
        wanted = [config for config in plan(args.size) if not args.only or config["what"] in args.only]
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # before this run adds its own
        results = [measure_alone(config) for config in tqdm(wanted, unit="measurement")]
        args.out.mkdir(parents=True, exist_ok=True)
        if args.only:  # the roof stays that of the machine of the others
            found = renewed(json.loads(earlier.read_text()), results,
                            {"hardware": hardware(torch.device(device)), "torch": torch.__version__, "load": load})
        else:
            found = {"machine": roof(torch.device(device)), "commit": commit(), "date": date.today().isoformat(),
                     "results": results}
        write_text(args.out / "benchmarks.json", json.dumps(found, indent=1) + "\n")
    print(write_report(args.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
