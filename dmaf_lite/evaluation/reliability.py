"""Do probabilities keep their word?  Reliability, calibration error, and the scaling that mends them.

A voxel that is given 0.8 for "lesion" should be lesion in 8 of 10 cases.  Nearly all voxels of a study are far from
any lesion and are right for nothing; counted in, they make every network look well calibrated.  So everything here
looks at the **zone** only: voxels to which the network gives some chance of a class other than background.

Scaling: q = softmax(s log p + b), one slope s and one bias per class, fitted by maximum likelihood.  One number more
than temperature scaling (Guo et al. 2017) per class; regions that are nested stay so, because they are still sums of
the same classes.

Taught in lesson 15.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from dmaf_lite.base.settings import checked

SOME_CHANCE = 0.02  # of anything but background: below, a voxel is background that nobody doubts
SMALLEST = 1e-6  # probabilities are cut here: a blend of windows may hold exact zeros


@checked
class Scaling:
    """q = softmax(slope * log p + bias).

    Attributes:
        slope: Below 1 the network was too sure, above 1 too timid.
        bias: One per class, the background's is 0.
    """

    slope: float = 1.0
    bias: tuple[float, ...] = ()

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Class probabilities [K, ...] -> scaled ones, float32[K, ...]; of any shape behind K."""
        logs = np.log(np.maximum(probabilities, SMALLEST, dtype=np.float32))
        bias = np.asarray(self.bias or np.zeros(len(logs)), np.float32)
        return softmax(np.float32(self.slope) * logs + bias.reshape(-1, *(1,) * (logs.ndim - 1)), axis=0)


def zone(probabilities: np.ndarray) -> np.ndarray:
    """Where it matters: bool[...] of class probabilities [K, ...], class 0 the background."""
    return 1 - probabilities[0] >= SOME_CHANCE


def zone_of(probabilities: np.ndarray, labels: Iterable[int]) -> np.ndarray:
    """Where it matters for one region: bool[...] of class probabilities [K, ...] and the region's classes."""
    return probabilities[sorted(labels)].sum(axis=0) >= SOME_CHANCE


def fit_scaling(probabilities: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None, *,
                strength: float = 1.0) -> Scaling:
    """The scaling under which the truth is most likely.

    Args:
        probabilities: float[K, N], of voxels of the zone.
        truth: int[N], their true classes.
        weights: float[N], how much each voxel counts; default 1.
        strength: Pull towards "change nothing", in voxels: a class that never occurs keeps a finite bias.
    """
    classes, voxels = probabilities.shape
    if not voxels:
        return Scaling(1.0, (0.0,) * classes)
    logs = np.log(np.maximum(probabilities, SMALLEST)).astype(np.float64)
    count = np.ones(voxels) if weights is None else np.asarray(weights, float)
    is_true = np.arange(classes)[:, None] == truth

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = parameters[0], np.concatenate([[0.0], parameters[1:]])
        log_q = log_softmax(slope * logs + bias[:, None], axis=0)
        error = (np.exp(log_q) - is_true) * count
        pull = parameters - np.eye(classes)[0]
        value = -(count * log_q[is_true.argmax(0), np.arange(voxels)]).sum() + strength * (pull**2).sum() / 2
        gradient = np.concatenate([[(error * logs).sum()], error[1:].sum(1)]) + strength * pull
        return value / count.sum(), gradient / count.sum()

    found = minimize(loss, np.eye(classes)[0], jac=True, method="L-BFGS-B").x
    return Scaling(float(found[0]), (0.0, *map(float, found[1:])))


def reliability(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None, *, bins: int = 10
                ) -> np.ndarray:
    """The reliability diagram as numbers.

    Args:
        confidence: float[N] in [0, 1], what was promised.
        right: bool[N], what came.
        weights: float[N], how much each counts.
        bins: Equal parts of [0, 1].

    Returns:
        float64[bins, 3]: share of all voxels, mean promise, share that came true; NaN in an empty bin.
    """
    count = np.ones(len(confidence)) if weights is None else np.asarray(weights, float)
    which = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    sums = [np.bincount(which, count * values, bins) for values in (1.0, confidence, np.asarray(right, float))]
    with np.errstate(invalid="ignore"):
        return np.stack([sums[0] / max(count.sum(), 1e-12), sums[1] / sums[0], sums[2] / sums[0]], axis=1)


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None, *,
                               bins: int = 10) -> float:
    """Mean distance between promise and what came, over the bins of `reliability`; NaN without a voxel."""
    if not len(confidence):
        return float("nan")
    table = reliability(confidence, right, weights, bins=bins)
    return float(np.nansum(table[:, 0] * np.abs(table[:, 1] - table[:, 2])))


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy in nats of class probabilities [K, ...] -> [...]; 0 is certain, log K knows nothing."""
    p = np.maximum(probabilities, SMALLEST)
    return -(p * np.log(p)).sum(axis=0)
