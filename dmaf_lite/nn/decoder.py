"""The decoder: from the deepest map back to full size, adding one level at a time.

Used twice in the network: once for all modalities alike (the *shared* decoder, one set of weights,
packed input) and once for the fused features (the *fusion* decoder).

Taught in lesson 02.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from dmaf_lite.nn.blocks import CUBE, Kernel, NormActConv, PointConv, add_into, in_layout, upsample


class UpLevel(nn.Module):
    """h = up(conv1(h_{l+1})) + skip_l;  h_l = h + NAC(h).

    The 1^3 convolution comes *before* up-sampling, where there are 8 times fewer voxels, and the skip
    is added, not concatenated: half of the full-size work of the usual form (ours).
    """

    def __init__(self, c_deep: int, c_skip: int, *, padding: str, kernel: Kernel = CUBE) -> None:
        super().__init__()
        self.reduce = nn.Conv3d(c_deep, c_skip, 1, bias=False)
        self.merge = NormActConv(c_skip, padding=padding, kernel=kernel)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        deep = in_layout(self.reduce(deep))  # a convolution of a small map may have answered in another one
        h = add_into(upsample(deep, skip.shape[2:]), skip)
        return add_into(h, self.merge(h))


class Decoder(nn.Module):
    """Pyramid -> full-size features, with a head for logits and, where asked, deep heads.

    Args:
        channels: C_1..C_L.
        classes: K.
        deep: Whether levels 2..L get a head of their own (deep supervision).
        kernels: Of the levels 1..L; default cubes of 3.
    """

    def __init__(self, channels: Sequence[int], classes: int, *, padding: str, deep: bool,
                 kernels: Sequence[Kernel] | None = None) -> None:
        super().__init__()
        kernels = kernels or [CUBE] * len(channels)
        self.ups = nn.ModuleList(
            UpLevel(c_deep, c_skip, padding=padding, kernel=kernel)
            for (c_skip, c_deep), kernel in zip(pairwise(channels), kernels, strict=False)
        )
        self.head = PointConv(channels[0], classes)
        self.deep_heads = nn.ModuleList(PointConv(c, classes) for c in channels[1:]) if deep else None

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Decoder features of all levels, full size first: h_1 .. h_L, h_L being the input's deepest map."""
        decoded = [pyramid[-1]]
        for up, skip in zip(reversed(self.ups), reversed(pyramid[:-1]), strict=True):
            decoded.insert(0, up(decoded[0], skip))
        return decoded

    def deep_logits(self, decoded: Sequence[Tensor]) -> list[Tensor]:
        """Logits of levels 2..L in their own size."""
        if self.deep_heads is None:
            raise RuntimeError("this decoder was built without deep heads")
        return [head(h) for head, h in zip(self.deep_heads, decoded[1:], strict=True)]
