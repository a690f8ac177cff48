"""Scans like those before pass; a skull, a swapped scan, an empty brain and a new contrast are said in a sentence."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from dmaf_lite.data.case import normalise_case
from dmaf_lite.evaluation.experience import BRAIN_LITRES, experience_of, features, outside, unfamiliar
from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain_case
from dmaf_lite.spec import BRATS

MM = 6.0
ALL = (True,) * 4


def prepared(case) -> np.ndarray:
    normal = normalise_case(case, minimum=16)
    return np.stack([normal.images[name] for name in BRATS.modalities])


@pytest.fixture(scope="module")
def studies() -> list[np.ndarray]:
    """Ten phantoms on a coarse grid."""
    return [prepared(make_brain_case(11, index, BrainSettings(spacing=MM))) for index in range(10)]


@pytest.fixture(scope="module")
def experience(studies):
    return experience_of([features(images, ALL, (MM,) * 3, BRATS) for images in studies])


def said(images, experience, available=ALL, mm=MM) -> list[str]:
    return unfamiliar(features(images, available, (mm,) * 3, BRATS), experience)


def test_a_study_is_familiar_with_itself_in_every_subset(studies, experience):
    for mask in BRATS.subsets():
        assert said(studies[0], experience, mask) == []


def test_a_skull_is_said(studies, experience):
    images = np.pad(studies[0], ((0, 0), *((4, 4),) * 3))
    head = ndi.binary_dilation((images != 0).any(0), iterations=3)  # 18 mm of skull and scalp
    images[:, head & (images == 0).all(0)] = 0.7
    (sentence,) = [one for one in said(images, experience) if "litres" in one]
    assert "skull" in sentence and "docs/native_scans.md" in sentence


@pytest.mark.parametrize("mm", [0.6, 60.0])
def test_voxels_in_another_unit_are_said(studies, experience, mm):
    assert any("not in mm" in one for one in said(studies[0], experience, mm=mm))


def test_an_empty_brain_is_said(experience):
    nearly = np.zeros((4, 20, 20, 20), np.float32)
    nearly[:, 5:7, 5:7, 5:7] = np.random.default_rng(0).normal(size=(4, 2, 2, 2))
    assert any("nearly empty" in one for one in said(nearly, experience))
    assert any("nearly empty" in one for one in said(np.zeros((4, 8, 8, 8), np.float32), experience))


def test_t2_in_the_place_of_another_scan_is_said_with_its_role(studies, experience):
    for place in range(3):
        images = np.zeros_like(studies[1])
        images[place] = studies[1][3]
        mask = tuple(m == place for m in range(4))
        (sentence,) = said(images, experience, mask)
        assert sentence.startswith(BRATS.modalities[place]) and "looks like a T2" in sentence


def test_a_contrast_that_nobody_had_is_said(studies, experience):
    images = studies[2].copy()
    images[0] = -images[0]  # white matter brighter than grey, fluid brightest
    assert any(one.startswith("FLAIR") for one in said(images, experience))


def test_a_brain_has_the_size_of_a_brain(experience):
    low, high = experience["brain"]["litres"]
    assert BRAIN_LITRES[0] < low < high < BRAIN_LITRES[1]


def test_outside_is_counted_in_widths_of_the_range():
    assert outside({"a": 2.0, "b": 0.5, "c": 9.0}, {"a": (0.0, 1.0), "b": (0.0, 1.0)}) == pytest.approx({"a": 0.5})
    assert "a" in outside({"a": float("nan")}, {"a": (0.0, 1.0)})
