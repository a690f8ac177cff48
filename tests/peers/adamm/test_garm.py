"""GARM against its formulas, written out with loops and in the specification's own orientation (nodes as columns)."""

import math

import pytest
import torch

from dmaf_lite.peers.adamm.garm import (
    GARM,
    NODES,
    NodeAttention,
    adjacency,
    align_nodes,
    cross_messages,
    fuse_assignments,
    make_norm,
)


def slow_nodes(f, anchors, sigma):
    """Stage 0 for one study, number by number: f [N, C] -> v [K, C], P [K, N]."""
    n, k = len(f), len(anchors)
    p = torch.zeros(k, n)
    for i in range(n):
        scores = [-0.5 * float((((f[i] - anchors[j]) / sigma[j]) ** 2).sum()) for j in range(k)]
        largest = max(scores)
        powers = [math.exp(s - largest) for s in scores]
        p[:, i] = torch.tensor(powers) / sum(powers)
    v = torch.stack([sum(p[j, i] * (f[i] - anchors[j]) / sigma[j] for i in range(n)) / (p[j].sum() + 1e-9)
                     for j in range(k)])
    v = v / v.norm(dim=1, keepdim=True)
    return v / v.norm(), p


def test_node_alignment_number_by_number():
    torch.manual_seed(0)
    f, anchors, sigma = torch.randn(2, 5, 3), torch.rand(4, 3), torch.rand(4, 3) / 2 + 0.4
    nodes, assignment = align_nodes(f, anchors, sigma)
    for study in range(2):
        v, p = slow_nodes(f[study], anchors, sigma)
        torch.testing.assert_close(nodes[study], v)
        torch.testing.assert_close(assignment[study], p)
    torch.testing.assert_close(nodes.norm(dim=2), torch.full((2, 4), 0.5))  # 1 / sqrt(K)


def test_the_released_layout_scrambles_nodes_and_channels():
    torch.manual_seed(0)
    f, anchors, sigma = torch.randn(1, 6, 3), torch.rand(2, 3), torch.rand(2, 3) / 2 + 0.4
    right, released = (align_nodes(f, anchors, sigma, layout=layout)[0][0] for layout in ("transpose", "reshape"))
    memory = right.flatten()  # node 0, then node 1
    assert torch.equal(released[0], memory[[0, 2, 4]]) and torch.equal(released[1], memory[[1, 3, 5]])


def test_only_the_cross_form_passes_anything_between_the_graphs():
    c = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    g = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    row = math.exp(2) / (math.exp(2) + 1)  # E = g c^T = [[2, 0], [0, 0]]
    a = torch.tensor([[row, 1 - row], [0.5, 0.5]])
    to_c, to_g = cross_messages(c, g, form="cross")
    torch.testing.assert_close(to_c[0], a.T @ g[0])
    torch.testing.assert_close(to_g[0], a @ c[0])
    to_c, to_g = cross_messages(c, g, form="own")
    torch.testing.assert_close(to_c[0], a @ c[0])
    torch.testing.assert_close(to_g[0], a @ g[0])


def test_adjacency_joins_similar_nodes_and_keeps_self_loops():
    c = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]])
    g = torch.tensor([[[0.0, 3.0], [1.0, 1.0], [0.0, -1.0]]])
    near = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 0, 0]]).bool()  # only c_1 and g_0; (1, 1) is 45 degrees off: .71
    inside, joint = adjacency(c, g)
    expected = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    assert torch.equal(inside[0], expected)
    assert torch.equal(joint[0], torch.cat([torch.cat([expected, near], 1), torch.cat([near.T, expected], 1)]))
    _, joint = adjacency(c, g, threshold=0.7)
    assert joint[0, :3, 3:].int().tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("scale, divisor", [("channels", math.sqrt(4)), ("nodes", math.sqrt(3))])
def test_attention_in_closed_form(scale, divisor):
    torch.manual_seed(0)
    layer, x = NodeAttention(4, scale=scale), torch.randn(2, 3, 4)
    q = x @ layer.project.weight.T + layer.project.bias
    mixed = (q @ q.mT / divisor).softmax(2) @ q
    torch.testing.assert_close(layer(x), mixed @ layer.out.weight.T + layer.out.bias)


def test_attention_looks_at_neighbours_only():
    torch.manual_seed(0)
    layer, x = NodeAttention(4, scale="channels"), torch.randn(1, 3, 4)
    alone = layer(x, torch.eye(3).bool()[None])
    torch.testing.assert_close(alone, layer.out(layer.project(x)))  # with itself only, O = q
    pair = torch.tensor([[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]).bool()
    changed = x.clone()
    changed[0, 2] += 5
    assert torch.equal(layer(x, pair)[0, :2], layer(changed, pair)[0, :2])
    assert not torch.equal(layer(x)[0, :2], layer(changed)[0, :2])


def test_assignments_fuse_by_a_softmax_over_both():
    p_c, p_g = torch.tensor([[[0.9], [0.1]]]), torch.tensor([[[0.2], [0.8]]])
    weights = torch.tensor([0.9, 0.1, 0.2, 0.8]).exp()
    weights /= weights.sum()
    expected = torch.tensor([[[weights[0] * 0.9 + weights[2] * 0.2], [weights[1] * 0.1 + weights[3] * 0.8]]])
    torch.testing.assert_close(fuse_assignments(p_c, p_g), expected)


def by_the_specification(garm, f_c, f_g, faithful):
    """Section 3.1 for one study, graphs as [D, K] columns as it writes them; f [N, D] -> H P~ [D, N]."""
    graphs = []
    for stream, f in ((garm.align_specific, f_c), (garm.align_general, f_g)):
        v, p = slow_nodes(f, stream.anchors, stream.bandwidths.sigmoid())
        graphs.append((v.reshape(v.shape[1], v.shape[0]) if faithful else v.T, p))
    (g_c, p_c), (g_g, p_g) = graphs
    g_c = garm.contour(g_c[None])[0]
    a = (g_g.T @ g_c).softmax(1)
    w = garm.message.weight.T
    if not faithful:
        g_g, g_c = (a @ g_c.T @ w).T, (a.T @ g_g.T @ w).T
    else:
        g_g, g_c = (a @ g_g.T @ w).T, (a @ g_c.T @ w).T
    inside = joint = None
    if not faithful:
        near = torch.tensor([[float(torch.cosine_similarity(i, j, 0)) > 0.8 for j in g_g.T] for i in g_c.T])
        inside = near | near.T | torch.eye(NODES).bool()
        joint = torch.cat([torch.cat([inside, near], 1), torch.cat([near.T, inside], 1)])

    def attend(nodes, mask):
        q = nodes @ garm.attention.project.weight.T + garm.attention.project.bias
        scores = q @ q.T / math.sqrt(q.shape[1] if not faithful else q.shape[0])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(1) @ q @ garm.attention.out.weight.T + garm.attention.out.bias

    both = attend(torch.cat([attend(g_c.T, inside), attend(g_g.T, inside)]), joint)
    omega = torch.cat([p_c, p_g]).softmax(0)
    return both[NODES:].T @ (omega[:NODES] * p_c + omega[NODES:] * p_g)


@pytest.mark.parametrize("faithful", [False, True], ids=["fixed", "faithful"])
def test_the_graphs_follow_the_specification(faithful):
    torch.manual_seed(1)
    garm = GARM(16, faithful=faithful).eval()
    f_c, f_g = torch.randn(1, 12, 16) / 4, torch.randn(1, 12, 16) / 4
    with torch.no_grad():
        torch.testing.assert_close(garm.graphs(f_c, f_g)[0], by_the_specification(garm, f_c[0], f_g[0], faithful),
                                   atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("faithful", [False, True], ids=["fixed", "faithful"])
def test_the_module_merges_both_maps_with_what_was_spread(faithful):
    torch.manual_seed(0)
    garm = GARM(16, faithful=faithful).eval()
    specific, general = torch.randn(2, 2, 16, 2, 3, 2).unbind()
    with torch.no_grad():
        spread = garm.graphs(specific.flatten(2).mT, general.flatten(2).mT).view_as(general)
        torch.testing.assert_close(garm(specific, general), garm.merge(general + garm.reproject(spread) + specific))


def test_every_parameter_is_in_use():
    """None of the modules that the released code declares and never calls."""
    torch.manual_seed(0)
    garm = GARM(16)
    garm(torch.randn(1, 16, 2, 2, 2), torch.randn(1, 16, 2, 2, 2)).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in garm.parameters())
    assert sum(p.numel() for p in GARM(128, faithful=True).parameters()) == 302_342 - 182_406


def test_far_voxels_and_empty_nodes_keep_gradients_finite():
    torch.manual_seed(0)
    garm = GARM(16)
    maps = (torch.randn(2, 1, 16, 2, 2, 2) * 1e3).requires_grad_()
    garm(*maps).square().mean().backward()
    assert torch.isfinite(maps.grad).all() and all(torch.isfinite(p.grad).all() for p in garm.parameters())


def test_norms_are_named():
    with pytest.raises(ValueError, match="norm is 'layer'"):
        make_norm("layer", 8)
    with pytest.raises(ValueError, match="batch norm takes"):
        make_norm("batch", 8)(torch.zeros(8))
