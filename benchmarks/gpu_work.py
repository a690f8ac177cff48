"""The pieces of work that `benchmarks/gpu.py` times: one training step in any form, and its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from benchmarks.counting import Cost, count
from benchmarks.step import blocks_label
from dmaf_lite.data.batches import Batch
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.nn import blocks
from dmaf_lite.spec import BRATS
from dmaf_lite.training.step import StepModel, build_optimizer, forward_backward, train_step

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LATE = 1000  # a step past every warm-up


@contextmanager
def layout(name: str):
    """Channels ``last`` or ``first`` in memory on GPUs, for the length of a block."""
    before = set(blocks.CHANNELS_LAST)
    (blocks.CHANNELS_LAST.add if name == "last" else blocks.CHANNELS_LAST.discard)("cuda")
    try:
        yield
    finally:
        blocks.CHANNELS_LAST.clear()
        blocks.CHANNELS_LAST.update(before)


def random_batch(side: int, batch: int, device: torch.device | str, *, masks: Iterable | None = None, seed: int = 0
                 ) -> Batch:
    """A batch of noise whose label has all classes; `masks` are the scans of each study, default three of four."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, BRATS.M, side, side, side, generator=g)
    available = torch.tensor(list(masks) if masks is not None else [[True, True, True, False]] * batch)
    return Batch(images.to(device), available, blocks_label(batch, side).to(device), ("",) * batch)


@dataclass
class Training:
    """Network, objective and optimiser on a device."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    dtype: torch.dtype

    @classmethod
    def of(cls, device: torch.device | str, *, network: str = "dmaf_net", objective: str = "dmaf",
           precision: str = "float32", seed: int = 0, **options: object) -> Training:
        """Build on the CPU, so that every device starts with the same weights, and move."""
        torch.manual_seed(seed)
        net = build_network(network, BRATS, **options)
        terms = build_objective(objective, BRATS, net, total_steps=100, missing_rates=[0.0] * BRATS.M)
        model = StepModel(net, terms).to(device).train()
        optimizer = build_optimizer(model.net, model.objective, lr=2e-4, weight_decay=1e-4)
        return cls(model, optimizer, DTYPES[precision])

    def step(self, batch: Batch, number: int = LATE, backward: Callable = forward_backward) -> dict:
        """One update."""
        return train_step(self.model, self.optimizer, [batch], number, clip=12.0, dtype=self.dtype, backward=backward)

    def state(self) -> dict[str, torch.Tensor]:
        """Copies of all parameters and buffers, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}


def step_cost(side: int, batch: int, **options: object) -> Cost:
    """Cost of terms and gradients of one step in float32, counted on the meta device (the update is a few more)."""
    training = Training.of("meta", **options)
    one = random_batch(side, batch, "meta")
    return count(partial(forward_backward, training.model, one, LATE, torch.float32))
