"""AdaMM's network: published parameter counts, masks that never mix, and the contract."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dmaf_lite.methods.networks import build_network
from dmaf_lite.peers.adamm.adapters import Adapter, AdapterSet, MaskGroups, mask_key
from dmaf_lite.peers.adamm.garm import AnyBatchNorm
from dmaf_lite.peers.adamm.network import AdammNet, AdammNetSettings
from dmaf_lite.peers.adamm.presence import class_logits
from dmaf_lite.spec import BRATS, MYOPS

MASKS = torch.tensor(BRATS.subsets())
FULL = torch.ones(1, 4).bool()


def small(spec=BRATS, seed=0, **options):
    torch.manual_seed(seed)
    return build_network("adamm", spec, **({"width": 8} | options))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("faithful", [False, True], ids=["fixed", "faithful"])
def test_published_parameter_counts(faithful):
    """Section 2.4 of the specification, and what is left out here."""
    with torch.device("meta"):
        net = build_network("adamm", BRATS, faithful=faithful)
        teacher = AdammNet(BRATS, AdammNetSettings(faithful=faithful), adapters=False)
    entries = {count(entry) for entry in net.bank.values()}
    assert count(teacher) == 4_785_223 and count(net.presence) == 7_011
    assert count(teacher) - count(teacher.presence) == 4_778_212
    assert len(net.bank) == 14 and entries == {134_288}
    assert [sum(map(count, part)) for part in (net.bank["0111"].encoder, net.bank["0111"].decoder)] == [45_664, 14_640]
    assert count(teacher) + count(net.garm) + entries.pop() == 5_039_447
    # Released: 7,101,885. Left out: the adapters for no scan at all, and GARM's unused modules.
    assert 7_101_885 - count(net) == 316_694 == 134_288 + 182_406


@pytest.mark.parametrize("mask, live", [((1, 1, 1, 1), 4_785_223), ((0, 1, 1, 0), 5_039_447)])
def test_live_parameters_are_those_with_a_gradient(mask, live):
    torch.manual_seed(0)
    net = build_network("adamm", BRATS)
    prediction = net(torch.randn(1, 4, 16, 16, 16), torch.tensor([mask]).bool())
    (prediction.lesion_logits.square().sum() + prediction.presence_logits.sum()).backward()
    assert sum(p.numel() for p in net.parameters() if p.grad is not None) == live


def test_the_published_crop_on_the_meta_device():
    """Shapes of the released form at 160 x 192 x 128; nothing in a forward and backward pass may read a value."""
    with torch.device("meta"):
        net = build_network("adamm", BRATS, faithful=True)
        images = torch.empty(2, 4, 160, 192, 128)
    available = MASKS[[2, 14]]
    features = net.encode(images, available)
    assert [tuple(level.shape[1:]) for level in features.levels] == [
        (16, 160, 192, 128), (32, 80, 96, 64), (64, 40, 48, 32), (128, 20, 24, 16)]
    assert features.style.shape == features.content.shape == features.transition.shape == (2, 128, 20, 24, 16)
    prediction = net.decode(features, available)
    assert prediction.logits.shape == (2, 4, 160, 192, 128) and prediction.presence_logits.shape == (2, 3)
    prediction.logits.sum().backward()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("spec, faithful", [(BRATS, False), (BRATS, True), (MYOPS, False)])
def test_nan_in_a_missing_modality_changes_no_bit(spec, faithful, training, dtype):
    net = small(spec, faithful=faithful).train(training)
    available = torch.tensor(spec.subsets())[[0, -2, -1]]
    images = torch.randn(3, spec.M, 16, 16, 16)
    results = []
    for filling in (0.0, float("nan"), 1e30):
        filled = torch.where(available[:, :, None, None, None], images, filling).requires_grad_()
        net.zero_grad()
        torch.manual_seed(1)  # dropout
        buffers = {name: value.clone() for name, value in net.named_buffers()}
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            features = net.encode(filled, available)
            prediction = net.decode(features, available)
        outputs = [prediction.logits, prediction.presence_logits, features.style, features.content]
        sum(map_.float().square().mean() for map_ in outputs).backward()
        net.load_state_dict(buffers, strict=False)  # running statistics of batch norm
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in gradients)
        assert (filled.grad[~available] == 0).all() and (filled.grad[available] != 0).any()
        results.append([*outputs, *gradients])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_mixed_batch_is_each_study_alone():
    net = small().eval()
    images = torch.randn(5, 4, 16, 16, 16)
    available = MASKS[[5, 14, 0, 5, 11]]  # a mask twice, and the full set in between
    with torch.no_grad():
        together = net(images, available)
        for b in range(5):
            alone = net(images[b : b + 1], available[b : b + 1])
            torch.testing.assert_close(together.logits[b], alone.logits[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(together.presence_logits[b], alone.presence_logits[0], atol=1e-4, rtol=1e-4)


def test_only_the_adapters_of_masks_that_occur_are_run():
    net = small()
    prediction = net(torch.randn(3, 4, 16, 16, 16), torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 0]]).bool())
    (prediction.lesion_logits.square().sum() + prediction.presence_logits.sum()).backward()
    used = {key for key, entry in net.bank.items() if all(p.grad is not None for p in entry.parameters())}
    unused = {key for key, entry in net.bank.items() if all(p.grad is None for p in entry.parameters())}
    assert used == {"1001", "0100"} and used | unused == set(net.bank) and len(unused) == 12
    assert all(p.grad is not None for p in net.garm.parameters())


def test_with_all_scans_neither_adapters_nor_garm_matter():
    net = small().eval()
    images = torch.randn(1, 4, 16, 16, 16)
    with torch.no_grad():
        before, missing = net(images, FULL).logits, net(images, MASKS[:1]).logits
        for p in [*net.bank.parameters(), *net.garm.parameters()]:
            p.normal_()
        assert torch.equal(net(images, FULL).logits, before)
        assert not torch.equal(net(images, MASKS[:1]).logits, missing)


def test_the_encoder_in_formulas():
    """Section 2.2 and 2.3 for one mask: style and content before the adapters, the bottleneck after them."""
    net = small().eval()
    images, mask = torch.randn(1, 4, 16, 16, 16), torch.tensor([[1, 0, 1, 1]]).bool()
    own = net.bank["1011"]
    a = own.encoder
    with torch.no_grad():
        found = net.encode(images, mask)
        c1 = net.enter(images * mask[:, :, None, None, None])
        c2 = net.refine[0](a[0](net.down[0](c1)))
        d2 = net.down[1](c2)
        c3 = net.refine[1](a[1](d2))
        d3 = net.down[2](c3)
        e = net.refine[2](a[2](d3))
        h = net.deepest(e)
        g = net.fuse_style(torch.cat([F.max_pool3d(d2, 2), d3, h], 1))
        b = net.fuse_bottleneck(torch.cat([g, h], 1))
        g_m = own.fuse_style(torch.cat([F.max_pool3d(a[1](d2), 2), a[2](d3), a[3](e)], 1))
        b_m = own.fuse_bottleneck(torch.cat([g_m, a[3](e)], 1))
        for left, right in zip([*found.levels, found.transition, found.style, found.content],
                               [c1, c2, c3, net.garm(b_m, b), d3, g, h], strict=True):
            torch.testing.assert_close(left, right)
        up = torch.nn.Upsample(scale_factor=2, mode="nearest")
        u = own.decoder[0](net.merge[0](up(net.reduce[0](found.levels[3])) + c3))
        u = own.decoder[1](net.merge[1](up(net.reduce[1](u)) + c2))
        u = own.decoder[2](up(net.reduce[2](u))) + c1
        prediction = net.decode(found, mask)
        torch.testing.assert_close(prediction.presence_logits, net.presence(u))
        torch.testing.assert_close(prediction.lesion_logits, net.head(net.last(u))[:, :3])
        assert torch.equal(prediction.logits,
                           class_logits(prediction.lesion_logits, prediction.presence_logits, gate="soft"))


def test_features_are_for_their_own_mask():
    net = small()
    features = net.encode(torch.randn(1, 4, 16, 16, 16), FULL)
    assert features.select(FULL) is features
    with pytest.raises(ValueError, match="no other; call encode for each mask"):
        net.decode(features, MASKS[:1])
    with pytest.raises(ValueError, match="call encode for each mask"):
        features.select(FULL, study=torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="no map per modality"):
        features.dense(0)
    assert net.encode_depends_on_availability and len(net.encoders) == 0


def test_the_gate_can_be_taken_off_a_trained_network():
    net = small(gate="hard").eval()
    with torch.no_grad():
        torch.nn.init.constant_(net.presence[3].bias, -50)  # "nothing is there"
        torch.nn.init.constant_(net.head.bias, 50)
        images = torch.randn(1, 4, 16, 16, 16)
        assert (net(images, FULL).logits.argmax(1) == 0).all()
        net.settings = replace(net.settings, gate="none")
        assert (net(images, FULL).logits.argmax(1) > 0).all()


def test_the_released_form_has_every_known_defect():
    """Section 9 of the specification."""
    faithful, fixed = small(faithful=True), small()
    for net, released in ((faithful, True), (fixed, False)):
        garm = net.garm
        assert [garm.align_general.layout, garm.faithful, garm.attention.scale] == (
            ["reshape", True, "nodes"] if released else ["transpose", False, "channels"])
        norms = {type(m) for part in (garm, net.presence) for m in part.modules() if "Norm" in type(m).__name__}
        assert (AnyBatchNorm in norms) == released and (torch.nn.GroupNorm in norms) != released
        assert net.settings.gate == ("hard" if released else "soft")
    assert small(faithful=True, gate="soft").settings.gate == "soft"  # written out, though it is the kit's default


def test_groups_put_every_study_back():
    available = MASKS[[3, 14, 3, 0, 14]]
    groups = MaskGroups.of(available, "cpu")
    assert groups.keys == ("0001", "1111", "1000")
    seen = {}

    def name(key, x, y):
        seen[key] = x[:, 0].tolist()
        return x * 10 + y

    x = torch.arange(5.0)[:, None]
    assert groups.apply(name, x, x + 0.5)[:, 0].tolist() == [0.5, 11.5, 22.5, 33.5, 44.5]
    assert seen == {"0001": [0, 2], "1111": [1, 4], "1000": [3]}


def test_an_adapter_adds_a_bottleneck():
    torch.manual_seed(0)
    adapter = Adapter(3, 5).eval()
    x = torch.randn(1, 3, 2, 2, 2)
    down, _, up, dropout = adapter.branch
    assert dropout.p == 0.2 and count(AdapterSet(16)) == 134_288
    torch.testing.assert_close(adapter(x), x + up(F.gelu(down(x))))
    assert mask_key((True, False, True, True)) == "1011"


def test_other_data_sets_have_their_own_masks():
    net = small(MYOPS)
    assert sorted(net.bank) == ["001", "010", "011", "100", "101", "110"]
    assert net(torch.randn(1, 3, 16, 16, 16), torch.ones(1, 3).bool()).logits.shape == (1, 6, 16, 16, 16)


def test_what_does_not_fit_is_refused():
    for shape in ((16, 16, 20), (8, 16, 16)):
        with pytest.raises(ValueError, match="multiple of"):
            small().encode(torch.randn(1, 4, *shape), FULL)
    with pytest.raises(ValueError, match="the availability table is"):
        small().encode(torch.randn(2, 4, 16, 16, 16), FULL)
    with pytest.raises(ValueError, match="no modality at all"):
        small().encode(torch.randn(1, 4, 16, 16, 16), ~FULL)
    with pytest.raises(ValueError, match="preset is not known"):
        build_network("adamm", BRATS, preset="faithful")
    with pytest.raises(ValueError, match="width is 12"):
        AdammNetSettings(width=12)
    with pytest.raises(ValueError, match="gate is 'open'"):
        AdammNetSettings(gate="open")
