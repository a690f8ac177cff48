"""What an objective answers: named terms, each with a weight, and their sum.

A term keeps one number per study, or per study and modality, so that the log, the monitor and the reader see
who pays for what before everything becomes one scalar.

Taught in lessons 02 and 07.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Term:
    """One named part of an objective.

    Attributes:
        value: [B], or [B, M] with exactly 0 where the modality is not available (or takes no part).
        weight: A number, or [M] for a value of [B, M].
    """

    value: Tensor
    weight: float | Tensor = 1.0

    def contribution(self) -> Tensor:
        """What the term adds to the total: mean over studies of the weighted sum over modalities; a scalar."""
        weighted = self.value * self.weight
        return weighted.flatten(1).sum(1).mean() if weighted.ndim > 1 else weighted.mean()


def total(terms: Mapping[str, Term]) -> Tensor:
    """The scalar to minimise: sum over terms, mean over studies (spec dmaf_net, section 7).

    Raises:
        ValueError: If there is no term at all.
    """
    if not terms:
        raise ValueError("an objective gave no term; expected at least the segmentation loss of the fused prediction")
    return torch.stack([term.contribution() for term in terms.values()]).sum()


def shares(terms: Mapping[str, Term]) -> dict[str, Tensor]:
    """Each term's contribution as a part of the segmentation loss of the fused prediction, ``terms["seg"]``.

    This is how the weights of the distillation terms are chosen: 5 to 20 % each at the end of the warm-up.
    """
    reference = terms["seg"].contribution().detach()
    return {name: term.contribution().detach() / reference for name, term in terms.items()}
