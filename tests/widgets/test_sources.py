"""Studies for the explorers: the three kinds are one, and on the grid of the weights they agree."""

import nibabel as nib
import numpy as np
import pytest

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.shelf import Scans
from dmaf_lite.spec import BRATS
from dmaf_lite.widgets import cohort_study, folder_study, on_grid_of, phantom_study, sources
from dmaf_lite.widgets.scene import Scene, scene_bytes

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


def odd_study(folder):
    """Four files of one patient, each stored in its own way, with something else than 0 around the head."""
    rng, shape = np.random.default_rng(0), (20, 22, 24)
    head = np.zeros(shape, bool)
    head[4:15, 5:18, 3:20] = True
    kinds = zip(BRATS.modalities, (np.int16, np.float32, np.float64, ">i2"), (0, -7, 3, 0), strict=True)
    for name, kind, around in kinds:
        values = np.where(head, rng.integers(1, 900, shape), around)
        image = nib.Nifti1Image(values.astype(kind), np.diag([1.5, 1.5, 1.5, 1.0]))  # RAS: to be turned
        if name == "T1":
            image.header.set_slope_inter(0.37, 2.0)
        nib.save(image, folder / f"odd_{name.lower()}.nii.gz")
    nib.save(nib.Nifti1Image((head * rng.integers(0, 3, shape)).astype(np.uint8), np.diag([1.5, 1.5, 1.5, 1.0])),
             folder / "odd_seg.nii.gz")
    return folder


@pytest.mark.parametrize("spacing", [1.5, 3.0])
def test_a_large_study_is_shown_and_seen_as_if_it_were_small(tmp_path, monkeypatch, spacing):
    card = {**CARD, "spacing": [spacing] * 3}
    small = folder_study(odd_study(tmp_path), "brats2020")
    monkeypatch.setattr(sources, "LARGE", 0)
    large = folder_study(tmp_path, "brats2020")
    assert isinstance(large.images, Scans) and not isinstance(small.images, Scans)
    assert list(large.images) == list(small.images) and large.shape == small.shape and large.notes == small.notes
    assert scene_bytes(Scene.of(large)) == scene_bytes(Scene.of(small))
    assert Scene.whole(large).shape == Scene.whole(small).shape
    one, other = on_grid_of(small, card), on_grid_of(large, card)
    assert np.array_equal(one.label, other.label) and np.allclose(one.affine, other.affine)
    assert all(np.array_equal(one.images[m], other.images[m]) for m in small.images)


def test_a_large_study_is_never_in_memory_twice(tmp_path, monkeypatch):
    """Reading, drawing and preparing take one scan at a time and let it go."""
    import weakref

    alive, most, take = [], [], Scans.__getitem__

    def counted(self, name):
        most.append(sum(one() is not None for one in alive) + 1)
        image = take(self, name)
        alive.append(weakref.ref(image))
        return image

    monkeypatch.setattr(sources, "LARGE", 0)
    monkeypatch.setattr(Scans, "__getitem__", counted)
    study = folder_study(odd_study(tmp_path), "brats2020")
    assert not most, "opening reads from the files only"
    scene_bytes(Scene.of(study), seen=on_grid_of(study, {**CARD, "spacing": [3.0] * 3}))
    assert len(most) == 12 and max(most) == 1
