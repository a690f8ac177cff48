"""Device and precision are chosen in one place."""

import pytest
import torch

from dmaf_lite.base.device import (
    autocast,
    choose_device,
    choose_precision,
    cpu_has_bfloat16,
    deterministic_algorithms,
    why_not,
)


def test_auto_takes_the_best_there_is():
    kind = choose_device().type
    assert kind == ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_where_the_processor_computes_it(monkeypatch, has):
    monkeypatch.setattr("dmaf_lite.base.device.cpu_has_bfloat16", lambda: has)
    expected = torch.bfloat16 if has else torch.float32
    assert choose_precision("auto", torch.device("cpu")) == expected
    assert choose_precision("float32", torch.device("cpu")) == torch.float32


def test_the_processor_is_really_asked():
    assert isinstance(cpu_has_bfloat16(), bool)


def test_autocast_is_on_for_bfloat16_only():
    x = torch.randn(2, 2)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(torch.device("cpu"), dtype):
            assert (x @ x).dtype == dtype


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision 'half' is not known"):
        choose_precision("half", torch.device("cpu"))


def test_deterministic_algorithms_are_asked_for_and_given_back(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()


def test_autocast_is_nothing_where_there_is_none():
    with autocast(torch.device("meta"), torch.float32):
        assert (torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")).dtype == torch.float32


def test_a_torch_without_the_question_has_no_bfloat16(monkeypatch):
    """Wheels for Apple silicon lack these operators."""
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert cpu_has_bfloat16() is False
    assert choose_precision("auto", torch.device("cpu")) == torch.float32


def test_a_device_that_cannot_train_is_left_with_a_word(monkeypatch):
    why_not.cache_clear()
    assert why_not(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)  # but this torch has no MPS
    with pytest.warns(UserWarning, match=r"device mps cannot train here .*; the CPU is used"):
        assert choose_device().type == "cpu"
    why_not.cache_clear()


def test_each_of_several_processes_has_its_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda") == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("cuda") == torch.device("cuda:1")


@pytest.mark.parametrize("has", [True, False])
def test_emulated_bfloat16_does_not_count(monkeypatch, has):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has)
    assert choose_precision("auto", torch.device("cuda")) == (torch.bfloat16 if has else torch.float32)


def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=f"device {name}: this PyTorch finds no CUDA device; choose cpu or auto"):
            choose_device(name)
