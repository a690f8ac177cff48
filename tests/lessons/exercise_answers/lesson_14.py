"""Three wrong answers to each exercise of lesson 14."""

import numpy as np


def all_relative_to_white(rng):
    white = rng.uniform(0.45, 0.7)
    return {"white": white, "grey": white * rng.uniform(1.1, 1.5), "csf": white * rng.uniform(1.6, 3.0),
            "oedema": white * rng.uniform(1.2, 1.7)}


def always_the_middle(rng):
    return {"white": 0.575, "grey": 0.575 * 1.3, "csf": 0.575 * 1.3 * 2.3, "oedema": 0.575 * 1.3 * 1.45}


def own_chance(rng):
    rng = np.random.default_rng()
    white = rng.uniform(0.45, 0.7)
    grey = white * rng.uniform(1.1, 1.5)
    return {"white": white, "grey": grey, "csf": grey * rng.uniform(1.6, 3.0), "oedema": grey * rng.uniform(1.2, 1.7)}


def dims_the_tumour(h, s, a, k):
    return (1 - a) * h + a * k * s


def forgets_the_share(h, s, a, k):
    return h + k * (s - h)


def fades_the_healthy(h, s, a, k):
    return k * (1 - a) * h + a * s


def of_a_finer_grid_too(zoom):
    return float(np.sqrt(abs(zoom**2 - 1) / 12))


def forgets_the_fine_box(zoom):
    return float(np.sqrt(zoom**2 / 12)) if zoom > 1 else 0.0


def variance(zoom):
    return max(zoom**2 - 1, 0) / 12


WRONG = {
    "14.1": (all_relative_to_white, always_the_middle, own_chance),
    "14.2": (dims_the_tumour, forgets_the_share, fades_the_healthy),
    "14.3": (of_a_finer_grid_too, forgets_the_fine_box, variance),
}
