"""Adapters: what each set of available scans has of its own, inside a network that all sets share.

AdaMM keeps, for each of the 2^M - 2 sets with a missing scan, a few thousand weights beside the shared ones
(spec adamm, section 2.3).  A batch may hold several sets: its studies are sorted into `MaskGroups`, on the
CPU where `available` lives, and only the adapters of the sets that occur are run.

Taught in lesson 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmaf_lite.spec import DatasetSpec


def mask_key(available: Sequence[bool]) -> str:
    """Name of an availability mask: ``(True, False, True, True)`` -> ``"1011"``, in the order of the modalities."""
    return "".join("1" if is_available else "0" for is_available in available)


@dataclass(frozen=True)
class MaskGroups:
    """The studies of a batch, sorted by availability mask.

    Attributes:
        keys: The masks that occur, by `mask_key`.
        rows: int64 per mask, its studies, on the features' device.
        back: int64[B], where each study stands once the groups are put one after the other.
    """

    keys: tuple[str, ...]
    rows: tuple[Tensor, ...]
    back: Tensor

    @classmethod
    def of(cls, available: Tensor, device: torch.device | str) -> MaskGroups:
        """Sort the rows of bool[B, M], on the CPU."""
        studies: dict[str, list[int]] = {}
        for study, row in enumerate(available.tolist()):
            studies.setdefault(mask_key(row), []).append(study)
        order = torch.tensor([study for group in studies.values() for study in group])
        rows = order.split([len(group) for group in studies.values()])
        return cls(tuple(studies), tuple(r.to(device, non_blocking=True) for r in rows),
                   order.argsort().to(device, non_blocking=True))

    def apply(self, function: Callable[..., Tensor], *maps: Tensor) -> Tensor:
        """``function(key, *maps)`` on the studies of each mask; the results in the order of the batch.

        Args:
            function: Takes the mask's key and each map's rows [n, ...]; gives [n, ...].
            maps: [B, ...] each.
        """
        if len(self.keys) == 1:
            return function(self.keys[0], *maps)
        parts = [function(key, *(map_.index_select(0, rows) for map_ in maps))
                 for key, rows in zip(self.keys, self.rows, strict=True)]
        return torch.cat(parts).index_select(0, self.back)


class Adapter(nn.Module):
    """x + dropout(conv1(GELU(conv1(x)))), float[N, C, D, H, W] -> the same shape."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv3d(channels, hidden, 1), nn.GELU(), nn.Conv3d(hidden, channels, 1), nn.Dropout(0.2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class AdapterSet(nn.Module):
    """All that one mask has of its own: four encoder and three decoder adapters, and two fusing convolutions.

    Args:
        width: C of the network. The adapters are 4 C wide inside, the released 64 at its C = 16; that is wider than
            what they adapt where it has 16 or 32 channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(Adapter(factor * width, 4 * width) for factor in (2, 4, 8, 8))
        self.decoder = nn.ModuleList(Adapter(factor * width, 4 * width) for factor in (4, 2, 1))
        self.fuse_style = nn.Conv3d(20 * width, 8 * width, 1)
        self.fuse_bottleneck = nn.Conv3d(16 * width, 8 * width, 1)


def adapter_bank(spec: DatasetSpec, width: int) -> nn.ModuleDict:
    """One `AdapterSet` for every mask in which a scan is missing: 14 for four modalities.

    The released bank has a fifteenth entry, for no scan at all, which cannot occur.
    """
    return nn.ModuleDict({mask_key(mask): AdapterSet(width) for mask in spec.subsets() if not all(mask)})
