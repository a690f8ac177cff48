"""How fast a GPU is: steps with their profile, graphs, several processes, evaluation, loader, torch.compile."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_work import DTYPES, LATE, Training, layout, random_batch
from benchmarks.machine import seconds
from dmaf_lite.data.augmentation import AugmentationSettings
from dmaf_lite.data.batches import BatchSettings, TrainingBatches, batch_loader
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.conventions import CONVENTIONS
from dmaf_lite.evaluation.inference import subset_probabilities
from dmaf_lite.methods.networks import build_network
from dmaf_lite.nn.interpolation import by_products
from dmaf_lite.spec import BRATS
from dmaf_lite.training.compilation import compile_blocks
from dmaf_lite.training.graphs import StepGraphs

HERE = Path(__file__).parent
LITE = {"width": 4, "levels": 3}  # for --small only
SUBSETS = [list(map(bool, subset)) for subset in BRATS.subsets()]


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Callable[[], object], device: torch.device, *, least: int, longest: float) -> float:
    """Mean seconds of a call, over at least `least` calls or for at most `longest` seconds; not waiting in between."""
    work()
    work()
    wait(device)
    start, done = time.perf_counter(), 0
    while done < least and time.perf_counter() - start < longest:
        work()
        done += 1
    wait(device)
    return (time.perf_counter() - start) / done


def profile(work: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Kernels of one call: how many, how long together, which take longest; CUDA only."""
    if device.type != "cuda":
        return {}
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        work()
        wait(device)
    kernels, times = Counter(), Counter()
    runtime = Counter()
    for event in seen.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            if getattr(event, "is_user_annotation", False) or event.name.startswith("Optimizer."):
                continue  # a range around kernels, none itself
            kernels[event.name] += 1
            times[event.name] += event.time_range.elapsed_us()
        elif event.name.startswith("cuda"):
            runtime[event.name] += 1
    total = sum(times.values())
    return {"kernels": sum(kernels.values()), "kernel_s": total / 1e6, "calls": dict(runtime.most_common(8)),
            "longest": [[name[:90], kernels[name], round(t / total, 3)] for name, t in times.most_common(12)]}


def measure(device: torch.device, *, side: int, batch: int, precision: str, how: str, longest: float, detail: bool,
            masks: list | None = None, **options: object) -> dict[str, Any]:
    """Seconds and peak memory of a step, with profile and prediction."""
    row: dict[str, Any] = {"side": side, "batch": batch, "precision": precision, "channels": how}
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with layout(how):
            training = Training.of(device, precision=precision, **options)
            one = random_batch(side, batch, device, masks=masks)
            step = partial(training.step, one)
            row["seconds"] = rate(step, device, least=50, longest=longest)
            if device.type == "cuda":
                row["peak_gbytes"] = torch.cuda.max_memory_allocated() / 1e9
            if detail:
                row |= profile(step, device)
                if "kernel_s" in row:
                    row["busy"] = row["kernel_s"] / row["seconds"]
    except Exception as error:  # out of memory, above all
        row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
    return row | prediction(side, batch, precision)


def prediction(side: int, batch: int, precision: str) -> dict[str, float]:
    """What was predicted for a step of `lite`, from `gpu_predictions.json`."""
    for row in json.loads((HERE / "gpu_predictions.json").read_text())["steps"]:
        if (row["side"], row["batch"], row["precision"]) == (side, batch, precision):
            return {f"predicted_{key}": row[key] for key in ("seconds", "device_seconds", "launches")}
    return {}


def small_steps(device: torch.device, small: bool) -> list[dict[str, Any]]:
    """32^3, batch 2: precision x layout, the float32 ones also without TF32."""
    longest = 0.5 if small else 1.5
    options = LITE if small else {}
    return [measure(device, side=32, batch=2, precision=precision, how=how, longest=longest, detail=True,
                    masks=[SUBSETS[12], SUBSETS[6]], **options)
            for precision, how in itertools.product(("float32", "bfloat16"), ("first", "last"))]


def full_steps(device: torch.device, small: bool) -> list[dict[str, Any]]:
    """80^3 and 112^3, batch 1 and 2, in both precisions and layouts; profiles where batch is 2 or side 80."""
    shapes = ((16, 1), (16, 2)) if small else ((80, 2), (80, 1), (112, 1), (112, 2))
    forms = list(itertools.product(("bfloat16", "float32"), ("first", "last")))
    return [measure(device, side=side, batch=batch, precision=precision, how=how, longest=0.5 if small else 1.0,
                    detail=(side, batch) in ((80, 2), (112, 1), (16, 2)), **(LITE if small else {}))
            for side, batch in shapes for precision, how in forms]


def interpolation(device: torch.device, small: bool) -> list[dict[str, Any]]:
    """Trilinear up-sampling with its gradient: torch's kernel beside three matrix products."""
    rows = []
    side = 8 if small else 40
    for precision, align in (("float32", True), ("float32", False), ("bfloat16", False)):
        x = torch.randn(8, 8, side, side, side, device=device).to(DTYPES[precision]).requires_grad_()
        out = (2 * side,) * 3
        torch_form = partial(torch.nn.functional.interpolate, size=out, mode="trilinear", align_corners=align)
        forms = {"torch": torch_form, "products": partial(by_products, size=out, align_corners=align)}
        row: dict[str, Any] = {"precision": precision, "corners aligned": align}
        results = {}
        for name, form in forms.items():
            def both(form: Callable = form, x: torch.Tensor = x) -> torch.Tensor:
                x.grad = None
                y = form(x)
                y.backward(y.detach())
                return y

            row[f"seconds, {name}"] = rate(both, device, least=20, longest=0.5)
            results[name] = both().detach().float(), x.grad.float()
        row["largest difference"] = [float((a - b).abs().max()) for a, b in zip(*results.values(), strict=True)]
        rows.append(row)
    return rows


def graphs(device: torch.device, small: bool) -> dict[str, Any]:
    """CUDA graphs for fixed tables of availability: digits beside the usual step, seconds, memory, time to record."""
    if device.type != "cuda":
        return {"skipped": "no CUDA"}
    found: dict[str, Any] = {}
    for side, batch, precision, how in ((32, 2, "float32", "first"), (32, 2, "bfloat16", "first"),
                                        (32, 2, "float32", "last"), (80, 2, "bfloat16", "first"),
                                        (80, 2, "bfloat16", "last")):
        row: dict[str, Any] = {}
        found[f"{side}^3 x {batch}, {precision}, channels {how}"] = row
        try:
            with layout(how):
                replay_beside_usual(row, device, side, batch, precision)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {str(error)[:600]}"
    return found


def replay_beside_usual(row: dict[str, Any], device: torch.device, side: int, batch: int, precision: str) -> None:
    """Train two equal networks, one with graphs; fill `row` as far as it goes."""
    tables = [[SUBSETS[a], SUBSETS[b]] for a, b in ((14, 14), (12, 6), (3, 10), (0, 14))]
    usual, replayed = (Training.of(device, precision=precision) for _ in range(2))
    step_graphs = StepGraphs(constant_after=0)
    batches = [random_batch(side, batch, device, masks=masks, seed=n) for n, masks in enumerate(tables)]
    for number in range(3 * len(batches)):
        a = usual.step(batches[number % 4], LATE + number)
        b = replayed.step(batches[number % 4], LATE + number, step_graphs)
    row["largest difference of a term"] = max(
        float((a[t].value - b[t].value).abs().max() / a[t].value.abs().max().clamp(min=1e-9)) for t in a)
    pairs = zip(usual.state().items(), replayed.state().values(), strict=True)
    row["largest difference of weights"] = max((float((x.float() - y.float()).abs().max()), name)
                                               for (name, x), y in pairs)
    turn = itertools.cycle(batches)
    row["seconds, usual"] = rate(lambda: usual.step(next(turn)), device, least=60, longest=2.0)
    row["seconds, replayed"] = rate(lambda: replayed.step(next(turn), LATE, step_graphs), device, least=200,
                                    longest=2.0)
    row["device seconds"] = profile(lambda: replayed.step(batches[1], LATE, step_graphs), device)["kernel_s"]
    memory = torch.cuda.memory_reserved()
    start = time.perf_counter()
    more = [random_batch(side, batch, device, masks=[SUBSETS[a], SUBSETS[5]]) for a in range(5)]
    for one in more:
        for _ in range(2):
            replayed.step(one, LATE, step_graphs)
    wait(device)
    row["seconds to see and record a table"] = (time.perf_counter() - start) / len(more)
    row["graphs"] = len(step_graphs.graphs)
    row["mbytes a table"] = (torch.cuda.memory_reserved() - memory) / 1e6 / len(more)


def lite_worker(device: torch.device, small: bool) -> dict[str, float]:
    """Steps a second of one process at `lite` size, with changing tables, from a common start on; usual and graphs."""
    rng = np.random.default_rng(0)
    training = Training.of(device, **(LITE if small else {}))
    batches = [random_batch(32, 2, device, masks=[SUBSETS[i] for i in rng.integers(15, size=2)], seed=n)
               for n in range(16)]
    found = {}
    forms = {"usual": None} | ({"graphs": StepGraphs(constant_after=0)} if device.type == "cuda" else {})
    for name, backward in forms.items():
        more = {} if backward is None else {"backward": backward}
        for one in (*batches, *batches):
            training.step(one, **more)
        wait(device)
        print("ready", flush=True)
        sys.stdin.readline()  # everybody measures at the same time
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < (0.5 if small else 3.0):
            training.step(batches[done % 16], **more)
            done += 1
            if done % 20 == 0:
                wait(device)  # so that no queue of launches is counted as work done
        wait(device)
        found[name] = done / (time.perf_counter() - start)
    return found


def processes(device: torch.device, small: bool) -> dict[str, Any]:
    """Steps a second, together, of k processes on one device."""
    return {f"{k}": together(k, device, small) for k in ((1, 2) if small else (1, 2, 4))}


def together(k: int, device: torch.device, small: bool) -> dict[str, Any]:
    """Start k workers, let them begin each measurement at the same moment, and add up."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", str(device), "--work", "lite worker"]
    started = [subprocess.Popen([*command, *(["--small"] if small else [])], cwd=HERE.parent, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
               for _ in range(k)]
    stop = threading.Timer(300 if small else 60, lambda: [process.kill() for process in started])
    stop.start()
    try:
        lines = [""] * k
        while True:
            lines = [process.stdout.readline() for process in started]
            if any(line.strip() != "ready" for line in lines):
                break
            for process in started:
                process.stdin.write("go\n")
                process.stdin.flush()
        rows = [json.loads(line) if line.startswith("{") else {"error": f"ended with {line!r}"} for line in lines]
    finally:
        stop.cancel()
        for process in started:
            process.kill()
            process.communicate()
    both = {name: round(sum(row[name] for row in rows), 1) for name in ("usual", "graphs")
            if all(name in row for row in rows)}
    return {"steps_per_s": both, "each": rows}


@torch.no_grad()
def case(device: torch.device, small: bool) -> list[dict[str, Any]]:
    """15 subsets of a case of 1 mm: seconds and peak memory, by precision, windows at once and layout."""
    shape = (40, 40, 32) if small else (136, 170, 140)
    window = (32, 32, 32) if small else (80, 80, 80)
    images = np.random.default_rng(0).normal(size=(BRATS.M, *shape)).astype(np.float32)
    masks = np.array(BRATS.subsets())
    rows = []
    for precision, at_once, how in (("bfloat16", 4, "first"), ("bfloat16", 4, "last"), ("bfloat16", 8, "first"),
                                    ("float32", 4, "first")):
        row: dict[str, Any] = {"shape": shape, "precision": precision, "windows_at_once": at_once, "channels": how}
        try:
            with layout(how):
                torch.manual_seed(0)
                net = build_network("dmaf_net", BRATS, **(LITE if small else {})).to(device).eval()
                settings = replace(CONVENTIONS["kit"].windows, window=window, windows_at_once=at_once,
                                   precision=precision)
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                work = partial(subset_probabilities, net, images, masks, settings=settings)
                row["seconds"] = seconds(lambda work=work: work().argmax(1).to(torch.uint8).cpu(), device, repeats=2)
                if device.type == "cuda":
                    row["peak_gbytes"] = torch.cuda.max_memory_allocated() / 1e9
                    row |= profile(lambda work=work: work(), device) if at_once == 4 and how == "first" else {}
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        rows.append(row)
    return rows


def loader(device: torch.device, small: bool) -> dict[str, Any]:
    """Crops of 80^3 a second from the prepared store, by workers, and pinned copies to the device."""
    from benchmarks.gpu_checks import small_cohort

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        cohort = small_cohort(Path(name), count=2, spacing=3.0 if small else 1.0, workers=0 if small else 2)
        found["seconds to make two cases"] = round(time.perf_counter() - start, 1)
        side = 32 if small else 80
        for workers, pin in ((0, False), (2, True)) if small else ((0, False), (4, True), (8, True), (14, True)):
            batches = TrainingBatches(TrainingSet(cohort, cohort.names), BatchSettings((side,) * 3, 2,
                                                                          augmentation=AugmentationSettings()))
            steps = 6 if small else 60
            pinned = pin and device.type == "cuda"
            read = iter(batch_loader(batches, range(steps), workers=workers, pin=pinned))
            next(read).to(device)
            wait(device)
            start = time.perf_counter()
            is_pinned = None
            for batch in read:
                is_pinned = batch.images.is_pinned() if pinned else None
                batch.to(device)
            wait(device)
            found[f"{workers} workers"] = {"batches_per_s": round((steps - 1) / (time.perf_counter() - start), 1),
                                           "pinned": is_pinned}
    return found


def compile_worker(device: torch.device, small: bool) -> list[dict[str, Any]]:
    """A step with compiled blocks: seconds to compile and seconds a step."""
    rows = []
    for side, precision in ((16, "float32"),) if small else ((32, "float32"), (80, "bfloat16")):
        training = Training.of(device, precision=precision, **(LITE if small else {}))
        one = random_batch(side, 2, device)
        before = rate(partial(training.step, one), device, least=10, longest=1.0)
        start = time.perf_counter()
        done = compile_blocks(training.model.net)
        training.step(one)
        wait(device)
        compiling = time.perf_counter() - start
        rows.append({"side": side, "precision": precision, "compiled": done, "seconds before": before,
                     "seconds to compile": compiling,
                     "seconds after": rate(partial(training.step, one), device, least=30, longest=2.0)})
        print(json.dumps(rows), flush=True)  # what there is when time runs out
    return rows


def compile_step(device: torch.device, small: bool) -> Any:
    """`compile_worker` in a process of its own, for at most 70 seconds."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", str(device), "--work", "compile"]
    process = subprocess.Popen([*command, *(["--small"] if small else [])], cwd=HERE.parent, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, error = process.communicate(timeout=300 if small else 70)
    except subprocess.TimeoutExpired:
        process.kill()
        out, error = process.communicate()
        error += " out of time"
    lines = [line for line in out.splitlines() if line.startswith("[")]
    return {"rows": json.loads(lines[-1]) if lines else [], "said": error.strip().splitlines()[-2:]}


WORK = {"lite worker": lite_worker, "compile": compile_worker}
