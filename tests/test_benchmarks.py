"""The reference of the ratios is what it says it is, and the report says what was measured."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.__main__ import plan
from benchmarks.case import measure_case
from benchmarks.plain_peer import PlainRFNet, peer_step
from benchmarks.report import render, write_report
from benchmarks.step import measure_step
from dmaf_lite.methods.networks import build_network
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
    for mine, theirs in ((ours.encoders, plain.encoders), (ours.fusion_decoder.fusions, plain.fusion.fuse),
                         (ours.fusion_decoder.region_heads, heads)):
        for a, b in zip(mine, theirs, strict=True):
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
               {"what": "step", "method": "dmaf_net + dmaf", "side": 112, "error": "out of memory"}]
    found = {"machine": machine, "commit": "c", "date": "d", "results": results}
    (tmp_path / "benchmarks.json").write_text(json.dumps(found))
    text = write_report(tmp_path)
    assert "| 0.25 | 0.10 | 0.25 |" in text and "| 0.12 |" in text and "out of memory" in text
    assert (tmp_path / "benchmarks.png").stat().st_size > 1000


def test_the_committed_report_is_that_of_the_committed_numbers():
    assert (DOCS / "benchmarks.md").read_text() == render(json.loads((DOCS / "benchmarks.json").read_text()))
