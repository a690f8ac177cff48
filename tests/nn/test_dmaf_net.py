"""The whole network: a missing modality never matters, and encode/decode keep their contract."""

import re
from pathlib import Path

import pytest
import torch

from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.nn import blocks
from dmaf_lite.nn import fusion as fusion_module
from dmaf_lite.nn.dmaf_net import PRESETS
from dmaf_lite.spec import BRATS, MYOPS, DatasetSpec

TWO = DatasetSpec("two", ("A", "B"), ("background", "lesion"), {"lesion": frozenset({1})}, ())
SMALL = {"width": 4, "levels": 3}
MASKS = torch.tensor(BRATS.subsets())


def small(name="dmaf_net", spec=BRATS, seed=0, **options):
    torch.manual_seed(seed)
    net = build_network(name, spec, **(SMALL | options))
    for module in net.modules():  # as after some training: DMAF really chooses
        if hasattr(module, "restore"):
            torch.nn.init.normal_(module.restore.weight, std=0.3)
    return net


def outputs(prediction):
    maps = [prediction.logits, *prediction.fused_features, prediction.decoder_features]
    return maps + [*(prediction.deep_logits or []), *(prediction.modality_weights or [])] + (
        [] if prediction.unimodal_logits is None else [prediction.unimodal_logits])


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", ["baseline", "dmaf_net"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("spec", [BRATS, MYOPS, TWO], ids=["M4", "M3", "M2"])
def test_nan_in_a_missing_modality_changes_no_bit(name, training, dtype, spec):
    net = small(name, spec).train(training)
    available = torch.tensor(spec.subsets())  # every subset, in one mixed batch
    images = torch.randn(len(available), spec.M, 8, 8, 8)
    results = []
    for filling in (0.0, float("nan"), 1e30):
        filled = torch.where(available[:, :, None, None, None], images, filling)
        filled.requires_grad_()
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            prediction = net(filled, available)
        sum(map_.float().square().mean() for map_ in outputs(prediction)).backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in gradients)
        assert (filled.grad[~available] == 0).all()
        results.append([*outputs(prediction), *gradients])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("name", ["baseline", "dmaf_net"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_without_gradients_nothing_of_a_missing_scan_and_nothing_of_an_earlier_subset_is_left(name, dtype):
    """Answers are made in place there: the features must stay as they were encoded."""
    net, images = small(name).eval(), torch.randn(2, BRATS.M, 8, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        features = net.encode(images, torch.ones(2, BRATS.M, dtype=torch.bool))
        levels = [level.clone() for level in features.levels]
        for mask in MASKS:
            available = mask.expand(2, -1)
            found = outputs(net.decode(features.select(available), available))
            nan = torch.where(available[:, :, None, None, None], images, float("nan"))
            alone = net(nan, available)
            for a, b in zip(found, outputs(alone), strict=True):
                torch.testing.assert_close(a, b)
            assert all(torch.equal(a, b) for a, b in zip(outputs(alone), outputs(net(nan, available)), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(levels, features.levels, strict=True))


def test_an_encoder_that_sees_nothing_has_no_gradient():
    net = small()
    net(torch.randn(2, 4, 8, 8, 8), MASKS[[0, 3]]).logits.sum().backward()  # FLAIR, T2
    has = [all(p.grad is not None for p in encoder.parameters()) for encoder in net.encoders]
    none = [all(p.grad is None for p in encoder.parameters()) for encoder in net.encoders]
    assert has == [True, False, False, True] and none == [False, True, True, False]


@pytest.mark.parametrize("name", ["baseline", "dmaf_net"])
def test_encoded_once_decodes_every_subset(name):
    net = small(name).eval()
    images = torch.randn(1, 4, 16, 16, 16)
    with torch.no_grad():
        features = net.encode(images, torch.ones(1, 4).bool())
        once = net.decode(features.select(MASKS, torch.zeros(15, dtype=torch.long)), MASKS)
        for row, mask in enumerate(MASKS):
            each = net(images, mask[None])
            torch.testing.assert_close(each.logits[0], once.logits[row], atol=1e-5, rtol=1e-4)


def test_one_modality_fuses_to_its_own_features():
    net = small()
    features = net.encode(torch.randn(4, 4, 8, 8, 8), torch.eye(4).bool())
    prediction = net.decode(features, torch.eye(4).bool())
    for e, f in zip(features.levels, prediction.fused_features, strict=True):
        assert torch.equal(e, f)


def test_a_volume_of_zeros_has_features_of_exactly_zero():
    features = small().encode(torch.zeros(1, 4, 8, 8, 8), torch.ones(1, 4).bool())
    assert all((level == 0).all() for level in features.levels)


def test_modality_weights_sum_to_one_per_study():
    net = small().eval()
    prediction = net(torch.randn(15, 4, 8, 8, 8), MASKS)
    for level, weights in zip(prediction.fused_features, prediction.modality_weights, strict=True):
        assert weights.shape[2:] == level.shape[2:]
        total = prediction.pairs.sum_by_study(weights)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_permuting_modalities_with_encoders_and_embeddings_changes_nothing():
    order = [2, 0, 3, 1]
    net = small().eval()
    images, available = torch.randn(3, 4, 8, 8, 8), MASKS[[4, 9, 14]]
    before = net(images, available).logits
    net.encoders = torch.nn.ModuleList(net.encoders[m] for m in order)
    for fusion in net.fusions:
        fusion.modality_embedding.data = fusion.modality_embedding.data[order]
    torch.testing.assert_close(net(images[:, order], available[:, order]).logits, before, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("preset, width, levels", [("lite", 8, 4), ("full", 16, 5)])
def test_presets(preset, width, levels):
    assert PRESETS[preset].channels == tuple(width * 2**i for i in range(levels))


def test_few_thick_slices_keep_their_number():
    net = small(spec=MYOPS, through_plane=False)
    assert net.stride == (4, 4, 1)
    assert net(torch.randn(1, 3, 16, 16, 3), torch.ones(1, 3).bool()).logits.shape == (1, 6, 16, 16, 3)


@pytest.mark.parametrize("shape", [(8, 8, 10), (4, 8, 8)])
def test_a_crop_that_does_not_fit_is_refused(shape):
    with pytest.raises(ValueError, match="multiple of"):
        small().encode(torch.randn(1, 4, *shape), torch.ones(1, 4).bool())


def test_names_presets_and_options_are_checked():
    with pytest.raises(ValueError, match="network 'unet' is not known"):
        build_network("unet", BRATS)
    with pytest.raises(ValueError, match="preset 'huge' is not known"):
        build_network("dmaf_net", BRATS, preset="huge")
    with pytest.raises(ValueError, match="widht is not known; the settings there are width, levels"):
        build_network("dmaf_net", BRATS, widht=8)
    with pytest.raises(ValueError, match="fusion is 'max'; expected one of dmaf or mean"):
        build_network("dmaf_net", BRATS, fusion="max")


def test_the_documentation_counts_parameters_right():
    """Every row of the table in docs/paper_to_code.md."""
    text = (Path(__file__).parents[2] / "docs" / "paper_to_code.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([\d,]+) \|(.+)\|$", text, flags=re.MULTILINE)
    assert len(rows) == 4
    for name, preset, total, parts in rows:
        net = build_network(name, BRATS, preset=preset)
        objective = build_objective("dmaf", BRATS, net, missing_rates=[0.0] * 4, total_steps=10)
        modules = (net.encoders, net.shared_decoder, net.fusion_decoder, net.fusions, objective)
        found = [sum(p.numel() for p in module.parameters()) for module in modules]
        written = [int(part.replace(",", "").replace("-", "0")) for part in parts.split("|")]
        assert sum(p.numel() for p in net.parameters()) == int(total.replace(",", ""))
        assert found[:4] == written[:4] and (name == "baseline" or found[4] == written[4])


def test_both_memory_layouts_give_the_same_step(monkeypatch):
    """The standard layout is what a GPU uses; here on the CPU: losses and gradients."""
    torch.manual_seed(0)
    net = build_network("dmaf_net", BRATS, width=4, levels=3)
    with torch.no_grad():
        for fusion in net.fusions:
            fusion.restore.weight.normal_(std=0.5)  # weights that differ between the scans
    images = torch.randn(2, 4, 16, 16, 16)
    available = torch.tensor([[True, True, False, True], [False, True, True, False]])
    results = []
    for layouts in ({"cpu"}, set()):
        for module in (blocks, fusion_module):
            monkeypatch.setattr(module, "CHANNELS_LAST", layouts)
        net.zero_grad()
        prediction = net.train()(images, available)
        loss = prediction.logits.square().mean() + prediction.unimodal_logits.sigmoid().square().mean()
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in net.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
