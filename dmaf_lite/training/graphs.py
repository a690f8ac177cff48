"""CUDA graphs: terms and gradients of a step as one launch.

A small step on a GPU waits for the host, which starts some 2,600 kernels one by one.  A CUDA graph records them once
and starts them all with one call: 9 to 11 times as fast at 32^3 on an H100 (docs/gpu.md).  What is recorded depends on
which scans are there, so there is one graph for each table of availability, and tables are few: 15 subsets, 225 pairs.

The first step with a table runs as usual (it also brings the table's indices to the device), the second records, all
later ones replay: the same kernels on the same memory, so the same results.  Gradients and terms lie in the graphs'
own memory; everything else is shared by all of them, as they run one after another.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dmaf_lite.base.processes import joined
from dmaf_lite.data.batches import Batch
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.objectives.terms import Term
from dmaf_lite.training.step import forward_backward


@dataclass(frozen=True)
class Recorded:
    """One graph and what it writes: terms, and the gradient of each parameter (None for one without)."""

    replay: Callable[[], None]
    terms: dict[str, Term]
    gradients: list[Tensor | None]
    kept: object = None  # whatever has to live as long as the graph


class StepGraphs:
    """Takes the place of `forward_backward` in `train_step`, on CUDA, in one process, with one batch a step.

    Args:
        constant_after: Number of the first step from which on the objective's terms no longer depend on the step's
            number (the end of the warm-up); earlier steps run as usual.
        limit: Largest number of graphs; tables beyond run as usual. Each holds a copy of all gradients.
        record: How a step is recorded; default `CudaRecorder`.
    """

    def __init__(self, *, constant_after: int, limit: int = 256, record: Callable | None = None) -> None:
        self.constant_after, self.limit = constant_after, limit
        self.record = record or CudaRecorder()
        self.seen: set[tuple] = set()
        self.graphs: dict[tuple, Recorded] = {}
        self.inputs: dict[tuple, tuple[Tensor, Tensor]] = {}  # images and label that all graphs of one shape read

    def __call__(self, model: nn.Module, batch: Batch, step: int, dtype: torch.dtype, parts: int = 1
                 ) -> dict[str, Term]:
        """Terms of one batch, gradients in the parameters; see `forward_backward`."""
        key = (dtype, tuple(batch.images.shape), batch.padded, *(tuple(map(tuple, table.tolist()))
                                                   for table in (batch.available, batch.existing)))
        if parts != 1 or step < self.constant_after:
            return forward_backward(model, batch, step, dtype, parts)
        if key not in self.graphs and (key not in self.seen or len(self.graphs) >= self.limit):
            self.seen.add(key)
            return forward_backward(model, batch, step, dtype, parts)
        if key[1] not in self.inputs:
            self.inputs[key[1]] = batch.images.clone(), batch.label.clone()
        images, label = self.inputs[key[1]]
        images.copy_(batch.images)
        label.copy_(batch.label)
        if key not in self.graphs:
            try:
                self.graphs[key] = self.record(model, replace(batch, images=images, label=label), step, dtype)
            except RuntimeError as error:
                warnings.warn(f"a step could not be recorded as a CUDA graph ({str(error).splitlines()[0]:.200}); "
                              "training goes on without, with the same results", stacklevel=2)
                self.limit = 0
                model.zero_grad(set_to_none=True)
                return forward_backward(model, batch, step, dtype, parts)
        recorded = self.graphs[key]
        recorded.replay()
        for parameter, gradient in zip(model.parameters(), recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.terms


def backward_for(objective: nn.Module, device: torch.device, *, graphs: bool) -> Callable[..., dict[str, Term]]:
    """How `train_step` makes gradients: with graphs where they are wanted and can be.

    They can be on CUDA, in one process, for an objective that says from which step on its terms depend on nothing
    but the batch (``constant_after``); elsewhere a warning says what is missing.
    """
    constant_after = getattr(objective, "constant_after", None)
    lacks = ("a CUDA device" if device.type != "cuda" else "a single process" if joined() else
             f"an objective whose steps are all alike, which {type(objective).__name__} is not"
             if constant_after is None else None)
    if not graphs or lacks:
        if graphs:
            warnings.warn(f"graphs need {lacks}; training goes on without, with the same results", stacklevel=3)
        return forward_backward
    return StepGraphs(constant_after=constant_after)


class CudaRecorder:
    """Records terms and gradients of a step as a CUDA graph; nothing is computed meanwhile."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream()

    def __call__(self, model: nn.Module, batch: Batch, step: int, dtype: torch.dtype) -> Recorded:
        """Record one step of a model on a batch whose tensors stay where they are."""
        graph = torch.cuda.CUDAGraph()
        model.zero_grad(set_to_none=True)
        self.stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
            try:
                terms = forward_backward(model, batch, step, dtype)
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(self.stream)
        terms = {name: Term(term.value.detach(), term.weight) for name, term in terms.items()}
        gradients = [parameter.grad for parameter in model.parameters()]
        return Recorded(graph.replay, terms, gradients, Pairs.of(batch.available, batch.images.device))
