"""Objectives by name, the paper's and the peers'."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dmaf_lite.base.settings import from_mapping
from dmaf_lite.methods.pairings import check_pairing
from dmaf_lite.objectives.dmaf import DmafObjective
from dmaf_lite.objectives.segmentation import PlainObjective
from dmaf_lite.peers.adamm.objective import AdammObjective
from dmaf_lite.peers.passion import PassionObjective
from dmaf_lite.spec import DatasetSpec

OBJECTIVES = {"plain": PlainObjective, "dmaf": DmafObjective, "passion": PassionObjective, "adamm": AdammObjective}


def build_objective(name: str, spec: DatasetSpec, net: nn.Module, *, missing_rates: Sequence[float] | None = None,
                    total_steps: int | None = None, **options: object) -> nn.Module:
    """An objective by name, for a network.

    Args:
        name: A key of `OBJECTIVES`.
        spec: The data set.
        net: The network it will train.
        missing_rates: Missing rate of every modality in the training table, for objectives that weigh by it.
        total_steps: Steps of the whole training, for objectives with a warm-up.
        options: Fields of the objective's settings.

    Raises:
        ValueError: For an unknown name, an unknown option, a value that a setting refuses, or a network that this
            objective cannot train (`pairings.PAIRINGS` says why).
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective is {name!r}; expected one of {', '.join(OBJECTIVES)}")
    check_pairing(net, name)
    kind = OBJECTIVES[name]
    settings = from_mapping(kind.Settings, options)
    return kind(spec, net, settings, missing_rates=missing_rates, total_steps=total_steps)
