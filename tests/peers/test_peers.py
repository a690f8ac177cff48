"""RFNet and mmFormer through the same functions as every network: train, resume, evaluate, predict."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.evaluate import EvaluationSettings, evaluate
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.evaluation.predict import predict_case, study_files
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import TrainSettings, train

RATES = {"FLAIR": 0.5, "T1ce": 0.25, "T1": 0.25, "T2": 0.5}
RUNS = {
    "rfnet": TrainSettings(network="rfnet", network_options={"width": 4}, crop=(16, 16, 16)),
    "mmformer": TrainSettings(network="mmformer", crop=(32, 32, 32), network_options={
        "width": 2, "grid": 2, "token_width": 16, "heads": 2, "hidden": 16}),
}


@pytest.fixture(scope="module")
def cohort(tiny_folder, tmp_path_factory):
    """Tiny cases, stored large enough for a crop of 32^3."""
    from dmaf_lite.data.cohort import Cohort, prepare_cohort

    out = tmp_path_factory.mktemp("peers") / "store"
    assert not prepare_cohort(tiny_folder, out, layout="brats2020", minimum=32, workers=0).failed
    return Cohort(out)


@pytest.mark.parametrize("objective", ["plain", "dmaf"])
@pytest.mark.parametrize("name", RUNS)
def test_trains_resumes_evaluates_and_predicts(name, objective, cohort, tiny_folder, tmp_path):
    settings = replace(RUNS[name], objective=objective, condition="imbalanced", missing_rates=RATES, batch=2, steps=3,
                       log_every=1, checkpoint_every=1,
                       objective_options={"warmup": 0.0} if objective == "dmaf" else {})
    whole = train(TrainingSet(cohort, cohort.names), tmp_path / "whole", settings, progress=False)
    train(TrainingSet(cohort, cohort.names), tmp_path / "parts", settings, progress=False, stop_after=1)
    parts = train(TrainingSet(cohort, cohort.names), tmp_path / "parts", settings, progress=False)
    log = pd.read_csv(tmp_path / "whole" / "log.csv")
    assert len(log) == 3 and np.isfinite(log["total"]).all()
    for (key, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    if objective == "dmaf":
        return
    net, card = load_weights(tmp_path / "whole" / "weights.safetensors")
    windows = WindowSettings(window=(32, 32, 32))  # one window covers a case
    rows = evaluate(net, cohort, cohort.names[:1], settings=EvaluationSettings(windows=windows), run="r")
    assert set(rows["subset"]) == {BRATS.subset_name(s) for s in BRATS.subsets()}
    files = study_files(tiny_folder / cohort.names[0], "brats2020")
    prediction = predict_case(net, card, files, windows=windows)
    assert prediction.label.shape == (24, 28, 20)
    assert bool(prediction.weight_maps) == (name == "rfnet")


@pytest.mark.parametrize("name", RUNS)
def test_one_pass_for_all_subsets_gives_what_single_passes_give(name, cohort):
    from dmaf_lite.methods.networks import build_network

    torch.manual_seed(0)
    net = build_network(name, BRATS, **RUNS[name].network_options)
    images = torch.randn(4, 32, 32, 32).numpy()
    windows = WindowSettings(window=RUNS[name].crop, overlap=0.0, precision="float32")
    subsets = np.array(BRATS.subsets())[[2, 8, 14]]
    once, naive = (subset_probabilities(net, images, subsets, settings=windows, share_encoder=share)
                   for share in (True, False))
    torch.testing.assert_close(once, naive, atol=1e-5, rtol=1e-4)
