"""Several processes that train one network: one for each GPU, or for each part of a CPU.

``torchrun --nproc-per-node 2 -m dmaf_lite train ...`` starts them.  Each process computes its own studies of a
step; DistributedDataParallel averages the gradients, so W processes with a batch of B are one process with a
batch of W B, and the monitor adds up what all of them have seen.  Without torchrun there is one process, and
nothing here does anything.

Taught in lesson 07.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from dmaf_lite.base.processes import joined


@contextmanager
def process_group(device: str = "auto") -> Iterator[None]:
    """Join the other processes for the length of a block, if torchrun started more than one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else None
    if own is not None:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if on_gpu else "gloo", device_id=own)
    try:
        yield
    finally:
        dist.destroy_process_group()


def data_parallel(module: nn.Module) -> nn.Module:
    """The module with averaged gradients, or the module itself where there is one process."""
    if not joined():
        return module
    # A scan that nobody of this process has leaves its encoder unused; buffers (the monitor's) agree already.
    return nn.parallel.DistributedDataParallel(module, find_unused_parameters=True, broadcast_buffers=False)
