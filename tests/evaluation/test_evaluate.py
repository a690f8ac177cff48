"""The evaluator: one pass = the naive way, resumable, and a bad case costs nobody else's result."""

import argparse
import dataclasses
import shutil
import time

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny import tiny_images, write_tiny_case

from dmaf_lite.base.settings import from_mapping, to_plain
from dmaf_lite.data.cohort import LAYOUTS, Cohort, prepare_cohort
from dmaf_lite.evaluation import evaluate as evaluation
from dmaf_lite.evaluation.conventions import CONVENTIONS
from dmaf_lite.evaluation.evaluate import (
    COLUMNS,
    CasesFailed,
    EvaluationSettings,
    add_arguments,
    evaluate,
    evaluate_naive,
    main,
)
from dmaf_lite.evaluation.file_grid import check_prepared
from dmaf_lite.evaluation.inference import WindowSettings, check_window, probabilities_and_weights, subset_probabilities
from dmaf_lite.evaluation.metrics import DEFINITIONS, EMPTY, HD95, hd95
from dmaf_lite.evaluation.scoring import SmallRegion, score_case
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import save_weights
from dmaf_lite.spec import BRATS

TINY = {"width": 4, "levels": 2}
WINDOWS = WindowSettings(window=(16, 16, 16), overlap=0.5, precision="float32")
SETTINGS = EvaluationSettings(windows=WINDOWS)
CARD = {"network": "dmaf_net", "network_options": TINY, "spec": "brats", "spacing": [1.0, 1.0, 1.0],
        "recipe": {}, "seed": 3, "commit": "0000000", "date": "2000-01-01", "window": [16, 16, 16]}


@pytest.fixture(scope="module")
def net():
    """Random weights that use every part: a restore of zero would make DMAF plain mean fusion."""
    torch.manual_seed(3)
    net = build_network("dmaf_net", BRATS, **TINY).eval()
    for name, parameter in net.named_parameters():
        if "restore" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return net


@pytest.fixture(scope="module")
def rows(net, tiny_cohort):
    return evaluate(net, tiny_cohort, tiny_cohort.names, settings=SETTINGS, run="r", progress=False)


def test_the_long_table(rows, tiny_cohort):
    assert tuple(rows.columns) == COLUMNS and set(rows["run"]) == {"r"}
    assert not rows.duplicated(subset=list(COLUMNS[:-1])).any()
    whole, partial = tiny_cohort.names[0], tiny_cohort.names[3]  # the last one lacks T1 and T2
    assert rows[rows["case"] == whole]["subset"].nunique() == 15
    assert list(dict.fromkeys(rows[rows["case"] == partial]["subset"])) == ["FLAIR", "T1ce", "FLAIR+T1ce"]
    assert set(rows["region"]) == {"WT", "TC", "ET", "ET_post"}
    assert set(rows[rows["metric"] == "hd95"]["convention"]) == {"pooled/diagonal"}
    assert rows["convention"].notna().all() and (rows["convention"] != "").all()
    # different subsets give different predictions, or the tests below would prove nothing
    assert rows[(rows["case"] == whole) & (rows["metric"] == "dice")]["value"].nunique() > 15


@pytest.mark.parametrize("blending", ["gaussian", "constant"])
def test_one_pass_gives_the_digits_of_the_naive_way(net, tiny_cohort, blending):
    settings = EvaluationSettings(windows=dataclasses.replace(WINDOWS, blending=blending, windows_at_once=3))
    names = tiny_cohort.names[2:]
    once = evaluate(net, tiny_cohort, names, settings=settings, progress=False)
    pd.testing.assert_frame_equal(once, evaluate_naive(net, tiny_cohort, names, settings=settings, progress=False),
                                  check_exact=True)


def test_every_modality_of_a_window_is_encoded_once(net, tiny_cohort, monkeypatch):
    pairs = []
    encode = net.encode
    monkeypatch.setattr(net, "encode", lambda x, a: pairs.append(int(a.sum())) or encode(x, a))
    images, _ = tiny_cohort.read(tiny_cohort.names[0])
    options = {"settings": dataclasses.replace(WINDOWS, windows_at_once=1)}
    subset_probabilities(net, images, np.array(BRATS.subsets()), **options)
    once = list(pairs)
    pairs.clear()
    subset_probabilities(net, images, np.array(BRATS.subsets()), share_encoder=False, **options)
    assert set(once) == {4} and sum(pairs) == 8 * sum(once)  # M 2^(M-1) = 32 against M = 4
    pairs.clear()
    monkeypatch.setattr(net, "encode_depends_on_availability", True, raising=False)
    subset_probabilities(net, images, np.array(BRATS.subsets()), **options)
    assert sum(pairs) == 8 * sum(once)  # the flag makes it encode for each subset


def test_what_is_not_in_the_subset_changes_nothing(net, tiny_cohort):
    images, _ = tiny_cohort.read(tiny_cohort.names[0])
    poisoned = images.copy()
    poisoned[[0, 1, 3]] = np.nan
    only_t1 = np.array([BRATS.mask_of(["T1"])])
    clean, dirty = (subset_probabilities(net, x, only_t1, settings=WINDOWS) for x in (images, poisoned))
    assert torch.equal(clean, dirty) and torch.isfinite(dirty).all()


def test_probabilities_and_modality_weights(net, tiny_cohort):
    images, _ = tiny_cohort.read(tiny_cohort.names[0])
    mask = np.array(BRATS.mask_of(["FLAIR", "T2"]))
    net.train()
    probabilities, weights = probabilities_and_weights(net, images, mask, settings=WINDOWS)
    assert net.training  # left as it was found
    net.eval()
    assert probabilities.shape == (4, *images.shape[1:]) and weights.shape == images.shape
    assert torch.allclose(probabilities.sum(0), torch.ones(()), atol=1e-5)
    assert torch.allclose(weights.sum(0), torch.ones(()), atol=1e-5)
    assert (weights[[1, 2]] == 0).all() and weights[0].std() > 0
    expected = subset_probabilities(net, images, mask[None], settings=WINDOWS)[0]
    assert torch.allclose(probabilities, expected, atol=1e-6)


def test_a_window_that_covers_the_case_equals_the_plain_network(net, tiny_cohort):
    images, _ = tiny_cohort.read(tiny_cohort.names[0], (0, 0, 0), (16, 16, 16))
    for blending in ("gaussian", "constant"):
        windows = WindowSettings(window=(16, 16, 16), blending=blending, precision="float32", overlap=0.5)
        got = subset_probabilities(net, images, np.ones((1, 4), bool), settings=windows)[0]
        with torch.no_grad():
            expected = net(torch.from_numpy(images)[None], torch.ones(1, 4, dtype=torch.bool)).logits.softmax(1)[0]
        assert torch.allclose(got, expected, atol=1e-6)


def test_constant_blending_is_the_plain_mean_over_the_windows_of_the_peers(net, tiny_cohort):
    """peers.md section 5.2: starts at half windows, the last one flush with the border, equal weights."""
    images, _ = tiny_cohort.read(tiny_cohort.names[0], size=(24, 28, 16))
    total, count = np.zeros((4, 24, 28, 16)), np.zeros((24, 28, 16))
    available = torch.ones(1, 4, dtype=torch.bool)
    for d in (0, 8):
        for h in (0, 8, 12):
            window = np.s_[d:d + 16, h:h + 16, :16]
            with torch.no_grad():
                logits = net(torch.from_numpy(images[(slice(None), *window)].copy())[None], available).logits
            total[(slice(None), *window)] += logits.softmax(1)[0].numpy()
            count[window] += 1
    one = np.ones((1, 4), bool)
    constant = dataclasses.replace(WINDOWS, blending="constant")
    uniform, gaussian = (subset_probabilities(net, images, one, settings=s)[0].numpy() for s in (constant, WINDOWS))
    assert np.allclose(uniform, total / count, atol=1e-5) and not np.allclose(gaussian, total / count, atol=1e-3)


def test_windows_that_cannot_work_are_refused_at_once(net, tiny_cohort):
    with pytest.raises(ValueError, match="multiple"):
        check_window(net, (15, 16, 16))
    with pytest.raises(ValueError, match="multiple"):
        evaluate(net, tiny_cohort, tiny_cohort.names, settings=EvaluationSettings(WindowSettings((2, 16, 16))))
    with pytest.raises(ValueError, match="a window of"):
        odd = WindowSettings((15, 16, 16))
        subset_probabilities(net, np.zeros((4, 16, 16, 16)), np.ones((1, 4), bool), settings=odd)
    for wrong in ({"blending": "mean"}, {"overlap": 1.0}, {"window": (16, 16)}, {"windows_at_once": 0}):
        with pytest.raises(ValueError, match=r"blending|overlap|window"):
            WindowSettings(**wrong)


def test_the_overlap_decides_how_many_windows_there_are(net, tiny_cohort, monkeypatch):
    images, _ = tiny_cohort.read(tiny_cohort.names[0], size=(24, 28, 16))
    windows = []
    encode = net.encode
    monkeypatch.setattr(net, "encode", lambda x, a: windows.append(len(x)) or encode(x, a))
    results = []
    for overlap, expected in ((0.0, 2 * 2), (0.5, 2 * 3), (0.75, 3 * 4)):
        windows.clear()
        settings = dataclasses.replace(WINDOWS, overlap=overlap, windows_at_once=1)
        results.append(subset_probabilities(net, images, np.ones((1, 4), bool), settings=settings))
        assert sum(windows) == expected
    assert not torch.allclose(results[0], results[1], atol=1e-4)


def test_distances_of_voxels_that_are_no_cubes(net, tmp_path):
    """HD95 from the files' own spacing, (1, 2, 4) mm: not reversed, not forgotten."""
    write_tiny_case(tmp_path / "raw", "BraTS20_Training_001", spacing=(1.0, 2.0, 4.0))
    prepare_cohort(tmp_path / "raw", tmp_path / "store", layout="brats2020", minimum=16, workers=0)
    cohort = Cohort(tmp_path / "store")
    (name,) = cohort.names
    rows = evaluate(net, cohort, [name], settings=SETTINGS, progress=False)
    images, truth = cohort.read(name)
    full = np.array([BRATS.mask_of(BRATS.modalities)])
    label = subset_probabilities(net, images, full, settings=WINDOWS)[0].argmax(0).numpy()
    for region in BRATS.regions:
        chosen = rows[(rows["region"] == region) & (rows["metric"] == "hd95")
                      & (rows["subset"] == BRATS.subset_name(full[0]))]["value"]
        masks = BRATS.region_mask(label, region), BRATS.region_mask(truth, region)
        right, wrong = (hd95(*masks, spacing) for spacing in ((1.0, 2.0, 4.0), (4.0, 2.0, 1.0)))
        assert masks[0].any() and right != pytest.approx(wrong)
        assert chosen.tolist() == pytest.approx([right])


def labelled(shape=(20, 20, 20), et: int = 3) -> np.ndarray:
    label = np.zeros(shape, np.uint8)
    label[2:16, 2:16, 2:16] = 2
    label[5:12, 5:12, 5:12] = 1
    label[6:6 + et, 6:6 + et, 6:6 + et] = 3
    return label


def score(labels, truth, spacing=(1.0, 1.0, 1.0), **options) -> pd.DataFrame:
    subsets = BRATS.subsets()[:len(labels)]
    return pd.DataFrame(score_case(np.stack(labels), truth, subsets=subsets, spec=BRATS, spacing=spacing, diagonal=99.0,
                                   **options))


def pick(rows, region, metric):
    return rows[(rows["region"] == region) & (rows["metric"] == metric)]["value"].tolist()


def test_post_processing_is_an_extra_row_and_touches_only_et():
    small = SmallRegion()
    truth = labelled(et=0)
    rows = score([labelled(et=7), labelled(et=8)], truth, small_region=small)  # 343 and 512 voxels
    assert pick(rows, "ET", "dice") == [0.0, 0.0] and pick(rows, "ET_post", "dice") == [1.0, 0.0]
    assert pick(rows, "ET", "invented") == [1, 1] and pick(rows, "ET_post", "invented") == [0, 1]
    assert pick(rows, "ET_post", "hd95") == [0.0, 99.0]
    assert "TC_post" not in set(rows["region"]) and "ET_post" not in set(score([truth], truth)["region"])
    label = labelled(et=7)
    after = small.apply(label, BRATS, (1, 1, 1))
    assert (after == 1).sum() == (label == 1).sum() + 343 and label.max() == 3
    # the threshold is a volume: at 2 mm 343 voxels are 2744 mm3
    assert small.apply(label, BRATS, (2, 2, 2)) is label


def test_a_region_of_exactly_500_voxels_is_not_small():
    for voxels, kept in ((499, 0), (500, 500)):
        label = np.zeros((10, 10, 10), np.uint8)
        label.flat[:voxels] = 3
        assert (SmallRegion().apply(label, BRATS, (1.0, 1.0, 1.0)) == 3).sum() == kept


def test_every_convention_asked_for_is_a_row_of_its_own():
    conventions = tuple(HD95(d, e) for d in DEFINITIONS for e in EMPTY)
    rows = score([labelled(et=0)], labelled(et=3), hd95=conventions)
    et = rows[(rows["region"] == "ET") & (rows["metric"] == "hd95")].set_index("convention")["value"]
    assert len(et) == 10 and et["pooled/diagonal"] == 99.0 and et["max_directed/one"] == 1.0
    assert et["pooled/gt_empty_penalty"] == 0.0 and np.isnan(et["pooled/exclude"])
    assert pick(rows, "ET", "missed") == [1] and pick(rows, "ET", "invented") == [0]
    assert pick(rows, "ET", "truth_ml") == [0.027] and pick(rows, "ET", "volume_ml") == [0.0]


def test_truth_outside_the_box_counts_against_the_prediction():
    truth = labelled(et=3)
    rows = score([truth], truth, outside={3: 27, 2: 5})
    assert pick(rows, "ET", "dice") == [pytest.approx(2 / 3)] and pick(rows, "ET", "sensitivity") == [0.5]
    assert pick(rows, "ET", "truth_ml") == [pytest.approx(0.054)] and pick(rows, "ET", "precision") == [1.0]


def test_the_original_volume_decides_the_diagonal_and_what_lies_outside_the_box_counts(tiny_cohort, monkeypatch):
    net = build_network("dmaf_net", BRATS, **TINY)
    torch.nn.init.zeros_(net.fusion_decoder.head.weight)  # background everywhere: argmax takes the first of equals
    if net.fusion_decoder.head.bias is not None:
        torch.nn.init.zeros_(net.fusion_decoder.head.bias)
    name = tiny_cohort.names[3]
    meta = tiny_cohort.meta(name)
    assert tuple(meta["shape"]) != tuple(meta["original_shape"])
    before = evaluate(net, tiny_cohort, [name], settings=SETTINGS, progress=False)
    assert set(pick(before, "WT", "missed")) == {1.0}
    assert pick(before, "WT", "hd95") == pytest.approx([np.linalg.norm(meta["original_shape"])] * 3)
    monkeypatch.setitem(meta, "label_outside", {3: 1000})
    after = evaluate(net, tiny_cohort, [name], settings=SETTINGS, progress=False)
    assert pick(after, "ET", "truth_ml")[0] == pytest.approx(pick(before, "ET", "truth_ml")[0] + 1)


def test_an_interrupted_evaluation_goes_on_where_it_was(net, tiny_cohort, rows, tmp_path, monkeypatch):
    names, calls = tiny_cohort.names, []
    original = evaluation._read

    def killed_at_the_third(cohort, name, settings):
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(cohort, name, settings)

    options = {"settings": SETTINGS, "run": "r", "folder": tmp_path, "progress": False}
    monkeypatch.setattr(evaluation, "_read", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(net, tiny_cohort, names, **options)
    assert len(list(tmp_path.iterdir())) == 2
    pd.testing.assert_frame_equal(evaluate(net, tiny_cohort, names, **options), rows)
    assert calls == [*names[:3], *names[2:]]
    calls.clear()
    evaluate(net, tiny_cohort, names, **options)
    assert not calls


def test_cases_in_flight_change_no_row(net, tiny_cohort, rows, monkeypatch):
    """Scored by threads, also out of order, or one after another."""
    original = evaluation._score

    def the_first_takes_longest(labels, study, cohort, name, settings):
        time.sleep(0.3 if name == cohort.names[0] else 0)
        return original(labels, study, cohort, name, settings)

    monkeypatch.setattr(evaluation, "_score", the_first_takes_longest)
    for in_flight in (0, 3):
        again = evaluate(net, tiny_cohort, tiny_cohort.names, settings=SETTINGS, run="r", progress=False,
                         in_flight=in_flight)
        pd.testing.assert_frame_equal(again, rows)
        assert list(dict.fromkeys(again["case"])) == tiny_cohort.names


def test_rows_of_other_weights_settings_or_runs_are_not_taken_up(net, tiny_cohort, tmp_path, monkeypatch):
    calls = []
    original = evaluation._predict
    monkeypatch.setattr(evaluation, "_predict", lambda *a, **k: calls.append(1) or original(*a, **k))
    options = {"settings": SETTINGS, "folder": tmp_path, "progress": False}
    name = tiny_cohort.names[3:]
    evaluate(net, tiny_cohort, name, **options)
    evaluate(net, tiny_cohort, name, **options)
    assert len(calls) == 1
    evaluate(net, tiny_cohort, name, **options | {"run": "other"})
    evaluate(net, tiny_cohort, name, **options | {"settings": EvaluationSettings(windows=WINDOWS, small_region=None)})
    torch.manual_seed(4)
    evaluate(build_network("dmaf_net", BRATS, **TINY), tiny_cohort, name, **options)
    assert len(calls) == 4
    monkeypatch.setitem(tiny_cohort.meta(name[0]), "sources", {"FLAIR": ["another file", 1, 1]})
    monkeypatch.delitem(vars(tiny_cohort[name[0]]), "identity", raising=False)  # it is worked out once
    evaluate(net, tiny_cohort, name, **options)
    assert len(calls) == 5


def test_kept_rows_know_the_precision_that_auto_became(net, tiny_cohort, tmp_path, monkeypatch):
    calls = []
    original = evaluation._predict
    monkeypatch.setattr(evaluation, "_predict", lambda *a, **k: calls.append(1) or original(*a, **k))
    monkeypatch.setattr(evaluation, "choose_precision", lambda asked, device: "float32" if asked == "auto" else asked)

    def computed(precision: str) -> int:
        windows = dataclasses.replace(WINDOWS, precision=precision)
        calls.clear()
        evaluate(net, tiny_cohort, tiny_cohort.names[3:], settings=EvaluationSettings(windows=windows),
                 folder=tmp_path, progress=False)
        return len(calls)

    assert [computed(precision) for precision in ("auto", "float32", "auto", "bfloat16")] == [1, 0, 0, 1]


@pytest.fixture
def damaged(tiny_cohort, tmp_path):
    """A copy of the cohort with one damaged and one unlabelled case."""
    shutil.copytree(tiny_cohort.folder, tmp_path / "store")
    first, second = tiny_cohort.names[:2]
    (tmp_path / "store" / first / "T1.npy").write_bytes(b"\x93NUMPY broken")
    meta = tmp_path / "store" / second / "case.json"
    meta.write_text(meta.read_text().replace('"labelled": true', '"labelled": false'))
    return Cohort(tmp_path / "store")


def test_bad_cases_cost_nobody_elses_result(net, damaged, rows):
    names = damaged.names
    with pytest.raises(CasesFailed) as caught:
        evaluate(net, damaged, [*names, "nobody"], settings=SETTINGS, run="r", progress=False)
    failed = caught.value.failed
    assert set(failed) == {names[0], names[1], "nobody"}
    assert "T1.npy" in failed[names[0]] and "no segmentation" in failed[names[1]]
    assert "3 of 5" in str(caught.value)
    expected = rows[rows["case"].isin(names[2:])].reset_index(drop=True)
    pd.testing.assert_frame_equal(caught.value.rows, expected)


def arguments(*words) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_line(net, tiny_cohort, damaged, rows, tmp_path, capsys):
    weights = save_weights(tmp_path / "w.safetensors", net, CARD)
    cases = tmp_path / "cases.txt"
    cases.write_text("".join(f"{name}\n" for name in tiny_cohort.names[2:]))
    common = ("--weights", weights, "--cases", cases, "--run", "r", "--device", "cpu")
    out = tmp_path / "out"
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump(to_plain(SETTINGS)))
    assert main(arguments(*common, "--cohort", tiny_cohort.folder, "--out", out, "--settings", settings)) == 0
    expected = rows[rows["case"].isin(tiny_cohort.names[2:])].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out / "rows.parquet"), expected)
    table = (out / "table.md").read_text()
    assert "| mean over subsets |" in table and "hd95 in mm, pooled/diagonal" in table and "WT invented" in table
    assert table in capsys.readouterr().out
    bad = tmp_path / "bad"
    cases.write_text("".join(f"{name}\n" for name in damaged.names))
    assert main(arguments(*common, "--cohort", damaged.folder, "--out", bad, "--window", 24, "--hd95",
                          "max_directed/exclude")) == 1
    assert "2 of 4 cases failed" in capsys.readouterr().err
    left = pd.read_parquet(bad / "rows.parquet")
    assert left["case"].nunique() == 2 and "max_directed/exclude" in set(left["convention"])


def test_settings_survive_a_profile():
    for settings in (SETTINGS, *CONVENTIONS.values(), EvaluationSettings(small_region=None)):
        assert from_mapping(EvaluationSettings, to_plain(settings)) == settings
    with pytest.raises(ValueError, match="windows"):
        from_mapping(EvaluationSettings, {"window": [8, 8, 8]})


class Bright(torch.nn.Module):
    """A network whose answer is known: where the first scan there is bright, class 3."""

    def __init__(self):
        super().__init__()
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def encode(self, images, available):
        raise NotImplementedError

    def forward(self, images, available):
        from dmaf_lite.nn import Pairs, Prediction

        mask = available[..., None, None, None].to(images)
        mean = (images * mask).sum(1) / mask.sum(1).clamp(min=1)
        logits = torch.stack([-(mean - 0.6) * 4, mean * 0 - 99, mean * 0 - 99, (mean - 0.6) * 4], dim=1)
        return Prediction(logits, Pairs.of(available))

    encode_depends_on_availability = True


@pytest.fixture(scope="module")
def resampled(tmp_path_factory):
    """A cohort at 1 mm, prepared at 2 mm under a real cohort's layout: (its folder, the store)."""
    folder = tmp_path_factory.mktemp("raw")
    for seed in (1, 2):
        write_tiny_case(folder, f"BraTS20_Training_00{seed}", seed=seed, shape=(40, 44, 36))
    store = tmp_path_factory.mktemp("out") / "store"
    assert not prepare_cohort(folder, store, layout="brats2020", spacing=2.0, minimum=16, workers=0).failed
    return folder, store


def test_the_dice_of_the_table_is_that_of_the_files_that_predict_writes(resampled, tmp_path):
    from dmaf_lite.evaluation.metrics import dice
    from dmaf_lite.evaluation.predict import predict_case, study_files

    folder, store = resampled
    settings = EvaluationSettings(windows=WindowSettings(window=(16, 16, 16)))
    name, net = "BraTS20_Training_001", Bright().eval()
    rows = evaluate(net, Cohort(store), [name], settings=settings, share_encoder=False, progress=False)
    assert set(rows["grid"]) == {"files"}
    card = {"spec": "brats", "spacing": [2.0] * 3, "window": [16, 16, 16]}
    result = predict_case(net, card, study_files(folder / name, "brats2020"), windows=settings.windows)
    truth = tiny_images(1, (40, 44, 36))[1]
    for region in ("WT", "ET"):
        expected = dice(BRATS.region_mask(result.label, region), BRATS.region_mask(truth, region))
        shown = rows.query("subset == 'FLAIR+T1ce+T1+T2' and metric == 'dice' and region == @region")["value"]
        assert 0 < expected < 1 and shown.tolist() == [expected]
    truth_ml = rows.query("metric == 'truth_ml' and region == 'WT'")["value"]
    assert truth_ml.tolist() == [np.count_nonzero(truth) / 1000] * 15


def test_the_grid_is_a_setting_and_phantoms_are_scored_on_the_stores(resampled, tmp_path):
    _, store = resampled
    windows = WindowSettings(window=(16, 16, 16))
    options = {"share_encoder": False, "progress": False}
    cohort, net, names = Cohort(store), Bright().eval(), ["BraTS20_Training_001"]
    by_grid = {grid: evaluate(net, cohort, names, settings=EvaluationSettings(windows=windows, grid=grid), **options)
               for grid in ("auto", "files", "store")}
    assert by_grid["auto"].equals(by_grid["files"]) and set(by_grid["store"]["grid"]) == {"store"}
    assert not np.allclose(by_grid["files"]["value"], by_grid["store"]["value"], equal_nan=True)
    cohort.layout = LAYOUTS["phantom"]
    phantom = evaluate(net, cohort, names, settings=EvaluationSettings(windows=windows), **options)
    assert phantom.equals(by_grid["store"])
    with pytest.raises(ValueError, match="grid files needs coverage sliding"):
        EvaluationSettings(coverage="centre", grid="files")
    (store / names[0] / "truth.npy").rename(store / names[0] / "away")
    with pytest.raises(CasesFailed, match=r"truth.npy: found a damaged or missing array"):
        evaluate(net, Cohort(store), names, settings=EvaluationSettings(windows=windows), **options)
    (store / names[0] / "away").rename(store / names[0] / "truth.npy")


def test_weights_of_another_preparation_are_refused_and_predict_follows_the_card(net, tiny_folder, tiny_cohort):
    from dmaf_lite.evaluation.predict import predict_case, study_files

    names = tiny_cohort.names[:1]
    with pytest.raises(ValueError, match=r"found the own preparation, .* the published one; .* with --published"):
        check_prepared(tiny_cohort, names, CARD | {"preparation": "published"})
    check_prepared(tiny_cohort, names, CARD)
    files = study_files(tiny_folder / names[0], "brats2020")
    own, published = (predict_case(net, CARD | card, files, layout="brats2020", windows=WINDOWS).label
                      for card in ({}, {"preparation": "published"}))
    assert own.shape == published.shape and (own != published).any()


def test_weights_of_another_voxel_size_are_refused(tmp_path, tiny_cohort):
    torch.manual_seed(0)
    net = build_network("dmaf_net", BRATS, width=4, levels=2)
    card = {"network": "dmaf_net", "network_options": {"width": 4, "levels": 2}, "spec": "brats",
            "spacing": [3.0] * 3, "recipe": {}, "seed": 0, "commit": "0", "date": "2000-01-01", "window": [16] * 3}
    weights = save_weights(tmp_path / "w.safetensors", net, card)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--weights", weights, "--cohort", tiny_cohort.folder, "--out", tmp_path / "o", "--device", "cpu"]
    with pytest.raises(ValueError, match=r"voxels of 1 x 1 x 1 mm, the weights .* 3 x 3 x 3 mm.*--spacing 3"):
        main(parser.parse_args([str(word) for word in words]))
    assert not (tmp_path / "o").exists()
