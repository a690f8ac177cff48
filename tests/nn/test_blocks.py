"""The bricks, and the one place where a library's kernel had to be avoided."""

import pytest
import torch
from torch import nn

from dmaf_lite.nn.blocks import (
    InstanceNorm,
    NormActConv,
    PointConv,
    ResidualLevel,
    _NormChannelsLast,
    add_into,
    average_pool,
    in_layout,
    mean_of_cells,
    upsample,
)


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


@pytest.mark.parametrize("studies", [1, 2])
def test_the_instance_norm_keeps_layout_and_gradient(studies):
    """torch's own answers in the standard layout, and for one study its gradient is wrong with channels last."""
    torch.manual_seed(0)
    x = torch.randn(studies, 4, 6, 5, 7, dtype=torch.float64)
    g = torch.randn_like(x)

    def run(norm, *tensors):
        x, g = (t.detach().clone(memory_format=torch.preserve_format) for t in tensors)
        y = norm(x.requires_grad_())
        y.backward(g)
        return y.detach(), x.grad

    expected = run(nn.InstanceNorm3d(4), x, g)
    last = [t.contiguous(memory_format=torch.channels_last_3d) for t in (x, g)]
    for tensors in ((x, g), (x, last[1]), (last[0], g), last):
        y, gradient = run(InstanceNorm(4), *tensors)
        torch.testing.assert_close(y, expected[0])
        torch.testing.assert_close(gradient, expected[1])
    assert run(InstanceNorm(4), *last)[0].is_contiguous(memory_format=torch.channels_last_3d)


def test_a_level_works_with_the_channels_last():
    x = ResidualLevel(1, 4, stride=(1, 1, 1), padding="zeros")(torch.randn(1, 1, 8, 8, 8))
    assert x.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interpolation_is_torchs_in_every_type(dtype):
    x = torch.randn(2, 3, 4, 5, 6).to(dtype)
    expected = nn.functional.interpolate(x.float(), size=(7, 9, 8), mode="trilinear", align_corners=False)
    got = upsample(x, (7, 9, 8))
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected.to(dtype))


@pytest.mark.parametrize("studies", [1, 2])
def test_the_norm_without_copies_is_the_instance_norm(studies):
    """The form for CUDA with the channels last, run here on the CPU: values and gradients."""
    torch.manual_seed(0)
    x = (3 + 2 * torch.randn(studies, 4, 6, 5, 7, dtype=torch.float64)).contiguous(memory_format=torch.channels_last_3d)
    g = torch.randn_like(x)
    results = []
    for norm in (nn.InstanceNorm3d(4), lambda x: _NormChannelsLast.apply(x, 1e-5)):
        leaf = x.contiguous().requires_grad_()
        y = nn.functional.leaky_relu(norm(leaf), 0.2, inplace=True)  # as in the network: on a GPU this failed once
        y.backward(g.contiguous())
        results.append((y.detach(), leaf.grad))
    for a, b in zip(*results, strict=True):  # the sums are float32, as on the device
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert _NormChannelsLast.apply(x.float(), 1e-5).is_contiguous(memory_format=torch.channels_last_3d)
    low = nn.functional.leaky_relu(_NormChannelsLast.apply(x.bfloat16(), 1e-5), 0.2)
    assert low.dtype == torch.bfloat16 and (low - results[0][0]).abs().max() < 0.05


def test_pooling_by_reshape_is_torchs():
    x = torch.randn(2, 3, 4, 6, 8)
    for size in ((2, 3, 2), (4, 4, 4)):  # the second is no divisor of the sides
        expected = nn.functional.adaptive_avg_pool3d(x, size)
        torch.testing.assert_close(average_pool(x, size), expected)
        assert average_pool(x.to("meta"), size).shape == expected.shape  # on a device that is no CPU
    last = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()  # a CPU then goes by reshapes, too
    for dtype, room in ((torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        pools = average_pool, nn.functional.adaptive_avg_pool3d
        found, expected = (pool(last.to(dtype), (2, 3, 2)) for pool in pools)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected.float(), atol=room, rtol=0)
    weights = torch.randn(2, 3, 2, 3, 2)
    slopes = [torch.autograd.grad((weights * pool(last, (2, 3, 2))).sum(), last)[0]
              for pool in (mean_of_cells, nn.functional.adaptive_avg_pool3d)]
    torch.testing.assert_close(*slopes)


def test_maps_lie_as_their_device_likes(monkeypatch):
    x = torch.randn(2, 4, 3, 3, 3)
    assert in_layout(x).is_contiguous(memory_format=torch.channels_last_3d)
    monkeypatch.setattr("dmaf_lite.nn.blocks.CHANNELS_LAST", set())
    assert in_layout(in_layout(x)).is_contiguous()


@pytest.mark.parametrize("studies", [1, 3])
@pytest.mark.parametrize("order", [torch.channels_last_3d, torch.contiguous_format])
def test_a_head_answers_alike_with_and_without_gradients(studies, order):
    torch.manual_seed(0)
    head, x = PointConv(8, 4), torch.randn(studies, 8, 5, 6, 7).contiguous(memory_format=order)
    expected = head(x)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(head(x), expected)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(head(x.bfloat16()), nn.Conv3d.forward(head, x.bfloat16()).float(), atol=2e-2,
                                       rtol=2e-2)


def test_sums_are_written_into_memory_only_where_nobody_wants_gradients():
    x, y = torch.randn(3, requires_grad=True), torch.randn(3)
    assert torch.equal(add_into(x, y), x + y) and add_into(x, y) is not x
    with torch.no_grad():
        expected = x + y
        assert add_into(x, y) is x and torch.equal(x, expected)
        assert add_into(y.bfloat16(), y).dtype == torch.float32
