"""Mirrored prediction: the mean of a study and its mirror image, so that left and right are treated alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmaf_lite.evaluation.inference import WindowSettings, probabilities_and_weights, subset_probabilities
from dmaf_lite.methods.networks import build_network
from dmaf_lite.spec import BRATS

SETTINGS = WindowSettings(window=(8, 8, 8), precision="float32")
SUBSETS = np.array([[True, True, True, True], [False, True, False, False]])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_network("dmaf_net", BRATS, width=4, levels=2).eval()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(4, 12, 10, 9)).astype(np.float32)


def test_it_is_the_mean_with_the_mirror_image_turned_back(net, images):
    plain = subset_probabilities(net, images, SUBSETS, settings=SETTINGS)
    turned = subset_probabilities(net, images[:, ::-1].copy(), SUBSETS, settings=SETTINGS).flip(2)
    found = subset_probabilities(net, images, SUBSETS, settings=replace(SETTINGS, mirror=True))
    torch.testing.assert_close(found, (plain + turned) / 2)
    assert not torch.allclose(found, plain, atol=1e-4), "this network has a side"


def test_a_mirrored_study_gives_the_mirrored_prediction(net, images):
    settings = replace(SETTINGS, mirror=True)
    one, weights = probabilities_and_weights(net, images, SUBSETS[0], settings=settings)
    other, other_weights = probabilities_and_weights(net, images[:, ::-1].copy(), SUBSETS[0], settings=settings)
    torch.testing.assert_close(one, other.flip(1))
    torch.testing.assert_close(weights, other_weights.flip(1))


def test_it_is_off_by_default():
    assert WindowSettings().mirror is False


@pytest.mark.filterwarnings("error::UserWarning")
def test_read_only_arrays_are_taken_without_a_word_and_not_written_to(net, images):
    """As from a memory map or a column of a table: torch would warn that it could be written to."""
    locked, masks = images.copy(), SUBSETS.copy()
    locked.flags.writeable = masks.flags.writeable = False
    found = subset_probabilities(net, locked, masks, settings=SETTINGS)
    assert torch.equal(found, subset_probabilities(net, images, SUBSETS, settings=SETTINGS)) and not found.requires_grad
