r"""Relation distillation at the deepest level: covariance alignment (CCA) and masked graph attention (MAA).

The teacher is the fused map f_L, detached; every available modality's e_L is a student.  With V voxels and d
channels (spec dmaf_net, section 4; paper: abstract and figures; what is ours is marked):

.. math::
    L_{cov} = \frac{\| \mathrm{Cov}(W e) - \mathrm{Cov}(f) \|_F^2}{4 d^2}, \qquad
    L_{att} = \mathrm{mean}\,\bigl( \mathrm{MHA}(W_q e, W_k f, W_v f) - f \bigr)^2

Both need the paper's students only: in a study with one modality the teacher *is* the student, and the caller
leaves that study out.

Taught in lesson 04, where the attention is also written out node by node.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from dmaf_lite.base.device import in_float32


def covariance(tokens: Tensor) -> Tensor:
    """Covariance of the channels over the voxels, divisor V - 1: [..., V, d] -> [..., d, d], in float32.

    Raises:
        ValueError: If there are fewer than two voxels.
    """
    voxels = tokens.shape[-2]
    if voxels < 2:
        raise ValueError(f"a covariance needs at least 2 voxels at the deepest level, got {voxels}; "
                         "use a larger crop or fewer levels")
    with in_float32(tokens.device):
        centred = tokens.float() - tokens.float().mean(-2, keepdim=True)
        return centred.mT @ centred / (voxels - 1)


def covariance_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Deep CORAL: squared Frobenius distance of two covariances [..., d, d] over 4 d^2."""
    return (student - teacher).square().sum((-2, -1)) / (4 * student.shape[-1] ** 2)


@torch.no_grad()
def nearest_nodes(tokens: Tensor, neighbours: int) -> Tensor:
    """Masked adjacency: node i is joined to its `neighbours` nearest nodes in cosine similarity, itself included.

    Args:
        tokens: [B, V, d], the nodes' features (f_L).
        neighbours: K_nn; V or more joins everything.

    Returns:
        bool [B, V, V]; row i holds what node i may attend to, and always i itself.
    """
    with in_float32(tokens.device):  # nearest among near-equal cosines
        unit = F.normalize(tokens.float(), dim=-1)
        similarity = unit @ unit.mT
    # 2 exceeds every cosine: a node is its own first neighbour even where its feature is 0.
    similarity.diagonal(dim1=-2, dim2=-1).fill_(2)
    nearest = similarity.topk(min(neighbours, tokens.shape[1]), dim=-1).indices
    return torch.zeros_like(similarity, dtype=torch.bool).scatter_(-1, nearest, True)


class CovarianceAlignment(nn.Module):
    """CCA.  The Linear is on the modality side only (figure); a bias would have no effect on a covariance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels, bias=False)
        # Ours: start at the identity, so that the first gaps speak of the encoders and not of a random Linear
        # (torch's default shrinks the variance to a third).
        nn.init.eye_(self.linear.weight)

    def forward(self, student: Tensor, teacher: Tensor, study: Tensor) -> Tensor:
        """student [P, V, d], teacher [B, V, d], study int64 [P] -> L_cov [P], in float32."""
        with in_float32(student.device):
            return covariance_gap(covariance(self.linear(student.float())), covariance(teacher).index_select(0, study))


class GraphAttention(nn.Module):
    """MAA: attention over the graph of voxels, shared by the modalities (ours).

    Args:
        channels: d_L.
        direction: Who asks: ``"modality"`` (Q from e, K and V from f; June figure) or ``"fused_queries"``
            (Q from f, K and V from e; May figure).  The target is f in both.
        neighbours: K_nn of the masked adjacency, computed from f; None joins all nodes (ours).
    """

    def __init__(self, channels: int, *, direction: str = "modality", neighbours: int | None = None) -> None:
        super().__init__()
        if direction not in ("modality", "fused_queries"):
            raise ValueError(f"direction is {direction!r}; expected 'modality' or 'fused_queries'")
        if neighbours is not None and neighbours < 1:
            raise ValueError(f"neighbours is {neighbours}; expected None (all) or at least 1 (the node itself)")
        self.heads = max(1, channels // 8)
        self.direction, self.neighbours = direction, neighbours
        self.query = nn.Linear(channels, channels)
        # No bias here: one on the keys shifts all scores of a row alike and cancels in the softmax, one on the
        # values passes through the weights, which sum to 1, into the bias of the output.
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, student: Tensor, teacher: Tensor, study: Tensor) -> Tensor:
        """student [P, V, d], teacher [B, V, d], study int64 [P] -> G [P, V, d]."""
        mask = None
        if self.neighbours is not None and self.neighbours < teacher.shape[1]:
            mask = nearest_nodes(teacher, self.neighbours).index_select(0, study).unsqueeze(1)  # one for all heads
        if self.direction == "modality":  # the teacher's side once per study, then one copy per student
            q, k, v = self.query(student), self.key(teacher), self.value(teacher)
            k, v = k.index_select(0, study), v.index_select(0, study)
        else:
            q, k, v = self.query(teacher).index_select(0, study), self.key(student), self.value(student)
        q, k, v = (rearrange(x, "p v (h c) -> p h v c", h=self.heads) for x in (q, k, v))
        # The softmax inside keeps float32 sums whatever the type of q, k and v.
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(rearrange(attended, "p h v c -> p v (h c)"))


class RelationAlignment(nn.Module):
    """CCA, MAA or both, with their parameters; owned by the objective, so in the optimiser and the checkpoint.

    Args:
        channels: d_L.
        relation: ``"cov"``, ``"att"`` or ``"both"``.
        direction, neighbours: See `GraphAttention`.
    """

    def __init__(self, channels: int, *, relation: str = "both", direction: str = "modality",
                 neighbours: int | None = None) -> None:
        super().__init__()
        if relation not in ("cov", "att", "both"):
            raise ValueError(f"relation is {relation!r}; expected 'cov', 'att' or 'both'")
        self.cov = CovarianceAlignment(channels) if relation != "att" else None
        self.att = GraphAttention(channels, direction=direction, neighbours=neighbours) if relation != "cov" else None

    def forward(self, student: Tensor, teacher: Tensor, study: Tensor) -> dict[str, Tensor]:
        """Gaps of every student.

        Args:
            student: e_L [P, C, D, H, W], packed pairs of studies with at least two modalities.
            teacher: f_L [B, C, D, H, W]; detached here.
            study: int64 [P], the study of each pair.

        Returns:
            "cov" and "att", float32 [P], those that are switched on.
        """
        e = student.flatten(2).mT
        f = teacher.detach().flatten(2).mT
        gaps = {}
        if self.cov is not None:
            gaps["cov"] = self.cov(e, f, study)
        if self.att is not None:
            gaps["att"] = (self.att(e, f, study).float() - f.float().index_select(0, study)).square().mean((1, 2))
        return gaps
