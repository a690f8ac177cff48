"""Preparing: atomic, resumable, parallel; a bad case is reported and the batch goes on."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny import REPOSITORY, die_on_b, write_tiny_case

from dmaf_lite.data.case import CaseError
from dmaf_lite.data.cohort import Cohort, prepare_cohort
from dmaf_lite.data.prepare import _each


def prepare(folder, out, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return prepare_cohort(folder, out, layout="brats2020", **{"workers": 0, "minimum": 16, **options})


def content(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


NAMES = [f"BraTS20_Training_{i:03d}" for i in range(1, 5)]


def test_two_processes_prepare_the_same_bytes_as_one(tiny_folder, tmp_path):
    report = prepare(tiny_folder, tmp_path / "one")
    assert report.prepared == NAMES and not report.failed and not report.skipped
    assert prepare(tiny_folder, tmp_path / "two", workers=2).prepared == NAMES
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_second_run_skips_what_is_there(tiny_folder, tmp_path):
    prepare(tiny_folder, tmp_path / "s", names=NAMES[:2])
    before = content(tmp_path / "s")
    report = prepare(tiny_folder, tmp_path / "s")
    assert report.skipped == NAMES[:2] and report.prepared == NAMES[2:]
    assert before.items() <= content(tmp_path / "s").items()
    assert prepare(tiny_folder, tmp_path / "s", resume=False).prepared == NAMES


def test_a_changed_source_file_is_prepared_again(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "c")
    prepare(tmp_path / "c", tmp_path / "s")
    write_tiny_case(tmp_path / "c", NAMES[1], seed=77)
    report = prepare(tmp_path / "c", tmp_path / "s")
    assert report.prepared == [NAMES[1]] and report.skipped == [NAMES[0], *NAMES[2:]]
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [*NAMES, "cohort.json"]


def test_a_killed_run_leaves_no_half_case_and_the_next_one_completes(tiny_folder, tmp_path):
    out = tmp_path / "s"
    script = textwrap.dedent(f"""
        import os, signal
        import numpy as np
        from dmaf_lite.data.cohort import prepare_cohort
        save, done = np.save, []
        def kill_in_the_third_case(path, *args, **kwargs):
            save(path, *args, **kwargs)
            done.append(path)
            if len(done) == 5 + 5 + 3:
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        np.save = kill_in_the_third_case
        prepare_cohort({str(tiny_folder)!r}, {str(out)!r}, layout="brats2020", minimum=16, workers=0)
    """)
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, capture_output=True)
    assert result.returncode != 0
    left = [p for p in out.iterdir() if p.name.startswith(".")]
    assert len(left) == 1 and len(list(left[0].iterdir())) == 3, "the run must have died in the middle of a case"
    assert Cohort(out).names == NAMES[:2]
    report = prepare(tiny_folder, out)
    assert report.skipped == NAMES[:2] and report.prepared == NAMES[2:]
    assert sorted(p.name for p in out.iterdir()) == [*NAMES, "cohort.json"]
    prepare(tiny_folder, tmp_path / "fresh")
    assert content(out) == content(tmp_path / "fresh")


def test_a_worker_process_that_dies_fails_its_case_and_not_the_run():
    outcome = {name: error for name, error, _ in _each(die_on_b, [Path("a"), Path("b")], 2)}
    assert set(outcome) == {"a", "b"} and "run again with fewer workers" in outcome["b"]


def test_a_failing_disk_leaves_nothing_behind(tiny_folder, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    report = prepare(tiny_folder, tmp_path / "s")
    assert set(report.failed) == set(NAMES) and "disk full" in report.failed[NAMES[0]]
    assert [p.name for p in (tmp_path / "s").iterdir()] == ["cohort.json"]


def test_a_bad_case_is_reported_and_the_batch_goes_on(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "c")
    (tmp_path / "c" / NAMES[1] / f"{NAMES[1]}_t2.nii.gz").write_bytes(b"\x1f\x8bjunk")
    (tmp_path / "c" / "BraTS20_Training_009").mkdir()
    report = prepare(tmp_path / "c", tmp_path / "s", names=[*NAMES, "BraTS20_Training_009", "nobody"])
    assert report.prepared == [NAMES[0], *NAMES[2:]]
    assert set(report.failed) == {NAMES[1], "BraTS20_Training_009", "nobody"}
    assert f"{NAMES[1]}_t2.nii.gz: found" in report.failed[NAMES[1]]
    assert "no modality at all" in report.failed["BraTS20_Training_009"]
    assert "3 prepared, 0 there already, 3 failed" in str(report) and "no case nobody" in str(report)
    assert Cohort(tmp_path / "s").names == report.prepared


def test_warnings_are_said_kept_and_said_again(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder / NAMES[0], tmp_path / "c" / NAMES[0])
    label = tmp_path / "c" / NAMES[0] / f"{NAMES[0]}_seg.nii.gz"
    label.rename(label.with_name("W39_1998.09.19_Segm.nii.gz"))
    with pytest.warns(UserWarning, match="W39_1998"):
        report = prepare_cohort(tmp_path / "c", tmp_path / "s", layout="brats2020", minimum=16, workers=2)
    assert "W39_1998" in report.warnings[NAMES[0]][0] and "W39_1998" in str(report)
    assert "W39_1998" in Cohort(tmp_path / "s").meta(NAMES[0])["warnings"][0]
    assert "W39_1998" in prepare(tmp_path / "c", tmp_path / "s").warnings[NAMES[0]][0]


def test_other_settings_need_another_folder(tiny_folder, tmp_path):
    prepare(tiny_folder, tmp_path / "s")
    with pytest.raises(ValueError, match=r"minimum \[16, 16, 16\] \(asked: \[8, 8, 8\]\)"):
        prepare(tiny_folder, tmp_path / "s", minimum=8)
    with pytest.raises(ValueError, match="spacing"):
        prepare(tiny_folder, tmp_path / "s", spacing=2.0)


def test_original_files_are_never_overwritten(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "c")
    before = content(tmp_path / "c")
    with pytest.raises(ValueError, match="a folder of its own"):
        prepare(tmp_path / "c", tmp_path / "c")
    shutil.copytree(tmp_path / "c", tmp_path / "d")
    report = prepare(tmp_path / "c", tmp_path / "d", resume=False)
    assert set(report.failed) == set(NAMES) and "no prepared case" in report.failed[NAMES[0]]
    assert content(tmp_path / "c") == before and before.items() <= content(tmp_path / "d").items()


def test_a_store_of_an_earlier_version_with_other_axes_is_refused(tmp_path):
    """Earlier versions stored RAS files as they lay; the same head was upside down beside LPS ones."""
    folder = write_tiny_case(tmp_path / "c", "x")
    for path in folder.iterdir():
        nib.save(nib.as_closest_canonical(nib.load(path)), path)
    prepare(tmp_path / "c", tmp_path / "s")
    path = tmp_path / "s" / "x" / "case.json"
    meta = json.loads(path.read_text())
    assert meta["orientation"] == "RAS"
    path.write_text(json.dumps({key: value for key, value in meta.items() if key != "turn"}))
    with pytest.raises(CaseError, match="axes that point to RAS, prepared by an earlier version; expected LPS"):
        Cohort(tmp_path / "s").meta("x")
    assert prepare(tmp_path / "c", tmp_path / "s").prepared == ["x"], "and it is prepared again"
    Cohort(tmp_path / "s").meta("x")


def test_the_store_may_lie_in_the_cohorts_own_folder(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "c")
    for _ in range(2):
        report = prepare(tmp_path / "c", tmp_path / "c" / "prepared")
        assert not report.failed and Cohort(tmp_path / "c" / "prepared").names == NAMES
    assert report.skipped == NAMES


def test_no_case_at_all_is_an_error(tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(CaseError, match="found no case"):
        prepare(tmp_path / "c", tmp_path / "s")


@pytest.mark.parametrize(("wrong", "message"), [
    ({"minimum": 0}, "minimum is 0"), ({"minimum": (8, 8)}, "one number of voxels or three"),
    ({"spacing": -3.0}, "spacing is -3.0 mm"), ({"spacing": float("nan")}, "spacing is nan"),
    ({"workers": -1}, "workers is -1"), ({"names": []}, "an empty list"),
])
def test_nonsense_is_refused_before_anything_is_made(tiny_folder, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        prepare_cohort(tiny_folder, tmp_path / "s", layout="brats2020", **wrong)
    assert not (tmp_path / "s").exists()


def test_ctrl_c_leaves_no_half_case_and_the_next_run_goes_on(tiny_folder, tmp_path, monkeypatch):
    save, calls = np.save, []

    def stopped(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 8:  # in the second case
            raise KeyboardInterrupt
        save(path, *args, **kwargs)

    monkeypatch.setattr(np, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare(tiny_folder, tmp_path / "s")
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [NAMES[0], "cohort.json"]
    monkeypatch.setattr(np, "save", save)
    report = prepare(tiny_folder, tmp_path / "s")
    assert report.skipped == NAMES[:1] and report.prepared == NAMES[1:]
