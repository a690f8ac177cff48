"""Three wrong answers to each exercise of lesson 01."""

import numpy as np


def core_without_necrosis(label):
    return {"WT": label > 0, "TC": label == 3, "ET": label == 3}


def labels_of_the_file(label):
    return {"WT": label > 0, "TC": (label == 1) | (label == 4), "ET": label == 4}


def core_is_all_but_background(label):
    return {"WT": label > 0, "TC": label > 1, "ET": label > 2}


def positive_is_brain(image):
    mask = image > 0
    return np.where(mask, (image - image[mask].mean()) / image[mask].std(), 0.0)


def whole_volume(image):
    mask = image != image[0, 0, 0]
    return np.where(mask, (image - image.mean()) / image.std(), 0.0)


def background_moves_too(image):
    mask = image != image[0, 0, 0]
    return (image - image[mask].mean()) / image[mask].std()


def may_be_empty(available, rng):
    return available & (rng.random(len(available)) < 0.5)


def anything(available, rng):
    while True:
        kept = rng.random(len(available)) < 0.5
        if kept.any():
            return kept


def size_first(available, rng):
    indices = np.flatnonzero(available)
    kept = np.zeros_like(available)
    kept[rng.choice(indices, rng.integers(1, len(indices) + 1), replace=False)] = True
    return kept


WRONG = {
    "1.1": (core_without_necrosis, labels_of_the_file, core_is_all_but_background),
    "1.2": (positive_is_brain, whole_volume, background_moves_too),
    "1.3": (may_be_empty, anything, size_first),
}
