"""A phantom cohort that is ready to train on, and what its folder refuses."""

from dataclasses import replace

import pytest

from dmaf_lite.data.case import CaseError
from dmaf_lite.phantom.ready import PhantomSettings, ready_cohort

SETTINGS = PhantomSettings(train=2, val=1, test=1, seed=1, spacing=6.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    ready_cohort(folder, SETTINGS, minimum=16, workers=0)
    return folder


@pytest.mark.parametrize("change", [{"train": 3}, {"test": 0}, {"seed": 2}, {"spacing": 5.5}, {"randomise": "mild"}])
def test_a_folder_is_never_taken_for_a_cohort_of_other_settings(folder, change):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    with pytest.raises(CaseError) as error:
        ready_cohort(folder, replace(SETTINGS, **change), minimum=16, workers=0)
    assert "another folder" in str(error.value)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_a_half_written_split_is_drawn_again_and_blocks_nothing(folder):
    _, split = ready_cohort(folder, SETTINGS, minimum=16, workers=0)
    (folder / "split" / "val.txt").unlink()
    _, again = ready_cohort(folder, SETTINGS, minimum=16, workers=0)
    assert again == split and (folder / "split" / "val.txt").is_file()
