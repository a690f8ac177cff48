"""One training step: encode what is there, decode, all loss terms, one update.

Taught in lesson 07, where the same step is also written out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from dmaf_lite.base.device import autocast
from dmaf_lite.data.batches import Batch
from dmaf_lite.objectives.terms import Term, total


class StepModel(nn.Module):
    """Network and objective as one module, batch -> named terms.

    One module, because DistributedDataParallel averages gradients of what runs inside one `forward`; an
    objective may decode again, and has parameters of its own.
    """

    def __init__(self, net: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.net, self.objective = net, objective

    def forward(self, batch: Batch, step: int) -> dict[str, Term]:
        """All terms of one batch."""
        features = self.net.encode(batch.images, batch.available)
        prediction = self.net.decode(features, batch.available)
        return self.objective(self.net, features, prediction, batch, step)


def build_optimizer(
    net: nn.Module, objective: nn.Module, *, lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW with one parameter group per encoder, so that each can have a learning rate of its own.

    An objective may keep parameters with options of their own (``objective.parameter_groups()``).
    """
    encoders = [{"params": list(encoder.parameters()), "modality": m}
                for m, encoder in enumerate(getattr(net, "encoders", ()))]
    own = objective.parameter_groups() if hasattr(objective, "parameter_groups") else []
    inside = {id(p) for group in (*encoders, *own) for p in group["params"]}
    rest = [p for p in (*net.parameters(), *objective.parameters()) if id(p) not in inside]
    # On CUDA the whole update of a group is one kernel.  The CPU keeps the plain form: its digits are those of
    # earlier runs.
    fused = True if all(p.device.type == "cuda" for p in rest) else None
    return torch.optim.AdamW([*encoders, *own, {"params": rest}], lr=lr, weight_decay=weight_decay, fused=fused)


def set_learning_rates(optimizer: torch.optim.Optimizer, lr: float, factors: Sequence[float]) -> None:
    """lr^m = gamma^m lr for the encoders, lr for everything else."""
    for group in optimizer.param_groups:
        modality = group.get("modality")
        group["lr"] = lr if modality is None else factors[modality] * lr


def forward_backward(model: nn.Module, batch: Batch, step: int, dtype: torch.dtype, parts: int = 1) -> dict[str, Term]:
    """All terms of one batch, one of `parts` of its step; their gradient is added to that of the parameters."""
    with autocast(batch.images.device, dtype):
        terms = model(batch, step)
        (total(terms) / parts).backward()
    return terms


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Sequence[Batch], step: int, *, clip: float,
    dtype: torch.dtype = torch.float32, backward: Callable[..., dict[str, Term]] = forward_backward,
) -> dict[str, Term]:
    """One update from one batch, or from several whose gradients are added up.

    Nothing here waits for the device.

    Args:
        model: A `StepModel`, alone or in DistributedDataParallel.
        optimizer: See `build_optimizer`.
        batches: Batches of the same number of studies on the model's device; more than one where
            memory does not hold them at once. The gradient is that of all studies together; a monitor sees
            them one after another.
        step: Number of steps done before this one.
        clip: Largest norm of the gradient.
        dtype: bfloat16 for mixed precision.
        backward: Makes terms and gradients of one batch; `graphs.StepGraphs` does it with fewer launches.

    Returns:
        The terms, with the studies of all batches.
    """
    optimizer.zero_grad(set_to_none=True)  # an encoder that sees nothing keeps grad None: no decay, no momentum
    seen = []
    for number, batch in enumerate(batches):
        last = number == len(batches) - 1
        with nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync():
            seen.append(backward(model, batch, step, dtype, len(batches)))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, clip)
    objective = getattr(model, "module", model).objective
    if hasattr(objective, "before_update"):
        objective.before_update(optimizer)
    optimizer.step()
    return {name: Term(torch.cat([terms[name].value.detach() for terms in seen]), term.weight)
            for name, term in seen[0].items()}
