"""Fine-tuning: a run begins with the weights it is given, changes only what is not frozen, and says where it began."""

import json
from dataclasses import replace

import pytest
import torch

from dmaf_lite.__main__ import main
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import load_weights, read_card, save_weights
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import train
from dmaf_lite.training.start import LEARNING_RATE, Start
from dmaf_lite.training.train_settings import TrainSettings

OPTIONS = {"width": 2, "levels": 2, "grid": 2, "depth": 1}
TINY = TrainSettings(network_options=OPTIONS, crop=(8, 8, 8), batch=1, steps=2, precision="float32", lr=1e-3)
CARD = {"network": "dmaf_net", "network_options": OPTIONS, "spec": "brats", "spacing": [1.0, 1.0, 1.0], "recipe": {},
        "seed": 3, "commit": "0000000", "date": "2000-01-01", "data": "tiny (synthetic)"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(7)
    return save_weights(tmp_path_factory.mktemp("w") / "group.safetensors", build_network("dmaf_net", BRATS, **OPTIONS),
                        CARD)


@pytest.fixture
def cases(tiny_cohort):
    return TrainingSet(tiny_cohort, tiny_cohort.names)


def of(start: Start, **change) -> TrainSettings:
    return replace(TINY, origin=start.digest, **change)


def far(one, other) -> dict[str, float]:
    """Part of the network -> largest difference of its parameters."""
    parts: dict[str, float] = {}
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        part = name.split(".")[0]
        parts[part] = max(parts.get(part, 0.0), float((a - b).abs().max()))
    return parts


def test_it_begins_there_and_the_origin_is_not_touched(cases, weights, tmp_path):
    start = Start.of(weights)
    before, _ = load_weights(weights)
    net = train(cases, tmp_path / "run", of(start, lr=1e-9, weight_decay=0.0), start=start, progress=False)
    assert max(far(net, before).values()) < 1e-6, "a learning rate of nothing keeps the weights"
    moved = train(cases, tmp_path / "moved", of(start), start=start, progress=False)
    assert min(far(moved, before).values()) > 1e-5
    assert max(far(start.net, before).values()) == 0


def test_frozen_parts_keep_their_weights(cases, weights, tmp_path):
    start = Start.of(weights)
    net = train(cases, tmp_path / "run", of(start, frozen=("encoders", "shared_decoder")), start=start, progress=False)
    found = far(net, start.net)
    assert found["encoders"] == found["shared_decoder"] == 0
    assert found["fusion_decoder"] > 0 and found["fusions"] > 0


def test_an_interrupted_run_goes_on_with_its_own_weights(cases, weights, tmp_path):
    start = Start.of(weights)
    settings = of(start, steps=4, checkpoint_every=2, frozen=("encoders",))
    whole = train(cases, tmp_path / "whole", settings, start=start, progress=False)
    train(cases, tmp_path / "twice", settings, start=start, progress=False, stop_after=2)
    twice = train(cases, tmp_path / "twice", settings, start=start, progress=False)
    assert max(far(whole, twice).values()) == 0


def test_other_weights_are_another_run(cases, weights, tmp_path):
    start = Start.of(weights)
    with pytest.raises(ValueError, match="random numbers"):
        train(cases, tmp_path / "run", of(start), progress=False)
    with pytest.raises(ValueError, match=r"found weights .*--from"):
        train(cases, tmp_path / "run", TINY, start=start, progress=False)
    assert not (tmp_path / "run").exists()
    train(cases, tmp_path / "run", of(start), start=start, progress=False, stop_after=1)
    with pytest.raises(ValueError, match="origin"):
        train(cases, tmp_path / "run", TINY, progress=False)


@pytest.mark.parametrize("parts, words", [
    (("encoder",), "no part of the network; its parts are encoders"),
    (("encoders", "shared_decoder", "fusion_decoder", "fusions"), "leave a part to train"),
])
def test_what_cannot_be_frozen_leaves_no_trace(cases, weights, tmp_path, parts, words):
    start = Start.of(weights)
    with pytest.raises(ValueError, match=words):
        train(cases, tmp_path / "run", of(start, frozen=parts), start=start, progress=False)
    assert not (tmp_path / "run").exists()


def test_the_command_and_the_card(tiny_cohort, weights, tmp_path, capsys):
    (tmp_path / "p.yaml").write_text("crop: [8, 8, 8]\nbatch: 1\nprecision: float32\n")
    common = ["train", "--cohort", str(tiny_cohort.folder), "--profile", str(tmp_path / "p.yaml"), "--steps", "2",
              "--device", "cpu", "--from", str(weights)]
    assert main([*common, "--out", str(tmp_path / "run"), "--freeze", "encoders"]) == 0
    card = read_card(tmp_path / "run" / "weights.safetensors")
    assert card["origin"]["name"] == "group.safetensors" and card["origin"]["digest"] == Start.of(weights).digest
    assert card["origin"]["data"] == "tiny (synthetic)" and str(tmp_path) not in json.dumps(card)
    assert card["recipe"]["lr"] == LEARNING_RATE and card["recipe"]["frozen"] == ["encoders"]
    assert card["network_options"] == OPTIONS
    assert main([*common, "--out", str(tmp_path / "own"), "--lr", "0.0001"]) == 0
    assert read_card(tmp_path / "own" / "weights.safetensors")["recipe"]["lr"] == 1e-4
    capsys.readouterr()
    assert main([*common, "--out", str(tmp_path / "no"), "--network", "rfnet"]) == 2
    assert "the weights decide it" in capsys.readouterr().err
    assert main([*common[:-1], str(tmp_path / "nothing.safetensors"), "--out", str(tmp_path / "no")]) == 2
    assert "no such file" in capsys.readouterr().err and not (tmp_path / "no").exists()
