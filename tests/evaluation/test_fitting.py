"""A calibration from observed studies: mends a network that is too sure, and says how good it is on other studies."""

import numpy as np
import pytest

from dmaf_lite.evaluation.fitting import fit, judge
from dmaf_lite.evaluation.observed import Observed, load, save
from dmaf_lite.evaluation.reliability import Scaling
from dmaf_lite.spec import BRATS

MASKS = BRATS.subsets()
VALUE = (0.4, 1.6, 0.2, 0.8)  # what FLAIR, T1ce, T1, T2 know: T1ce is worth most


def study(seed: int, sure: float = 3.0) -> Observed:
    """Probabilities from which the truth is drawn, the sharper the more the scans know; then told `sure` times too
    loud."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, 150, p=[0.4, 0.2, 0.2, 0.2])
    noise = rng.gumbel(size=(4, 150))
    maps = []
    for mask in MASKS:
        knows = sum(v for v, is_available in zip(VALUE, mask, strict=True) if is_available)
        logits = knows * (np.arange(4)[:, None] == truth) + 0.3 * noise
        maps.append(Scaling(sure)(np.exp(logits) / np.exp(logits).sum(0)))
    true = {region: int(BRATS.region_mask(truth, region).sum()) for region in BRATS.regions}
    return Observed(MASKS, np.stack(maps).astype(np.float16), truth.astype(np.uint8), 1.0, true, 0.027)


@pytest.fixture(scope="module")
def studies() -> list[Observed]:
    return [study(seed) for seed in range(20)]


@pytest.fixture(scope="module")
def quality(studies):
    return judge(studies, BRATS)


def test_every_subset_is_calibrated_and_more_scans_recover_more(studies):
    fitted = fit(studies, BRATS)
    assert list(fitted) == list(MASKS)
    for mask, one in fitted.items():
        assert set(one.regions) == set(BRATS.regions)
        missing = {scan for scan, is_available in zip(BRATS.modalities, mask, strict=True) if not is_available}
        assert set(one.recovered) == missing
    alone = fitted[MASKS[0]]
    best = max(alone.recovered, key=lambda scan: alone.recovered[scan]["ET"])
    assert best == "T1ce" and alone.recovered["T1ce"]["ET"] > 0.1
    assert fitted[MASKS[-1]].mean_dice["WT"] > alone.mean_dice["WT"]


def test_the_calibration_error_falls_on_studies_that_the_fit_has_not_seen(quality):
    for subset, regions in quality["subsets"].items():
        assert regions["WT"]["after"] < max(regions["WT"]["before"], 0.03), subset
    before, after = (np.mean([regions["ET"][when] for regions in quality["subsets"].values()])
                     for when in ("before", "after"))
    assert after < 0.5 * before


def test_expected_dice_goes_with_the_true_one_and_intervals_cover(quality):
    for numbers in quality["regions"].values():
        assert numbers["correlation"] > 0.8 and numbers["error"] < 0.1
        # Fitted on ten studies, an interval reaches from the smallest to the largest: 9 of 11 lie within.
        assert numbers["dice_within"] > 0.65 and numbers["volume_within"] > 0.65


def test_the_next_scan_beats_chance_and_not_the_oracle(quality):
    found = quality["next_scan"]
    assert found["random"] < found["ours"] <= found["oracle"] + 1e-9
    assert found["random"] < found["table"] <= found["oracle"] + 1e-9


def test_more_scans_are_surer_here_so_inclusion_is_kept(quality):
    assert quality["violations"]["after"]["steps"] < 0.1


def test_true_dice_of_what_is_kept(studies):
    one = studies[0]
    label = one.probabilities[-1].astype(np.float32).argmax(0)
    both = ((label == 3) & (one.truth == 3)).sum()
    assert one.dice(MASKS[-1], BRATS)["ET"] == pytest.approx(
        2 * both / ((label == 3).sum() + (one.truth == 3).sum()), abs=0.01)
    true = {region: 3 * count for region, count in one.true_voxels.items()}
    heavier = Observed(one.masks, one.probabilities, one.truth, 3.0, true, 1.0)
    assert heavier.dice(MASKS[3], BRATS) == pytest.approx(one.dice(MASKS[3], BRATS))


def test_a_study_comes_back_from_disk(tmp_path, studies):
    save(tmp_path / "a.npz", studies[3])
    found = load(tmp_path / "a.npz")
    assert found.masks == MASKS and found.true_voxels == studies[3].true_voxels
    assert np.array_equal(found.probabilities, studies[3].probabilities)
