"""Studies for the explorers: the three kinds are one, and on the grid of the weights they agree."""

import numpy as np
import pytest

from dmaf_lite.data.case import CaseError
from dmaf_lite.spec import BRATS
from dmaf_lite.widgets import cohort_study, folder_study, on_grid_of, phantom_study

CARD = {"spec": "brats", "spacing": [1.0, 1.0, 1.0], "window": [16, 16, 16]}


def test_a_folder_and_its_prepared_case_are_one_study_to_the_network(tiny_folder, tiny_cohort):
    name = tiny_cohort.names[0]
    raw, prepared = folder_study(tiny_folder / name), cohort_study(tiny_cohort, name)
    assert list(raw.images) == list(prepared.images) == list(BRATS.modalities)
    seen = on_grid_of(raw, CARD)
    assert np.array_equal(seen.label, prepared.label) and np.allclose(seen.affine, prepared.affine)
    for modality in BRATS.modalities:
        assert np.array_equal(seen.images[modality], prepared.images[modality]), modality
    again = on_grid_of(prepared, CARD)
    for modality in BRATS.modalities:
        assert np.allclose(again.images[modality], prepared.images[modality], atol=1e-4), "prepared twice is once"


def test_another_voxel_size_is_brought_to_that_of_the_weights(tiny_folder, tiny_cohort):
    study = on_grid_of(folder_study(tiny_folder / tiny_cohort.names[0]), {**CARD, "spacing": [2.0] * 3})
    assert np.linalg.norm(study.affine[:3, :3], axis=0) == pytest.approx([2] * 3, rel=0.05)
    assert set(np.unique(study.label)) <= {0, 1, 2, 3}


def test_missing_scans_stay_missing(tiny_folder, tiny_cohort):
    for study in (folder_study(tiny_folder / tiny_cohort.names[3]), cohort_study(tiny_cohort, tiny_cohort.names[3])):
        assert list(study.images) == list(on_grid_of(study, CARD).images) == ["FLAIR", "T1ce"]


def test_a_phantom_says_that_it_is_one():
    study = phantom_study(3, 1, spacing=6.0)
    assert study.synthetic and "(synthetic)" in study.title and study.label.max() <= 3
    assert on_grid_of(study, {**CARD, "spacing": [6.0] * 3}).synthetic
    images, label = study.lps()
    assert label.shape == images["T1"].shape


def test_weights_of_another_data_set_are_refused():
    with pytest.raises(ValueError, match="trained on myops, Phantom_000 is a study of brats"):
        on_grid_of(phantom_study(0, 0, spacing=6.0), {**CARD, "spec": "myops"})


def test_an_orientation_that_the_weights_have_not_seen_is_told(tiny_folder, tiny_cohort):
    from dataclasses import replace

    study = folder_study(tiny_folder / tiny_cohort.names[0])
    flipped = replace(study, affine=study.affine @ np.diag([-1.0, 1, 1, 1]))
    with pytest.warns(UserWarning, match="point to RPS"):
        on_grid_of(flipped, CARD)


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(CaseError, match="no modality"):
        folder_study(tmp_path)
