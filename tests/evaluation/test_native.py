"""Scores on the files' own grid: what `predict` would have written, compared with what an annotator drew."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from tiny import load_script, write_tiny_case

from dmaf_lite.data.case import CaseError, load_case
from dmaf_lite.data.cohort import LAYOUTS
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.evaluation.native import labelled_studies, score_files, score_studies
from dmaf_lite.evaluation.predict import predict_case, study_files
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import save_weights
from dmaf_lite.spec import BRATS

TINY = {"width": 4, "levels": 2}
CARD = {"network": "dmaf_net", "network_options": TINY, "spec": "brats", "spacing": [2.0, 2.0, 2.0],
        "recipe": {}, "seed": 3, "commit": "0000000", "date": "2000-01-01", "window": [8, 8, 8]}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    net = build_network("dmaf_net", BRATS, **TINY).eval()
    with torch.no_grad():
        for parameter in net.parameters():  # far from symmetric, so that all classes occur
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


@pytest.fixture
def cohort(tmp_path):
    """Two labelled studies of 1 mm, one of them without T2, and one without a segmentation."""
    write_tiny_case(tmp_path / "raw", "A", seed=1)
    write_tiny_case(tmp_path / "raw", "B", seed=2, modalities=("FLAIR", "T1ce", "T1"))
    write_tiny_case(tmp_path / "raw", "C", seed=3, label=False)
    return tmp_path / "raw"


def test_a_row_is_the_dice_of_what_predict_gives(net, cohort, tmp_path):
    study = labelled_studies(cohort)[0]
    rows = {(row["subset"], row["region"]): row["value"] for row in score_files(net, CARD, study)}
    assert len(rows) == 15 * 3
    truth = load_case(study, spec=BRATS, labels=LAYOUTS["brats2020"].labels).label
    for subset in ("FLAIR+T1ce+T1+T2", "T1ce"):
        folder = tmp_path / subset
        folder.mkdir()
        for name in subset.split("+"):
            shutil.copy(study.images[name], folder)
        predicted = predict_case(net, CARD, study_files(folder, "brats2020")).label
        assert predicted.shape == truth.shape
        if subset == "FLAIR+T1ce+T1+T2":  # with fewer scans the box around them may be another
            for region in BRATS.regions:
                expected = dice(BRATS.region_mask(predicted, region), BRATS.region_mask(truth, region))
                assert rows[subset, region] == pytest.approx(expected, abs=1e-6)
    assert np.ptp(list(rows.values())) > 0, "subsets differ"


def test_cases_with_fewer_scans_and_bad_ones(net, cohort):
    studies = labelled_studies(cohort)
    assert [study.name for study in studies] == ["A", "B"]
    studies[0].images["T1"].write_bytes(b"no scan")
    rows, failed = score_studies(net, CARD, studies, progress=False)
    assert list(failed) == ["A"] and set(rows["case"]) == {"B"} and rows["subset"].nunique() == 7
    shutil.rmtree(cohort / "A")
    shutil.rmtree(cohort / "B")
    with pytest.raises(CaseError, match="segmentation"):
        labelled_studies(cohort)


def test_one_study_may_be_named_itself(cohort):
    assert [study.name for study in labelled_studies(cohort / "A")] == ["A"]


def test_command_line(net, cohort, tmp_path, capsys, monkeypatch):
    weights = save_weights(tmp_path / "w.safetensors", net, CARD)
    script = load_script("score_cases")
    arguments = ["--weights", str(weights), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert script.main([str(cohort), *arguments, "--mirror"]) == 0
    assert "FLAIR+T1ce+T1+T2" in capsys.readouterr().out and (tmp_path / "out" / "rows.parquet").exists()
    monkeypatch.delenv("DMAF_DATA", raising=False)
    assert script.main(arguments) == 2
    assert "DMAF_DATA" in capsys.readouterr().err
