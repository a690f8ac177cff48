"""The bricks, and the one place where a library's kernel had to be avoided."""

import torch

from dmaf_lite.nn.blocks import NormActConv, ResidualLevel


def test_a_level_halves_and_widens():
    level = ResidualLevel(3, 6, stride=(2, 2, 1), padding="zeros")
    assert level(torch.randn(2, 3, 8, 8, 5)).shape == (2, 6, 4, 4, 5)


def test_no_bias_and_no_affine_norm():
    assert {name.split(".")[-1] for name, _ in ResidualLevel(3, 6, stride=(1, 1, 1), padding="zeros").named_parameters()
            } == {"weight"}


def test_bfloat16_gradients_of_two_voxel_maps_are_those_of_float32():
    torch.manual_seed(0)
    block = NormActConv(16)
    x, target = torch.randn(3, 16, 2, 2, 2), torch.randn(3, 16, 2, 2, 2)
    gradients = []
    for _ in range(4):
        for enabled in (False, True):
            dirt = torch.full((1_000_000,), float("nan"))  # what a kernel would read from unwritten memory
            del dirt
            block.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                (block(x) * target).sum().backward()
            gradients.append(block[2].weight.grad.clone())
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=0.05, atol=0.05)


def test_brightness_survives_a_level():
    """A pre-norm level still tells a bright crop from a dark one; an instance norm at its end would not."""
    torch.manual_seed(0)
    level = ResidualLevel(1, 8, stride=(1, 1, 1), padding="zeros")
    x = torch.randn(1, 1, 8, 8, 8)
    assert (level(x + 5) - level(x)).abs().max() > 1
