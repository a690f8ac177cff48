"""torch.compile where it works, and a word where it does not.

Only the blocks that are the same for every study are compiled: what depends on which scans are there has another
shape in every step.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from dmaf_lite.nn.blocks import ResidualLevel
from dmaf_lite.nn.decoder import UpLevel

RECOMPILE_LIMIT = 64  # five levels, four encoders, batches of one study and of several


def compile_blocks(net: nn.Module) -> bool:
    """Compile the residual and decoder levels of a network in place.

    Returns:
        Whether it was done.  Where the compiler does not run at all (no C++ compiler, an unknown device), a warning
        says so and the network stays as it is.
    """
    device = next(net.parameters()).device
    try:
        torch.compile(lambda x: (x * 2).relu())(torch.ones(8, device=device))
    except Exception as error:  # every backend raises its own kind
        warnings.warn(f"torch.compile does not run here ({type(error).__name__}: {str(error).splitlines()[0]:.200}); "
                      "training goes on without it, with the same results", stacklevel=2)
        return False
    # All levels of all encoders share the code of one class: more forms than the compiler keeps by default (8).
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, RECOMPILE_LIMIT)
    for module in net.modules():
        if isinstance(module, ResidualLevel | UpLevel):
            module.compile()
    return True
