"""Checks of lesson 05: soft class prototypes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dmaf_lite.lessons.exercises import exercise


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@exercise("5.1")
def check_5_1(membership: Callable[[Tensor, int], Tensor]) -> None:
    """Shares of classes in coarse voxels."""
    label = torch.zeros(8, 8, 8, dtype=torch.long)
    label[5, 1, 2] = 2  # one voxel of its class, in the coarse voxel (1, 0, 0)
    label[:2, :4, :4] = 1  # half of the coarse voxel (0, 0, 0)
    y = membership(label, 3)
    assert y.shape == (3, 2, 2, 2), f"expected [K, 2, 2, 2], got {list(y.shape)}"
    assert y[2, 1, 0, 0] > 0, "a region of one voxel must survive"
    assert torch.allclose(y.sum(0), torch.ones(2, 2, 2)), "the shares of a coarse voxel must sum to 1"
    assert y[2, 1, 0, 0] == 1 / 64 and y[1, 0, 0, 0] == 0.5, "a share is a part of the 64 fine voxels"


@exercise("5.2")
def check_5_2(class_means: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Weighted means; nothing where a class is absent."""
    e = _numbers(5, 4).requires_grad_()
    y = torch.tensor([[1.0, 0.5, 0.75, 1.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0]])
    p = class_means(e, y)
    assert p.shape == (4, 5), f"expected one prototype per class, [4, 5], got {list(p.shape)}"
    assert p.isfinite().all() and (p[3] == 0).all(), "an absent class must give exactly 0, never 0/0"
    assert torch.allclose(p[2], e[:, 2], atol=1e-6), "divide by the class's own mass, also where it is far below 1"
    assert torch.allclose(p[0], (e * y[0]).sum(1) / y[0].sum(), atol=1e-6), "each voxel counts by its share"
    gradient, = torch.autograd.grad(p.sum(), e)
    assert gradient.isfinite().all(), "the gradient must be finite too"


@exercise("5.3")
def check_5_3(proto_gap: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Cosine gap over present classes, teacher detached."""
    p, q = _numbers(2, 4, 6)
    p, q = p.clone().requires_grad_(), q.clone().requires_grad_()
    everything, three = torch.tensor([True] * 4), torch.tensor([True, True, False, True])
    equal = proto_gap(q, q, everything)
    assert equal.abs() < 1e-6, "equal prototypes have no gap"
    assert proto_gap(3 * q, q, everything).abs() < 1e-6, "only the angle counts, not the length"
    expected = (1 - F.cosine_similarity(p[three], q[three], dim=1)).mean()
    assert torch.allclose(proto_gap(p, q, three), expected), "the mean is over the classes that are present"
    to_p, to_q = torch.autograd.grad(proto_gap(p, q, three), (p, q), allow_unused=True)
    assert to_p is not None and (to_p[three] != 0).any(), "the student must learn"
    assert to_q is None or (to_q == 0).all(), "the teacher gets no gradient: detach it"


@exercise("5.4")
def check_5_4(moving_teacher: Callable) -> None:
    """The value, gradients through the teacher, and what becomes of prototypes that follow it."""
    p = _numbers(3, 4, 6).requires_grad_()
    loss = moving_teacher(p)
    wanted = (1 - F.cosine_similarity(p, p.mean(0, keepdim=True), dim=2)).mean()
    assert torch.allclose(loss, wanted, atol=1e-5), "the mean over students and classes of one minus the cosine"
    found, = torch.autograd.grad(loss, p, retain_graph=True)
    expected, = torch.autograd.grad(wanted, p)
    assert torch.allclose(found, expected, atol=1e-5), "the teacher moves, too: do not detach it"
    assert moving_teacher(torch.ones(3, 4, 6)).item() < 1e-5, "where all prototypes are the same, it is content"
    free = _numbers(3, 4, 6).clone().requires_grad_()
    start = moving_teacher(free).item()
    optimizer = torch.optim.Adam([free], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        moving_teacher(free).backward()
        optimizer.step()
    end = moving_teacher(free).item()
    print(f"the loss falls from {start:.2f} to {end:.3f}; nothing in it has kept the classes apart")
