"""Which of several training processes this is, and what they say to each other; `training.parallel` starts them."""

from __future__ import annotations

import torch
import torch.distributed as dist


def joined() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0; the first one writes logs and checkpoints."""
    return dist.get_rank() if joined() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if joined() else 1


def wait_for_all() -> None:
    """Go on when every process is here."""
    if joined():
        dist.barrier()


def sum_over_processes(values: torch.Tensor) -> None:
    """Add up a tensor over all processes, in place."""
    if joined():
        dist.all_reduce(values)
