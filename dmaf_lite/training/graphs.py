"""CUDA graphs: terms and gradients of a step as one launch.

A small step on a GPU waits for the host, which starts some 1500 kernels one by one.  A CUDA graph records them once
and starts them all with one call.  What is recorded depends on which scans are there, so there is one graph for each
table of availability, and tables are few: 15 subsets, 225 pairs of them.

The first step with a table runs as usual (it also brings the table's indices to the device), the second records, all
later ones replay: the same kernels on the same memory, so the same results.  Gradients and terms lie in the graphs'
own memory; everything else is shared by all of them, as they run one after another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

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
        record: How a step is recorded; `record_cuda`, or something else in a test.
    """

    def __init__(self, *, constant_after: int, limit: int = 256, record: Callable | None = None) -> None:
        self.constant_after, self.limit = constant_after, limit
        self.record = record or CudaRecorder()
        self.seen: set[tuple] = set()
        self.graphs: dict[tuple, Recorded] = {}
        self.inputs: dict[tuple, Batch] = {}

    def __call__(self, model: nn.Module, batch: Batch, step: int, dtype: torch.dtype, parts: int = 1
                 ) -> dict[str, Term]:
        """Terms of one batch, gradients in the parameters; see `forward_backward`."""
        key = (dtype, tuple(batch.images.shape), *(tuple(map(tuple, table.tolist()))
                                                   for table in (batch.available, batch.existing)))
        new = key not in self.graphs
        if parts != 1 or step < self.constant_after or key not in self.seen or (new and len(self.graphs) >= self.limit):
            if step >= self.constant_after:
                self.seen.add(key)
            return forward_backward(model, batch, step, dtype, parts)
        inputs = self.inputs.setdefault(key[1], replace(batch, images=batch.images.clone(), label=batch.label.clone()))
        inputs.images.copy_(batch.images)
        inputs.label.copy_(batch.label)
        if new:
            fixed = replace(batch, images=inputs.images, label=inputs.label)
            self.graphs[key] = self.record(model, fixed, step, dtype)
        recorded = self.graphs[key]
        recorded.replay()
        for parameter, gradient in zip(model.parameters(), recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.terms


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
