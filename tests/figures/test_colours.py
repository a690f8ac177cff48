"""Colours that can be told apart, by colour-blind readers too, and letters that can be read on them."""

from itertools import combinations, product

import numpy as np
import pytest

from dmaf_lite.figures.style import CLASS_COLOURS, MODALITY_COLOURS
from dmaf_lite.spec import SPECS

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
EYES = {
    "usual": np.eye(3),
    "deuteranope": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                             [-0.011820, 0.042940, 0.968881]]),
    "protanope": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                           [-0.003882, -0.048116, 1.051998]]),
}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB (D65)."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = matrix @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: str, other: str, eye: str) -> float:
    return float(np.linalg.norm(lab(EYES[eye] @ linear(one)) - lab(EYES[eye] @ linear(other))))


def contrast(one: str, other: str) -> float:
    a, b = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other))
    return (b + 0.05) / (a + 0.05)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_scans_and_classes_are_told_apart(spec, eye):
    scans = [MODALITY_COLOURS[m] for m in spec.modalities]
    classes = CLASS_COLOURS[1 : len(spec.classes)]
    least = 8 if eye != "usual" else 15
    for one, other in [*combinations(scans, 2), *combinations(classes, 2), *product(scans, classes)]:
        assert distance(one, other, eye) > least, (one, other)


def test_white_letters_can_be_read_on_the_colours_of_the_scans():
    for colour in MODALITY_COLOURS.values():
        assert contrast(colour, "#FFFFFF") >= 4.5, colour


def test_classes_are_seen_on_any_grey_by_their_dark_edge():
    for colour in CLASS_COLOURS[1:]:
        assert contrast(colour, "#000000") >= 3, colour
