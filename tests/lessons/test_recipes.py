"""The artefacts that lessons share: phantom cohort, run, rows."""

import pandas as pd
import pytest

from dmaf_lite.lessons import recipes
from dmaf_lite.phantom import ready
from dmaf_lite.phantom.ready import PhantomSettings, ready_cohort

COHORT = {"train": 3, "val": 1, "test": 1, "seed": 1, "spacing": 6.0}
RUN = {"network": "baseline", "objective": "plain", "network_options": {"width": 4, "levels": 2}, "crop": [16, 16, 16],
       "steps": 2, "log_every": 1}


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    recipes.make_cohort(folder, COHORT)
    return folder


def test_a_cohort_is_made_prepared_and_split(cohort_folder):
    cohort, split = recipes.open_cohort(cohort_folder)
    assert {part: len(names) for part, names in split.items()} == {"train": 3, "val": 1, "test": 1}
    assert sorted(name for names in split.values() for name in names) == cohort.names
    assert cohort.available(cohort.names[0]).all()


def test_a_second_call_only_opens_it(cohort_folder, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in cohort_folder.rglob("*") if p.is_file()}
    ready_cohort(cohort_folder, PhantomSettings(**COHORT), workers=0)
    after = {p: p.stat().st_mtime_ns for p in cohort_folder.rglob("*.npy")}
    assert after == {p: t for p, t in before.items() if p.suffix == ".npy"}


def test_a_phantom_that_fails_is_named(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr("dmaf_lite.phantom.brain.recipe.write_brain", broken)
    with pytest.raises(RuntimeError, match=r"Phantom_000.*no space left"):
        ready.ready_cohort(tmp_path, PhantomSettings(train=1, val=0, test=1, spacing=6.0), workers=0)


def test_train_and_evaluate(cohort_folder, tmp_path):
    recipes.train_run(tmp_path / "run", RUN, cohort_folder)
    recipes.evaluate_run(tmp_path, {"cases": 1, "run": "baseline"}, cohort_folder, tmp_path / "run")
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["case"].nunique() == 1 and rows["subset"].nunique() == 15 and set(rows["run"]) == {"baseline"}
