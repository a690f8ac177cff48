"""PASSION as an objective: the sum, the students' single pass, the released defects, training and resume."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import Tensor

from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.objectives.dmaf import students
from dmaf_lite.objectives.segmentation import LabelStats
from dmaf_lite.objectives.terms import total
from dmaf_lite.peers.passion import RELEASED, PassionSettings, decode_alone
from dmaf_lite.peers.self_distillation import pixel_gap, similarity_gap
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import TrainSettings, train

RATES = (0.6, 0.4, 0.2, 0.8)
OMEGA = torch.tensor([2.5, 1 / 0.6, 1.25, 5.0])
MIXED = [[True, False, True, True], [False, True, False, False], [True, True, True, True]]
DISTILLED = ("pixel", "proto")


def make(available, network: str = "dmaf_net", **options) -> SimpleNamespace:
    """A small network with a fusion that does something, PASSION, and a batch in which study 1 lacks class 3."""
    available = torch.as_tensor(available)
    torch.manual_seed(0)
    net = build_network(network, BRATS, width=4, levels=3)
    for name, parameter in net.named_parameters():
        if "restore" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    objective = build_objective("passion", BRATS, net, missing_rates=RATES, **options)
    images = torch.randn(*available.shape, 8, 8, 8)
    label = torch.randint(4, (len(available), 8, 8, 8))
    if len(label) > 1:
        label[1][label[1] == 3] = 0
    return SimpleNamespace(net=net, objective=objective,
                           batch=SimpleNamespace(images=images, available=available, label=label, padded=False))


def forward(s: SimpleNamespace):
    features = s.net.encode(s.batch.images, s.batch.available)
    return features, s.net.decode(features, s.batch.available)


def terms_of(s: SimpleNamespace) -> dict:
    return s.objective(s.net, *forward(s), s.batch, 0)


def gradients(s: SimpleNamespace) -> dict[str, Tensor | None]:
    s.net.zero_grad(set_to_none=True)
    total(terms_of(s)).backward()
    return {name: parameter.grad for name, parameter in s.net.named_parameters()}


# ---- the students --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("network", ["baseline", "dmaf_net"])
def test_one_batched_pass_equals_one_student_after_the_other(network):
    s = make(MIXED, network)
    features, _ = forward(s)
    together, (pairs, _) = decode_alone(s.net, features), students(features.pairs)
    assert len(together.logits) == pairs.P == 7
    for row, (study, modality) in enumerate(zip(pairs.study.tolist(), pairs.modality.tolist(), strict=True)):
        mask = torch.zeros(1, 4, dtype=torch.bool)
        mask[0, modality] = True
        alone = s.net(s.batch.images[study:study + 1], mask)
        for name in ("logits", "decoder_features"):
            torch.testing.assert_close(getattr(together, name)[row], getattr(alone, name)[0], rtol=1e-4, atol=1e-5)
        for batched, deep in zip(together.deep_logits, alone.deep_logits, strict=True):
            torch.testing.assert_close(batched[row], deep[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("network", "side", "options"), [
    ("rfnet", 16, {"width": 4}),
    ("mmformer", 32, {"width": 4, "grid": 2, "token_width": 32, "heads": 2, "hidden": 32}),
])
def test_the_networks_of_the_paper_too(network, side, options):
    """In evaluation mode, as mmFormer has dropout; its students' gradients are looked at in training mode."""
    torch.manual_seed(0)
    net = build_network(network, BRATS, **options)
    images, mask = torch.randn(1, 4, side, side, side), torch.tensor([[True, False, True, True]])
    net.eval()
    with torch.no_grad():
        together = decode_alone(net, net.encode(images, mask))
        for row, modality in enumerate((0, 2, 3)):
            alone = net(images, torch.eye(4, dtype=torch.bool)[modality][None])
            torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-3, atol=1e-3)
    net.train()
    objective = build_objective("passion", BRATS, net, missing_rates=RATES, faithful=True)
    features = net.encode(images, mask)
    batch = SimpleNamespace(label=torch.randint(4, (1, side, side, side)), padded=False)
    terms = objective(net, features, net.decode(features, mask), batch, 0)
    total({name: terms[name] for name in DISTILLED}).backward()
    assert set(terms) == {"seg", "deep", "unimodal", *DISTILLED}
    assert all((terms[name].value[mask] > 0).all() and (terms[name].value[~mask] == 0).all() for name in DISTILLED)
    # mmFormer's positions take part even where no token stands on them.
    reached = [any(p.grad is not None and p.grad.any() for name, p in encoder.named_parameters() if name != "position")
               for encoder in net.encoders]
    assert reached == mask[0].tolist()


def test_the_terms_are_those_of_the_pure_functions_pair_by_pair():
    s = make(MIXED)
    _, prediction = forward(s)
    terms, stats = terms_of(s), LabelStats.of(s.batch.label, 4)
    for b, m in torch.tensor(MIXED).nonzero().tolist():
        if b == 1:
            continue
        mask, study, zero = torch.eye(4, dtype=torch.bool)[m][None], torch.tensor([b]), torch.tensor([0])
        alone = s.net(s.batch.images[b:b + 1], mask)
        pixel = pixel_gap(alone.logits, prediction.logits[b:b + 1], zero, (8, 8, 8))
        for level, (ours, theirs) in enumerate(zip(alone.deep_logits, prediction.deep_logits, strict=True), 1):
            pixel = pixel + 0.5**level * pixel_gap(ours, theirs[b:b + 1], zero, (8, 8, 8))
        torch.testing.assert_close(terms["pixel"].value[b, m], pixel[0], rtol=1e-4, atol=1e-5)
        proto, _ = similarity_gap(alone.decoder_features, prediction.decoder_features, stats.one_hot, stats.counts > 0,
                                  study)
        torch.testing.assert_close(terms["proto"].value[b, m], proto[0], rtol=1e-4, atol=1e-5)


def test_a_study_does_not_depend_on_its_neighbours():
    together = terms_of(make(MIXED))
    for b in range(3):
        s = make(MIXED)
        s.batch = SimpleNamespace(images=s.batch.images[b:b + 1], available=s.batch.available[b:b + 1],
                                  label=s.batch.label[b:b + 1], padded=False)
        for name, term in terms_of(s).items():
            torch.testing.assert_close(term.value[0], together[name].value[b], rtol=1e-4, atol=1e-5)


def test_with_one_modality_the_teacher_is_the_student():
    s = make([[True, False, False, False], [False, False, True, False]])
    terms = terms_of(s)
    assert all((terms[name].value == 0).all() for name in DISTILLED)
    assert (terms["unimodal"].weight == 0).all()  # nobody is weak: rho = 0, as at batch 1 of the released code
    grads = gradients(s)
    assert all(g is None or g.isfinite().all() for g in grads.values())


def test_no_gradient_reaches_the_teacher():
    s = make(MIXED)
    features, prediction = forward(s)
    terms = s.objective(s.net, features, prediction, s.batch, 0)
    distilled = total({name: terms[name] for name in DISTILLED})
    teacher = [prediction.logits, prediction.decoder_features, *prediction.deep_logits]
    found = torch.autograd.grad(distilled, [*teacher, features.levels[0]], allow_unused=True)
    assert all(gradient is None for gradient in found[:-1])
    assert (found[-1].flatten(1).abs().sum(1) > 0).tolist() == [True, True, False, *[True] * 5]


@pytest.mark.parametrize("fill", [float("nan"), 1e30])
def test_what_stands_in_a_missing_modality_changes_no_bit(fill):
    available, results = torch.tensor(BRATS.subsets()), []
    for content in (0.0, fill):
        s = make(available)
        s.batch.images = torch.where(available[:, :, None, None, None], s.batch.images, content)
        results.append(({n: t.value.detach() for n, t in terms_of(s).items()}, s.objective.state_dict(), gradients(s)))
    for clean, dirty in zip(*results, strict=True):
        for name, tensor in clean.items():
            assert tensor.isfinite().all() and torch.equal(tensor, dirty[name]), name


# ---- the weights ---------------------------------------------------------------------------------------------------

def test_every_term_has_the_published_weight():
    s = make(MIXED)
    s.objective.preference.beta.copy_(torch.tensor([0.5, 1.5, 1.0, 2.0]))
    beta, terms = s.objective.preference.beta.clone(), terms_of(s)
    chi = s.objective.log_state()["chi"]
    assert 0 < chi.sum() < 4
    expected = {"seg": 1.0, "deep": 1.0, "unimodal": chi * beta * OMEGA, "pixel": 0.5 * beta * OMEGA,
                "proto": 0.1 * chi * OMEGA}
    assert list(terms) == list(expected)
    for name, weight in expected.items():
        torch.testing.assert_close(torch.as_tensor(terms[name].weight), torch.as_tensor(weight))


def test_each_regularisation_can_be_left_out():
    s = make(MIXED, task_wise=False, balance=False, lambda_pixel=2.0)
    s.objective.preference.beta.mul_(3)
    terms = terms_of(s)
    torch.testing.assert_close(terms["unimodal"].weight, OMEGA)
    torch.testing.assert_close(terms["pixel"].weight, 2 * OMEGA)
    torch.testing.assert_close(terms["proto"].weight, 0.1 * OMEGA)
    assert s.objective.log_state()["beta"].tolist() == [1] * 4


def test_the_end_of_an_epoch_moves_the_balance_and_what_is_logged():
    s = make(MIXED)
    terms_of(s)
    s.objective.end_epoch()
    state = s.objective.log_state()
    assert set(state) == {"gap", "relative_gap", "beta", "chi"} and (state["gap"] > 0).all()
    farther = state["relative_gap"] > 0
    assert 0 < farther.sum() < 4 and ((state["beta"] > state["beta"].mean()) == farther).all()
    assert s.objective.learning_rate_factors().tolist() == [1] * 4


# ---- the released code ---------------------------------------------------------------------------------------------

# The defects alone: the published losses, which come with the switch, are taken out again.
WITH = {False: {}, True: {"faithful": True, "weighting": "none", "smooth": 1.0, "clip": None}}


def test_faithful_is_every_defect_at_once_and_a_named_one_beside_it():
    settings = PassionSettings(faithful=True)
    assert {name: getattr(settings, name) for name in RELEASED} == RELEASED
    assert PassionSettings(faithful=True, distances="steps").distances == "steps"
    assert PassionSettings(faithful=True, smooth=1.0).smooth == 1.0  # written out, though it is the kit's default
    ours = PassionSettings()
    assert all(getattr(ours, name) != value for name, value in RELEASED.items())
    s = make(MIXED, faithful=True)
    assert s.objective.settings.clip == 0.005 and s.objective.preference.settings.faithful


def test_a_lone_modality_switches_chi_off_for_its_batch_only_with_the_defect():
    weights = {fault: terms_of(make(MIXED, **WITH[fault]))["proto"].weight for fault in (False, True)}
    assert (weights[False] > 0).any() and (weights[True] == 0).all()
    several = [MIXED[0], MIXED[2]]  # no study with a single modality
    same = [terms_of(make(several, **WITH[fault]))["proto"].weight for fault in (False, True)]
    assert torch.equal(*same) and (same[0] > 0).any()


def test_a_class_that_one_study_lacks_is_dropped_for_all_only_with_the_defect():
    everything = [[True] * 4] * 2
    ours, released = (terms_of(make(everything, **WITH[fault]))["proto"].value for fault in (False, True))
    torch.testing.assert_close(ours[1], released[1])  # the study that lacks class 3
    assert ((ours[0] - released[0]).abs() > 1e-4).all()


def test_the_sum_over_the_batch_weighs_segmentation_against_distillation():
    pairs = [make(MIXED[::2], **WITH[fault]) for fault in (False, True)]
    for s in pairs:
        s.batch.label = torch.randint(4, s.batch.label.shape, generator=torch.Generator().manual_seed(5))  # all classes
    ours, released = map(terms_of, pairs)
    for name in ours:
        factor = 2 if name in ("seg", "deep") else 1
        torch.testing.assert_close(released[name].contribution(), factor * ours[name].contribution())
    one = [total(terms_of(make(MIXED[:1], **WITH[fault]))) for fault in (False, True)]
    assert torch.equal(*one)  # at batch 1 there is no difference


def test_the_clip_acts_on_segmentation_and_distillation():
    s, clipped = make(MIXED), make(MIXED, clip=0.2)  # far above the published floor, so that it acts on any logits
    one, other = terms_of(s), terms_of(clipped)
    for name in ("seg", "unimodal", "pixel"):
        assert (one[name].value.detach() - other[name].value.detach()).abs().max() > 1e-3, name
    torch.testing.assert_close(one["proto"].value, other["proto"].value)


# ---- devices and errors --------------------------------------------------------------------------------------------

def test_nothing_is_read_back_from_the_device():
    """Tensors on the meta device have no values, so any read-back raises; availability stays on the CPU."""
    for available in (MIXED, MIXED[1:2]):
        s = make(available, faithful=True)
        for module in (s.net, s.objective):
            module.to("meta")
        s.batch.images, s.batch.label = s.batch.images.to("meta"), s.batch.label.to("meta")
        loss = total(terms_of(s))
        loss.backward()
        s.objective.end_epoch()
        assert loss.device.type == "meta"


def test_bfloat16_autocast_is_close_to_float32_and_finite():
    exact = {name: term.value for name, term in terms_of(make(MIXED)).items()}
    s = make(MIXED)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = terms_of(s)
    for name, term in low.items():
        assert term.value.dtype == torch.float32
        torch.testing.assert_close(term.value, exact[name], rtol=0.1, atol=0.02)
    total(low).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in s.net.parameters())


def test_what_is_missing_is_named():
    s = make(MIXED)
    features, prediction = forward(s)
    with pytest.raises(ValueError, match="DmafNet gives no decoder features"):
        s.objective(s.net, features, replace(prediction, decoder_features=None), s.batch, 0)
    with pytest.raises(ValueError, match="FLAIR, T1ce, T1, T2"):
        build_objective("passion", BRATS, s.net)
    for wrong in ({"temperature": 0}, {"lambda_proto": -1.0}, {"distances": "l1"}, {"smooth": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PassionSettings(**wrong)


# ---- training ------------------------------------------------------------------------------------------------------

TINY = TrainSettings(network="baseline", objective="passion", network_options={"width": 4, "levels": 2}, crop=(8, 8, 8),
                     steps=6, batch=2, log_every=1, checkpoint_every=1, condition="imbalanced",
                     missing_rates={"FLAIR": 0.25, "T1ce": 0.25, "T1": 0.25, "T2": 0.5},
                     objective_options={"faithful": False})


def test_it_trains_resumes_exactly_and_logs(tiny_cohort, tmp_path):
    names = tiny_cohort.names
    whole = train(TrainingSet(tiny_cohort, names), tmp_path / "whole", TINY, progress=False)
    for stop in (3, None):  # 3 is in the middle of the second epoch
        parts = train(TrainingSet(tiny_cohort, names), tmp_path / "parts", TINY, progress=False, stop_after=stop)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    logs = [pd.read_csv(tmp_path / run / "log.csv") for run in ("whole", "parts")]
    pd.testing.assert_frame_equal(*logs)
    modalities = BRATS.modalities
    for column in ("seg", "deep", "unimodal", "pixel", "proto", "total"):
        assert (logs[0][column] > 0).any(), column
    beta = logs[0][[f"beta/{m}" for m in modalities]].to_numpy()
    assert (beta[:2] == 1).all() and (beta[2] != 1).any() and (beta[4] != beta[2]).any()  # once per epoch of two steps
    assert (logs[0][[f"relative_gap/{m}" for m in modalities]].iloc[2:].to_numpy() != 0).any()


def test_the_command_line_takes_network_and_objective_by_name(tiny_cohort, tmp_path):
    import argparse

    import yaml

    from dmaf_lite.training.loop import add_arguments, main

    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump({"network_options": {"width": 4, "levels": 2}, "crop": [8, 8, 8],
                                       "objective_options": {"faithful": True}}))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--cohort", tiny_cohort.folder, "--out", tmp_path / "run", "--profile", profile, "--network", "baseline",
             "--objective", "passion", "--steps", 2, "--device", "cpu"]
    assert main(parser.parse_args([str(word) for word in words])) == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()
