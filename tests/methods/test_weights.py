"""Weights files: what is written comes back to the bit, what does not fit is listed, nothing is unpickled."""

import copy
import json
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import REQUIRED, WeightsError, load_weights, read_card, save_weights
from dmaf_lite.spec import BRATS

TINY = {"width": 4, "levels": 2}
CARD = {"network": "dmaf_net", "network_options": TINY, "spec": "brats", "spacing": [3.0, 3.0, 3.0],
        "recipe": {"steps": 0}, "seed": 7, "commit": "0000000", "date": "2000-01-01", "window": [16, 16, 16]}


@pytest.fixture
def net():
    torch.manual_seed(7)
    return build_network("dmaf_net", BRATS, **TINY)


def test_round_trip_to_the_bit(tmp_path, net):
    path = save_weights(tmp_path / "new" / "w.safetensors", net, CARD)
    back, card = load_weights(path)
    assert not back.training
    assert card["seed"] == 7 and card["window"] == [16, 16, 16]
    assert "not a medical device; shipped weights know phantoms only" in card["note"]
    assert read_card(path) == card
    assert back.state_dict().keys() == net.state_dict().keys()
    assert all(torch.equal(back.state_dict()[k], v) for k, v in net.state_dict().items())
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]  # no partial file is left


def test_everything_that_does_not_fit_is_listed(tmp_path, net):
    tensors = dict(net.state_dict())
    names = sorted(tensors)
    gone, bent, halved = names[0], names[1], names[2]
    del tensors[gone]
    tensors[bent] = torch.zeros(3, 3)
    tensors[halved] = tensors[halved].half()
    tensors["extra.weight"] = torch.zeros(2)
    save_file(tensors, tmp_path / "w.safetensors", metadata={"card": json.dumps(CARD)})
    with pytest.raises(WeightsError) as error:
        load_weights(tmp_path / "w.safetensors")
    message = str(error.value)
    assert "4 of the tensors" in message and "w.safetensors" in message
    for part in (f"{gone} is missing", f"{bent} is torch.float32 (3, 3)", f"{halved} is torch.float16",
                 "extra.weight is not part"):
        assert part in message


def test_a_card_that_builds_another_network_is_refused_when_saving(tmp_path, net):
    for wrong in ({**TINY, "width": 8}, {**TINY, "gate": "sigmoid"}):
        with pytest.raises(WeightsError, match=r"gate|do not fit"):
            save_weights(tmp_path / "w.safetensors", net, {**CARD, "network_options": wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", REQUIRED)
def test_an_incomplete_card_is_refused(tmp_path, net, key):
    assert set(CARD) - {"window"} == set(REQUIRED)
    card = {k: v for k, v in CARD.items() if k != key}
    with pytest.raises(WeightsError, match=key):
        save_weights(tmp_path / "w.safetensors", net, card)
    save_file(dict(net.state_dict()), tmp_path / "w.safetensors", metadata={"card": json.dumps(card)})
    with pytest.raises(WeightsError, match=key):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("change, word", [({"network": "unet"}, "unet"), ({"spec": "liver"}, "liver"),
                                          ({"network_options": {"colour": 1}}, "colour"),
                                          ({"spacing": [1, 0, 1]}, "spacing")])
def test_a_card_the_kit_does_not_know_is_explained(tmp_path, net, change, word):
    save_file(dict(net.state_dict()), tmp_path / "w.safetensors", metadata={"card": json.dumps({**CARD, **change})})
    with pytest.raises(WeightsError, match=word):
        load_weights(tmp_path / "w.safetensors")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_other_files_are_refused_and_never_run(tmp_path, net):
    trap = tmp_path / "sprung"
    (tmp_path / "pickled.safetensors").write_bytes(pickle.dumps(Trap(trap)))
    torch.save(Trap(trap), tmp_path / "torch.safetensors")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    whole = save_weights(tmp_path / "whole.safetensors", net, CARD).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file(dict(net.state_dict()), tmp_path / "cardless.safetensors")
    for name in ("pickled", "torch", "empty", "cut", "cardless", "absent"):
        with pytest.raises(WeightsError, match=name):
            load_weights(tmp_path / f"{name}.safetensors")
    assert not trap.exists()
    with pytest.raises(WeightsError, match="safetensors"):
        save_weights(tmp_path / "w.pt", net, CARD)


def test_the_card_is_readable_without_the_kit(tmp_path, net):
    with safe_open(save_weights(tmp_path / "w.safetensors", net, CARD), framework="pt") as file:
        assert json.loads(file.metadata()["card"])["network"] == "dmaf_net"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(net, tmp_path, value):
    path = save_weights(tmp_path / "good.safetensors", net, CARD)
    broken = copy.deepcopy(net)
    name, parameter = next(iter(broken.named_parameters()))
    with torch.no_grad():
        parameter.flatten()[3] = value
    with pytest.raises(WeightsError, match=rf"bad.safetensors: NaN or Inf in {name}; .*smaller learning rate"):
        save_weights(tmp_path / "bad.safetensors", broken, CARD)
    assert not (tmp_path / "bad.safetensors").exists()
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    tensors[name].flatten()[3] = value
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(WeightsError, match=r"good\.safetensors: NaN or Inf in"):
        load_weights(path)
