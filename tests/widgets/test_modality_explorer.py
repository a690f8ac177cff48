"""The modality explorer without a browser: questions, answers, and what happens when they cross."""

import threading

import numpy as np
import pytest
import torch
from widget_cases import FRONT, LEFT, SHAPE, TOP, quick_answer, small_study

from dmaf_lite.evaluation.inference import WindowSettings, probabilities_and_weights
from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import BRATS
from dmaf_lite.widgets import ModalityExplorer, Study, predictor
from dmaf_lite.widgets.answers import subsets_of

ALL = (True,) * 4
WITHOUT_FLAIR = (False, True, True, True)


def explorer_of(answer=quick_answer, study=None, **options):
    return ModalityExplorer(study or small_study(), answer, background=options.pop("background", False), **options)


class Counting:
    """Answers, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, mask):
        self.asked.append(mask)
        return quick_answer(mask)


class Held:
    """Answers everything but the first question at once; one question waits at a gate."""

    def __init__(self, held):
        self.held, self.started, self.gate, self.asked = held, threading.Event(), threading.Event(), []

    def __call__(self, mask):
        self.asked.append(mask)
        if mask == self.held:
            self.started.set()
            assert self.gate.wait(10)
        return quick_answer(mask)


def test_a_subset_is_computed_once():
    answer = Counting()
    explorer = explorer_of(answer)
    for value in (False, True, False):
        explorer.toggles["FLAIR"].value = value
    assert answer.asked == [ALL, WITHOUT_FLAIR]
    assert explorer.shown == WITHOUT_FLAIR and "0.33" in explorer.bars.value
    assert "T1ce + T1 + T2 (3 of 4 scans)" in explorer.status.value


def test_answers_from_before_are_not_computed_again():
    answer, known = Counting(), {ALL: quick_answer(ALL)}
    explorer = explorer_of(answer, answers=known)
    assert answer.asked == [] and explorer.answer is known[ALL]


def test_the_first_answer_is_there_at_once_even_in_the_background():
    explorer = explorer_of(background=True)
    assert explorer.shown == ALL and "0.25" in explorer.bars.value and len(explorer.left.png) > 100


def test_the_empty_set_is_refused():
    explorer = explorer_of()
    for toggle in explorer.toggles.values():
        toggle.value = False
    assert explorer.mask == explorer.shown == (False, False, False, True)
    assert "At least one scan is needed" in explorer.status.value
    with pytest.raises(ValueError, match="at least one is needed"):
        explorer.choose((False,) * 4)


def test_the_newest_toggle_wins():
    answer = Held(WITHOUT_FLAIR)
    explorer = explorer_of(answer, background=True)
    shown = []
    explorer.bars.observe(lambda _: shown.append(explorer.shown), "value")
    explorer.toggles["FLAIR"].value = False
    assert answer.started.wait(10) and "computing" in explorer.status.value
    explorer.toggles["T1ce"].value = False  # twice changed while the first is being computed:
    explorer.toggles["T1"].value = False  # only the last of the two is
    answer.gate.set()
    explorer.desk.join(10)
    assert shown == [(False, False, False, True)] and explorer.shown == explorer.mask
    assert answer.asked == [ALL, WITHOUT_FLAIR, (False, False, False, True)]
    assert WITHOUT_FLAIR in explorer.desk.known, "the late answer is kept"
    assert "answered in" in explorer.status.value


def test_a_question_goes_before_the_rest_of_all():
    answer = Held((True, False, False, False))  # the first of all
    explorer = explorer_of(answer, background=True)
    explorer.all.click()
    assert answer.started.wait(10) and explorer.all.disabled
    explorer.choose((False, False, True, True))
    answer.gate.set()
    explorer.desk.join(10)
    assert answer.asked[2] == (False, False, True, True)
    assert len(answer.asked) == len(set(answer.asked)) == 15
    assert explorer.shown == (False, False, True, True), "and it stays on the page"
    assert "15 of 15" in explorer.table.caption


def test_errors_are_shown_and_the_next_question_is_answered():
    def sometimes(mask):
        if mask == WITHOUT_FLAIR:
            raise RuntimeError("out of <memory>")
        return quick_answer(mask)

    for background in (False, True):
        explorer = explorer_of(sometimes, background=background)
        explorer.toggles["FLAIR"].value = False
        explorer.desk.join(10)
        assert "RuntimeError: out of &lt;memory&gt;" in explorer.status.value and explorer.shown == ALL
        explorer.toggles["T1ce"].value = False
        explorer.desk.join(10)
        assert explorer.shown == (False, False, True, True) and "memory" not in explorer.status.value
        explorer.compute_all(wait=True)
        assert "14 of 15" in explorer.table.caption, "one subset has no answer, the others have"


def test_the_table_selects_and_follows():
    explorer = explorer_of()
    assert len(explorer.table.rows) == 15 and explorer.table.chosen == 14
    assert explorer.table.head == ["FLAIR", "T1ce", "T1", "T2", "WT", "TC", "ET"]
    explorer.table.chosen = 1  # what a click on the row of T1ce does
    assert explorer.mask == explorer.shown == (False, True, False, False)
    assert explorer.table.rows[1]["values"] == [0.25] * 3 and explorer.table.rows[2]["values"] == [None] * 3
    explorer.toggles["T2"].value = True
    assert explorer.masks[explorer.table.chosen] == (False, True, False, True)
    assert explorer.table.rows[1]["name"] == "T1ce"


def test_choosing_a_row_asks_once():
    answer = Counting()
    explorer = explorer_of(answer)
    explorer.table.chosen = 0  # three toggles change
    assert answer.asked == [ALL, (True, False, False, False)]


def test_a_study_that_lacks_scans():
    explorer = explorer_of(study=small_study(("T1ce", "T2")))
    assert explorer.toggles["FLAIR"].disabled and explorer.mask == (False, True, False, True)
    assert len(explorer.masks) == 3 == len(explorer.table.rows)
    assert explorer.scan == "T1ce", "the picture under the labels is a scan that is given"
    with pytest.raises(ValueError, match="small has T1ce, T2"):
        explorer.choose(ALL)


def test_without_a_reference_nothing_is_compared():
    explorer = explorer_of(lambda mask: quick_answer(mask).__class__(quick_answer(mask).label,
                                                                    quick_answer(mask).confidence),
                           small_study(labelled=False))
    assert explorer.outline.disabled and "reference" not in explorer.view.options
    assert explorer.table.head == list(BRATS.modalities) and explorer.view.value == "confidence"
    assert "no modality weights" in explorer.bars.value
    assert "Dice" not in explorer.describe()
    explorer.figure()


@pytest.mark.parametrize("control", ["index", "plane", "view", "opacity", "outline"])
def test_every_control_changes_a_picture(control):
    explorer = explorer_of()
    explorer.index.value = TOP
    before = explorer.left.png, explorer.right.png
    new = {"index": TOP - 1, "plane": "sagittal", "view": "confidence", "opacity": 0.1, "outline": False}[control]
    getattr(explorer, control).value = new
    after = explorer.left.png, explorer.right.png
    assert after != before
    if control in ("index", "plane"):
        assert after[0] != before[0] and after[1] != before[1], "the two pictures show one slice"


def test_keys_move_both_pictures():
    explorer = explorer_of()
    explorer.right.index += 1
    assert explorer.left.index == explorer.right.index == explorer.index.value


def test_a_click_reads_the_answer():
    explorer = explorer_of()
    explorer.index.value = TOP
    explorer.right.clicked = [*explorer.frame.point((LEFT, FRONT, TOP)), 1]
    words = explorer.readout.value
    assert "predicted ED (94% sure)" in words and "reference ET" in words and "weights FLAIR 0.25" in words
    explorer.choose((False, True, False, True))
    assert "weights T1ce 0.50, T2 0.50" in explorer.readout.value, "the same voxel, the new answer"
    assert explorer.left.cross == explorer.right.cross != []


def test_the_scale_of_a_map_is_told():
    explorer = explorer_of()
    assert explorer.scale.value == ""
    explorer.view.value = "confidence"
    assert "0.25" in explorer.scale.value and "1.00" in explorer.scale.value and "gradient" in explorer.scale.value
    explorer.view.value = "weight of T1"
    assert "0.00" in explorer.scale.value and "0.25" in explorer.scale.value


def test_a_picture_for_pages_without_a_kernel():
    explorer = explorer_of()
    data, metadata = explorer._repr_mimebundle_()
    alt = metadata["image/png"]["alt"]
    assert "segmented from FLAIR + T1ce + T1 + T2" in alt and "Dice WT 1.00" in alt and "T1ce 0.25" in alt
    explorer.choose((False, False, False, True))
    assert explorer._repr_mimebundle_()[0]["image/png"] != data["image/png"]


def test_classes_for_the_page_are_there():
    explorer = explorer_of()
    assert all("dmaf-modality" in toggle._dom_classes for toggle in explorer.toggles.values())
    assert "dmaf-weights" in explorer.bars.value and "dmaf-slice" in explorer.index._dom_classes
    assert "dmaf-subset-table" in str(explorer.table._esm)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = build_network("dmaf_net", BRATS, width=4, levels=3, depth=1).eval()
    for fusion in net.fusions:
        torch.nn.init.normal_(fusion.restore.weight, std=1.0)  # or every weight is 1/k
    return net


def test_an_answer_is_what_the_network_says(network):
    rng = np.random.default_rng(1)
    shape = (16, 24, 16)
    label = rng.integers(0, 4, shape).astype(np.uint8)
    study = Study("noise", BRATS, {m: rng.normal(size=shape).astype(np.float32) for m in BRATS.modalities}, label,
                  np.diag([-1.0, -1, 1, 1]))
    mask = (True, False, True, True)
    answer = predictor(study, network, {"window": (16, 16, 16)}, overlap=0.25)(mask)
    images = np.stack(list(study.images.values()))
    windows = WindowSettings(window=(16, 16, 16), overlap=0.25)
    p, w = probabilities_and_weights(network, images, np.array(mask), settings=windows)
    assert np.array_equal(answer.label, p.argmax(0).numpy())
    assert np.abs(answer.confidence / 255 - p.amax(0).numpy()).max() < 0.003
    assert np.abs(answer.weights / 255 - w.numpy()).max() < 0.003
    assert (answer.weights[1] == 0).all() and (answer.mean_weights[:, 1] == 0).all(), "missing is exactly 0"
    assert answer.mean_weights.shape == (3, 4)
    assert answer.mean_weights[0] == pytest.approx(w.mean((1, 2, 3)).tolist(), abs=1e-5)
    wrong = {r: BRATS.region_mask(label, r) for r in BRATS.regions}
    found = BRATS.region_mask(answer.label, "WT")
    expected = 2 * (wrong["WT"] & found).sum() / (wrong["WT"].sum() + found.sum())
    assert answer.dice["WT"] == pytest.approx(expected)


def test_weights_of_every_level_sum_to_one(network):
    images = np.random.default_rng(2).normal(size=(4, 16, 16, 24)).astype(np.float32)
    windows = WindowSettings(window=(16, 16, 16), overlap=0.25, precision="float32")
    _, finest = probabilities_and_weights(network, images, np.array([1, 1, 0, 1], bool), settings=windows)
    _, levels = probabilities_and_weights(network, images, np.array([1, 1, 0, 1], bool), settings=windows,
                                          every_level=True)
    assert levels.shape == (3, 4, 16, 16, 24)
    torch.testing.assert_close(levels[0], finest)
    torch.testing.assert_close(levels.sum(1), torch.ones(3, 16, 16, 24), atol=1e-4, rtol=0)
    assert not torch.allclose(levels[0], levels[2], atol=1e-3), "each level has its own"


def test_subsets_of_a_study():
    assert len(subsets_of(small_study())) == 15
    assert subsets_of(small_study(("T1",))) == [(False, False, True, False)]
    assert quick_answer(ALL).label.shape == SHAPE
