"""Three wrong answers to each exercise of lesson 08."""

import numpy as np


def global_generator(seed, step, available):
    while True:
        kept = available & (np.random.random(len(available)) < 0.5)  # noqa: NPY002 - the mistake itself
        if kept.any():
            return kept


def seed_plus_step(seed, step, available):
    rng = np.random.default_rng(seed + step)
    while True:
        kept = available & (rng.random(len(available)) < 0.5)
        if kept.any():
            return kept


def may_be_empty(seed, step, available):
    return available & (np.random.default_rng([seed, step]).random(len(available)) < 0.5)


WRONG = {
    "8.1": (global_generator, seed_plus_step, may_be_empty),
}
