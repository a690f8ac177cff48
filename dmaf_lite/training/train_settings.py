"""Everything that decides the result of a run besides the cases."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from dmaf_lite.base.settings import SettingsError, checked
from dmaf_lite.data.augmentation import AugmentationSettings
from dmaf_lite.data.batches import BatchSettings, Condition
from dmaf_lite.methods.networks import network_settings
from dmaf_lite.methods.objectives import objective_settings
from dmaf_lite.methods.pairings import check_pairing


@checked
class TrainSettings:
    """Everything that decides the result of a run besides the cases.  Defaults: `lite` on the phantom."""

    network: str = "dmaf_net"
    network_options: dict[str, Any] = field(default_factory=dict)
    objective: str = "dmaf"
    objective_options: dict[str, Any] = field(default_factory=dict)
    condition: Condition = "complete"  # see batches.py
    missing_rates: dict[str, float] = field(default_factory=dict)  # modality -> rate, for the imbalanced conditions
    crop: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 32, 32)
    # The last `late_share` of the steps draws its crop among these: a network that normalises over its window has
    # then seen large ones, too, so that one window over a whole study is as good as many.
    late_crops: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = ()
    late_share: float = 0.2
    batch: PositiveInt = 2  # studies that one process computes at once
    accumulate: PositiveInt = 1  # batches whose gradients are added up in one step: memory for one at a time
    steps: PositiveInt = 600
    foreground: float = 0.5
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    lr: PositiveFloat = 2e-3  # 600 steps of `lite` on the phantom: mean Dice .68 against .63 with 1e-3; `full`: 2e-4
    weight_decay: NonNegativeFloat = 1e-4
    poly: NonNegativeFloat = 0.9  # lr_t = lr (1 - t / steps)^poly
    clip: PositiveFloat = 12.0  # of the gradient's norm; only the rare spike is cut
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False  # torch.compile; the first steps take minutes (benchmarks: what it buys)
    graphs: bool = False  # CUDA graphs: small steps on a GPU several times as fast, with the same kernels
    deterministic: bool = False  # the same digits again on a GPU; slower. A CPU run always repeats
    seed: int = 0
    origin: str = ""  # digest of the weights that the run starts from (`start.py`); "": from random numbers
    frozen: tuple[str, ...] = ()  # parts of the network that keep their weights, such as encoders
    log_every: PositiveInt = 10
    checkpoint_every: PositiveInt = 200

    def __post_init__(self) -> None:
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"foreground is {self.foreground}; expected a share of the crops, from 0 to 1")
        if not 0 <= self.late_share <= 1:
            raise ValueError(f"late_share is {self.late_share}; expected a share of the steps, from 0 to 1")
        for what, settings_of, name, options in (
            ("network", network_settings, self.network, self.network_options),
            ("objective", objective_settings, self.objective, self.objective_options),
        ):
            try:
                settings_of(name, options)
            except SettingsError as error:
                raise ValueError(f"{what}_options: {error}" if options else str(error)) from None
        check_pairing(self.network, self.objective)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Polynomial decay of the learning rate."""
    return settings.lr * (1 - step / settings.steps) ** settings.poly


def batch_settings(settings: TrainSettings, batches_per_step: int = 1) -> BatchSettings:
    """The part of the settings that decides the batches."""
    late_from = round((1 - settings.late_share) * settings.steps) * batches_per_step
    return BatchSettings(settings.crop, settings.batch, settings.seed, settings.condition, settings.foreground,
                         settings.augmentation, settings.late_crops, late_from)
