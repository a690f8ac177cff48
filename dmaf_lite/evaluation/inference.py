"""From one prepared study to probabilities: sliding windows, one pass for all subsets of modalities.

A window's features are computed once per modality; every subset is a choice among them, and several
windows are decoded together: M encoder passes for a window instead of M 2^(M-1).  That is exact, because
each modality is normalised and encoded by itself.

Taught in lesson 09.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dmaf_lite.base.device import autocast, choose_precision
from dmaf_lite.base.settings import checked, from_mapping
from dmaf_lite.evaluation.window_size import fitted_window

LEFT_RIGHT = -3  # the axis of prepared arrays (..., D, H, W) that runs from one side of the head to the other


@checked
class WindowSettings:
    """How a volume is cut into windows and put together again."""

    window: tuple[int, int, int] = (32, 32, 32)  # the training crop of the 3 mm phantom; peers: 80^3
    # Peers: 0.5.  On six phantoms 0.25 changed the mean Dice of the shipped weights over all subsets from .7323 to
    # .7313, in 0.58 of the time.
    overlap: float = 0.25
    blending: Literal["gaussian", "constant"] = "gaussian"  # "constant": every window counts alike, as in the peers
    windows_at_once: int = 4  # encoded, and decoded for each subset, together
    # bfloat16 where the hardware computes it: .7321 in place of .7323 there.  "float32": the same digits everywhere.
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    # The mean with the prediction for the mirrored study, left for right; twice the time.
    mirror: bool = False
    # Windows grow up to this where fewer voxels are computed then (`window_size.py`); None: never. See `windows_of`.
    largest: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap must be in [0, 1), got {self.overlap}")
        if len(self.window) != 3 or min(*self.window, self.windows_at_once) < 1:
            raise ValueError("window takes three sides in voxels; sides and windows_at_once are at least 1, got "
                             f"{self.window}, {self.windows_at_once}")
        if self.largest is not None and any(a < b for a, b in zip(self.largest, self.window, strict=True)):
            raise ValueError(f"largest is {self.largest}; expected no side below that of the window, {self.window}")


def windows_of(card: Mapping[str, Any]) -> WindowSettings:
    """How some weights predict, by their card: in windows of the crop that they have learned from.

    Whoever ships weights may have chosen more on validation cases; the card's ``prediction`` then holds `largest` and
    `mirror`.

    Raises:
        ValueError: If ``prediction`` holds what is no setting.
    """
    window = tuple(card.get("window", WindowSettings.window))
    return from_mapping(WindowSettings, {"window": window, **card.get("prediction", {})})


def check_window(net: nn.Module, window: Sequence[int]) -> None:
    """Refuse a window that the network cannot take, before any case is read.

    Raises:
        ValueError: If a side is no multiple of the network's total stride, or less than twice it.
    """
    stride = getattr(net, "stride", (1, 1, 1))
    if any(side % step or (step > 1 and side < 2 * step) for side, step in zip(window, stride, strict=True)):
        raise ValueError(f"a window of {tuple(window)} voxels does not fit the network: every side must be a multiple "
                         f"of its stride {tuple(stride)} and at least twice that; choose another window")


def subset_probabilities(
    net: nn.Module,
    images: np.ndarray,
    subsets: np.ndarray,
    *,
    settings: WindowSettings,
    share_encoder: bool = True,
    progress: bool = False,
) -> Tensor:
    """Class probabilities of one study for several subsets of its modalities.

    Args:
        net: A network of the kit; put into evaluation mode.
        images: float32[M, D, H, W], prepared; channels that no subset uses may hold anything.
        subsets: bool[S, M].
        settings: Windows and blending.
        share_encoder: False encodes anew for each subset (the naive form; also used, whatever is asked for, where
            `net.encode_depends_on_availability`).
        progress: Show a bar over the windows.

    Returns:
        float32[S, K, D, H, W] on the network's device: the blended softmax of the windows.
    """
    subsets = torch.from_numpy(writeable(subsets, bool))
    share = share_encoder and not getattr(net, "encode_depends_on_availability", False)
    predict = _shared if share else _naive

    def predictor(windows: Tensor) -> Tensor:
        # The subsets ride as channels through the blending: [n, S, K, ...] -> [n, S*K, ...].
        return predict(net, windows, subsets).flatten(1, 2)

    blended = _slide(net, images, predictor, settings, progress)
    return blended[0].unflatten(0, (len(subsets), -1))


def probabilities_and_weights(
    net: nn.Module, images: np.ndarray, available: np.ndarray, *, settings: WindowSettings, progress: bool = False,
    every_level: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Class probabilities of one study, and its modality weights at full size where the network has them.

    Returns:
        float32[K, D, H, W] and float32[M, D, H, W] (exact 0 for a missing modality) or None.  With `every_level` the
        weights are float32[L, M, D, H, W]: those of the coarser levels are interpolated, and still sum to 1.
    """
    subsets = np.asarray(available, dtype=bool)[None]
    return subsets_and_weights(net, images, subsets, settings=settings, progress=progress, every_level=every_level)[0]


def subsets_and_weights(
    net: nn.Module, images: np.ndarray, subsets: np.ndarray, *, settings: WindowSettings, progress: bool = False,
    every_level: bool = False,
) -> list[tuple[Tensor, Tensor | None]]:
    """`probabilities_and_weights` of several subsets bool[S, M], each modality encoded once where that is exact."""
    masks = torch.from_numpy(writeable(subsets, bool))
    share = len(masks) > 1 and not getattr(net, "encode_depends_on_availability", False)
    classes = 0

    def predictor(windows: Tensor) -> Tensor:
        nonlocal classes
        features = net.encode(windows, masks.any(dim=0).expand(len(windows), -1)) if share else None
        parts = []
        for mask in masks:
            available = mask.expand(len(windows), -1)
            prediction = net.decode(features.select(available), available) if share else net(windows, available)
            classes = prediction.logits.shape[1]
            parts.append(prediction.logits.float().softmax(dim=1))
            for level in (prediction.modality_weights or [])[: None if every_level else 1]:
                dense = prediction.pairs.to_dense(level.float()).squeeze(2)
                same = dense.shape[2:] == windows.shape[2:]
                parts.append(dense if same else interpolate(dense, windows.shape[2:], mode="trilinear"))
        return torch.cat(parts, dim=1)

    results: list[tuple[Tensor, Tensor | None]] = []
    for blended in _slide(net, images, predictor, settings, progress)[0].chunk(len(masks)):
        weights = blended[classes:] if len(blended) > classes else None
        if weights is not None and every_level:
            weights = weights.unflatten(0, (-1, masks.shape[1]))
        results.append((blended[:classes], weights))
    return results


def _shared(net: nn.Module, windows: Tensor, subsets: Tensor) -> Tensor:
    """Encode once, decode every subset of all windows together -> [n, S, K, ...]."""
    features = net.encode(windows, subsets.any(dim=0).expand(len(windows), -1))
    all_of_them = None
    for number, mask in enumerate(subsets):
        # One subset for all windows, not all subsets of one: fusion is cheaper where all rows have the same scans.
        available = mask.expand(len(windows), -1)
        logits = net.decode(features.select(available), available).logits.float()
        if all_of_them is None:  # one large block, written part by part
            all_of_them = logits.new_empty((len(windows), len(subsets), *logits.shape[1:]))
        all_of_them[:, number] = logits.softmax(dim=1)
    return all_of_them


def _naive(net: nn.Module, windows: Tensor, subsets: Tensor) -> Tensor:
    """Everything anew for each subset -> [n, S, K, ...]."""
    one_by_one = [net(windows, mask.expand(len(windows), -1)).logits.float().softmax(dim=1) for mask in subsets]
    return torch.stack(one_by_one, dim=1)


def writeable(array: np.ndarray | Sequence, dtype: type) -> np.ndarray:
    """The same values as an array that torch may share: a copy only of what is read-only or laid out otherwise."""
    return np.require(array, dtype, ["C", "W"])


@torch.no_grad()
def _slide(net: nn.Module, images: np.ndarray, predictor: Callable[[Tensor], Tensor], settings: WindowSettings,
           progress: bool) -> Tensor:
    from monai.inferers import sliding_window_inference  # seconds to import: only where it is used

    if settings.mirror:
        plain = replace(settings, mirror=False)
        mirrored = _slide(net, np.flip(images, LEFT_RIGHT), predictor, plain, progress)
        return (_slide(net, images, predictor, plain, progress) + mirrored.flip(LEFT_RIGHT)) / 2
    check_window(net, settings.window)
    window = settings.window if settings.largest is None else fitted_window(
        images.shape[1:], settings.window, settings.largest, overlap=settings.overlap,
        stride=getattr(net, "stride", (1, 1, 1)))
    was_training = net.training
    net.eval()
    device = next(net.parameters()).device
    try:
        with autocast(device, choose_precision(settings.precision, device)):
            return sliding_window_inference(
                torch.from_numpy(writeable(images, np.float32))[None].to(device), window,
                settings.windows_at_once, predictor, overlap=settings.overlap, mode=settings.blending,
                progress=progress,
            )
    finally:
        net.train(was_training)
