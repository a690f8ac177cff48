"""One training step: time, floating-point operations and peak memory, ours and the plain peer's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import seconds
from benchmarks.plain_peer import PlainRFNet, peer_step
from dmaf_lite.base.memory import keep_freed_memory, peak_memory
from dmaf_lite.data.batches import Batch
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.spec import BRATS
from dmaf_lite.training.compilation import compile_blocks
from dmaf_lite.training.step import StepModel, build_optimizer, train_step

PEERS = {"plain rfnet": False, "plain rfnet + passion": True}


def blocks_label(batch: int, side: int) -> torch.Tensor:
    """A label with all four classes in every study, int64[B, D, H, W]."""
    label = torch.zeros(batch, side, side, side, dtype=torch.long)
    near, middle, far = side // 4, side // 2, 3 * side // 4
    label[:, near:far, near:far, near:far] = 2
    label[:, near:middle, near:middle, near:middle] = 1
    label[:, middle:far, middle:far, middle:far] = 3
    return label


def measure_step(
    *, method: str, side: int, batch: int = 1, modalities: int = 3, precision: str = "float32", preset: str = "lite",
    compile: bool = False, repeats: int = 4, device: str = "cpu",
) -> dict[str, float]:
    """Seconds, GFLOP and peak bytes of a step with the first `modalities` scans of every study.

    Args:
        method: A key of `PEERS`, or ``network + objective`` of the kit, such as ``dmaf_net + dmaf``.
        side: Of the cubic crop, in voxels.
        batch, modalities: Studies, and scans of each.
        precision: float32 or bfloat16.
        preset: Of the kit's network.
        compile: torch.compile of the blocks (ours only).
        repeats: Timed steps; the fastest counts.
        device: cpu or cuda.
    """
    where = torch.device(device)
    if where.type == "cpu":
        keep_freed_memory()
    before = peak_memory()
    torch.manual_seed(0)
    images = torch.randn(batch, BRATS.M, side, side, side, device=where)
    available = torch.zeros(batch, BRATS.M, dtype=torch.bool)
    available[:, :modalities] = True
    label = blocks_label(batch, side).to(where)
    if method in PEERS:
        step = peer(images, available, label, passion=PEERS[method])
    else:
        step = ours(method, Batch(images, available, label, ("",) * batch), precision, preset, compile)
    with FlopCounterMode(display=False) as counter:
        step()
    taken = seconds(step, where, repeats=repeats)
    peak = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else peak_memory() - before
    return {"seconds": taken, "gflop": counter.get_total_flops() / 1e9, "peak_gbytes": peak / 1e9,
            "gflops": counter.get_total_flops() / 1e9 / taken}


def ours(method: str, batch: Batch, precision: str, preset: str, compile: bool) -> Callable[[], object]:
    """A step of the kit, past the warm-up."""
    network, objective_name = method.split(" + ")
    where = batch.images.device
    net = build_network(network, BRATS, preset=preset).to(where).train()
    objective = build_objective(objective_name, BRATS, net, total_steps=100, missing_rates=[0.0] * BRATS.M).to(where)
    optimizer = build_optimizer(net, objective, lr=2e-4, weight_decay=1e-4)
    if compile:
        compile_blocks(net)
    model = StepModel(net, objective)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    return lambda: train_step(model, optimizer, [batch], 100, clip=12.0, dtype=dtype)


def peer(images: torch.Tensor, available: torch.Tensor, label: torch.Tensor, *, passion: bool) -> Callable[[], object]:
    """A step of the plain peer."""
    net = PlainRFNet().to(images.device).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-4, weight_decay=1e-4)
    one_hot = torch.nn.functional.one_hot(label, 4).movedim(-1, 1).double().contiguous()
    mask = available.float().to(images.device)
    return lambda: peer_step(net, optimizer, images, one_hot, mask, passion=passion)
