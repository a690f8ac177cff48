"""Networks under one contract: `encode` what is there, `decode` any part of it.  They know no loss."""

from __future__ import annotations

from torch import nn

from dmaf_lite.nn.contract import Features, Pairs, Prediction
from dmaf_lite.nn.dmaf_net import build_baseline, build_dmaf_net
from dmaf_lite.spec import DatasetSpec

NETWORKS = {"baseline": build_baseline, "dmaf_net": build_dmaf_net}


def build_network(name: str, spec: DatasetSpec, **options: object) -> nn.Module:
    """Build a network of the kit by name.

    Raises:
        ValueError: Unknown name or preset.
        TypeError: Unknown option.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is not known; choose one of {sorted(NETWORKS)}")
    return NETWORKS[name](spec, **options)


__all__ = ["NETWORKS", "Features", "Pairs", "Prediction", "build_network"]
