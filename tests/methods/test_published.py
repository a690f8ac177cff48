"""Published checkpoints: every tensor finds its place, what does not fit is listed, nothing is run."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import load_script

from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.published import (
    FORMS,
    PublishedError,
    build_published,
    load_published,
    published_name,
    read_state,
)
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.spec import BRATS

TOTALS = {"rfnet_original": 8_984_960, "rfnet_passion": 2_381_792,
          "mmformer_original": 36_654_416, "mmformer_passion": 35_599_184}


def on_meta(form):
    with torch.device("meta"):
        return build_published(form)


def synthetic(form, seed=0):
    """A checkpoint in a public form with random content: the network's shapes under the published names."""
    generator = torch.Generator().manual_seed(seed)
    state = {published_name(name, form): torch.randn(value.shape, generator=generator)
             for name, value in on_meta(form).state_dict().items()}
    return state | {name: torch.randn(128, 512, 1, 1, 1) if name.endswith("weight") else torch.randn(128)
                    for name in FORMS[form].dead}


@pytest.fixture(scope="module")
def rfnet():
    return synthetic("rfnet_passion")


@pytest.mark.parametrize("form", FORMS)
def test_names_and_shapes_are_those_of_the_published_lists(form):
    """Every parameter of the public code, its name and shape, one to one; only what nobody uses is left out."""
    with (Path(__file__).parent / "state_dicts" / f"{form}.csv").open(newline="", encoding="utf-8") as file:
        listed = {row["key"]: row["shape"] for row in csv.DictReader(file)}
    assert len(listed) > 150
    ours = {published_name(name, form): "x".join(map(str, value.shape))
            for name, value in on_meta(form).state_dict().items()}
    dead = set(FORMS[form].dead)
    assert dead <= set(listed)
    assert {key: shape for key, shape in listed.items() if key not in dead} == ours


@pytest.mark.parametrize("form", FORMS)
def test_every_tensor_has_a_name_of_its_own_and_the_totals_are_the_published_ones(form):
    state = on_meta(form).state_dict()
    assert len({published_name(name, form) for name in state}) == len(state)
    dead = sum(65_536 if name.endswith("weight") else 128 for name in FORMS[form].dead)
    assert sum(value.numel() for value in state.values()) + dead == TOTALS[form]


def test_names_of_either_network_written_out():
    assert published_name("encoders.1.levels.2.refine.0.conv.bias", "rfnet_passion") == "t1ce_encoder.e3_c2.conv.bias"
    assert published_name("fusion_decoder.fusions.3.gates.2.0.weight", "rfnet_original") == (
        "decoder_fuse.RFM4.modal_fusion.2.weight_layer.0.weight")
    assert published_name("encoders.0.pyramid.levels.0.enter.weight", "mmformer_passion") == (
        "flair_encoder.e1_c1.weight")
    assert published_name("encoders.3.transformer.feed.3.bias", "mmformer_passion") == (
        "t2_transformer.cross_ffn_list.0.fn.fn.net.3.bias")
    assert published_name("encoders.2.position", "mmformer_original") == "t1_pos"
    with pytest.raises(PublishedError, match=r"garm\.weight has no name"):
        published_name("garm.weight", "rfnet_passion")


@pytest.mark.parametrize("kind", ["with module", "bare", "safetensors"])
def test_what_is_in_the_file_is_in_the_network(tmp_path, rfnet, kind):
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(rfnet, path)
    elif kind == "bare":
        torch.save(rfnet, path)
    else:
        torch.save({"epoch": 299, "optim_dict": {"state": {}},
                    "state_dict": {f"module.{name}": value for name, value in rfnet.items()}}, path)
    net = build_published("rfnet_passion")
    assert load_published(path, net, "rfnet_passion") == []
    for name, value in net.state_dict().items():
        assert torch.equal(value, rfnet[published_name(name, "rfnet_passion")])


def test_all_that_does_not_fit_is_listed_and_nothing_is_changed(tmp_path, rfnet):
    bent = dict(rfnet)
    del bent["t1_encoder.e2_c1.conv.bias"]
    bent["decoder_sep.seg_layer.bias"] = torch.zeros(5)
    bent["extra.weight"] = torch.zeros(1)
    torch.save(bent, tmp_path / "w.pth")
    net = build_published("rfnet_passion")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(PublishedError) as error:
        load_published(tmp_path / "w.pth", net, "rfnet_passion")
    for part in ("3 things", "t1_encoder.e2_c1.conv.bias is missing", "extra.weight is not part",
                 "decoder_sep.seg_layer.bias is (5,), expected (4,)", "w.pth"):
        assert part in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_another_form_or_width_is_refused(tmp_path, rfnet):
    torch.save(rfnet, tmp_path / "w.pth")
    with pytest.raises(PublishedError, match=r"expected \(16, 1, 3, 3, 3\)"):
        load_published(tmp_path / "w.pth", build_published("rfnet_original"), "rfnet_original")
    with pytest.raises(PublishedError, match="form 'unet' is not known"):
        load_published(tmp_path / "w.pth", build_published("rfnet_passion"), "unet")


def test_dead_tensors_are_said_and_the_arrangement_of_tokens_is_demanded(tmp_path, monkeypatch):
    """The original form of mmFormer, with its real names, at a small width."""
    from dataclasses import replace

    small = {"width": 2, "grid": 2, "token_width": 16, "heads": 2, "hidden": 16}
    form = FORMS["mmformer_original"]
    monkeypatch.setitem(FORMS, "mmformer_original", replace(form, options={**form.options, **small}))
    state = synthetic("mmformer_original")
    torch.save(state, tmp_path / "w.pth")
    net = build_published("mmformer_original")
    assert load_published(tmp_path / "w.pth", net, "mmformer_original") == list(form.dead)
    assert torch.equal(net.encoders[3].position, state["t2_pos"])
    ours = build_network("mmformer", BRATS, preset="original", **small)
    with pytest.raises(PublishedError, match="setting faithful is False, expected True"):
        load_published(tmp_path / "w.pth", ours, "mmformer_original")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_other_files_are_refused_and_never_run(tmp_path):
    trap = tmp_path / "sprung"
    torch.save({"state_dict": Trap(trap)}, tmp_path / "trap.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "list.pth").read_bytes()[:100])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name, words in (("trap.pth", "not readable"), ("cut.pth", "not readable"), ("list.pth", "found list"),
                        ("empty.safetensors", "not readable"), ("absent.pth", "no such file")):
        with pytest.raises(PublishedError, match=words):
            read_state(tmp_path / name)
    assert not trap.exists()


def test_the_script_makes_a_weights_file_of_the_kit(tmp_path, rfnet, capsys):
    script = load_script("import_published").main
    checkpoint, out = tmp_path / "w.pth", tmp_path / "rfnet.safetensors"
    torch.save({"state_dict": rfnet}, checkpoint)
    assert script([str(checkpoint), str(out), "--form", "rfnet_passion", "--dry-run"]) == 0
    assert "2,381,792 parameters fit (nothing written)" in capsys.readouterr().out and not out.exists()
    assert script([str(checkpoint), str(out), "--form", "rfnet_passion", "--source", "a test"]) == 0
    net, card = load_weights(out)
    assert card["network"] == "rfnet" and card["window"] == [80, 80, 80] and card["source"] == "a test"
    assert card["preparation"] == "published"
    assert torch.equal(net.shared_decoder.head.bias, rfnet["decoder_sep.seg_layer.bias"])
    assert script([str(checkpoint), str(out), "--form", "mmformer_passion"]) == 2
    assert capsys.readouterr().err.startswith("import_published: ")
    with pytest.raises(SystemExit) as stop:
        script(["--help"])
    assert stop.value.code == 0 and "--dry-run" in capsys.readouterr().out
