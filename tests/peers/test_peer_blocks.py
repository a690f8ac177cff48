"""The peers' bricks."""

import pytest
import torch
import torch.nn.functional as F

from dmaf_lite.peers.peer_blocks import CNA, NAC, Conv, PeerDecoder, PeerEncoder


def test_the_order_of_norm_activation_and_convolution():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4, 4)
    for brick in (CNA(3, 5), NAC(3, 5)):
        padded = F.pad(x if isinstance(brick, CNA) else F.leaky_relu(F.instance_norm(x), 0.2), [1] * 6, mode="reflect")
        y = F.conv3d(padded, brick.conv.weight, brick.conv.bias)
        if isinstance(brick, CNA):
            y = F.leaky_relu(F.instance_norm(y), 0.2)
        torch.testing.assert_close(brick(x), y, atol=1e-5, rtol=1e-5)


def test_the_bias_before_a_norm_has_no_influence():
    torch.manual_seed(0)
    brick, x = CNA(3, 5), torch.randn(1, 3, 4, 4, 4)
    before = brick(x)
    with torch.no_grad():
        brick.conv.bias += 3
    torch.testing.assert_close(brick(x), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size, stride", [(2, 1), (4, 2)])
@pytest.mark.parametrize("brick", [CNA, NAC])
def test_bfloat16_gradients_of_two_voxel_maps_are_those_of_float32(brick, size, stride):
    torch.manual_seed(0)
    block = brick(16, 16, stride=stride)
    x, target = torch.randn(3, 16, size, size, size), torch.randn(3, 16, 2, 2, 2)
    gradients = []
    for _ in range(4):
        for enabled in (False, True):
            dirt = torch.full((1_000_000,), float("nan"))  # what a kernel would read from unwritten memory
            del dirt
            block.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                y = block(x)
                assert y.dtype == torch.float32
                (y * target).sum().backward()
            gradients.append(block.conv.weight.grad.clone())
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=0.05, atol=0.05)


def test_a_one_voxel_kernel_pads_nothing():
    x = torch.randn(1, 2, 2, 2, 2)
    assert Conv(2, 3, 1)(x).shape == (1, 3, 2, 2, 2)


def test_only_the_pre_norm_encoder_sees_brightness():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 16, 16, 16)
    differs = {brick: (a[0] - b[0]).abs().max().item() for brick in (CNA, NAC)
               for encoder in [PeerEncoder(brick, (4, 8))] for a, b in [(encoder(x + 5), encoder(x))]}
    assert differs[CNA] < 1e-3 and differs[NAC] > 1


def test_the_decoder_puts_what_rises_before_the_skip():
    torch.manual_seed(0)
    decoder = PeerDecoder(CNA, (2, 4), 3)
    skip, deep = torch.randn(1, 2, 8, 8, 8), torch.randn(1, 4, 4, 4, 4)
    level = decoder.levels[0]
    g = level.enter(F.interpolate(deep, size=(8, 8, 8), mode="trilinear", align_corners=True))
    torch.testing.assert_close(decoder([skip, deep]), decoder.head(level.out(level.merge(torch.cat([g, skip], 1)))))
