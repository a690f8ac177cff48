"""Weights on disk: one safetensors file that carries its own card.  Nothing is ever unpickled.

The card is JSON in the file's metadata.  It says how to rebuild the network and where the weights
come from, so that a file found years later can still be used and judged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.base.provenance import NOT_A_DEVICE
from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import SPECS

# What a card must say: the first three rebuild the network, `spacing` (mm) is the grid it was
# trained on, the rest is where it comes from.
REQUIRED = ("network", "network_options", "spec", "spacing", "recipe", "seed", "commit", "date")


# The weights that come with the kit lie beside this file, under these names; the first that is there is what `shipped`
# gives where no name is asked for.
PRETRAINED = Path(__file__).parent / "pretrained"
NAMES = {
    "dmaf_net_randomised": "DMAF-Net `lite` for real scans: trained on randomised phantoms",
    "dmaf_net_phantom": "DMAF-Net `lite` for the kit's plain phantoms, on which the lessons train",
    "dmaf_net_hearts": "DMAF-Net `lite` for hearts, slice by slice: trained on heart phantoms",
}


class WeightsError(ValueError):
    """A weights file that cannot be used; the message says why and what to do."""


def shipped(name: str | None = None) -> Path:
    """Weights that come with the kit, trained on synthetic phantoms only.

    Args:
        name: A key of `NAMES`; default the first of them that is there.

    Raises:
        WeightsError: If there is no such name, or the file is not there.
    """
    if name is not None and name not in NAMES:
        raise WeightsError(f"no weights of the name {name!r} come with the kit; choose one of {', '.join(NAMES)}, or "
                           "give a file")
    for wanted in NAMES if name is None else [name]:
        path = PRETRAINED / f"{wanted}.safetensors"
        if path.is_file():
            return path
    raise WeightsError(f"{name or next(iter(NAMES))}.safetensors is not in dmaf_lite/{PRETRAINED.name}; expected the "
                       "weights that come with the kit. Take a full checkout, or train them: see the profiles in "
                       "notebooks/profiles/train and data_scripts/ship_weights.py")


def weights_file(name_or_file: str | Path) -> Path:
    """The file of some weights: of the kit's own by their name (`NAMES`), of all others by their path.

    Raises:
        WeightsError: If the kit's own are not there.
    """
    name = str(name_or_file)
    return shipped(name) if name in NAMES and not Path(name).is_file() else Path(name_or_file)


def save_weights(path: str | Path, net: nn.Module, card: Mapping[str, Any]) -> Path:
    """Write the parameters and buffers of `net` with their card, atomically.

    Args:
        path: Ends in ``.safetensors``.
        net: Any network that `build_network` can rebuild from the card.
        card: At least `REQUIRED`: network (name in `NETWORKS`), network_options (its keyword
            arguments), spec (name in `SPECS`), spacing (mm), recipe, seed, commit, date.  More is welcome:
            ``window`` (voxels of the training crop, the default inference window), a subset table, ...
            The note of what the weights are not for is added.

    Raises:
        WeightsError: If the card is incomplete or does not rebuild this network.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: weights files end in .safetensors; rename the target")
    card = {**card, "note": NOT_A_DEVICE}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in net.state_dict().items()}
    twin = _build(path, card)
    _compare(path, tensors, twin)
    _check_finite(path, tensors, "nothing is written; train with a smaller learning rate")
    if is_dataclass(getattr(net, "settings", None)) and net.settings != twin.settings:
        # Options such as a gate change the computation without changing any tensor.
        differs = [f.name for f in fields(net.settings)
                   if getattr(net.settings, f.name) != getattr(twin.settings, f.name)]
        raise WeightsError(f"{path}: the card's network_options build a network with another {', '.join(differs)}; "
                           "write the options that the network was built with")
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata={"card": json.dumps(card, sort_keys=True)})
    return path


def weights_digest(net: nn.Module) -> str:
    """Identity of a network's numbers: sha256 over every parameter and buffer with its name, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a weights file, without its tensors.

    Raises:
        WeightsError: If the file is missing, is no safetensors file or has no complete card.
    """
    return _read(Path(path))[0]


def load_weights(path: str | Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild the network of a weights file, in evaluation mode.

    Returns:
        The network and its card.

    Raises:
        WeightsError: If the file cannot be read, or any name, shape or number type does not fit; all that does
            not fit is listed.
    """
    path = Path(path)
    card, tensors = _read(path, with_tensors=True)
    net = _build(path, card)
    _compare(path, tensors, net)
    _check_finite(path, tensors, "train again, with a smaller learning rate if the loss grew")
    net.load_state_dict(tensors, strict=True)
    return net.to(device).eval(), card


def _read(path: Path, *, with_tensors: bool = False) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; expected weights in .safetensors form, or one of the kit's "
                           f"own by name: {', '.join(NAMES)}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if with_tensors else {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not readable as safetensors ({error}); fetch or train the weights again. "
                           "Pickled files (.pt, .pth) are not read: they can run code") from None
    try:
        card = json.loads(metadata["card"])
        missing = [key for key in REQUIRED if key not in card]
    except (KeyError, TypeError, ValueError):
        raise WeightsError(f"{path}: found no readable card in the file's metadata; expected one as `save_weights` "
                           "writes it. Save the weights with it") from None
    if missing:
        raise WeightsError(f"{path}: the card lacks {', '.join(missing)}; save the weights with a full card")
    return card, tensors


def _build(path: Path, card: Mapping[str, Any]) -> nn.Module:
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        raise WeightsError(f"{path}: the card lacks {', '.join(missing)}; expected {', '.join(REQUIRED)}")
    if card["spec"] not in SPECS:
        raise WeightsError(f"{path}: the card names the data set {card['spec']!r}; this kit knows {sorted(SPECS)}")
    spacing = card["spacing"]
    if len(spacing) != 3 or not all(isinstance(mm, (int, float)) and mm > 0 for mm in spacing):
        raise WeightsError(f"{path}: the card's spacing is {spacing}; expected three positive numbers in mm")
    try:
        return build_network(card["network"], SPECS[card["spec"]], **card["network_options"])
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the card's network cannot be built: {error}") from None


def _check_finite(path: Path, tensors: Mapping[str, torch.Tensor], do: str) -> None:
    """Refuse weights with NaN or Inf: they segment nothing, and say nothing about it."""
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise WeightsError(f"{path}: NaN or Inf in {', '.join(bad[:3])}{more}; expected finite numbers; {do}")


def _compare(path: Path, tensors: Mapping[str, torch.Tensor], net: nn.Module) -> None:
    """Raise with a list of everything that does not fit."""
    wanted = net.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in tensors]
    faults += [f"{name} is not part of the network" for name in tensors if name not in wanted]
    for name in sorted(wanted.keys() & tensors.keys()):
        found, expected = tensors[name], wanted[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            faults.append(f"{name} is {found.dtype} {tuple(found.shape)}, "
                          f"expected {expected.dtype} {tuple(expected.shape)}")
    if faults:
        raise WeightsError(f"{path}: {len(faults)} of the tensors do not fit the network of the card: "
                           f"{'; '.join(faults)}. Use the weights with the network that they were trained for")
