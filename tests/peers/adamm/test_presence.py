"""AdaMM's gate, and its sigmoids as logits of exclusive classes."""

import pytest
import torch

from dmaf_lite.peers.adamm.presence import CLOSED, PresenceHead, class_logits, log_odds_of_product


def random_answers(seed=0, scale=4.0):
    torch.manual_seed(seed)
    return scale * torch.randn(3, 3, 4, 4, 4), scale * torch.randn(3, 3)


def by_threshold(gated):
    """Background where no class exceeds one half, else the class with the largest gated probability."""
    best, winner = gated.max(1)
    return torch.where(best > 0.5, winner + 1, 0)


@pytest.mark.parametrize("gate", ["soft", "hard", "none"])
def test_argmax_is_the_threshold_rule(gate):
    z, presence = random_answers()
    p, q = z.double().sigmoid(), presence.double().sigmoid()[:, :, None, None, None]
    gated = {"soft": p * q, "hard": p * (q > 0.5), "none": p}[gate]
    logits = class_logits(z, presence, gate=gate)
    label = by_threshold(gated)
    assert torch.equal(logits.argmax(1), label)
    assert label.unique().tolist() == [0, 1, 2, 3]
    # The rule for whole tumour is the released one: some class above one half.
    assert torch.equal(logits.argmax(1) > 0, (gated > 0.5).any(1))


def test_where_classes_overlap_the_likelier_one_wins():
    z = torch.tensor([[1.0, 2.0, -1.0]]).view(1, 3, 1, 1, 1)
    assert class_logits(z, torch.full((1, 3), 9.0), gate="none").argmax(1).item() == 2
    assert class_logits(z, torch.tensor([[9.0, -9.0, 9.0]]), gate="hard").argmax(1).item() == 1
    assert class_logits(z, torch.tensor([[9.0, -9.0, 9.0]]), gate="soft").argmax(1).item() == 1


def test_one_class_in_question_keeps_its_probability():
    z = torch.tensor([0.7, -40.0, -40.0]).view(1, 3, 1, 1, 1)
    presence = torch.tensor([[0.3, 0.0, 0.0]])
    p, q = torch.tensor(0.7).sigmoid(), torch.tensor(0.3).sigmoid()
    soft, hard = (class_logits(z, presence, gate=gate).softmax(1)[0, :, 0, 0, 0] for gate in ("soft", "hard"))
    torch.testing.assert_close(soft[:2], torch.stack([1 - p * q, p * q]))
    torch.testing.assert_close(hard[:2], torch.stack([1 - p, p]))


def test_a_closed_gate_deletes_the_class():
    logits = class_logits(torch.full((1, 3, 2, 2, 2), 5.0), torch.tensor([[1.0, -0.1, 0.0]]), gate="hard")
    assert (logits[:, 1] == 5).all() and (logits[:, 2:] == CLOSED).all() and (logits[:, 0] == 0).all()
    assert logits.softmax(1)[:, 2:].max() == 0


def test_log_odds_of_a_product():
    z, other = torch.linspace(-30, 30, 61, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    s = z.sigmoid() * other.sigmoid()
    torch.testing.assert_close(log_odds_of_product(z, other), (s / (1 - s)).log())


@pytest.mark.parametrize("gate", ["soft", "hard", "none"])
def test_extreme_answers_stay_finite(gate):
    z = torch.tensor([-1e4, -200.0, 0.0, 200.0, 1e4]).view(1, 1, 5, 1, 1).requires_grad_()
    for presence in (-1e4, 0.0, 1e4):
        head = torch.tensor([[presence]], requires_grad=True)
        logits = class_logits(z, head, gate=gate)
        label = torch.ones(1, 5, 1, 1, dtype=torch.long)
        torch.nn.functional.cross_entropy(logits, label).backward()
        assert torch.isfinite(logits).all() and torch.isfinite(z.grad).all()
        assert head.grad is None or torch.isfinite(head.grad).all()


def test_only_the_soft_gate_teaches_the_head():
    z, presence = random_answers(scale=1.0)
    presence.requires_grad_()
    class_logits(z, presence, gate="soft").square().sum().backward()
    assert (presence.grad != 0).all()
    assert not class_logits(z, presence, gate="hard").requires_grad


def test_the_head_averages_over_the_crop():
    torch.manual_seed(0)
    head = PresenceHead(8, 3, "group").eval()
    x = torch.randn(2, 8, 4, 4, 4)
    conv, norm, act, last = list(head)[:4]
    torch.testing.assert_close(head(x), last(act(norm(conv(x)))).mean((2, 3, 4)))


def test_another_gate_is_refused():
    with pytest.raises(ValueError, match="gate is 'open'"):
        class_logits(*random_answers(), gate="open")
