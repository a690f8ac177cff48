"""Every network with every objective: what the table allows trains, what it refuses says why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dmaf_lite.methods.networks import NETWORKS, build_network
from dmaf_lite.methods.objectives import OBJECTIVES, build_objective
from dmaf_lite.methods.pairings import PAIRINGS, check_pairing, pairing_table
from dmaf_lite.objectives.terms import total
from dmaf_lite.spec import BRATS

PAGE = Path(__file__).parents[2] / "docs" / "networks_and_objectives.md"
SMALL = {"baseline": {"width": 4, "levels": 3}, "dmaf_net": {"width": 4, "levels": 3}, "rfnet": {"width": 8},
         "adamm": {"width": 8}}
CROP = {"mmformer": 80}  # a multiple of its token grid
HERE = [(network, objective) for network, objective in PAIRINGS if network in NETWORKS and objective in OBJECTIVES]


def test_the_table_is_complete():
    networks, objectives = ({pair[i] for pair in PAIRINGS} for i in (0, 1))
    assert set(NETWORKS) <= networks and set(OBJECTIVES) <= objectives
    assert len(PAIRINGS) == len(networks) * len(objectives)
    assert all(any(PAIRINGS[network, objective][0] for objective in objectives) for network in networks)


def test_the_page_shows_the_table():
    assert pairing_table() in PAGE.read_text(encoding="utf-8"), "paste pairing_table() into the page"


@pytest.mark.parametrize(("network", "objective"), HERE)
def test_what_is_allowed_trains_and_what_is_not_is_refused(network, objective):
    """On the meta device: shapes and gradients, no arithmetic."""
    torch.manual_seed(0)
    net = build_network(network, BRATS, **SMALL.get(network, {}))

    def build():
        return build_objective(objective, BRATS, net, missing_rates=[0.5] * 4, total_steps=10)

    works, why = PAIRINGS[network, objective]
    if not works:
        with pytest.raises(ValueError, match=rf"{objective}.*{network}.*{why[:20]}.*choose one of plain"):
            build()
        return
    made = build().to("meta")
    net.to("meta")
    available = torch.tensor([[True, False, True, True], [True, True, True, True]])
    crop = (CROP.get(network, 32),) * 3
    batch = SimpleNamespace(images=torch.randn(2, 4, *crop, device="meta"), available=available, existing=available,
                            padded=False, label=torch.zeros(2, *crop, dtype=torch.long, device="meta"))
    features = net.encode(batch.images, available)
    loss = total(made(net, features, net.decode(features, available), batch, 0))
    loss.backward()
    assert loss.shape == () and any(parameter.grad is not None for parameter in net.parameters())


def test_a_network_of_ones_own_is_not_in_the_table():
    check_pairing(None, "dmaf")
    with pytest.raises(ValueError, match=r"'passion' cannot train network 'adamm'.*choose one of plain, adamm"):
        check_pairing("adamm", "passion")


def test_features_that_do_not_fit_the_teacher_are_named():
    from dataclasses import replace

    net = build_network("baseline", BRATS, **SMALL["baseline"])
    objective = build_objective("dmaf", BRATS, net, missing_rates=[0.5] * 4, warmup=0.0)
    available = torch.ones(1, 4, dtype=torch.bool)
    features = net.encode(torch.randn(1, 4, 8, 8, 8), available)
    prediction = net.decode(features, available)
    other = replace(prediction, fused_features=prediction.fused_features[:-1])
    batch = SimpleNamespace(label=torch.zeros(1, 8, 8, 8, dtype=torch.long), padded=False)
    with pytest.raises(ValueError, match=r"DmafNet: the deepest features of one modality are \(16, 2, 2, 2\)"):
        objective(net, features, other, batch, 0)
