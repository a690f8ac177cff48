"""torch.compile: the same results, or a word."""

import pytest
import torch

from dmaf_lite.methods.networks import build_network
from dmaf_lite.nn.blocks import ResidualLevel
from dmaf_lite.spec import BRATS
from dmaf_lite.training import compilation
from dmaf_lite.training.compilation import compile_blocks


def tiny():
    torch.manual_seed(0)
    return build_network("baseline", BRATS, width=4, levels=2).eval()


def test_without_a_compiler_training_goes_on_with_a_word(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("no C++ compiler\nlong story")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="does not run here.*no C.. compiler.*without it"):
        assert not compile_blocks(tiny())


def test_every_block_is_compiled_and_gives_the_same(monkeypatch):
    """With a backend that runs the captured graph as it is, so that the test needs no compiler."""
    compiled = []
    monkeypatch.setattr(compilation.torch, "compile", lambda f, **options: f)
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile",
                        lambda self, **options: compiled.append(self) or original(self, backend="eager"))
    images, available = torch.randn(1, 4, 8, 8, 8), torch.tensor([[True, False, True, True]])
    expected = tiny()(images, available).logits
    net = tiny()
    assert compile_blocks(net)
    assert sum(isinstance(m, ResidualLevel) for m in compiled) == 8
    assert torch._dynamo.config.recompile_limit >= 4 * 5 * 2, "four encoders of five levels share one piece of code"
    torch.testing.assert_close(net(images, available).logits, expected)
