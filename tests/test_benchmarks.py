"""The reference of the ratios is what it says it is, and the report says what was measured."""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.__main__ import main, plan, renewed
from benchmarks.anatomy import REST, kind_of, measure_anatomy
from benchmarks.busy import measure_busy
from benchmarks.case import measure_case
from benchmarks.cold import forget, in_memory
from benchmarks.counting import Cost, Machine, count
from benchmarks.gpu import PREDICTIONS, SHAPES, run
from benchmarks.gpu_work import step_cost
from benchmarks.loading import measure_cases, measure_workers
from benchmarks.plain_peer import PlainRFNet, peer_step
from benchmarks.report import render, write_report
from benchmarks.step import measure_step
from benchmarks.store_forms import FORMS, Table, measure_store
from dmaf_lite.methods.networks import build_network
from dmaf_lite.nn import convolution
from dmaf_lite.spec import BRATS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(("passion", "gflop"), [(False, 304.264), (True, 556.956)])
def test_the_plain_peer_computes_what_the_public_code_computes(passion, gflop):
    """Floating-point operations of a step at 80^3, d = 8 (spec peers, section 8), counted on meta tensors."""
    with torch.device("meta"):
        net = PlainRFNet()
        images, mask = torch.empty(1, 4, 80, 80, 80), torch.ones(1, 4)
        one_hot = torch.empty(1, 4, 80, 80, 80, dtype=torch.float64)
    assert sum(p.numel() for p in net.parameters()) == 2_381_792
    with FlopCounterMode(display=False) as counter:
        peer_step(net, torch.optim.SGD(net.parameters(), lr=0.1), images, one_hot, mask, passion=passion)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflop, abs=1e-3)


def test_the_plain_peer_is_the_rfnet_of_the_kit():
    """Equal weights, equal logits: plain and closed form of region-aware fusion, and zeros for missing scans."""
    torch.manual_seed(0)
    plain, ours = PlainRFNet().eval(), build_network("rfnet", BRATS).eval()
    heads = [*zip(plain.fusion.embed, plain.fusion.where, strict=True)]
    parts = ((ours.encoders, plain.encoders), (ours.fusion_decoder.fusions, plain.fusion.fuse),
             (ours.fusion_decoder.region_heads, heads))
    for kit_modules, plain_modules in parts:
        for a, b in zip(kit_modules, plain_modules, strict=True):
            copy(a, b)
    for level, part in enumerate(ours.fusion_decoder.levels):
        copy(part, [plain.fusion.rise[level], plain.fusion.merge[level]])
    copy(ours.fusion_decoder.head, plain.fusion.head)
    images, available = torch.randn(1, 4, 16, 16, 16), torch.tensor([[True, False, True, True]])
    with torch.no_grad():
        _, stacks = plain.encode(images, available.float())
        logits, *_ = plain.fusion(stacks, available.float())
        torch.testing.assert_close(logits, ours(images, available).logits, rtol=1e-3, atol=1e-3)


def copy(into, source):
    """Parameters in order of use: both sides name them differently, but build them alike."""
    modules = source if isinstance(source, list | tuple) else [source]
    values = [p for module in modules for p in in_order(module)]
    targets = in_order(into)
    assert [p.shape for p in targets] == [p.shape for p in values]
    for p, v in zip(targets, values, strict=True):
        p.data.copy_(v.data)


def in_order(module):
    """Parameters of an encoder level by level (enter, refine), of anything else as they were registered."""
    if hasattr(module, "enter") and hasattr(module, "refine") and hasattr(module.enter, "__len__"):
        levels = zip(module.enter, module.refine, strict=True)
        return [p for level in levels for part in level for p in part.parameters()]
    return list(module.parameters())


def test_measurements_are_numbers():
    step = measure_step(method="dmaf_net + dmaf", side=16, repeats=1)
    assert all(math.isfinite(v) and v >= 0 for v in step.values()) and step["gflop"] > 0
    cases = {form: measure_case(form=form, shape=(16, 16, 24), window=16, subsets=2)
             for form in ("naive", "one pass", "default")}
    assert all(case["seconds"] > 0 for case in cases.values())


def test_every_form_of_the_store_gives_back_what_was_written(tmp_path):
    """Also where a crop cuts blocks, and at the far corner where the last block is not full."""
    rng = np.random.default_rng(0)
    image = (rng.integers(0, 3000, (40, 35, 70)) / np.float32(7)).astype(np.float32)
    for name, make in FORMS.items():
        try:
            form = make()
        except ImportError:
            continue  # the blocks: no numcodecs for this Python
        form.write(image, tmp_path / "a")
        for crop in (np.s_[0:40, 0:35, 0:70], np.s_[30:34, 1:34, 31:65], np.s_[39:40, 34:35, 69:70]):
            np.testing.assert_allclose(form.read(tmp_path / "a", crop), image[crop], rtol=1e-3 * ("float16" in name))
    with pytest.raises(ValueError, match="different values"):
        Table().write(np.arange(70000, dtype=np.float32).reshape(1, 1, -1), tmp_path / "a")


def test_reading_is_measured_with_workers_from_many_cases_and_in_every_form():
    found = [measure_cases(cases=3), measure_workers(workers=0, side=16, spacing=6.0, steps=3),
             *measure_store(spacing=6.0, sides=(8, 16, 24), crops=2)["forms"].values()]
    numbers = [value for one in found for value in one.values() if isinstance(value, float)]
    assert len(numbers) > 12 and all(math.isfinite(value) and value >= 0 for value in numbers)
    assert [form.get("error_most") for form in found[2:5]][::2] == [0, 0] and found[3]["error_most"] > 0


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system does not tell what it holds in memory")
def test_a_file_is_cold_only_if_the_system_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    path.read_bytes()
    told = forget([path])
    assert told != in_memory(path), "a disk, or a folder that lies in memory"
    path.read_bytes()
    assert in_memory(path)
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *asks: asked.append(asks[1:]))
    assert not forget([path]), "still in memory"
    assert asked == [(0, 0, os.POSIX_FADV_DONTNEED)]
    monkeypatch.delattr(os, "RWF_NOWAIT")
    assert not forget([path]), "nobody can tell"


def test_one_kind_is_measured_again_and_says_where():
    found = json.loads((DOCS / "benchmarks.json").read_text())
    loading = [one for one in found["results"] if one["what"] == "loading"]
    again = renewed(found, [{key: value for key, value in one.items() if key != "measured"} for one in loading],
                    {"hardware": "another machine", "torch": "9.9", "load": 3.14})
    text = render(again)
    assert text.count("busy with other work: load 3.1.") == 1
    assert text.count("Measured apart, on another machine; torch 9.9") == 1
    assert text.index("## Reading crops") < text.index("another machine")
    assert len(again["results"]) == len(found["results"])


def test_a_part_of_nothing_is_not_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "run", "--only", "busy", "--out", str(tmp_path)])
    monkeypatch.setattr("benchmarks.__main__.measure_alone", lambda config: pytest.fail("measured for nothing"))
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "is not there; run without --only first" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_machine_is_measured_alone_and_busy_in_every_form(monkeypatch):
    """The environment of each form reaches the threads' library; the busy loops are gone afterwards."""
    started = []
    monkeypatch.setattr("benchmarks.busy.CHILD", "import sys, json; print(json.dumps([1.0, 2.0]))")
    real = subprocess.Popen

    def remember(*args, **options):
        started.append(real(*args, **options))
        return started[-1]

    monkeypatch.setattr("benchmarks.busy.subprocess.Popen", remember)
    assert measure_busy(form="kit") == {"quiet_s": 1.0, "quiet_cpu_s": 2.0, "busy_s": 1.0, "busy_cpu_s": 2.0}
    assert all(process.poll() is not None for process in started) and len(started) == (os.cpu_count() or 1) + 2


def test_predictions_are_larger_of_host_and_device():
    machine = Machine(bytes_per_s=1e9, flop_per_s=1e9, host_s=1e-3, kernel_s=1e-4)
    assert machine.seconds(Cost(launches=10, bytes=10, flop=10)) == pytest.approx(0.01)  # the host
    assert machine.seconds(Cost(launches=10, bytes=10**9, flop=10)) == pytest.approx(1.001)  # memory
    assert machine.seconds(Cost(launches=10, bytes=10, flop=2 * 10**9)) == pytest.approx(2.001)  # arithmetic


def test_launches_and_bytes_are_counted_and_views_are_free():
    with torch.device("meta"):
        a, b = torch.empty(2, 3), torch.empty(3, 4)
    cost = count(lambda: (a @ b).t().reshape(8).add(1))
    # the product; the copy that reshape needs; the sum
    assert cost.launches == 3 and cost.flop == 2 * 2 * 3 * 4
    assert cost.bytes == 4 * ((6 + 12 + 8) + (8 + 8) + (8 + 8))


def test_the_kept_predictions_are_of_this_step():
    """The launches of a step do not depend on the size of its crop; a change of the step shows here."""
    kept = json.loads(PREDICTIONS.read_text())["steps"]
    assert {(r["side"], r["batch"], r["precision"]) for r in kept} == {
        (*shape, p) for shape in SHAPES for p in ("float32", "bfloat16")}
    row = next(r for r in kept if r["batch"] == 1 and r["precision"] == "float32")
    assert row["launches"] == pytest.approx(step_cost(16, 1).launches, rel=0.1), "python -m benchmarks.gpu --predict"


def test_the_gpu_command_writes_after_every_part(tmp_path, monkeypatch):
    """A part that fails says so and the next one runs; what no budget is left for says that."""
    def broken(device, small):
        raise RuntimeError("no such kernel")

    parts = {"good": (lambda device, small: {"n": 1}, 1), "bad": (broken, 1), "late": (lambda device, small: 2, 1)}
    monkeypatch.setattr("benchmarks.gpu.PARTS", parts)
    assert run(torch.device("cpu"), tmp_path / "gpu.json", budget=100.0, small=True) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert found["good"]["result"] == {"n": 1} and "no such kernel" in found["bad"]["result"]["error"]
    assert found["late"]["result"] == 2
    assert run(torch.device("cpu"), tmp_path / "gpu.json", budget=0.5, small=True) == 3
    assert "left_out" in json.loads((tmp_path / "gpu.json").read_text())["parts"]["good"]["result"]


@pytest.mark.parametrize("size", ["small", "cpu", "gpu"])
def test_every_plan_has_its_references(size):
    steps = [c for c in plan(size) if c["what"] == "step"]
    assert {"plain rfnet", "plain rfnet + passion", "dmaf_net + dmaf"} <= {c["method"] for c in steps}
    assert {"naive", "one pass"} <= {c["form"] for c in plan(size) if c["what"] == "case"}


def test_the_report_divides_and_shows_what_failed(tmp_path):
    machine = {"hardware": "h", "torch": "t", "matrix_product_float32_gflops": 100.0,
               "matrix_product_bfloat16_gflops": 200.0, "copy_gbytes": 10.0}
    numbers = {"what": "step", "side": 80, "gflop": 10.0, "gflops": 5.0, "peak_gbytes": 1.0}
    results = [numbers | {"method": "plain rfnet", "seconds": 4.0},
               numbers | {"method": "plain rfnet + passion", "seconds": 10.0, "peak_gbytes": 4.0},
               numbers | {"method": "dmaf_net + dmaf", "seconds": 1.0},
               {"what": "case", "form": "naive", "shape": [8, 8, 8], "seconds": 8.0, "peak_gbytes": 1.0},
               {"what": "case", "form": "default", "shape": [8, 8, 8], "seconds": 1.0, "peak_gbytes": 1.0},
               {"what": "step", "method": "dmaf_net + dmaf", "side": 112, "error": "out of memory"},
               *({"what": "busy", "form": form, "quiet_s": quiet, "busy_s": busy, "quiet_cpu_s": 0.8, "busy_cpu_s": 0.8}
                 for form, quiet, busy in (("library", 0.4, 2.0), ("kit", 0.42, 0.84)))]
    form = {"mbytes": 8.0, "error_most": 0.0, "write_s": 0.5, "crop_s": [0.001], "cold_s": None}
    results += [{"what": "loading", "side": 48, "crop": [48] * 3, "case_mbytes": 9.0, "gbytes_per_s": 1.0, "ratio": 0.5,
                 "whole_s": 0.002, "read_s": 0.001, "crop_s": 0.003, "cold_s": 0.01, "whole_cold_s": 0.04},
                {"what": "workers", "workers": 2, "first_s": 1.5, "batch_s": 0.02},
                {"what": "cases", "cases": 10, "open_s": 0.004, "batch_s": 0.003},
                {"what": "store", "shape": [4, 4, 4], "prepare_s": 0.6, "sides": [48], "background": 0.5,
                 "forms": {"plain": form, "half": form | {"mbytes": 4.0, "crop_s": [0.003], "cold_s": 0.02},
                           "blocks": {"error": "numcodecs is not installed"}}}]
    found = {"machine": machine, "commit": "c", "date": "d", "results": results}
    (tmp_path / "benchmarks.json").write_text(json.dumps(found))
    text = write_report(tmp_path)
    assert "| 0.25 | 0.10 | 0.25 |" in text and "| 0.12 |" in text and "out of memory" in text
    assert "| kit | 0.42 | 1.05 | 0.84 | 2.00 | 0.80 | 0.80 |" in text
    assert "| 48x48x48 | 9 | 2.0 | 1.0 | 3.0 | 1.0 | 0.50 | 40.0 | 10.0 | 0.25 |" in text
    assert "| 2 | 1.50 | 20.0 |" in text and "| 10 | 4.0 | 3.00 |" in text
    assert "| plain | 8.0 | 1.00 | 0 | 0.50 | 1.0 | 1.00 | - |" in text
    assert "| half | 4.0 | 0.50 | 0 | 0.50 | 3.0 | 3.00 | 20.0 |" in text and "numcodecs is not installed" in text
    assert (tmp_path / "benchmarks.png").stat().st_size > 1000


def test_the_committed_report_is_that_of_the_committed_numbers():
    assert (DOCS / "benchmarks.md").read_text() == render(json.loads((DOCS / "benchmarks.json").read_text()))


@pytest.mark.parametrize("halves", [True, False])
def test_a_small_step_is_taken_apart_by_kinds_of_operation(halves, monkeypatch):
    monkeypatch.setattr(convolution, "SMALL", convolution.SMALL)  # the measurement sets it, in a process of its own
    threads = torch.get_num_threads()
    try:
        found = measure_anatomy(side=16, modalities=2, repeats=1, halves=halves)
    finally:
        torch.set_num_threads(threads)
    assert found["seconds"] > 0 and found["operations"] > 1000
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.01)
    assert found["shares"]["convolutions"] > 0.02  # how much more is a matter of the machine
    committed = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    added = [*committed["results"], {"what": "anatomy", "side": 16, "halves": halves, **found}]
    text = render(committed | {"results": added})
    assert "| 16^3 | float32 | " + ("in halves" if halves else "torch's rule") in text


def test_operations_are_told_by_their_names():
    assert [kind_of(f"aten::{name}") for name in ("mkldnn_convolution", "native_batch_norm", "addmm", "_fused_adamw_",
                                                  "copy_", "_softmax", "add_", "view")] == [
        "convolutions", "norms", "matrix products", "optimizer", "copies, casts and layouts",
        "softmax, sums and comparisons", "element by element", REST]
