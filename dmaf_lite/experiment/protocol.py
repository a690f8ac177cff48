"""Who is trained on and who is tested on in the runs of a matrix.

========= ==============================================================================================
split     train, val and test of a split
cv5       five folds: every labelled patient is tested once, by networks that have not seen it; no validation cases
passion   the published split of MyoPS 2020, 20 patients and 5, with the published table of missing scans. Its test
          cases also choose the weights, as in published work: ``last`` and ``best-on-test`` are both scored, so that
          the difference can be seen. A demonstration, not a way to report.
========= ==============================================================================================

Taught in the lesson on hearts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dmaf_lite.data.cohort import Cohort
from dmaf_lite.data.missing import missing_table
from dmaf_lite.data.protocols import folds, passion_split, published_names
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.training.train_settings import TrainSettings

Split = Mapping[str, Sequence[str]]
FOLDS = 5
ON_TEST = "best-on-test"


def folds_of(protocol: str) -> tuple[int, ...]:
    """The folds of each run; -1 where there are none."""
    return tuple(range(FOLDS)) if protocol == "cv5" else (-1,)


def cases_of(protocol: str, cohort: Cohort, split: Split | None) -> Split:
    """The cases of a matrix: the split, or what the protocol makes of the labelled cases of a cohort.

    Raises:
        ValueError: Too few patients for five folds, or not the 25 patients of the published split.
    """
    if protocol == "split":
        assert split is not None
        return split
    labelled = [name for name in cohort.names if cohort.meta(name)["labelled"]]
    if protocol == "passion":
        return passion_split(labelled, synthetic=bool(cohort.layout.synthetic))
    folds(labelled, count=FOLDS)
    return {"all": labelled}


def parts_of(cases: Split, *, fold: int, seed: int) -> Split:
    """``train``, ``val`` and ``test`` of one run; `seed` draws the folds."""
    return folds(cases["all"], count=FOLDS, seed=seed)[fold] if fold >= 0 else cases


def training_set(protocol: str, cohort: Cohort, cases: Split, recipe: TrainSettings, *, fold: int, seed: int
                 ) -> TrainingSet:
    """The training cases of one run, with its table: the same one for every variant and seed of training.

    Args:
        protocol: See above.
        cohort, cases: The data.
        recipe: Its condition and missing rates.
        fold: Of a cross-validation, else -1.
        seed: Of the folds and of the table.
    """
    chosen = TrainingSet(cohort, parts_of(cases, fold=fold, seed=seed)["train"])
    if recipe.condition == "complete":
        return chosen
    if protocol != "passion":
        return chosen.with_rates(recipe.missing_rates, seed)
    # The published table is one of patients; phantoms stand in for them.
    names = published_names([*cases["train"], *cases["test"]], synthetic=bool(cohort.layout.synthetic))
    frame = missing_table([names[name] for name in chosen.names], recipe.missing_rates, spec=cohort.spec, seed=seed,
                          method="published")
    return TrainingSet(cohort, chosen.names, {name: tuple(frame.loc[names[name]]) for name in chosen.names})
