r"""Published checkpoints of RFNet and mmFormer in the kit's networks: equal weights, equal function.

Four forms, each a table of names (`FORMS`): RFNet and mmFormer as first released, and as PASSION's repository has them.
Loading is strict and complete: every tensor of the network comes from the file, every tensor of the file goes into
the network or is known to be dead, and all that does not fit is listed.

    net = build_published("rfnet_passion")
    load_published("model_last.pth", net, "rfnet_passion")

How far this is checked: against the complete lists of the public keys and shapes of all four forms.

Equal function also needs equal inputs: 80^3 (mmFormer as released 128^3) at 1 mm, in the order FLAIR, T1ce, T1, T2, and
scans that were z-scored as there (`data/published_preparation.py`): ``data_scripts/import_published.py`` writes that
into the card, `predict` follows it, and `evaluate` refuses a cohort that was prepared otherwise.

Taught in lesson 11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import BRATS

MODALITIES = ("flair", "t1ce", "t1", "t2")

# Start of the name in the kit -> in the file. {m} is a modality, {l} a level counted from 1, {k} a class.
_UNET = (
    (r"shared_decoder\.head", "decoder_sep.seg_layer"),
    (r"shared_decoder\.levels\.(?P<l>\d)\.enter", "decoder_sep.d{l}_c1"),
    (r"shared_decoder\.levels\.(?P<l>\d)\.merge", "decoder_sep.d{l}_c2"),
    (r"shared_decoder\.levels\.(?P<l>\d)\.out", "decoder_sep.d{l}_out"),
    (r"fusion_decoder\.head", "decoder_fuse.seg_layer"),
    (r"fusion_decoder\.levels\.(?P<l>\d)\.enter", "decoder_fuse.d{l}_c1"),
    (r"fusion_decoder\.levels\.(?P<l>\d)\.merge", "decoder_fuse.d{l}_c2"),
    (r"fusion_decoder\.levels\.(?P<l>\d)\.out", "decoder_fuse.d{l}_out"),
)
_RFNET = (
    *_UNET,
    (r"encoders\.(?P<m>\d)\.levels\.(?P<l>\d)\.enter", "{m}_encoder.e{l}_c1"),
    (r"encoders\.(?P<m>\d)\.levels\.(?P<l>\d)\.refine\.0", "{m}_encoder.e{l}_c2"),
    (r"encoders\.(?P<m>\d)\.levels\.(?P<l>\d)\.refine\.1", "{m}_encoder.e{l}_c3"),
    (r"fusion_decoder\.fusions\.(?P<l>\d)\.gates\.(?P<k>\d)", "decoder_fuse.RFM{l}.modal_fusion.{k}.weight_layer"),
    (r"fusion_decoder\.fusions\.(?P<l>\d)\.regions", "decoder_fuse.RFM{l}.region_fusion.fusion_layer"),
    (r"fusion_decoder\.fusions\.(?P<l>\d)\.shortcut", "decoder_fuse.RFM{l}.short_cut"),
    (r"fusion_decoder\.region_heads\.(?P<l>\d)\.embed", "decoder_fuse.prm_generator{l}.embedding_layer"),
    (r"fusion_decoder\.region_heads\.(?P<l>\d)\.head", "decoder_fuse.prm_generator{l}.prm_layer"),
)
_LAYER = ((r"\.norm_attention", ".cross_attention_list.0.fn.norm"), (r"\.qkv", ".cross_attention_list.0.fn.fn.qkv"),
          (r"\.project", ".cross_attention_list.0.fn.fn.proj"), (r"\.norm_feed", ".cross_ffn_list.0.fn.norm"),
          (r"\.feed", ".cross_ffn_list.0.fn.fn.net"))
_MMFORMER = (
    *_UNET,
    (r"encoders\.(?P<m>\d)\.pyramid\.levels\.(?P<l>\d)\.enter", "{m}_encoder.e{l}_c1"),
    (r"encoders\.(?P<m>\d)\.pyramid\.levels\.(?P<l>\d)\.refine\.0", "{m}_encoder.e{l}_c2"),
    (r"encoders\.(?P<m>\d)\.pyramid\.levels\.(?P<l>\d)\.refine\.1", "{m}_encoder.e{l}_c3"),
    (r"encoders\.(?P<m>\d)\.embed", "{m}_encode_conv"),
    (r"encoders\.(?P<m>\d)\.position", "{m}_pos"),
    *((rf"encoders\.(?P<m>\d)\.transformer{ours}", "{m}_transformer" + theirs) for ours, theirs in _LAYER),
    *((rf"token_fusion\.transformer{ours}", "multimodal_transformer" + theirs) for ours, theirs in _LAYER),
    (r"token_fusion\.reduce", "multimodal_decode_conv"),
    (r"fusion_decoder\.fusions\.(?P<l>\d)", "decoder_fuse.RFM{l}.fusion_layer"),
    (r"fusion_decoder\.deep_heads\.(?P<l>\d)", "decoder_fuse.seg_d{l}"),
)


class PublishedError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class PublishedForm:
    """How a public state dict is built.

    Attributes:
        network, options: What `build_network` needs for the same function.
        names: Pairs (start of our name as a pattern, start of theirs).
        window: Edge of the crops that it was trained on, in voxels of 1 mm.
        dead: Names of tensors that the released code declares and never uses.
    """

    network: str
    options: Mapping[str, Any]
    names: tuple[tuple[str, str], ...]
    window: int
    dead: tuple[str, ...] = ()


FORMS = {
    "rfnet_original": PublishedForm("rfnet", {"preset": "original"}, _RFNET, 80),
    "rfnet_passion": PublishedForm("rfnet", {"preset": "passion"}, _RFNET, 80),
    "mmformer_original": PublishedForm(
        "mmformer", {"preset": "original", "faithful": True}, _MMFORMER, 128,
        dead=tuple(f"{m}_decode_conv.{part}" for m in MODALITIES for part in ("weight", "bias"))),
    "mmformer_passion": PublishedForm("mmformer", {"preset": "passion", "faithful": True}, _MMFORMER, 80),
}


def form_of(name: str) -> PublishedForm:
    """A form by name.

    Raises:
        PublishedError: If it is not known.
    """
    if name not in FORMS:
        raise PublishedError(f"form {name!r} is not known; choose one of {', '.join(FORMS)}")
    return FORMS[name]


def build_published(form: str) -> nn.Module:
    """The kit's network with the function of a published form, untrained."""
    return build_network(form_of(form).network, BRATS, **form_of(form).options)


def published_name(name: str, form: str) -> str:
    """The name that a tensor of the kit's network has in a published form."""
    for ours, theirs in form_of(form).names:
        if found := re.match(ours + r"(?=\.|$)", name):
            at = found.groupdict()
            filled = theirs.format(m=MODALITIES[int(at.get("m", 0))], l=int(at.get("l", 0)) + 1, k=at.get("k"))
            return filled + name[found.end():]
    raise PublishedError(f"{name} has no name in the form {form}; expected a tensor of the network "
                         f"{form_of(form).network}")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name, without the ``module.`` that data-parallel training puts before them.

    Args:
        path: A ``.safetensors`` file, or one of torch: a state dict, or a dict that holds one as ``state_dict``. Only
            tensors and plain values are read from it; a file that needs more is refused and nothing of it is run.

    Raises:
        PublishedError: If it cannot be read, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise PublishedError(f"{path}: there is no such file; expected a published checkpoint")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every reader and every damage raises its own kind
        raise PublishedError(f"{path}: not readable as a checkpoint ({type(error).__name__}: "
                             f"{str(error).splitlines()[0]:.200}); fetch it again") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PublishedError(f"{path}: found {type(content).__name__} that is no table of tensors; expected a state "
                             "dict, or a dict with the key 'state_dict'")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def load_published(path: str | Path, net: nn.Module, form: str) -> list[str]:
    """Put the weights of a published checkpoint into a network of the kit, in place.

    Args:
        path: See `read_state`.
        net: As `build_published` builds it.
        form: A key of `FORMS`.

    Returns:
        The names of the dead tensors that were left out.

    Raises:
        PublishedError: With a list of all that is missing, left over or of another shape, or of the settings with
            which the network would compute something else. The network is then unchanged.
    """
    path, rules = Path(path), form_of(form)
    wanted = {published_name(name, form): (name, value) for name, value in net.state_dict().items()}
    found = read_state(path)
    dropped = [name for name in rules.dead if name in found]
    faults = [f"{name} is missing" for name in wanted if name not in found]
    faults += [f"{name} is not part of the network" for name in found if name not in wanted and name not in dropped]
    faults += [f"{name} is {tuple(found[name].shape)}, expected {tuple(value.shape)}"
               for name, (_, value) in wanted.items() if name in found and found[name].shape != value.shape]
    faults += [f"the network's setting {key} is {getattr(net.settings, key)!r}, expected {value!r}"
               for key, value in rules.options.items() if key != "preset" and getattr(net.settings, key) != value]
    if faults:
        raise PublishedError(f"{path}: {len(faults)} things do not fit the form {form}: {'; '.join(faults)}. Is it "
                             "another form, or the network another than build_published makes?")
    net.load_state_dict({ours: found[theirs].to(value.dtype) for theirs, (ours, value) in wanted.items()})
    return dropped
