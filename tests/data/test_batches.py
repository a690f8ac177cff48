"""The batch of step t is a pure function of (seed, t), and obeys the missing-rate table."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dmaf_lite.data.batches import BatchSettings, TrainingBatches, augmented, batch_loader, draw_crop
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.spec import BRATS

SETTINGS = BatchSettings(crop=(8, 8, 8), seed=3)


def same(a, b):
    return (torch.equal(a.images, b.images) and torch.equal(a.label, b.label)
            and torch.equal(a.available, b.available) and a.names == b.names)


def test_the_same_step_is_the_same_batch_and_another_step_another(tiny_cohort):
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), SETTINGS)
    again = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), SETTINGS)
    assert same(batches[7], again[7]) and not same(batches[7], batches[8])


def test_late_crops_are_drawn_anew_for_each_batch_and_change_nothing_before(tiny_cohort):
    late = replace(SETTINGS, late_crops=((8, 8, 8), (16, 8, 8)), late_from=5)
    plain, varied = (TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), s) for s in (SETTINGS, late))
    assert all(same(plain[step], varied[step]) for step in range(5))
    sizes = [tuple(varied[step].images.shape[2:]) for step in range(5, 25)]
    assert set(sizes) == set(late.late_crops) and varied[7].label.shape[1:] == sizes[2]
    assert same(varied[12], TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), late)[12])


def test_worker_processes_change_nothing(tiny_cohort):
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), SETTINGS)
    read_ahead = batch_loader(batches, range(2, 6), workers=1, pin=False)
    for step, batch in zip(range(2, 6), read_ahead, strict=True):
        assert same(batch, batches[step])


def test_every_case_comes_once_an_epoch(tiny_cohort):
    names = tiny_cohort.names
    batches = TrainingBatches(TrainingSet(tiny_cohort, names), SETTINGS)
    stream = [name for step in range(2 * batches.steps_per_epoch) for name in batches[step].names]
    assert sorted(stream[: len(names)]) == sorted(stream[len(names) : 2 * len(names)]) == names


def test_complete_cases_lose_random_scans(tiny_cohort):
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), SETTINGS)
    seen = {tuple(row) for step in range(60) for row in batches[step].available.tolist()}
    assert len(seen) == 15


@pytest.mark.parametrize("condition", ["imbalanced", "imbalanced+drop"])
def test_a_scan_that_the_table_leaves_out_is_never_seen(tiny_cohort, condition):
    names = tiny_cohort.names
    table = {name: BRATS.subsets()[4 + i] for i, name in enumerate(names)}
    given = None if condition == "complete" else table
    batches = TrainingBatches(TrainingSet(tiny_cohort, names, given),
                              BatchSettings(crop=(8, 8, 8), condition=condition))
    seen = set()
    for step in range(20):
        batch = batches[step]
        for name, mask, images in zip(batch.names, batch.available, batch.images, strict=True):
            row = torch.tensor(table[name])
            assert not (mask & ~row).any() and mask.any()
            assert (images[~mask] == 0).all()
            seen.add((name, tuple(mask.tolist())))
    assert (len(seen) == len(names)) == (condition == "imbalanced")


def test_the_table_must_cover_every_case_and_leave_a_scan(tiny_cohort):
    names = tiny_cohort.names
    settings = BatchSettings(condition="imbalanced")
    with pytest.raises(ValueError, match=f"{names[1]}.* without a row in the missing-rate table"):
        TrainingBatches(TrainingSet(tiny_cohort, names, {names[0]: (True,) * 4}), settings)
    with pytest.raises(ValueError, match="left without any scan"):
        TrainingBatches(TrainingSet(tiny_cohort, names, {n: (False,) * 4 for n in names}), settings)
    with pytest.raises(ValueError, match="condition is 'partial'; expected one of complete"):
        TrainingBatches(TrainingSet(tiny_cohort, names), BatchSettings(condition="partial"))


@given(st.integers(0, 2**31), st.tuples(*[st.integers(4, 40)] * 3), st.tuples(*[st.integers(4, 40)] * 3),
       st.floats(0, 1))
def test_a_crop_never_starts_outside(seed, shape, crop, foreground):
    rng = np.random.default_rng(seed)
    voxel = np.array([[n - 1 for n in shape]])
    start = draw_crop(rng, {"shape": shape, "foreground": {1: voxel}}, crop, foreground)
    for s, n, c in zip(start, shape, crop, strict=True):
        assert 0 <= s <= max(n - c, 0)


def test_a_centred_crop_holds_its_voxel():
    rng = np.random.default_rng(0)
    voxel = np.array([[30, 12, 25]])
    for _ in range(50):
        start = draw_crop(rng, {"shape": (60, 60, 60), "foreground": {3: voxel}}, (16, 16, 16), 1.0)
        assert all(s <= v < s + 16 for s, v in zip(start, voxel[0], strict=True))


def test_dropped_scans_are_read_for_a_teacher_only(tiny_cohort):
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), SETTINGS)
    plain = next(b for b in map(batches.__getitem__, range(50)) if not b.available.all())
    assert torch.equal(plain.existing, plain.available)
    batches.keep_dropped = True
    for step in range(20):
        batch = batches[step]
        assert not (batch.available & ~batch.existing).any()
        read = batch.images.flatten(2).abs().sum(2) > 0
        assert torch.equal(read, batch.existing)
    assert (batch.existing.sum() > batch.available.sum()) or batch.available.all()


def test_changes_can_wait_for_the_device(tiny_cohort):
    batches = TrainingBatches(TrainingSet(tiny_cohort, tiny_cohort.names), SETTINGS)
    at_once = batches[3]
    batches.augment = False
    waiting = batches[3]
    assert waiting.changes and not at_once.changes
    assert not torch.equal(waiting.images, at_once.images)
    assert same(augmented(waiting), at_once)


def starts(foreground, voxel, shape=(20, 12, 9), crop=(8, 8, 8), draws=400):
    rng = np.random.default_rng(0)
    meta = {"shape": shape, "foreground": {2: np.array([voxel])}}
    return np.array([draw_crop(rng, meta, crop, foreground) for _ in range(draws)])


def test_uniform_crops_reach_both_faces_and_everything_between():
    found = starts(0.0, (1, 1, 1))
    for axis, room in enumerate((12, 4, 1)):
        assert set(found[:, axis]) == set(range(room + 1))


def test_the_share_of_crops_around_a_label_is_as_asked():
    """In the far corner of a large volume a uniform crop hardly ever holds the voxel."""
    for share in (0.0, 0.5, 1.0):
        found = starts(share, (150, 150, 150), shape=(200, 200, 200))
        holds = ((found <= 150) & (150 < found + 8)).all(1).mean()
        assert abs(holds - share) < 0.08


def test_a_labelled_voxel_lies_anywhere_in_the_middle_half_of_its_crop():
    places = (100 - starts(1.0, (100, 100, 100), shape=(200, 200, 200), crop=(32, 32, 32))) / 32
    assert places.min() >= 0.25 - 1 / 32 and places.max() <= 0.75 + 1 / 32
    for axis in range(3):
        share, _ = np.histogram(places[:, axis], bins=4, range=(0.25, 0.75))
        assert share.min() > 60  # of 400; in the centre only, two of the four would be empty
    assert abs(np.corrcoef(places.T) - np.eye(3)).max() < 0.2  # each axis for itself
