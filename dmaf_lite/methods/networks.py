"""Networks by name, the paper's and the peers', all under one contract."""

from __future__ import annotations

from torch import nn

from dmaf_lite.nn.dmaf_net import build_baseline, build_dmaf_net
from dmaf_lite.peers.adamm.network import build_adamm
from dmaf_lite.peers.mmformer import build_mmformer
from dmaf_lite.peers.rfnet import build_rfnet
from dmaf_lite.spec import DatasetSpec

NETWORKS = {"baseline": build_baseline, "dmaf_net": build_dmaf_net, "rfnet": build_rfnet, "mmformer": build_mmformer,
            "adamm": build_adamm}


def build_network(name: str, spec: DatasetSpec, **options: object) -> nn.Module:
    """Build a network of the kit by name.

    Raises:
        ValueError: Unknown name or preset.
        TypeError: Unknown option.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r} is not known; choose one of {sorted(NETWORKS)}")
    net = NETWORKS[name](spec, **options)
    net.name = name  # what a table of pairs, such as network x objective, knows it by
    return net
