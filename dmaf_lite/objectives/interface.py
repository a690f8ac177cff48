"""What every objective is: a module that answers with named terms, and what it may do besides.

Everything but `forward` has a default, so that a loop may ask any objective without looking what it has.

Taught in lesson 07.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dmaf_lite.nn.contract import Features, Prediction
from dmaf_lite.objectives.terms import Term
from dmaf_lite.spec import DatasetSpec


class Objective(nn.Module):
    """An objective for a network of the contract.

    Its parameters are trained with the network's, its buffers are in every checkpoint.

    Args:
        spec: The data set.
        net: The network that it will train.
        settings: An instance of `Settings`; None takes the defaults.
        missing_rates: Missing rate of every modality in the training table, for objectives that weigh by it.
        total_steps: Steps of the whole training, for objectives with a warm-up.

    Attributes:
        Settings: The class of its settings.
        reads_dropped: Whether ``batch.images`` has to hold the scans that were dropped for the network, too
            (``batch.existing``), for a teacher who sees more.
    """

    Settings: ClassVar[type]
    reads_dropped: ClassVar[bool] = False

    def __init__(self, spec: DatasetSpec, net: nn.Module, settings: Any = None, *,
                 missing_rates: Sequence[float] | None = None, total_steps: int | None = None) -> None:
        super().__init__()
        self.settings = self.Settings() if settings is None else settings
        self.classes, self.modalities = len(spec.classes), spec.M

    def forward(self, net: nn.Module, features: Features, prediction: Prediction, batch, step: int) -> dict[str, Term]:
        """Terms of one batch; ``batch.label`` is integer [B, D, H, W], `step` the number of steps done before."""
        raise NotImplementedError

    def end_epoch(self) -> None:
        """What is done when every case was drawn once; nothing."""

    def learning_rate_factors(self) -> Tensor:
        """Factor on the learning rate of each modality's encoder, [M]; ones: no encoder is held back."""
        return torch.ones(self.modalities)

    def log_state(self) -> dict[str, Tensor]:
        """What belongs into the log besides the terms, each [M]; nothing."""
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters of its own that need other options of the optimiser, as `torch.optim` takes them; none."""
        return []

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """What is done between the gradient and the update; nothing."""
