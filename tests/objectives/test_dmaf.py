"""The whole objective: which pairs take part, what is switched on, how DTM acts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import OBJECTIVES, build_objective
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.objectives.dmaf import DmafObjective, DmafSettings, students
from dmaf_lite.objectives.prototype import prototype_loss
from dmaf_lite.objectives.segmentation import LabelStats
from dmaf_lite.objectives.terms import total
from dmaf_lite.spec import BRATS, DatasetSpec

RATES = (0.6, 0.4, 0.2, 0.8)
MIXED = [[True, False, True, True], [False, True, False, False], [True, True, True, True]]
NOTHING = {"relation": "none", "prototype": "none", "dtm": "none"}


def spec_of(modalities: int) -> DatasetSpec:
    names = BRATS.modalities[:modalities]
    return DatasetSpec(f"brats{modalities}", names, BRATS.classes, BRATS.regions, BRATS.nested)


def make(available: list[list[bool]] | Tensor, fusion: str = "dmaf_net", **options) -> SimpleNamespace:
    """A small network, an objective with parameters off their start, and a batch."""
    available = torch.as_tensor(available)
    spec = spec_of(available.shape[1])
    torch.manual_seed(0)
    net = build_network(fusion, spec, width=8, levels=2, depth=1)
    objective = build_objective("dmaf", spec, net, missing_rates=RATES[:spec.M], total_steps=100,
                                **({"warmup": 0.0} | options))
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    images = torch.randn(*available.shape, 8, 8, 8)
    label = torch.randint(4, (len(available), 8, 8, 8))
    return SimpleNamespace(net=net, objective=objective, spec=spec,
                           batch=SimpleNamespace(images=images, available=available, label=label, padded=False))


def terms_of(s: SimpleNamespace, step: int = 50) -> dict:
    features = s.net.encode(s.batch.images, s.batch.available)
    prediction = s.net.decode(features, s.batch.available)
    return s.objective(s.net, features, prediction, s.batch, step)


def gradients(s: SimpleNamespace) -> dict[str, Tensor | None]:
    """Gradient of the total with respect to every parameter of the network and the objective."""
    for module in (s.net, s.objective):
        module.zero_grad(set_to_none=True)
    total(terms_of(s)).backward()
    return {name: p.grad for module in (s.net, s.objective) for name, p in module.named_parameters()}


# ---- who takes part ------------------------------------------------------------------------------------------------

def test_students_are_the_pairs_of_studies_with_company():
    pairs, rows = students(Pairs.of(torch.tensor(MIXED)))
    assert rows.tolist() == [0, 1, 3, 4, 5, 6, 7]  # row 2 is modality 1 of study 1, which is alone
    assert pairs.available.tolist() == [MIXED[0], [False] * 4, MIXED[2]]
    assert pairs.study.tolist() == [0, 2, 2, 0, 2, 0, 2] and pairs.modality.tolist() == [0, 0, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_every_subset_alone_and_all_in_one_batch(modalities):
    spec = spec_of(modalities)
    s = make(spec.subsets())
    s.objective.eval()
    together = terms_of(s)
    for name in ("cov", "att", "proto"):
        value = together[name].value
        takes_part = s.batch.available & (s.batch.available.sum(1, keepdim=True) >= 2)
        assert (value[~takes_part] == 0).all() and (value[takes_part] > 0).all() and value.dtype == torch.float32
    assert (together["unimodal"].value[~s.batch.available] == 0).all()
    whole = s.batch
    for b in range(len(spec.subsets())):
        one = slice(b, b + 1)
        s.batch = SimpleNamespace(images=whole.images[one], available=whole.available[one], label=whole.label[one],
                                  padded=False)
        for name, term in terms_of(s).items():
            torch.testing.assert_close(term.value[0], together[name].value[b], rtol=1e-4, atol=1e-5)


def test_the_distillation_terms_are_those_of_the_pure_functions_pair_by_pair():
    s = make(MIXED)
    features = s.net.encode(s.batch.images, s.batch.available)
    prediction = s.net.decode(features, s.batch.available)
    terms = s.objective(s.net, features, prediction, s.batch, 50)
    dense, teacher, stats = features.dense(-1), prediction.fused_features[-1], LabelStats.of(s.batch.label, 4)
    for b, m in torch.tensor(MIXED).nonzero().tolist():
        if b == 1:
            continue
        study = torch.tensor([b])
        by_hand = s.objective.relation(dense[b, m][None], teacher, study)
        by_hand["proto"] = prototype_loss(dense[b, m][None], teacher, stats, study)
        for name, value in by_hand.items():
            torch.testing.assert_close(terms[name].value[b, m], value[0])


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 1e30])
def test_what_stands_in_a_missing_modality_changes_no_bit(fill):
    available = torch.tensor(BRATS.subsets())
    results = []
    for content in (0.0, fill):
        s = make(available)
        s.batch.images = torch.where(available[:, :, None, None, None], s.batch.images, content)
        results.append(({name: term.value.detach() for name, term in terms_of(s).items()}, gradients(s),
                        s.objective.monitor.state_dict()))
    for clean, dirty in zip(*results, strict=True):
        for name, tensor in clean.items():
            assert tensor.isfinite().all() and torch.equal(tensor, dirty[name]), name


def test_a_batch_of_single_modalities_has_no_distillation_and_trains_on():
    s = make([[True, False, False, False], [False, False, True, False]])
    terms = terms_of(s)
    assert all((terms[name].value == 0).all() for name in ("cov", "att", "proto"))
    grads = gradients(s)
    assert grads["relation.cov.linear.weight"] is None
    assert s.objective.monitor.gap_updates.sum() == 0
    assert all((g is None) == name.startswith(("encoders.1", "encoders.3"))
               for name, g in grads.items() if name.startswith("encoders"))


def test_no_gradient_reaches_the_teacher():
    s = make(MIXED)
    features = s.net.encode(s.batch.images, s.batch.available)
    prediction = s.net.decode(features, s.batch.available)
    terms = s.objective(s.net, features, prediction, s.batch, 50)
    distilled = total({name: terms[name] for name in ("cov", "att", "proto")})
    students_only = torch.autograd.grad(distilled, features.levels[-1], retain_graph=True)[0]
    assert (students_only.flatten(1).abs().sum(1) > 0).tolist() == [True, True, False, *[True] * 5]
    assert torch.autograd.grad(distilled, prediction.fused_features[-1], allow_unused=True)[0] is None


# ---- what is switched on -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fusion", ["baseline", "dmaf_net"])
def test_with_everything_off_it_is_the_plain_objective_to_the_digit(fusion):
    s = make(MIXED, fusion, **NOTHING)
    plain = SimpleNamespace(**vars(s) | {"objective": build_objective("plain", s.spec, s.net)})
    ours, reference = terms_of(s), terms_of(plain)
    assert list(ours) == list(reference) == ["seg", "deep", "unimodal"]
    assert all(torch.equal(ours[name].value, reference[name].value) for name in ours)
    one, other = gradients(s), gradients(plain)
    assert list(one) == list(other)
    assert all(torch.equal(g, other[n]) if g is not None else other[n] is None for n, g in one.items())
    assert not list(s.objective.state_dict()) and s.objective.log_state() == {}


@pytest.mark.parametrize("relation", ["none", "cov", "att", "both"])
@pytest.mark.parametrize("prototype", ["cosine", "l2", "none"])
@pytest.mark.parametrize("dtm", ["none", "reweighting", "gradients", "both"])
def test_every_ablation_is_one_setting(relation, prototype, dtm):
    options = {"relation": relation, "prototype": prototype, "dtm": dtm}
    parts = {"none": set(), "cov": {"cov"}, "att": {"att"}, "both": {"cov", "att"}}[relation]
    parts |= {"proto"} if prototype != "none" else set()
    if not parts and dtm != "none":
        with pytest.raises(ValueError, match="no gap to watch"):
            DmafSettings(**options)
        return
    s = make(MIXED[:1], "baseline", **options)
    terms = terms_of(s)
    assert set(terms) == {"seg", "deep", "unimodal"} | parts
    s.objective.end_epoch()
    assert s.objective.learning_rate_factors().shape == (4,)
    if parts:
        weight = terms_of(s)[sorted(parts)[0]].weight
        assert (weight == weight[0]).all().item() is (dtm not in ("reweighting", "both"))


def test_weights_are_lambda_times_beta_times_warmup():
    s = make(MIXED, warmup=0.2, lambda_cov=3.0, lambda_att=0.5, lambda_proto=0.0)
    beta = s.objective.monitor.start
    for step, factor in ((0, 1 / 20), (9, 0.5), (19, 1.0), (70, 1.0)):
        terms = terms_of(s, step)
        torch.testing.assert_close(terms["cov"].weight, 3 * factor * beta)
        torch.testing.assert_close(terms["att"].weight, 0.5 * factor * beta)
        assert (terms["proto"].weight == 0).all()


def test_evaluation_does_not_observe():
    s = make(MIXED)
    s.objective.eval()
    terms_of(s)
    assert s.objective.monitor.gap_updates.sum() == 0
    s.objective.train()
    terms_of(s)
    assert s.objective.monitor.gap_updates.tolist() == [1, 1, 1, 1]


def test_dtm_tracks_but_does_not_act_during_the_warmup():
    s = make(MIXED, warmup=0.2)
    terms_of(s, 18)
    s.objective.end_epoch()
    assert s.objective.monitor.gap_updates.sum() > 0
    torch.testing.assert_close(s.objective.monitor.beta, s.objective.monitor.start, rtol=0, atol=0)
    assert s.objective.learning_rate_factors().tolist() == [1, 1, 1, 1]
    terms_of(s, 19)
    s.objective.end_epoch()
    assert not torch.equal(s.objective.monitor.beta, s.objective.monitor.start)
    assert s.objective.learning_rate_factors().min() < 1
    assert set(s.objective.log_state()) == {"gap", "relative_gap", "beta", "gamma"}


def test_checkpoint_between_last_step_and_end_of_epoch_goes_on_alike(tmp_path: Path):
    s = make(MIXED, warmup=0.2)
    terms_of(s, 30)
    torch.save(s.objective.state_dict(), tmp_path / "objective.pt")
    other = make(MIXED, warmup=0.2).objective
    other.load_state_dict(torch.load(tmp_path / "objective.pt", weights_only=True))
    for objective in (s.objective, other):
        objective.end_epoch()
    assert torch.equal(other.monitor.beta, s.objective.monitor.beta)
    assert not torch.equal(other.monitor.beta, other.monitor.start)


# ---- precision and device ------------------------------------------------------------------------------------------

def test_bfloat16_autocast_is_close_to_float32_and_finite():
    available = torch.tensor(BRATS.subsets())
    exact = {name: term.value for name, term in terms_of(make(available)).items()}
    s = make(available)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = terms_of(s)
    for name, term in low.items():
        assert term.value.dtype == torch.float32
        torch.testing.assert_close(term.value, exact[name], rtol=0.1, atol=0.02)
    total(low).backward()
    assert all(p.grad.isfinite().all() for p in (*s.net.parameters(), *s.objective.parameters()))


def test_nothing_is_read_back_from_the_device():
    """Tensors on the meta device have no values, so any read-back raises; availability stays on the CPU."""
    for available in (MIXED, MIXED[1:2]):
        s = make(available)
        for module in (s.net, s.objective):
            module.to("meta")
        s.batch.images, s.batch.label = s.batch.images.to("meta"), s.batch.label.to("meta")
        loss = total(terms_of(s))
        loss.backward()
        assert loss.device.type == "meta"


# ---- errors --------------------------------------------------------------------------------------------------------

def test_names_and_options_are_checked():
    net = torch.nn.Identity()
    net.channels = (8, 16)
    with pytest.raises(ValueError, match="plain, dmaf"):
        build_objective("dice", BRATS, net)
    with pytest.raises(ValueError, match="lambda_cov"):  # the message lists the settings there are
        build_objective("dmaf", BRATS, net, lamda_cov=1.0)
    with pytest.raises(ValueError, match="relation"):
        build_objective("dmaf", BRATS, net, relation="on")
    with pytest.raises(ValueError, match="total_steps"):
        build_objective("dmaf", BRATS, net, missing_rates=RATES)
    for rates in (None, RATES[:3]):
        with pytest.raises(ValueError, match="FLAIR, T1ce, T1, T2"):
            build_objective("dmaf", BRATS, net, missing_rates=rates, total_steps=10)
    assert isinstance(build_objective("dmaf", BRATS, net, dtm="none", total_steps=10), OBJECTIVES["dmaf"])


def test_settings_survive_json_with_their_nested_constants():
    net = torch.nn.Identity()
    net.channels = (8, 16)
    options = json.loads('{"lambda_cov": 2, "warmup": 0, "monitor": {"eta": 0.2, "floor": 0.05}}')
    objective = build_objective("dmaf", BRATS, net, missing_rates=RATES, **options)
    assert objective.monitor.settings.eta == 0.2


@pytest.mark.parametrize("wrong", [{"relation": "on"}, {"prototype": "yes"}, {"dtm": "on"}, {"neighbours": 5},
                                   {"lambda_att": -1.0}, {"warmup": 1.5}, {"clip": 2.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DmafSettings(**wrong)


def test_a_network_without_fused_features_cannot_distil():
    s = make(MIXED)
    features = s.net.encode(s.batch.images, s.batch.available)
    prediction = s.net.decode(features, s.batch.available)
    with pytest.raises(ValueError, match="DmafNet gives no fused features"):
        s.objective(s.net, features, replace(prediction, fused_features=None), s.batch, 0)
    assert isinstance(s.objective, DmafObjective)
