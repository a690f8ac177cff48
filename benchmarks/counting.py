"""What a piece of work costs, counted without doing it: launches, bytes and floating-point operations.

On the meta device nothing is computed, so any size can be counted on any machine.  A prediction is the larger of what
the host needs to start the kernels and what the device needs to run them, each kernel at the slower of memory and
arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

# They answer with a view, or only allocate: no kernel.
FREE = {"aten.detach", "aten._unsafe_view", "aten.empty", "aten.new_empty", "aten.empty_strided", "aten.empty_like",
        "aten.new_empty_strided", "aten._reshape_alias", "aten.scalar_tensor", "aten.lift_fresh",
        "profiler._record_function_enter_new", "profiler._record_function_exit"}


@dataclass(frozen=True)
class Cost:
    """What was counted."""

    launches: int
    bytes: int
    flop: int


@dataclass(frozen=True)
class Machine:
    """Round numbers of a device, for predictions; written down before it was ever used.

    Defaults: an H100 with HBM3, at 80 % of its 3.35 TB/s, and the share of its arithmetic that small convolutions
    reach; 5 microseconds for an operation started from Python with its gradient, 2 for a kernel, however small.
    """

    bytes_per_s: float = 2.7e12
    flop_per_s: float = 60e12
    host_s: float = 5e-6
    kernel_s: float = 2e-6

    def seconds(self, cost: Cost) -> float:
        """Predicted time of a piece of work."""
        return max(cost.launches * self.host_s, self.device_seconds(cost))

    def device_seconds(self, cost: Cost) -> float:
        """Predicted time of its kernels alone."""
        return cost.launches * self.kernel_s + max(cost.bytes / self.bytes_per_s, cost.flop / self.flop_per_s)


class _Launches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.launches = self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if not (function.is_view or str(function.overloadpacket) in FREE):
            moved = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
            self.launches += 1
            self.bytes += sum(t.numel() * t.element_size() for t in moved)
        return out


def count(work: Callable[[], object]) -> Cost:
    """Launches, bytes read and written, and floating-point operations of one call."""
    with FlopCounterMode(display=False) as flop, _Launches() as seen:
        work()
    return Cost(seen.launches, seen.bytes, flop.get_total_flops())
