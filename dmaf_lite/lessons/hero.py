"""The first picture of README and lesson 00: shipped weights on a study that they have never seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmaf_lite import figures
from dmaf_lite.base.atomic import atomic_path, write_text
from dmaf_lite.data.cohort import Cohort
from dmaf_lite.evaluation.inference import subset_probabilities, windows_of
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.source import Workspace
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.spec import BRATS

SUBSETS = {"all four": BRATS.modalities, "without T1ce": ("FLAIR", "T1", "T2"), "FLAIR alone": ("FLAIR",),
           "T1ce alone": ("T1ce",), "T2 alone": ("T2",)}
ALT = ("One synthetic study: its four scans and the reference above; below, what the network finds from all four "
       "scans, without T1ce, and from FLAIR, T1ce or T2 alone, with the Dice of WT, TC and ET")
START, END = "<!-- result: written by `python -m dmaf_lite lessons hero` -->", "<!-- end of result -->"
WEIGHTS = "dmaf_net_phantom"  # those of the table below the picture
HARD_SPACE = "\N{NO-BREAK SPACE}"  # no line of a narrow page ends inside an interval
UNSEEN = 1000  # added to the seed: nothing in the kit was trained on these phantoms


@dataclass(frozen=True)
class Hero:
    """A study, its reference, and the answers of a network to some subsets of its scans."""

    name: str
    images: dict[str, np.ndarray]
    label: np.ndarray
    affine: np.ndarray
    answers: dict[str, np.ndarray]
    scores: dict[str, dict[str, float]]


def first_study(seed: int = 0) -> Hero:
    """Make an unseen phantom and segment it from every subset of `SUBSETS`."""
    net, card = load_weights(shipped(WEIGHTS))
    folder = load_or_make("first-study", recipes.make_cohort, {
        "train": 1, "val": 1, "test": 1, "seed": seed + UNSEEN, "spacing": card["spacing"][0]})
    cohort, split = Cohort(folder / "prepared"), recipes.open_cohort(folder)[1]
    name = split["test"][0]
    scans, truth = cohort.read(name)
    masks = np.array([BRATS.mask_of(names) for names in SUBSETS.values()])
    found = subset_probabilities(net, scans, masks, settings=windows_of(card))
    answers = dict(zip(SUBSETS, found.argmax(1).byte().cpu().numpy(), strict=True))
    scores = {subset: {region: dice(BRATS.region_mask(label, region), BRATS.region_mask(truth, region))
                       for region in BRATS.regions} for subset, label in answers.items()}
    images = dict(zip(BRATS.modalities, scans, strict=True))
    return Hero(name, images, truth, np.asarray(cohort.meta(name)["affine"]), answers, scores)


def picture(hero: Hero):
    """The figure of a study."""
    return figures.hero_picture(hero.images, hero.label, hero.answers, hero.scores, hero.affine, BRATS.classes)


def result_line(notebooks: Path) -> str:
    """How well, with intervals over cases, from the committed longer run behind the shipped weights."""
    import pandas as pd

    from dmaf_lite.evaluation.statistics import bootstrap_interval

    rows = pd.read_parquet(notebooks / "results" / "complete.parquet")
    rows = rows[(rows["metric"] == "dice") & rows["region"].isin(BRATS.regions)]
    full = "+".join(BRATS.modalities)

    def of(chosen: pd.DataFrame, region: str) -> str:
        cases = chosen[chosen["region"] == region].groupby("case")["value"].mean()
        low, high = bootstrap_interval(cases)
        return f"{cases.mean():.2f} [{low:.2f},{HARD_SPACE}{high:.2f}]"

    parts = {"all four scans": rows[rows["subset"] == full],
             "without T1ce": rows[rows["subset"] == "FLAIR+T1+T2"], "mean over all 15 subsets": rows}
    lines = [f"| {title} | " + " | ".join(of(chosen, region) for region in BRATS.regions) + " |"
             for title, chosen in parts.items()]
    head = f"| Dice [95 % interval], {rows['case'].nunique()} unseen synthetic cases | WT | TC | ET |"
    return "\n".join([head, "|---|---|---|---|", *lines])


def write_hero(workspace: Workspace) -> None:
    """``docs/hero.png``, and the result in the README.

    Raises:
        ValueError: If the README has no place for it.
    """
    with atomic_path(workspace.root / "docs" / "hero.png") as partial:
        partial.write_bytes(figures.png(picture(first_study())))
    path = workspace.root / "README.md"
    text = path.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise ValueError(f"README.md has no place for the result; expected the lines {START} and {END}")
    before, _, rest = text.partition(START)
    write_text(path, f"{before}{START}\n![{ALT}](docs/hero.png)\n\n{result_line(workspace.notebooks)}\n"
                     f"{END}{rest.partition(END)[2]}")
