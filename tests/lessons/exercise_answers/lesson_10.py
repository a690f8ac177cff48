"""Three wrong answers to each exercise of lesson 10."""

import numpy as np


def not_clipped(x, centre, width):
    return 255 * (x - (centre - width / 2)) / width


def twice_as_wide(x, centre, width):
    return 255 * np.clip((x - (centre - width)) / (2 * width), 0, 1)


def starts_at_the_centre(x, centre, width):
    return 255 * np.clip((x - centre) / width, 0, 1)


def best_alone(table):
    return max((subset for subset in table if len(subset) == 1), key=table.get).__iter__().__next__()


def full_set_only(table):
    everything = max(table, key=len)
    return max(everything, key=lambda name: table[everything] - table[everything - {name}])


def missed_least(table):
    names = frozenset().union(*table)

    def worth(name):
        return np.mean([table[s] - table[s - {name}] for s in table if name in s and len(s) > 1])

    return min(names, key=worth)


def by_weight_alone(weights, features):
    sizes = weights.reshape(len(weights), -1).sum(1)
    return sizes / sizes.sum()


def by_mean(weights, features):
    sizes = np.abs((weights * features).reshape(len(weights), -1).mean(1))
    return sizes / sizes.sum()


def not_divided(weights, features):
    return np.sqrt(((weights * features) ** 2).reshape(len(weights), -1).sum(1))


WRONG = {
    "10.1": (not_clipped, twice_as_wide, starts_at_the_centre),
    "10.2": (best_alone, full_set_only, missed_least),
    "10.3": (by_weight_alone, by_mean, not_divided),
}
