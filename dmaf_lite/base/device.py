"""Which device and which precision a run uses, decided in one place."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache

import torch
import torch.nn.functional as F


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: CUDA, then Apple's MPS if it can train, then the CPU; any other name is taken as it is.

    Among several processes (torchrun) the CUDA device is that of the process, ``cuda:LOCAL_RANK``.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {name}: this PyTorch finds no CUDA device; choose cpu or auto, or install a PyTorch "
                         "with CUDA (docs/troubleshooting.md)")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        own = os.environ.get("LOCAL_RANK") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else None
        return torch.device("cuda" if own is None else f"cuda:{own}")
    if name != "auto":
        return torch.device(name)
    if torch.backends.mps.is_available() and why_not(torch.device("mps")) is None:
        return torch.device("mps")
    return torch.device("cpu")


@lru_cache
def why_not(device: torch.device) -> str | None:
    """What keeps a device from training the kit's networks, found by trying their operations once; None: nothing.

    A warning says it, once: the caller takes the CPU then.
    """
    try:
        with torch.enable_grad(), torch.inference_mode(False):
            x = torch.randn(1, 2, 8, 8, 8, device=device, requires_grad=True)
            y = F.conv3d(x, torch.randn(2, 2, 3, 3, 3, device=device), padding=1)
            y = F.interpolate(F.leaky_relu(F.instance_norm(y), 0.2), size=(12, 12, 12), mode="trilinear")
            cells = y.reshape(1, 2, 4, 3, 4, 3, 4, 3).mean((3, 5, 7)).flatten(2)
            seen = F.scaled_dot_product_attention(*[cells.mT[:, None]] * 3,
                                                  attn_mask=torch.ones(1, 1, 1, 64, dtype=torch.bool, device=device))
            (seen.new_zeros(2, 1, 64, 2).index_copy(0, torch.tensor([1], device=device), seen).logsumexp(0).sum()
             + y.flatten(2).var()).backward()
            if not bool(torch.isfinite(x.grad).all()):
                raise FloatingPointError("a gradient that is not finite")
    except (RuntimeError, NotImplementedError, TypeError, AssertionError, FloatingPointError) as error:
        found = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"[:200]
        warnings.warn(f"device {device} cannot train here ({found}); the CPU is used in its place", stacklevel=3)
        return found
    return None


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself (AVX512-BF16, AMX), not by emulation.

    False also where torch does not say: its questions are private, and other builds (Apple silicon) lack them.
    """
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(torch.cpu._is_avx512_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


def cuda_has_bfloat16() -> bool:
    """Whether this GPU computes bfloat16 itself; older ones (before Ampere) only emulate it, slower than float32."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto``: bfloat16 where the hardware computes it (1.6 to 2.7 times faster steps), else float32.

    Raises:
        ValueError: If the name is none of auto, float32, bfloat16.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {name!r} is not known; choose auto, float32 or bfloat16")
    if name != "auto":
        return torch.float32 if name == "float32" else torch.bfloat16
    has = {"cuda": cuda_has_bfloat16, "cpu": cpu_has_bfloat16}.get(device.type, lambda: False)
    return torch.bfloat16 if has() else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Mixed precision for `dtype` bfloat16, nothing for float32."""
    if dtype != torch.bfloat16 and not torch.amp.is_autocast_available(device.type):
        return nullcontext()  # such as meta
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def in_float32(device: torch.device) -> AbstractContextManager[None]:
    """A context in which matrix products keep float32, whatever autocast is on around it.

    Used where bfloat16's 8 bits do not do: covariances and prototypes subtract numbers that are nearly equal,
    and the monitor compares terms that differ by a few per cent.  The tensors themselves are made float32 by
    ``.float()`` at the same place.
    """
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


@contextmanager
def deterministic_algorithms(on: bool) -> Iterator[None]:
    """Ask torch for algorithms that give the same digits every time, for the length of a block.

    On a GPU some operations have none (the gradient of trilinear interpolation is one); torch warns when it
    meets them, and those digits may differ.  On a CPU nothing changes: runs repeat anyway.
    """
    if not on:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
