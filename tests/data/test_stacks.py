"""Stacks of thick slices: resampled in plane alone, cropped to the centre, padding marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmaf_lite.data.batches import BatchSettings, TrainingBatches, outside_marked
from dmaf_lite.data.case import Case, CaseError, normalise_case
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.stacks import CENTRE_MM, centre_box, slice_axis
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.phantom.heart.heart_cohort import write_heart_cohort
from dmaf_lite.phantom.heart.hearts import HeartSettings, make_heart_case
from dmaf_lite.spec import OUTSIDE


@pytest.fixture(scope="module")
def case() -> Case:
    return make_heart_case(0, 1, HeartSettings(spacing=3.0))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    folder = tmp_path_factory.mktemp("stacks")
    write_heart_cohort(folder / "raw", count=3, settings=HeartSettings(spacing=4.0), workers=0)
    report = prepare_cohort(folder / "raw", folder / "prepared", layout="heart_phantom", workers=0)
    assert len(report.prepared) == 3 and not report.failed
    return Cohort(folder / "prepared")


def test_only_the_planes_are_resampled_and_cropped(case: Case):
    normal = normalise_case(case, spacing=4.0, stack=True)
    assert normal.shape[2] == case.shape[2] and normal.spacing[2] == pytest.approx(case.spacing[2])
    assert normal.spacing[:2] == pytest.approx((4, 4)) and normal.shape[:2] == (CENTRE_MM / 4, CENTRE_MM / 4)
    for k in range(case.shape[2]):  # no slice has been mixed with another
        alone = Case("one", {m: image[..., k:k + 1] for m, image in case.images.items()}, case.label[..., k:k + 1],
                     case.affine, case.spacing)
        assert np.array_equal(normalise_case(alone, spacing=4.0, stack=True).label[..., 0], normal.label[..., k])
    assert set(np.unique(normal.label)) == set(np.unique(case.label)), "the heart lies inside the crop"


def test_the_way_back_to_the_files(case: Case):
    normal = normalise_case(case, stack=True)
    assert np.array_equal(normal.to_original(normal.label), case.label)
    assert np.allclose(normal.affine[:3, 3], (case.affine @ [*(s.start for s in normal.box), 1])[:3])


def test_norm_is_over_the_crop_and_very_bright_spots_do_not_matter(case: Case):
    before = normalise_case(case, stack=True)
    for image in before.images.values():
        assert abs(image.mean()) < 1e-3 and abs(image.std() - 1) < 1e-3
    spots = {m: image.copy() for m, image in case.images.items()}
    spots["C0"][60:62, 60:62] = 30000
    after = normalise_case(Case("x", spots, case.label, case.affine, case.spacing), stack=True)
    assert np.abs(after.images["C0"] - before.images["C0"])[:, :5].max() < 0.3
    assert np.array_equal(after.images["T2"], before.images["T2"]), "a scan never looks at another"


def test_one_slice_is_a_stack_and_slices_along_another_axis_are_refused(case: Case):
    one = Case("one", {m: image[..., :1] for m, image in case.images.items()}, None, case.affine, case.spacing)
    assert normalise_case(one, stack=True).shape[2] == 1
    turned = {m: np.moveaxis(image, 2, 0) for m, image in case.images.items()}
    wrong = Case("wrong", turned, None, np.diag([14.0, 3, 3, 1]), (14.0, 3.0, 3.0))
    with pytest.raises(CaseError, match=r"thick slices along axis 1 of 3.*expected slices along the last axis"):
        normalise_case(wrong, stack=True)


def test_the_axis_of_the_slices_and_the_crop():
    assert slice_axis((0.75, 0.75, 14)) == 2 and slice_axis((14, 1, 1)) == 0 and slice_axis((1, 1, 1.2)) is None
    assert centre_box((480, 480, 4), (0.75, 0.75, 14), (32, 32, 32)) == (slice(112, 368), slice(112, 368), slice(0, 4))
    assert centre_box((100, 300, 4), (1, 1, 14), (32, 200, 32)) == (slice(0, 100), slice(50, 250), slice(0, 4))


def test_padding_of_a_crop_is_marked_and_slices_need_none(cohort: Cohort):
    stacks = TrainingBatches(TrainingSet(cohort, cohort.names), BatchSettings(crop=(48, 48, 8), batch=2))[0]
    assert stacks.padded and stacks.label.min() == OUTSIDE
    for b, name in enumerate(stacks.names):
        slices = cohort.meta(name)["shape"][2]
        outside = (stacks.label[b] == OUTSIDE).all(0).all(0)
        assert outside.sum() == 8 - slices and (stacks.images[b][..., outside] == 0).all()
    single = TrainingBatches(TrainingSet(cohort, cohort.names), BatchSettings(crop=(48, 48, 1), batch=4))[0]
    assert not single.padded and single.images.shape == (4, 3, 48, 48, 1) and single.label.min() >= 0


def test_marking_what_lies_outside():
    label = np.ones((4, 4, 2), np.uint8)
    marked = outside_marked(label, (-1, 2, 0), (8, 5, 2))
    assert (marked[0] == OUTSIDE).all() and (marked[1:, :3] == 1).all() and (marked[:, 3] == OUTSIDE).all()


def test_the_store_is_that_of_the_case_in_memory(cohort: Cohort):
    normal = normalise_case(make_heart_case(0, 2, HeartSettings(spacing=4.0)), stack=True)
    images, label = cohort.read("HeartPhantom_002")
    assert np.array_equal(label, normal.label)
    for m, name in enumerate(cohort.spec.modalities):
        assert np.array_equal(images[m], normal.images[name])
    assert Path(cohort.folder).name == "prepared" and cohort.spec.stack
