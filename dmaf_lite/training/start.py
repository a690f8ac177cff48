"""Start from weights instead of random numbers: what a group with five labelled patients does first.

The weights give network and numbers; the run trains them on with a learning rate of its own, all of them or all but
some parts.  The run's settings hold the digest of the weights and never a path; the card says where they came from.

`benchmarks/fine_tuning.py` measures what it is worth.  Taught in lesson 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dmaf_lite.methods.weights import load_weights, weights_digest, weights_file
from dmaf_lite.spec import DatasetSpec
from dmaf_lite.training.train_settings import TrainSettings

# A quarter of what a network learns with from nothing.
LEARNING_RATE = 5e-4
KEPT = ("network", "network_options", "commit", "date", "data", "training_cases")  # of the origin's card


@dataclass(frozen=True, eq=False)
class Start:
    """Weights to start from.

    Attributes:
        name: Of the file, without its folder.
        digest: `weights_digest` of them.
        card: Their card.
        net: The network with these weights; its tensors are copied, never trained.
    """

    name: str
    digest: str
    card: Mapping[str, Any]
    net: nn.Module

    @classmethod
    def of(cls, weights: str | Path) -> Start:
        """Open weights by name (`methods.weights.NAMES`) or by file.

        Raises:
            WeightsError: If there are none, or they cannot be used.
        """
        path = weights_file(weights)
        net, card = load_weights(path)
        return cls(path.name, weights_digest(net), card, net)

    def choices(self, over: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that a person has given, completed by what the weights decide.

        Args:
            over: Values of the command line; they win over the profile.
            profile: Values of the profile.

        Raises:
            ValueError: If another network is asked for.
        """
        asked = {**profile, **over}
        own = {"network": self.card["network"], "network_options": dict(self.card["network_options"])}
        for key, value in own.items():
            if key in asked and asked[key] != value:
                raise ValueError(f"{key} is {asked[key]!r}, the weights {self.name} have {value!r}; leave it out: the "
                                 "weights decide it")
        return {"lr": asked.get("lr", LEARNING_RATE), **over, **own, "origin": self.digest}

    def origin(self) -> dict[str, Any]:
        """What the card of the run says about where it began."""
        return {"name": self.name, "digest": self.digest,
                **{key: self.card[key] for key in KEPT if key in self.card}}


def check_origin(settings: TrainSettings, spec: DatasetSpec, start: Start | None) -> None:
    """Refuse weights that are not those of the settings, or of another kind of study.

    Raises:
        ValueError: With what was found and what to do.
    """
    if settings.origin != (start.digest if start else ""):
        raise ValueError(f"the settings start from {_short(settings.origin)}, found {_short(start and start.digest)}; "
                         "give the weights that the run began with (--from)")
    if start and start.card["spec"] != spec.name:
        raise ValueError(f"{start.name} is for {start.card['spec']}, the cohort is {spec.name}; start from weights of "
                         "the same kind of study")


def _short(digest: str | None) -> str:
    return f"weights {digest[:12]}" if digest else "random numbers"


def begin(net: nn.Module, settings: TrainSettings, start: Start | None) -> None:
    """Give a network the numbers to start from, and freeze the parts that shall not change."""
    if start:
        net.load_state_dict(start.net.state_dict())
    freeze(net, settings.frozen)


def freeze(net: nn.Module, parts: Sequence[str]) -> None:
    """Keep the parameters of some parts of a network as they are.

    Raises:
        ValueError: If a part does not exist, or nothing would be left to train.
    """
    children = dict(net.named_children())
    for part in parts:
        if part not in children:
            raise ValueError(f"frozen: {part!r} is no part of the network; its parts are {', '.join(children)}")
        children[part].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ValueError(f"frozen: {', '.join(parts)} is the whole network; leave a part to train")
