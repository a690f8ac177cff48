"""Networks by name, the paper's and the peers', all under one contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from dmaf_lite.base.settings import SettingsError
from dmaf_lite.nn.dmaf_net import DmafNet, baseline_settings, dmaf_net_settings
from dmaf_lite.peers.adamm.network import AdammNet, AdammNetSettings
from dmaf_lite.peers.mmformer import MMFormer, mmformer_settings
from dmaf_lite.peers.rfnet import RFNet, rfnet_settings
from dmaf_lite.spec import DatasetSpec


class Kind(NamedTuple):
    """A network: the class, and what makes its settings from a preset and options."""

    net: Callable[[DatasetSpec, Any], nn.Module]
    settings: Callable[..., Any]


NETWORKS = {
    "baseline": Kind(DmafNet, baseline_settings),
    "dmaf_net": Kind(DmafNet, dmaf_net_settings),
    "rfnet": Kind(RFNet, rfnet_settings),
    "mmformer": Kind(MMFormer, mmformer_settings),
    "adamm": Kind(AdammNet, AdammNetSettings),
}


def network_settings(name: str, options: Mapping[str, Any]) -> Any:
    """The settings that a network would be built with; nothing is built.

    Raises:
        SettingsError: Unknown name, preset or option, or a value that the network refuses.
    """
    if name not in NETWORKS:
        raise SettingsError(f"network {name!r} is not known; choose one of {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name].settings(**options)


def build_network(name: str, spec: DatasetSpec, **options: object) -> nn.Module:
    """Build a network of the kit by name; `options` are a preset and what differs from it.

    Raises:
        SettingsError: As `network_settings`.
    """
    settings = network_settings(name, options)
    net = NETWORKS[name].net(spec, settings)
    net.name = name  # what a table of pairs, such as network x objective, knows it by
    return net
