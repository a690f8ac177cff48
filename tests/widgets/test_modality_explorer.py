"""The modality explorer without a browser: questions, answers, and what happens when they cross."""

import gc
import threading
import weakref

import numpy as np
import pytest
import torch
from widget_cases import FRONT, LEFT, SHAPE, TOP, quick_answer, small_study

from dmaf_lite.evaluation.inference import WindowSettings, probabilities_and_weights
from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import BRATS
from dmaf_lite.widgets import Answer, ModalityExplorer, Study, predictor
from dmaf_lite.widgets.answers import subsets_of
from dmaf_lite.widgets.scene import key_of, unpack

ALL = (True,) * 4
WITHOUT_FLAIR = (False, True, True, True)


def explorer_of(answer=quick_answer, study=None, **options):
    return ModalityExplorer(study or small_study(), answer, background=options.pop("background", False), **options)


def sent(explorer):
    """What the explorer sends from now on: (content, header of the message or None)."""
    messages = []
    explorer.send = lambda content, buffers=(): messages.append((content, unpack(buffers[0])[0] if buffers else None))
    return messages


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
    for key in ("0111", "1111", "0111"):
        explorer.on = key  # what a button of the page does
    assert answer.asked == [ALL, WITHOUT_FLAIR]
    assert explorer.shown == WITHOUT_FLAIR == explorer.mask and explorer.given is explorer.desk.known[WITHOUT_FLAIR]
    assert "segmented from T1ce + T1 + T2" in explorer.describe()


def test_answers_from_before_are_not_computed_again():
    answer, known = Counting(), {ALL: quick_answer(ALL)}
    explorer = explorer_of(answer, answers=known)
    assert answer.asked == [] and explorer.given is known[ALL]


def test_the_first_answer_is_there_at_once_even_in_the_background():
    explorer = explorer_of(background=True)
    assert explorer.shown == ALL and unpack(explorer.answer)[0]["key"] == "1111"


def test_all_subsets_come_unasked_behind_the_page_and_only_there():
    explorer = explorer_of(background=True)
    explorer.desk.join(10)
    assert len(explorer.desk.known) == 15
    assert len(explorer_of().desk.known) == 1, "a notebook that is run without a reader waits for nothing unasked"


def test_a_page_that_opens_later_gets_all_that_is_known():
    explorer = explorer_of()
    explorer.compute_all(wait=True)
    messages = sent(explorer)
    explorer._told({"kind": "hello"})
    assert {header["key"] for _, header in messages} == {key_of(mask) for mask in explorer.masks}
    assert all(content["key"] == header["key"] for content, header in messages)


def test_the_empty_set_is_refused():
    explorer = explorer_of()
    with pytest.raises(ValueError, match="at least one is needed"):
        explorer.choose((False,) * 4)
    explorer.on = "0000"  # a page never says so; nothing is asked of the network
    assert explorer.shown == ALL


def test_the_newest_question_wins():
    answer = Held(WITHOUT_FLAIR)
    explorer = explorer_of(answer)
    explorer.background = True
    messages = sent(explorer)
    explorer.on = "0111"
    assert answer.started.wait(10)
    explorer.on = "0011"  # twice changed while the first is being computed:
    explorer.on = "0001"  # only the last of the two is
    answer.gate.set()
    explorer.desk.join(10)
    assert explorer.shown == explorer.mask == (False, False, False, True)
    assert answer.asked == [ALL, WITHOUT_FLAIR, (False, False, False, True)]
    assert WITHOUT_FLAIR in explorer.desk.known, "the late answer is kept"
    assert [content["key"] for content, _ in messages] == ["0111", "0001"], "and sent, too"


def test_a_question_goes_before_the_rest_of_all():
    answer = Held((True, False, False, False))  # the first of all
    explorer = explorer_of(answer)
    explorer.background = True
    explorer.compute_all()
    assert answer.started.wait(10)
    explorer.choose((False, False, True, True))
    answer.gate.set()
    explorer.desk.join(10)
    assert answer.asked[2] == (False, False, True, True)
    assert len(answer.asked) == len(set(answer.asked)) == 15 == len(explorer.desk.known)
    assert explorer.shown == (False, False, True, True), "and it stays"


def test_errors_are_sent_and_the_next_question_is_answered():
    def sometimes(mask):
        if mask == WITHOUT_FLAIR:
            raise RuntimeError("out of memory")
        return quick_answer(mask)

    for background in (False, True):
        explorer = explorer_of(sometimes)
        explorer.background = background
        messages = sent(explorer)
        explorer.on = "0111"
        explorer.desk.join(10)
        assert messages == [({"kind": "failed", "key": "0111", "words": "RuntimeError: out of memory"}, None)]
        assert explorer.shown == ALL and "out of memory" in explorer.problem
        explorer.on = "0011"
        explorer.desk.join(10)
        assert explorer.shown == (False, False, True, True) and explorer.problem == ""
        explorer.compute_all(wait=True)
        assert len(explorer.desk.known) == 14, "one subset has no answer, the others have"


def test_a_study_that_lacks_scans():
    explorer = explorer_of(study=small_study(("T1ce", "T2")))
    assert explorer.mask == (False, True, False, True) and len(explorer.masks) == 3
    assert explorer.scan == "T1ce", "the picture under the labels is a scan that is given"
    assert unpack(explorer.scene)[0]["given"] == [False, True, False, True]
    with pytest.raises(ValueError, match="small has T1ce, T2"):
        explorer.choose(ALL)


def test_without_a_reference_nothing_is_compared():
    bare = Answer(quick_answer(ALL).label, quick_answer(ALL).confidence)
    explorer = explorer_of(lambda mask: bare, small_study(labelled=False))
    assert explorer.reference is None and "reference" not in unpack(explorer.scene)[0]["arrays"]
    assert "Dice" not in explorer.describe() and "reference" not in explorer.read()
    explorer.figure()


def test_it_reads_the_answer_under_the_cross_hair():
    explorer = explorer_of()
    first = explorer.frame.start
    explorer.at = [LEFT - first[0], FRONT - first[1], TOP - first[2]]
    words = explorer.read()
    assert "predicted ED (94% sure)" in words and "reference ET" in words and "weights FLAIR 0.25" in words
    explorer.choose((False, True, False, True))
    assert "weights T1ce 0.50, T2 0.50" in explorer.read(), "the same voxel, the new answer"


def test_a_picture_for_pages_without_a_kernel():
    explorer = explorer_of()
    data, metadata = explorer._repr_mimebundle_()
    alt = metadata["image/png"]["alt"]
    assert "segmented from FLAIR + T1ce + T1 + T2" in alt and "Dice WT 1.00" in alt and "T1ce 0.25" in alt
    assert "not a medical device" in alt, "this study is not synthetic"
    explorer.choose((False, False, False, True))
    assert explorer._repr_mimebundle_()[0]["image/png"] != data["image/png"]


def test_it_is_freed_when_it_is_closed():
    gone = weakref.ref(explorer_of(background=True))
    gone().close()
    for thread in threading.enumerate():
        if thread.name == "answers":
            thread.join(10)
    gc.collect()
    assert gone() is None


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


def test_several_subsets_in_one_pass_are_each_what_one_is_alone(network):
    rng = np.random.default_rng(3)
    study = Study("noise", BRATS, {m: rng.normal(size=(16, 16, 16)).astype(np.float32) for m in BRATS.modalities}, None,
                  np.diag([-1.0, -1, 1, 1]))
    predict = predictor(study, network, {"window": (16, 16, 16)})
    masks = subsets_of(study)[3:8]
    together = predict.many(masks)
    for mask in masks:
        alone = predict(mask)
        assert (together[mask].label == alone.label).mean() > 0.999
        np.testing.assert_allclose(together[mask].mean_weights, alone.mean_weights, atol=2e-3)
        assert together[mask].expected["WT"] == pytest.approx(alone.expected["WT"], abs=2e-3)


def test_a_bad_scan_is_another_question(network):
    rng = np.random.default_rng(4)
    study = Study("noise", BRATS, {m: rng.normal(size=(16, 16, 16)).astype(np.float32) for m in BRATS.modalities}, None,
                  np.diag([-1.0, -1, 1, 1]))
    predict = predictor(study, network, {"window": (16, 16, 16)})
    same, scan = predict.degraded(ALL, "T1", "noise", 0.0)
    assert np.array_equal(same.label, predict(ALL).label) and np.array_equal(scan, study.images["T1"])
    worse, scan = predict.degraded(ALL, "T1", "noise", 2.0)
    assert not np.array_equal(worse.confidence, same.confidence) and scan.std() == pytest.approx(1, abs=0.01)
    assert np.array_equal(predict.images[2], study.images["T1"]), "the study itself stays as it is"


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
