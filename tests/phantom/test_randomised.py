"""The randomised phantom: the plain one unchanged, each ingredient a switch, labels that the picture shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage as ndi

from dmaf_lite.base.settings import from_mapping
from dmaf_lite.phantom.brain import anatomy
from dmaf_lite.phantom.brain.ingredients import INGREDIENTS, BrainSettings
from dmaf_lite.phantom.brain.randomised import imitators, roles, stripping, tumours, ventricles
from dmaf_lite.phantom.brain.realism import REAL_TISSUE, spread_of, tissue_contrast
from dmaf_lite.phantom.brain.recipe import make_brain, write_brain_cohort
from dmaf_lite.phantom.fields import Chance, Grid
from dmaf_lite.phantom.ready import PhantomSettings

MODALITIES = ("FLAIR", "T1ce", "T1", "T2")
COARSE = BrainSettings(spacing=4.0, randomise="full")


@pytest.fixture(scope="module")
def cases() -> list[dict[str, np.ndarray]]:
    """Twelve randomised cases."""
    return [make_brain(0, index, COARSE) for index in range(12)]


@pytest.fixture(scope="module")
def brain() -> tuple[Grid, anatomy.Anatomy, Chance, anatomy.Head]:
    """One healthy brain on a coarse grid."""
    chance = Chance(0, 0)
    head = anatomy.Head.draw(chance)
    grid = head.box(Grid.field_of_view(4.0))
    return grid, anatomy.make_anatomy(grid, chance, head), chance, head


def digest(case: dict[str, np.ndarray]) -> str:
    """Of all voxels."""
    return hashlib.sha256(b"".join(case[key].tobytes() for key in (*MODALITIES, "seg"))).hexdigest()[:16]


def test_the_plain_phantom_is_what_it_was():
    """Weights and tables of earlier versions were made with it; the last bit of a grey value is the processor's."""
    case = make_brain(0, 5, BrainSettings(spacing=4.0))
    grey = {name: (float(case[name].mean()), float(case[name].std())) for name in MODALITIES}
    before = {"FLAIR": (108.0318, 265.5862), "T1ce": (94.762, 233.9463), "T1": (98.012, 237.5652),
              "T2": (120.6258, 312.8121)}
    for name, values in before.items():
        assert grey[name] == pytest.approx(values, rel=2e-3), name
    assert np.bincount(case["seg"].ravel()).tolist() == pytest.approx([139110, 175, 1115], abs=5)
    assert np.argwhere(case["seg"] > 0).mean(0) == pytest.approx([36.371, 39.139, 22.738], abs=0.02)
    assert set(BrainSettings().describe()) == {"spacing", "without_enhancement", "several_foci", "wobble"}


def test_the_same_seed_is_the_same_case_and_another_index_another(cases: list[dict[str, np.ndarray]]):
    assert digest(make_brain(0, 3, COARSE)) == digest(cases[3]) != digest(cases[4])


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_each_ingredient_is_a_switch(ingredient: str, cases: list[dict[str, np.ndarray]]):
    without = make_brain(0, 1, replace(COARSE, leave_out=(ingredient,)))
    assert any(not np.array_equal(without[m], cases[1][m]) for m in MODALITIES)
    everything_but = make_brain(0, 1, replace(COARSE, leave_out=INGREDIENTS))
    assert digest(everything_but) == digest(make_brain(0, 1, replace(COARSE, randomise="off")))


def test_a_mixed_cohort_is_a_third_mild_as_many_as_full():
    mixed = BrainSettings(spacing=4.0, randomise="mixed")
    kinds = [mixed.ingredients(index) for index in range(12)]
    assert kinds.count(frozenset(INGREDIENTS)) == 9 and kinds[3] == kinds[7] == kinds[11] != kinds[0]
    assert digest(make_brain(0, 3, mixed)) == digest(make_brain(0, 3, replace(mixed, randomise="mild")))


def test_settings_that_make_no_sense_are_refused():
    for bad, found in (({"randomise": "wild"}, "wild"), ({"leave_out": ("contrast",)}, "leave_out"),
                       ({"randomise": "full", "leave_out": ("colour",)}, "colour")):
        with pytest.raises(ValueError, match=found):
            BrainSettings(**bad)


def test_a_profile_may_ask_for_it_and_is_read_strictly():
    settings = from_mapping(PhantomSettings, {"randomise": "mixed", "leave_out": ["scanner"], "spacing": 4.0})
    assert settings.brain == BrainSettings(spacing=4.0, randomise="mixed", leave_out=("scanner",))
    for wrong in ({"randomise": "wild"}, {"leave_out": ["colour"], "randomise": "full"},
                  {"kind": "heart", "randomise": "full"}):
        with pytest.raises(ValueError, match=r"randomise|leave_out"):
            from_mapping(PhantomSettings, wrong)


def test_cohorts_of_different_kinds_are_not_mixed(tmp_path):
    write_brain_cohort(tmp_path, count=1, settings=COARSE, workers=0)
    assert json.loads((tmp_path / "phantom.json").read_text())["randomise"] == "full"
    with pytest.raises(ValueError, match="another phantom cohort"):
        write_brain_cohort(tmp_path, count=1, settings=replace(COARSE, randomise="mild"), workers=0)


def test_a_case_is_still_one_brain_with_labels_inside_it(cases: list[dict[str, np.ndarray]]):
    for case in cases:
        masks = [case[m] > 0 for m in MODALITIES]
        assert all(np.array_equal(mask, masks[0]) for mask in masks) and case["FLAIR"].min() == 0
        assert set(np.unique(case["seg"])) <= {0, 1, 2, 4} and (case["seg"] > 0).any()
        assert not (case["seg"] > 0)[~masks[0]].any(), "no label where there is no picture"
        parts, _ = ndi.label(masks[0])
        assert np.bincount(parts.ravel())[1:].max() > 0.95 * masks[0].sum()


def test_ventricles_only_grow_and_the_shares_still_sum_to_one(brain):
    grid, tissue, _, _ = brain
    grown = []
    for index in range(8):
        wide = ventricles.widen(grid, tissue, Chance(0, index))
        assert (wide.csf >= tissue.csf - 1e-6).all()
        assert np.allclose((wide.csf + wide.grey + wide.white)[tissue.brain], 1, atol=1e-4)
        grown.append(float((wide.csf - tissue.csf).sum() / tissue.csf.sum()))
    assert max(grown) > 0.15 and min(grown) < 0.02, "some brains keep their ventricles, some have wide ones"


def test_contrast_stays_inside_the_role_of_each_scan():
    for index in range(200):
        flair, t1ce, t1, t2 = (roles.draw_contrast(m, Chance(5, index)) for m in MODALITIES)
        assert flair["csf"] < flair["white"] <= flair["grey"] < flair["oedema"]
        assert t2["white"] < t2["grey"] < min(t2["oedema"], t2["necrosis"]) and t2["csf"] > 1.5 * t2["grey"]
        assert t1["csf"] < t1["grey"] < t1["white"]
        for part in ("solid", "oedema", "enhancing"):
            assert 0.63 * t1["white"] < t1[part] < 0.91 * t1["white"]
        assert t1ce["enhancing"] > t1ce["white"] and t1ce["enhancing"] >= 1.2 * t1ce["solid"]
        for values in (flair, t1ce, t1, t2):
            assert min(values.values()) > 0


def test_every_label_is_shown_by_the_scan_that_defines_it():
    """No scan may veto what another shows: each may hide the tumour, but not the one that the label comes from."""
    drawn = {m: [roles.Conspicuity.draw(m, Chance(0, index)) for index in range(300)] for m in MODALITIES}
    assert min(c.oedema for c in drawn["FLAIR"]) >= 0.4 and {c.rim for c in drawn["T1ce"]} == {1.0}
    assert min(c.oedema for c in drawn["T1"]) < 0.1 and min(c.core for c in drawn["T2"]) < 0.1
    hidden = np.array([[c.oedema < 0.5 for c in drawn[m]] for m in ("T1", "T2")], float)
    assert abs(np.corrcoef(hidden)[0, 1]) < 0.2, "independent of the other scans"


def test_imitators_lie_where_their_models_do(brain):
    grid, tissue, _, head = brain
    medium = np.mean([imitators.uptake(grid, tissue, Chance(1, index), head) for index in range(12)], axis=0)
    depth = tissue.depth
    assert medium.min() >= 0 and medium[(depth > -6) & (depth < 4)].mean() > 4 * medium[depth > 12].mean()
    assert medium[(depth < 0) & (depth > -4)].mean() > 0.02, "also outside the surface, where stripping leaves it"
    spots = np.mean([imitators.white_spots(grid, tissue, Chance(1, index)) for index in range(12)], axis=0)
    assert spots.sum() > 0 and np.average(tissue.white, weights=spots) > 0.6


def test_skull_stripping_errs_to_both_sides(brain):
    grid, tissue, _, _ = brain
    excess = [stripping.varied_mask(tissue.depth, grid, Chance(2, i)).sum() / tissue.brain.sum() for i in range(16)]
    assert min(excess) < 0.97 and max(excess) > 1.03


def test_tumours_come_in_every_size_kind_and_number():
    sizes, foci, kinds = [], [], []
    for index in range(16):
        chance = Chance(3, index)
        tumour = tumours.plan_varied_tumour(chance, anatomy.Head.draw(chance))
        sizes.append(tumour.foci[0].radius)
        foci.append(len(tumour.foci))
        kinds.append(tumour.enhancing)
    assert max(sizes) > 1.8 * min(sizes) and max(foci) > 1 and 0 < sum(kinds) < 16


# ---- realism and variety ----------------------------------------------------------------------------

def test_tissues_look_as_in_scans(cases: list[dict[str, np.ndarray]]):
    """Medians over cases of z-values, against ranges around real tissue (see `realism.REAL_TISSUE`)."""
    found = tissue_contrast(cases)
    for key, (low, high) in REAL_TISSUE.items():
        assert low <= np.nanmedian(found[key]) <= high, (key, np.nanmedian(found[key]))


def test_the_randomised_phantom_varies_more_than_the_plain_one(cases: list[dict[str, np.ndarray]]):
    plain = [make_brain(0, index, replace(COARSE, randomise="off")) for index in range(12)]
    wide, narrow = spread_of(cases), spread_of(plain)
    assert wide["volume"] > 1.3 * narrow["volume"]
    assert np.mean([wide[m] / narrow[m] for m in MODALITIES]) > 1.3
