r"""GARM: a bottleneck made for one set of scans and a general one, joined through two small graphs.

Every voxel of a map f is softly assigned to K nodes (anchors a_k, bandwidths sigma_k); a node is the mean of what
was assigned to it (spec adamm, section 3.1, also for what is ours):

.. math::
    r_{nk} = (f_n - a_k) / \sigma_k, \quad P_{kn} = \mathrm{softmax}_k(-\tfrac12 \|r_{nk}\|^2), \quad
    v_k = \frac{\sum_n P_{kn} r_{nk}}{\sum_n P_{kn} + 10^{-9}}

The graphs of the specific map (c) and of the general one (g) exchange messages, are refined by attention, and
the nodes are spread over the voxels again.  The released code differs from its figures in four places; `GARM` follows
the figures, or with ``faithful=True`` the code: the node memory merely reshaped, which scrambles nodes and channels,
not transposed; messages of each graph with itself, not across; attention to all nodes, not to neighbours; scores
scaled by the number of nodes, not of channels.

Nodes are rows here, [B, K, C], where the specification writes columns.  Taught in lesson 11.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dmaf_lite.base.device import in_float32

NODES = 8  # K, published
THRESHOLD = 0.8  # cosine above which two nodes are neighbours, published


def make_norm(kind: str, channels: int) -> nn.Module:
    """``"group"``: eight groups (ours: the same for a study alone and in a batch); ``"batch"``: as released."""
    if kind == "group":
        return nn.GroupNorm(8, channels)
    if kind == "batch":
        return AnyBatchNorm(channels)
    raise ValueError(f"norm is {kind!r}; expected 'group' or 'batch'")


class AnyBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of [B, C, ...] with any number of further axes."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"batch norm takes [B, C, ...], got {tuple(x.shape)}")


def align_nodes(
    f: Float[Tensor, "B N C"], anchors: Float[Tensor, "K C"], sigma: Float[Tensor, "K C"], *, layout: str = "transpose"
) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K N"]]:
    """Nodes of a map, and the assignment P of its voxels to them.

    Each node has length 1 / sqrt(K): normalised alone, then all together.

    Args:
        f: The map, one row per voxel.
        anchors: a_k.
        sigma: Bandwidths, in (0, 1).
        layout: ``"transpose"``, a node is a row; ``"reshape"`` (released): the K C numbers are read as C rows of K, so
            that what is called node k takes every K-th number of the memory.
    """
    r = (f.unsqueeze(2) - anchors) / sigma  # B N K C
    assignment = (-0.5 * r.square().sum(3)).softmax(2)  # B N K
    mass = assignment.sum(1).unsqueeze(2)
    nodes = (assignment.unsqueeze(3) * r).sum(1) / (mass + 1e-9)
    nodes = F.normalize(F.normalize(nodes, dim=2).flatten(1), dim=1)
    if layout == "reshape":
        nodes = nodes.unflatten(1, (anchors.shape[1], anchors.shape[0])).mT
    else:
        nodes = nodes.unflatten(1, anchors.shape)
    return nodes, assignment.mT


class NodeAlignment(nn.Module):
    """`align_nodes` with learnable anchors and bandwidths."""

    def __init__(self, channels: int, nodes: int, *, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.anchors = nn.Parameter(torch.rand(nodes, channels))
        self.bandwidths = nn.Parameter(torch.rand(nodes, channels))  # before the sigmoid

    def forward(self, f: Tensor) -> tuple[Tensor, Tensor]:
        return align_nodes(f, self.anchors, self.bandwidths.sigmoid(), layout=self.layout)


def cross_messages(
    c: Float[Tensor, "B K C"], g: Float[Tensor, "B K C"], *, form: str = "cross"
) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K C"]]:
    """Messages with A = row-softmax(g c^T): for ``"cross"`` (A^T g, A c), for ``"own"`` (released) (A c, A g).

    The second form weighs each graph's own nodes: nothing passes from one graph to the other.
    """
    a = (g @ c.mT).softmax(2)
    return (a.mT @ g, a @ c) if form == "cross" else (a @ c, a @ g)


@torch.no_grad()
def adjacency(
    c: Float[Tensor, "B K C"], g: Float[Tensor, "B K C"], *, threshold: float = THRESHOLD
) -> tuple[Bool[Tensor, "B K K"], Bool[Tensor, "B K2 K2"]]:
    """Who is whose neighbour: within either graph, and in the joint graph of the nodes of c, then of g.

    near = cos(c_i, g_j) > threshold joins the graphs; made symmetric, with self-loops, it also is the adjacency
    inside each: the blocks [[inside, near], [near^T, inside]].
    """
    near = F.normalize(c, dim=2) @ F.normalize(g, dim=2).mT > threshold
    inside = near | near.mT | torch.eye(c.shape[1], dtype=torch.bool, device=c.device)
    return inside, torch.cat([torch.cat([inside, near], 2), torch.cat([near.mT, inside], 2)], 1)


class NodeAttention(nn.Module):
    """q = x W_a + b_a;  softmax(q q^T / s) q W_o + b_o: one head, query = key = value.

    Args:
        channels: C.
        scale: s: ``"channels"``, sqrt(C) (ours), or ``"nodes"``, the root of the number of nodes (released).
    """

    def __init__(self, channels: int, *, scale: str) -> None:
        super().__init__()
        self.scale = scale
        self.project = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Float[Tensor, "B K C"], neighbours: Bool[Tensor, "B K K"] | None = None) -> Tensor:
        """Let every node look at its neighbours; without a list of them, at all nodes."""
        q = self.project(x)
        scores = q @ q.mT / math.sqrt(x.shape[2] if self.scale == "channels" else x.shape[1])
        if neighbours is not None:
            scores = torch.where(neighbours, scores, -torch.inf)
        return self.out(scores.softmax(2) @ q)


def fuse_assignments(p_c: Float[Tensor, "B K N"], p_g: Float[Tensor, "B K N"]) -> Float[Tensor, "B K N"]:
    """One assignment out of two: each voxel's softmax over all 2 K rows weighs them."""
    weight_c, weight_g = torch.cat([p_c, p_g], 1).softmax(1).chunk(2, 1)
    return weight_c * p_c + weight_g * p_g


class ConvNormAct(nn.Sequential):
    """1^3 convolution without bias, norm, ReLU."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__(nn.Conv3d(channels, channels, 1, bias=False), make_norm(norm, channels), nn.ReLU())


class GARM(nn.Module):
    """The module: float[B, C, D, H, W] twice -> the bottleneck float[B, C, D, H, W].

    Args:
        channels: C.
        faithful: With the four defects of the released code, see above, and batch norm instead of group norm.
    """

    def __init__(self, channels: int, *, faithful: bool = False) -> None:
        super().__init__()
        layout, norm = ("reshape", "batch") if faithful else ("transpose", "group")
        self.faithful = faithful
        self.align_specific = NodeAlignment(channels, NODES, layout=layout)
        self.align_general = NodeAlignment(channels, NODES, layout=layout)
        self.contour = nn.Sequential(nn.Conv1d(channels, channels, 1, bias=False), make_norm(norm, channels), nn.ReLU())
        self.message = nn.Linear(channels, channels, bias=False)
        self.attention = NodeAttention(channels, scale="nodes" if faithful else "channels")
        self.reproject = ConvNormAct(channels, norm)
        self.merge = nn.Sequential(ConvNormAct(channels, norm), nn.Conv3d(channels, channels, 1))

    def forward(self, specific: Tensor, general: Tensor) -> Tensor:
        """Join the bottleneck of one set of scans with the general one; the result replaces the latter."""
        with in_float32(specific.device):  # distances grow with the channels; 16 nodes cost nothing
            spread = self.graphs(specific.float().flatten(2).mT, general.float().flatten(2).mT)
        return self.merge(general + self.reproject(spread.view_as(general)) + specific)

    def graphs(self, f_c: Float[Tensor, "B N C"], f_g: Float[Tensor, "B N C"]) -> Float[Tensor, "B C N"]:
        """From two maps to the refined nodes of the general graph, spread over the voxels: H P."""
        c, p_c = self.align_specific(f_c)
        g, p_g = self.align_general(f_g)
        c = self.contour(c.mT).mT
        c, g = map(self.message, cross_messages(c, g, form="own" if self.faithful else "cross"))
        inside, joint = (None, None) if self.faithful else adjacency(c, g)
        c, g = self.attention(c, inside), self.attention(g, inside)
        refined = self.attention(torch.cat([c, g], 1), joint)[:, NODES:]
        return refined.mT @ fuse_assignments(p_c, p_g)
