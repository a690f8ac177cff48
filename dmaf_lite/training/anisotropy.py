"""How much longer than wide the voxels of a cohort are, for networks that choose their kernels by it.

With ``kernel_through: auto`` a network mixes slices only at levels whose voxels are at most twice as long as wide
(nnU-Net's rule).  What a person does not say is taken from the prepared cases.  Taught in the lesson on hearts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import network_settings
from dmaf_lite.training.train_settings import TrainSettings

CUBES = 1.05  # up to this a voxel counts as a cube


def anisotropy_of(training_set: TrainingSet) -> float:
    """Median over the training cases of slice distance / pixel, of the prepared arrays."""
    spacing = np.array([training_set.cohort[name].meta["spacing"] for name in training_set.names])
    return round(float(np.median(spacing[:, 2] / spacing[:, :2].mean(axis=1))), 2)


def network_options(settings: TrainSettings, training_set: TrainingSet) -> dict[str, Any]:
    """The options that the network of a run is built with: those of the settings and, where its kernels depend on it
    and nobody has said, the anisotropy of the training cases.  Weights that a run starts from keep theirs."""
    options = dict(settings.network_options)
    chosen = network_settings(settings.network, options)
    if getattr(chosen, "kernel_through", None) == "auto" and "anisotropy" not in options and not settings.origin:
        found = anisotropy_of(training_set)
        if found > CUBES:
            options["anisotropy"] = found
    return options
