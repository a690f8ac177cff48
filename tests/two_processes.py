"""What each of two processes does in the tests of the monitor and the preference: started by name, so in a module."""

from __future__ import annotations

import torch
from torch import Tensor

from dmaf_lite.objectives.monitor import TrainingMonitor
from dmaf_lite.peers.preference import RelativePreference

RATES = (0.6, 0.4, 0.2, 0.8)


def monitor_step(generator: torch.Generator, modalities: int = 4, studies: int = 3) -> tuple[dict[str, Tensor], Tensor]:
    """Terms and availability of one step, with some single modalities and, at times, no student at all."""
    available = torch.rand(studies, modalities, generator=generator) > 0.5
    available[:, 0] |= ~available.any(1)
    is_student = available & (available.sum(1, keepdim=True) >= 2)
    terms = {name: torch.where(is_student, size * torch.rand(studies, modalities, generator=generator), 0)
             for name, size in (("cov", 0.01), ("att", 1.0), ("proto", 5.0))}
    return terms, available


def monitor_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    monitor, generator = TrainingMonitor(["cov", "att", "proto"], RATES), torch.Generator().manual_seed(4)
    for _ in range(15):
        batches = [monitor_step(generator, studies=2) for _ in range(2)]
        monitor.observe(*batches[rank])
    monitor.update_epoch()
    torch.save(monitor.state_dict(), f"{folder}/state_{rank}.pt")
    torch.distributed.destroy_process_group()


def preference_step(generator: torch.Generator, studies: int = 2) -> tuple[Tensor, Tensor]:
    available = (torch.rand(studies, 4, generator=generator) < 0.6).float()
    available[:, 0] = torch.where(available.sum(1) > 0, available[:, 0], 1)
    distance = torch.rand(studies, 4, generator=generator) * available * (available.sum(1, keepdim=True) >= 2)
    return distance, available


def preference_process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    preference, generator = RelativePreference(RATES), torch.Generator().manual_seed(4)
    for _ in range(10):
        batches = [preference_step(generator) for _ in range(2)]
        chi = preference(*batches[rank])
    preference.end_epoch()
    torch.save(preference.state_dict() | {"of the step": chi}, f"{folder}/state_{rank}.pt")
    torch.distributed.destroy_process_group()
