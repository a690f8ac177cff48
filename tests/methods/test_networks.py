"""What every network of the kit promises: the contract, whatever is inside."""

import pytest
import torch

from dmaf_lite.methods.networks import NETWORKS, build_network
from dmaf_lite.spec import BRATS, MYOPS, DatasetSpec

TWO = DatasetSpec("two", ("A", "B"), ("background", "lesion"), {"lesion": frozenset({1})}, ())
SMALL = {
    "baseline": ({"width": 4, "levels": 3}, 8),
    "dmaf_net": ({"width": 4, "levels": 3}, 8),
    "rfnet": ({"width": 4}, 16),
    "mmformer": ({"width": 2, "grid": 2, "token_width": 16, "heads": 2, "hidden": 16}, 32),
    "adamm": ({"width": 8}, 16),
}
# Encoders that see one modality each: features are packed, and one pass serves every subset.
PACKED = [name for name in NETWORKS if name != "adamm"]


def small(name, spec=BRATS):
    torch.manual_seed(0)
    return build_network(name, spec, **SMALL[name][0])


def images_for(name, masks):
    torch.manual_seed(1)
    return torch.randn(*masks.shape, *[SMALL[name][1]] * 3)


def outputs(prediction):
    maps = [prediction.logits, prediction.decoder_features, prediction.unimodal_logits]
    lists = (prediction.fused_features, prediction.deep_logits, prediction.modality_weights)
    return [x for x in (*maps, *(x for some in lists for x in some or ())) if x is not None]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["rfnet", "mmformer"])
def test_nan_in_a_missing_modality_changes_no_bit(name, dtype, training):
    net = small(name).train(training)
    available = torch.tensor([[True, False, True, False], [False, True, True, True]])
    images = images_for(name, available)
    results = []
    for filling in (0.0, float("nan")):
        filled = torch.where(available[:, :, None, None, None], images, filling).requires_grad_()
        net.zero_grad()
        torch.manual_seed(2)  # the same dropout
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            prediction = net(filled, available)
        sum(x.float().square().mean() for x in outputs(prediction)).backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in gradients)
        assert (filled.grad[~available] == 0).all()
        results.append([*outputs(prediction), *gradients])
    assert len(results[0]) == len(results[1])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("spec", [BRATS, MYOPS, TWO], ids=["M4", "M3", "M2"])
@pytest.mark.parametrize("name", NETWORKS)
def test_fields_of_the_prediction(name, spec):
    net = small(name, spec)
    masks = torch.tensor(spec.subsets()[-2:])
    images = images_for(name, masks)
    size, pairs, classes = images.shape[2:], int(masks.sum()), len(spec.classes)
    for training in (True, False):
        prediction = net.train(training)(images, masks)
        assert prediction.logits.shape == (2, classes, *size)
        assert prediction.decoder_features.shape == (2, net.channels[0], *size)
        assert (prediction.unimodal_logits is not None) == (training and name in PACKED)
        assert (prediction.deep_logits is not None) == (training and name in PACKED)
        if prediction.unimodal_logits is not None:
            assert prediction.unimodal_logits.shape == (pairs, classes, *size)
            assert all(deep.shape[:2] == (2, classes) for deep in prediction.deep_logits)
    assert net.classes == classes and len(net.stride) == 3 and len(net.encoders) in (0, spec.M)


@pytest.mark.parametrize("name", PACKED)
def test_fused_features_stand_level_by_level_beside_those_of_one_modality(name):
    net = small(name)
    features = net.encode(images_for(name, torch.ones(1, 4)), torch.ones(1, 4).bool())
    prediction = net.decode(features, torch.ones(1, 4).bool())
    assert [f.shape[1:] for f in prediction.fused_features] == [e.shape[1:] for e in features.levels]
    assert tuple(e.shape[1] for e in features.levels) == tuple(net.channels)


@pytest.mark.parametrize("name", PACKED)
def test_encoded_once_decodes_every_subset(name):
    net = small(name).eval()
    masks = torch.tensor(BRATS.subsets())
    images = images_for(name, torch.ones(1, 4))
    with torch.no_grad():
        features = net.encode(images, torch.ones(1, 4).bool())
        once = net.decode(features.select(masks, torch.zeros(15, dtype=torch.long)), masks)
        assert features.select(torch.ones(1, 4).bool()).levels[0] is features.levels[0]
        for row in (0, 5, 14):
            each = net(images, masks[row][None])
            torch.testing.assert_close(each.logits[0], once.logits[row], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["rfnet", "mmformer"])
def test_what_was_fused_stands_before_what_comes_from_below(name):
    """The order in the fusion decoders' concatenations; published weights depend on it."""
    net, seen = small(name), {}
    for index, level in enumerate(net.fusion_decoder.levels):
        level.merge.register_forward_hook(lambda module, x, y, index=index: seen.update({index: x[0]}))
    if name == "rfnet":
        net.fusion_decoder.region_heads[0].embed.register_forward_hook(lambda m, x, y: seen.update(embedding=y))
        net.fusion_decoder.region_heads[0].head.register_forward_hook(lambda m, x, y: seen.update(head=x[0]))
    masks = torch.ones(1, 4).bool()
    fused = net(images_for(name, masks), masks).fused_features
    for index, c in enumerate(net.channels[:-1]):
        assert torch.equal(seen[index][:, :c], fused[index])
    if name == "rfnet":
        assert torch.equal(seen["head"][:, net.channels[0]:], seen["embedding"])


@pytest.mark.parametrize("name", ["baseline", "dmaf_net", "rfnet"])
def test_modality_weights_sum_to_one_per_study(name):
    net = small(name).eval()
    masks = torch.tensor(BRATS.subsets())[[0, 6, 14]]
    prediction = net(images_for(name, masks), masks)
    for level, weights in zip(prediction.fused_features, prediction.modality_weights, strict=True):
        assert weights.shape == (7, 1, *level.shape[2:]) and (weights >= 0).all()
        total = prediction.pairs.sum_by_study(weights)
        torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_crop_that_does_not_fit_is_refused(name):
    for shape in ((16, 16, 17), (8, 4, 8)):
        with pytest.raises(ValueError, match="multiple of"):
            small(name).encode(torch.randn(1, 4, *shape), torch.ones(1, 4).bool())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name):
    """With all scans there and deep supervision on; a part that nothing reaches would be dead weight."""
    net = small(name)
    masks = torch.tensor([[True] * 4, [True, True, True, False]])
    prediction = net(images_for(name, masks), masks)
    sum(x.float().square().mean() for x in outputs(prediction)).backward()
    dead = [key for key, p in net.named_parameters() if p.grad is None]
    unused = [key for key in dead if not (name == "adamm" and key.startswith(("bank.", "presence.")))]
    assert unused == []
