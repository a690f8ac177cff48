"""Objectives by name, the paper's and the peers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from dmaf_lite.base.settings import SettingsError, from_mapping
from dmaf_lite.methods.pairings import check_pairing
from dmaf_lite.objectives.dmaf import DmafObjective
from dmaf_lite.objectives.interface import Objective
from dmaf_lite.objectives.segmentation import PlainObjective
from dmaf_lite.peers.adamm.objective import AdammObjective
from dmaf_lite.peers.passion import PassionObjective
from dmaf_lite.spec import DatasetSpec

OBJECTIVES = {"plain": PlainObjective, "dmaf": DmafObjective, "passion": PassionObjective, "adamm": AdammObjective}


def objective_settings(name: str, options: Mapping[str, Any]) -> Any:
    """The settings that an objective would be built with; nothing is built.

    Raises:
        SettingsError: For an unknown name or option, or a value that a setting refuses.
    """
    if name not in OBJECTIVES:
        raise SettingsError(f"objective is {name!r}; expected one of {', '.join(OBJECTIVES)}")
    return from_mapping(OBJECTIVES[name].Settings, options)


def build_objective(name: str, spec: DatasetSpec, net: nn.Module, *, missing_rates: Sequence[float] | None = None,
                    total_steps: int | None = None, **options: object) -> Objective:
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
    settings = objective_settings(name, options)
    check_pairing(getattr(net, "name", None), name)
    return OBJECTIVES[name](spec, net, settings, missing_rates=missing_rates, total_steps=total_steps)
