"""The state of a run on disk: written whole or not at all, read without unpickling objects.

Taught in lesson 08.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dmaf_lite.base.atomic import atomic_path

LAST = Path("checkpoint") / "last.pt"


def save_checkpoint(
    folder: Path, net: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer, *, step: int,
    factors: Sequence[float], batches_per_step: int = 1,
) -> None:
    """Write the state after `step` steps; a kill while writing leaves the earlier checkpoint."""
    state = {"step": step, "factors": list(factors), "batches_per_step": batches_per_step, "net": net.state_dict(),
             "objective": objective.state_dict(), "optimizer": optimizer.state_dict()}
    with atomic_path(folder / LAST) as partial:
        torch.save(state, partial)


def load_checkpoint(
    folder: Path, net: nn.Module, objective: nn.Module, optimizer: torch.optim.Optimizer, *, batches_per_step: int = 1,
) -> tuple[int, list[float]]:
    """Restore the last checkpoint, if there is one.

    Returns:
        The next step (0 without a checkpoint) and the learning-rate factors of the encoders.

    Raises:
        ValueError: If the file is damaged, belongs to another network, or was trained with another number of batches
            in a step (accumulation times processes): the two halves would then not be one run.
    """
    path = folder / LAST
    if not path.exists():
        return 0, objective.learning_rate_factors().tolist()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(state["net"])
        objective.load_state_dict(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"{path} cannot be read as a checkpoint of this run ({error}); expected the file that "
                         "training wrote. Delete it to start the run again") from error
    before = state.get("batches_per_step", 1)  # earlier versions knew nothing else
    if before != batches_per_step:
        raise ValueError(f"{path} was trained with {before} batches in a step, this run has "
                         f"{batches_per_step} (accumulate x processes); start it as before, or in a new folder")
    return state["step"], state["factors"]
