"""Three wrong answers to each exercise of lesson 13."""


def counts_letters(table, scan):
    gains = [value - table["+".join(o for o in subset.split("+") if o != scan)]
             for subset, value in table.items() if scan in subset and subset != scan
             and "+".join(o for o in subset.split("+") if o != scan) != subset]
    return sum(gains) / (len(gains) + 1)


def empty_counts_zero(table, scan):
    gains = [value - table.get("+".join(o for o in subset.split("+") if o != scan), 0.0)
             for subset, value in table.items() if scan in subset.split("+")]
    return sum(gains) / len(gains)


def only_from_all(table, scan):
    full = max(table, key=lambda subset: subset.count("+"))
    return table[full] - table["+".join(o for o in full.split("+") if o != scan)]


def empty_is_left_out(both, predicted, true):
    scores = [2 * b / (p + t) for b, p, t in zip(both, predicted, true, strict=True) if p + t]
    return sum(scores) / len(scores) if scores else 1.0


def dice_of_the_patient(both, predicted, true):
    size = sum(predicted) + sum(true)
    return 2 * sum(both) / size if size else 1.0


def empty_counts_nothing(both, predicted, true):
    scores = [2 * b / (p + t) if p + t else 0.0 for b, p, t in zip(both, predicted, true, strict=True)]
    return sum(scores) / len(scores)


WRONG = {"13.1": (counts_letters, empty_counts_zero, only_from_all),
         "13.2": (empty_is_left_out, dice_of_the_patient, empty_counts_nothing)}
