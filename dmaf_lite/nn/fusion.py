r"""Fusion: from the modalities that are there to one map, at every level.

`MeanFusion` is the baseline, f = sum_m a_m e^m / k.  `DMAF` (dynamic modality-aware fusion, paper
abstract and figure) lets masked attention between coarse tokens of all modalities decide an
element-wise weight per modality,

    f = sum_m A_m * e^m ,      sum_m A_m = 1 over the modalities that are there.

Lesson 03 writes it out slowly for one study and shows both equal, values and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmaf_lite.nn.blocks import CHANNELS_LAST, average_pool, upsample
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.nn.slabs import fuse_by_softmax, fuse_in_slabs, weights_in_slabs


def softmax_over_available(scores: Float[Tensor, "P *map"], pairs: Pairs) -> Float[Tensor, "P *map"]:
    """Softmax over the modalities of each study: packed scores [P, ...] -> packed weights [P, ...].

    A missing modality's score is *set* to minus infinity (not added to), so its weight is exactly 0.  Where all
    studies have the same modalities there is nothing to fill in.
    """
    if pairs.uniform:
        return scores.unflatten(0, (-1, pairs.B)).softmax(dim=0).flatten(0, 1)
    return pairs.from_dense(pairs.to_dense(scores, fill=-torch.inf).softmax(dim=1))


def sigmoid_over_available(scores: Float[Tensor, "P *map"], pairs: Pairs) -> Float[Tensor, "P *map"]:
    """The gate `sigmoid`: independent gates, divided by their sum over the modalities that are there."""
    gates = scores.sigmoid()
    return gates / pairs.sum_by_study(gates).index_select(0, pairs.study)


GATES = {"softmax": softmax_over_available, "sigmoid": sigmoid_over_available}


class MeanFusion(nn.Module):
    """f = sum_m a_m e^m / k over what is there; the weights are 1/k everywhere."""

    def forward(
        self, e: Float[Tensor, "P C D H W"], pairs: Pairs
    ) -> tuple[Float[Tensor, "B C D H W"], Float[Tensor, "P 1 1 1 1"]]:
        """Fuse the packed features e; gives f and the weights."""
        k = pairs.counts.to(e.dtype)[:, None, None, None, None]
        return pairs.sum_by_study(e) / k, (1 / k).index_select(0, pairs.study)


class AttentionBlock(nn.Module):
    """Pre-norm masked multi-head self-attention and feed-forward (ratio 2), both residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Float[Tensor, "B T d"], key_mask: Bool[Tensor, "B T"] | None) -> Float[Tensor, "B T d"]:
        """Let every token look at the tokens that are there; None: at all of them."""
        qkv = self.qkv(self.norm_attention(tokens))
        q, k, v = rearrange(qkv, "b t (three h c) -> three b h t c", three=3, h=self.heads)
        mask = None if key_mask is None else key_mask[:, None, None, :]  # one row of keys for every head and query
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        tokens = tokens + self.out(rearrange(attended, "b h t c -> b t (h c)"))
        return tokens + self.feedforward(self.norm_feedforward(tokens))


class DMAF(nn.Module):
    """Dynamic modality-aware fusion at one level (paper figure; grid, embeddings, gate: ours).

    Args:
        channels: C_l of the level; also the token width.
        modalities: M.
        grid: g, tokens per axis; a smaller map keeps its own size.
        depth: Number of attention blocks (four in the figure).
        gate: ``softmax`` or ``sigmoid``.
    """

    def __init__(self, channels: int, modalities: int, *, grid: int = 4, depth: int = 4, gate: str = "softmax") -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate {gate!r} is not known; choose one of {sorted(GATES)}")
        self.grid, self.gate = grid, GATES[gate]
        self.project = nn.Linear(channels, channels)
        self.modality_embedding = nn.Parameter(torch.zeros(modalities, 1, channels))
        self.position_embedding = nn.Parameter(torch.zeros(1, channels, grid, grid, grid))
        nn.init.normal_(self.modality_embedding, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.02)
        # max(1, C_l // 8) heads: eight channels a head
        self.blocks = nn.ModuleList(AttentionBlock(channels, max(1, channels // 8)) for _ in range(depth))
        self.restore = nn.Linear(channels, channels)
        # With Restore at zero every A_m is 1/k: training starts as mean fusion.
        nn.init.zeros_(self.restore.weight)
        nn.init.zeros_(self.restore.bias)

    def tokens(
        self, e: Float[Tensor, "P C D H W"], pairs: Pairs
    ) -> tuple[Float[Tensor, "P N C"], tuple[int, int, int]]:
        """Project: the tokens of every pair, and their grid (N is its number of cells)."""
        size = tuple(min(self.grid, n) for n in e.shape[2:])
        coarse = rearrange(average_pool(e, size), "p c d h w -> p (d h w) c")
        position = self.position_embedding
        if position.shape[2:] != size:
            position = F.interpolate(position, size=size, mode="trilinear", align_corners=False)
        position = rearrange(position, "one c d h w -> one (d h w) c")
        modality = self.modality_embedding.index_select(0, pairs.modality)
        return self.project(coarse) + position + modality, size

    def scores(self, e: Float[Tensor, "P C D H W"], pairs: Pairs) -> Float[Tensor, "P C g1 g2 g3"]:
        """S_m, the restored map before up-sampling."""
        tokens, size = self.tokens(e, pairs)
        x = self._among_available(tokens, pairs) if pairs.uniform else self._masked(tokens, pairs)
        d, h, w = size
        return rearrange(self.restore(x), "p (d h w) c -> p c d h w", d=d, h=h, w=w)

    def _masked(self, tokens: Float[Tensor, "P N C"], pairs: Pairs) -> Float[Tensor, "P N C"]:
        """The blocks over all M modalities; those that are missing hold exact 0, and nobody looks at them."""
        n = tokens.shape[1]
        key_mask = pairs.available_on_device.repeat_interleave(n, dim=1)  # (B, M N)
        x = pairs.to_dense(tokens).flatten(1, 2)  # (B, M N, C)
        for block in self.blocks:
            x = block(x, key_mask)
        return pairs.from_dense(x.unflatten(1, (pairs.M, n)))

    def _among_available(self, tokens: Float[Tensor, "P N C"], pairs: Pairs) -> Float[Tensor, "P N C"]:
        """The same where all studies have the same k modalities: k N tokens each, and no mask."""
        x = rearrange(tokens, "(k b) n c -> b (k n) c", b=pairs.B)
        for block in self.blocks:
            x = block(x, None)
        return rearrange(x, "b (k n) c -> (k b) n c", n=tokens.shape[1])

    def forward(
        self, e: Float[Tensor, "P C D H W"], pairs: Pairs
    ) -> tuple[Float[Tensor, "B C D H W"], Float[Tensor, "P _ D H W"] | Callable[[], Tensor]]:
        """Fuse the packed features e; gives f and the weights A.

        Without gradients on a CPU, where f is made without them: a function that makes A's mean over channels.
        """
        if pairs.uniform and pairs.P == pairs.B and not torch.is_grad_enabled():
            return e, torch.ones_like(e[:, :1])  # one scan each: whatever its score, its weight is 1
        if not torch.is_grad_enabled() and e.device.type == "cpu":
            scores = self.scores(e, pairs).float()
            f = fuse_by_softmax(scores, e, pairs) if self.gate is softmax_over_available else \
                fuse_in_slabs(scores, e, pairs, self.gate)
            return f, partial(weights_in_slabs, scores, e.shape[2:], pairs, self.gate)
        # float32: a softmax and a weighted sum, and on CPUs bfloat16 takes longer for both.
        scores = upsample(self.scores(e, pairs).float(), e.shape[2:])
        if e.device.type not in CHANNELS_LAST:
            weights = self.gate(scores, pairs)
            return pairs.sum_by_study(weights * e), weights
        # Channels last, as they lie in memory: weighing and summing then run through it in order.
        weights = self.gate(scores.movedim(1, -1), pairs)
        f = pairs.sum_by_study(weights * e.movedim(1, -1))
        return f.movedim(-1, 1), weights.movedim(-1, 1)
