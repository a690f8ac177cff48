"""The command lines: help, dry run, summary, exit status."""

import os
import subprocess
import sys

import pytest
from tiny import REPOSITORY, load_script, write_tiny_case

from dmaf_lite.data.cohort import Cohort, read_split
from dmaf_lite.data.missing import read_table, realised_rates

OURS = ("prepare_cohort", "split_cohort", "make_missing_rates", "inspect_cohort")


@pytest.mark.parametrize("name", OURS)
def test_help_says_what_the_script_does(name, capsys):
    with pytest.raises(SystemExit) as stop:
        load_script(name).main(["--help"])
    assert stop.value.code == 0
    output = capsys.readouterr().out
    assert "--dry-run" in output and load_script(name).__doc__.split("\n")[0][:40] in output


@pytest.mark.parametrize("name", OURS)
def test_a_wrong_path_is_one_line_on_stderr_and_status_2(name, tmp_path):
    absent = str(tmp_path / "absent")
    more = {"prepare_cohort": [str(tmp_path / "o"), "--layout", "phantom"], "inspect_cohort": ["--layout", "phantom"],
            "split_cohort": [str(tmp_path / "o"), "--counts", "1", "1", "1"],
            "make_missing_rates": [str(tmp_path / "o.csv"), "--published", "mr2468"]}[name]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run([sys.executable, str(REPOSITORY / "data_scripts" / f"{name}.py"), absent, *more],
                            env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"{name}: ") and "absent" in result.stderr and result.stderr.count("\n") == 1


def test_inspect_counts_the_cohort_and_tells_the_odd_and_the_bad(tmp_path, capsys):
    write_tiny_case(tmp_path / "c", "BraTS20_Training_001")
    write_tiny_case(tmp_path / "c", "BraTS20_Training_002", modalities=("T1", "T2"), label=False)
    folder = write_tiny_case(tmp_path / "c", "BraTS20_Training_355", ending=".nii")
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    inspect = load_script("inspect_cohort").main
    assert inspect([str(tmp_path / "c"), "--layout", "brats2020", "--csv", str(tmp_path / "i.csv"), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "3 cases, 3 usable, 2 of them with a segmentation" in output
    assert "2 cases with FLAIR, T1ce, T1, T2" in output and "1 cases with T1, T2" in output
    assert "3 cases of 24 x 28 x 20 voxels of 1 x 1 x 1 mm" in output and "W39_1998.09.19_Segm.nii" in output
    assert not (tmp_path / "i.csv").exists()
    other = write_tiny_case(tmp_path / "c", "BraTS20_Training_003", shape=(24, 28, 22))
    good = tmp_path / "c" / "BraTS20_Training_001" / "BraTS20_Training_001_t1.nii.gz"
    (other / "BraTS20_Training_003_t1.nii.gz").write_bytes(good.read_bytes())
    assert inspect([str(tmp_path / "c"), "--layout", "brats2020", "--csv", str(tmp_path / "i.csv")]) == 1
    assert "problem BraTS20_Training_003: " in capsys.readouterr().out
    assert len((tmp_path / "i.csv").read_text().splitlines()) == 5


def test_inspect_names_the_patients_with_several_studies(tmp_path, capsys):
    for name in ("UCSF-PDGM-0004", "UCSF-PDGM-0005", "UCSF-PDGM-0004_FU003d"):
        write_tiny_case(tmp_path, name, "ucsf_pdgm")
    assert load_script("inspect_cohort").main([str(tmp_path), "--layout", "ucsf_pdgm"]) == 0
    said = capsys.readouterr().out
    assert "1 patients with several studies" in said
    assert "UCSF-PDGM-0004 (UCSF-PDGM-0004, UCSF-PDGM-0004_FU003d)" in said


def test_inspect_reads_every_voxel_only_if_asked(tmp_path, capsys):
    folder = write_tiny_case(tmp_path, "BraTS20_Training_001")
    path = folder / "BraTS20_Training_001_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:-2000])
    inspect = load_script("inspect_cohort").main
    assert inspect([str(tmp_path), "--layout", "brats2020"]) == 0
    assert inspect([str(tmp_path), "--layout", "brats2020", "--thorough"]) == 1
    assert "truncated or corrupt gzip" in capsys.readouterr().out


def test_prepare_dry_run_writes_nothing_and_a_real_run_prepares(tiny_folder, tmp_path, capsys):
    prepare = load_script("prepare_cohort").main
    out = tmp_path / "s"
    options = [str(tiny_folder), str(out), "--layout", "brats2020", "--minimum", "16", "--workers", "0"]
    assert prepare([*options, "--dry-run"]) == 0
    assert "4 cases, 0 prepared already, 0 cannot be read" in capsys.readouterr().out and not out.exists()
    (tmp_path / "names.txt").write_text("BraTS20_Training_002\nBraTS20_Training_004\n")
    assert prepare([*options, "--names", str(tmp_path / "names.txt")]) == 0
    assert "2 prepared, 0 there already, 0 failed" in capsys.readouterr().out
    assert Cohort(out).names == ["BraTS20_Training_002", "BraTS20_Training_004"]
    assert prepare(options) == 0 and "2 prepared, 2 there already" in capsys.readouterr().out
    assert prepare([*options, "--again"]) == 0 and "4 prepared, 0 there already" in capsys.readouterr().out
    assert prepare([*options[:-4], "--minimum", "8"]) == 2 and "was prepared with" in capsys.readouterr().err


def test_split_of_a_prepared_and_of_a_downloaded_cohort_agree(tiny_folder, tiny_cohort, tmp_path, capsys):
    split = load_script("split_cohort").main
    assert split([str(tiny_cohort.folder), str(tmp_path / "a"), "--counts", "2", "1", "1", "--dry-run"]) == 0
    assert not (tmp_path / "a").exists()
    assert split([str(tiny_cohort.folder), str(tmp_path / "a"), "--counts", "2", "1", "1"]) == 0
    raw = [str(tiny_folder), str(tmp_path / "b"), "--layout", "brats2020"]
    assert split([*raw, "--fractions", ".5", ".25", ".25"]) == 0
    assert read_split(tmp_path / "a") == read_split(tmp_path / "b")
    assert "train 2, val 1, test 1" in capsys.readouterr().out
    assert split([*raw, "--counts", "9", "1", "1"]) == 2


def test_missing_rates_are_drawn_written_and_reported(tmp_path, capsys):
    make = load_script("make_missing_rates").main
    names = tmp_path / "train.txt"
    names.write_text("".join(f"c{i:02d}\n" for i in range(20)))
    out = tmp_path / "t.csv"
    rates = ["--rates", "FLAIR=0.6", "T1ce=0.4", "T1=0.2", "T2=0.8"]
    assert make([str(names), str(out), *rates, "--dry-run"]) == 0 and not out.exists()
    assert make([str(names), str(out), *rates, "--seed", "5"]) == 0
    assert realised_rates(read_table(out)).round(3).tolist() == [0.6, 0.4, 0.2, 0.8]
    assert "T2     asked 0.800  realised 0.800" in capsys.readouterr().out
    assert make([str(names), str(out), "--published", "mr2468"]) == 0
    assert make([str(names), str(out), "--rates", "FLAIR=x", "T1ce=0.4", "T1=0.2", "T2=0.8"]) == 2
    assert make([str(names), str(out), "--rates", "FLAIR=0.9", "T1ce=0.9", "T1=0.9", "T2=0.9"]) == 2
    assert "lower the rates" in capsys.readouterr().err
