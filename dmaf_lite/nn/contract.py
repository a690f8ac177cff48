"""What every network of the kit takes and gives: availability, features, prediction.

Only the scans that exist are ever computed.  A batch of B studies with M modalities holds
P <= B * M *pairs* (study, modality) that are there; features are stored **packed**, one row per
pair, so there is no row in which a missing scan could leave a trace:

    available            study      0 0 0 1 1          levels[l]: float[P, C_l, D_l, H_l, W_l]
      [1 1 0 1]    ->    modality   0 1 3 1 2    (sorted by modality, then study: each encoder
      [0 1 1 0]                                   works on one contiguous block)

`available` stays on the CPU: its values decide shapes, and reading them from a GPU would make the
host wait in every step.

Taught in lesson 02.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The (study, modality) pairs that are there.

    Attributes:
        available: bool[B, M] on the CPU.
        study: int64[P], the study of each pair, on the features' device.
        modality: int64[P], its modality, ascending.
    """

    available: Bool[Tensor, "B M"]
    study: Int[Tensor, " P"]
    modality: Int[Tensor, " P"]

    @classmethod
    def of(cls, available: Tensor, device: torch.device | str = "cpu") -> Pairs:
        """List the pairs of an availability table.

        Raises:
            ValueError: If the table is not bool[B, M] or a study has no modality.
        """
        available = torch.as_tensor(available).cpu()
        if available.dtype == torch.bool and available.ndim == 2 and torch.device(device).type == "cuda":
            return _kept(tuple(map(tuple, available.tolist())), torch.device(device))
        return cls._of(available, device)

    @classmethod
    def _of(cls, available: Tensor, device: torch.device | str) -> Pairs:
        if available.dtype != torch.bool or available.ndim != 2:
            raise ValueError(f"availability must be bool[B, M], got {available.dtype} {tuple(available.shape)}")
        empty = (~available.any(dim=1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"no modality at all for study {empty} of the batch; at least one is needed")
        modality, study = available.T.nonzero(as_tuple=True)
        return cls(available, study.to(device, non_blocking=True), modality.to(device, non_blocking=True))

    @property
    def B(self) -> int:
        """Number of studies."""
        return self.available.shape[0]

    @property
    def M(self) -> int:
        """Number of modalities of the data set."""
        return self.available.shape[1]

    @property
    def P(self) -> int:
        """Number of pairs."""
        return self.study.shape[0]

    @cached_property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Half-open row range of each modality in the packed order."""
        ends = [0, *self.available.sum(dim=0).cumsum(0).tolist()]
        return tuple(pairwise(ends))

    @cached_property
    def uniform(self) -> bool:
        """Whether all studies have the same modalities; packed rows are then a full table (k, B)."""
        return bool((self.available == self.available[0]).all())

    @cached_property
    def row(self) -> Tensor:
        """int64[P], the row of each pair in the full table of B * M."""
        return self.study * self.M + self.modality

    @cached_property
    def available_on_device(self) -> Tensor:
        """bool[B, M], a copy of `available` on the pairs' device."""
        return self.available.to(self.study.device, non_blocking=True)

    @cached_property
    def of_several(self) -> tuple[Pairs, Tensor]:
        """The pairs of studies with at least two modalities, and their rows int64 in the packed order.

        Decided on the CPU, where the availability is; study numbers stay those of the whole batch.
        """
        several = self.available.sum(1) >= 2
        _, study = self.available.T.nonzero(as_tuple=True)
        rows = several[study].nonzero().flatten().to(self.study.device, non_blocking=True)
        kept = Pairs(self.available & several.unsqueeze(1), self.study.index_select(0, rows),
                     self.modality.index_select(0, rows))
        return kept, rows

    @cached_property
    def counts(self) -> Tensor:
        """k_b, the number of modalities of each study, float32[B] on the pairs' device."""
        return self.available.sum(dim=1).float().to(self.study.device, non_blocking=True)

    def to_dense(self, values: Shaped[Tensor, "P *rest"], fill: float = 0.0) -> Shaped[Tensor, "B M *rest"]:
        """Spread packed values [P, ...] to [B, M, ...], with `fill` where a scan is missing."""
        dense = values.new_full((self.B * self.M, *values.shape[1:]), fill)
        dense = dense.index_copy(0, self.row, values)
        return dense.unflatten(0, (self.B, self.M))

    def from_dense(self, dense: Shaped[Tensor, "B M *rest"]) -> Shaped[Tensor, "P *rest"]:
        """Pick the packed values [P, ...] out of [B, M, ...]."""
        return dense.flatten(0, 1).index_select(0, self.row)

    def sum_by_study(self, values: Float[Tensor, "P *rest"]) -> Float[Tensor, "B *rest"]:
        """Sum packed values [P, ...] over the modalities of each study -> [B, ...]."""
        if self.uniform:
            return values.unflatten(0, (-1, self.B)).sum(0)
        return values.new_zeros((self.B, *values.shape[1:])).index_add(0, self.study, values)


@lru_cache(maxsize=1024)
def _kept(available: tuple[tuple[bool, ...], ...], device: torch.device) -> Pairs:
    """The pairs of a table seen before, so that a step on a GPU copies no index to it a second time."""
    with torch.inference_mode(False):  # its tensors would be of no use to a later gradient
        return Pairs._of(torch.tensor(available), device)


def take(maps: Tensor, rows: Tensor) -> Tensor:
    """Rows of float[P, C, D, H, W] in their memory layout (`index_select` alone would put the channels first).

    Rows that follow one another, as those of one scan of all studies do, are a view: nothing is copied.
    """
    start, count = int(rows[0]), len(rows)
    if torch.equal(rows, torch.arange(start, start + count)):
        return maps[start:start + count]
    rows = rows.to(maps.device, non_blocking=True)
    if maps.is_contiguous():
        return maps.index_select(0, rows)
    return maps.movedim(1, -1).index_select(0, rows).movedim(-1, 1)


@dataclass(frozen=True)
class Features:
    """Encoded modalities, packed.

    Attributes:
        levels: One float[P, C_l, D_l, H_l, W_l] per level, full size first.
        pairs: Which pair each row belongs to.
    """

    levels: list[Tensor]
    pairs: Pairs

    def select(self, available: Tensor, study: Tensor | None = None) -> Features:
        """Features of other availability masks, from what has been encoded already.

        Args:
            available: bool[S, M], the masks asked for.
            study: int64[S], which encoded study each mask refers to; default 0..S-1.
                One window for all subsets of modalities: ``study=torch.zeros(15, dtype=torch.long)``.

        Raises:
            ValueError: If a pair is asked for that was not encoded.
        """
        available = torch.as_tensor(available).cpu()
        if study is None and torch.equal(available, self.pairs.available):
            return self
        device = self.pairs.study.device
        wanted = Pairs.of(available)
        source = wanted.study if study is None else torch.as_tensor(study).cpu()[wanted.study]
        row = torch.full(self.pairs.available.shape, -1)
        modality, owner = self.pairs.available.T.nonzero(as_tuple=True)
        row[owner, modality] = torch.arange(self.pairs.P)
        rows = row[source, wanted.modality]
        if (rows < 0).any():
            at = int((rows < 0).nonzero()[0])
            raise ValueError(f"modality {int(wanted.modality[at])} of study {int(source[at])} was not encoded; "
                             "only scans that were there can be decoded")
        return Features([take(level, rows) for level in self.levels], Pairs.of(available, device))

    def dense(self, level: int) -> Tensor:
        """Level `level` as float[B, M, C, D, H, W] with exact 0 where a scan is missing."""
        return self.pairs.to_dense(self.levels[level])


@dataclass(frozen=True)
class Prediction:
    """What `decode` gives; what a network has not got is None.

    Attributes:
        logits: float[B, K, D, H, W], K classes, from the fused features.
        pairs: The pairs behind the packed entries.
        unimodal_logits: float[P, K, D, H, W] from the shared decoder; training mode only.
        deep_logits: Logits of the fusion decoder at levels 2, 3, ... in their own size; training mode only.
        fused_features: f_l, one float[B, C_l, D_l, H_l, W_l] per level, full size first.
        decoder_features: float[B, C_1, D, H, W], the input of the last convolution.
        fusion_weights: Per level float[P, C_l or 1, ...], the weight of each modality where the network has one,
            summing to 1 over the modalities of a study, or a function that makes it; evaluation mode only.
    """

    logits: Tensor
    pairs: Pairs
    unimodal_logits: Tensor | None = None
    deep_logits: list[Tensor] | None = None
    fused_features: list[Tensor] | None = None
    decoder_features: Tensor | None = None
    fusion_weights: list[Tensor | Callable[[], Tensor]] | None = None

    @cached_property
    def modality_weights(self) -> list[Tensor] | None:
        """Per level float[P, 1, D_l, H_l, W_l]: the weights' mean over the channels, made when somebody asks."""
        if self.fusion_weights is None:
            return None
        made = [w() if callable(w) else w for w in self.fusion_weights]
        return [w.mean(dim=1, keepdim=True).expand(-1, 1, *f.shape[2:])
                for w, f in zip(made, self.fused_features, strict=True)]
