# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 09 · Evaluate every subset
#
# One network, fifteen [subsets](../docs/glossary.md#subset) of scans, three [regions](../docs/glossary.md#region), two distances that bear one name, and an answer to "is it
# better?" that holds.
#
# **Question** how good is the network with every subset of scans, and how sure can we be of that?
#
# **Do** compute the subset table of the shipped weights, test the metrics against a library, and read longer runs.
#
# **Learn**
# - to evaluate all subsets in one pass, and to prove that nothing is lost by it
# - to say which [HD95](../docs/glossary.md#hd95) you mean, and what an empty side counts for
# - to find the cases worth looking at
# - to compare two methods with an interval, and to leave out what it does not allow you to say
#
# **Need** lesson 07; 2 GB of memory; paper section 4 (experiments). The [conventions](../docs/glossary.md#convention) are [ours](../docs/glossary.md#ours) and named.
#
# Not here: other methods than DMAF-Net and its baseline. They are in lesson 11.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
layout: str = "phantom"  # or a real cohort's, such as brats2020, prepared in DMAF_DATA/<layout>
run_name: str = ""  # empty: the shipped weights; else a run of lesson 07
cases: int = 4  # cases scored here
overlap: float = 0.5  # of neighbouring windows; 0.5 as in published work
cases_unseen: int = 6  # synthetic cases that no weights of the kit have seen (as in lesson 07)
cases_mets: int = 3  # synthetic studies with metastases
cases_threshold: int = 8  # the same, for choosing a threshold (lesson 07)

# %% tags=["setup"]
import json
import textwrap
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from dmaf_lite import figures
from dmaf_lite.base.device import choose_device
from dmaf_lite.data.case import normalise_case
from dmaf_lite.data.cohort import Cohort, read_split
from dmaf_lite.evaluation.evaluate import EvaluationSettings, evaluate
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.evaluation.lesions import lesion_table, lesions
from dmaf_lite.evaluation.metrics import EMPTY, HD95, dice, hd95, surface_points
from dmaf_lite.evaluation.scoring import score_case
from dmaf_lite.evaluation.statistics import bootstrap_interval, compare, holm
from dmaf_lite.evaluation.tables import MEAN, case_table, empty_table, size_table, subset_table
from dmaf_lite.experiment.effects import effects
from dmaf_lite.experiment.summary import curves_of, is_flat
from dmaf_lite.lessons import artifacts, recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_09 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.lessons.reproduced import SUBSET_ROWS
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.phantom.brain.recipe import BrainSettings, make_brain_case
from dmaf_lite.spec import BRATS

check_parameters(globals())
warnings.filterwarnings("ignore", category=FutureWarning, module="monai")  # it warns of its own old calls
device = choose_device()
print(f"torch {torch.__version__}, evaluating on {device.type}")

# %% [markdown]
# ## 1 · One pass for fifteen subsets
#
# With $M$ scans there are $2^M - 1$ non-empty subsets. Each scan is normalised and encoded by itself (lessons 01 and
# 02), so the features of FLAIR are the same in all eight subsets that hold FLAIR. We encode each scan **once** per
# window and decode every subset from the same features: $M$ [encoder](../docs/glossary.md#encoder) passes instead of $M\, 2^{M-1}$.

# %%
path = artifacts.root() / run_name / "weights.safetensors" if run_name else shipped("dmaf_net_phantom")
net, card = load_weights(path, device)
windows = WindowSettings(window=tuple(card["window"]), overlap=overlap)
if layout == "phantom":
    config = {"train": cases_threshold, "val": 1, "test": cases_unseen, "seed": seed + 1000,
              "spacing": card["spacing"][0]}
    folder = load_or_make("unseen-cohort", recipes.make_cohort, config)
else:
    folder = artifacts.data_folder(layout)  # holds prepared/ and split/
cohort, names = Cohort(folder / "prepared"), read_split(folder / "split")["test"][:cases]
print(f"{card['network']}, {card['recipe']['steps']} steps on {card['training_cases']} cases, {card['date']}")

# %%
images, truth = cohort.read(names[0])
side = windows.window[0]
middle = tuple(slice(max(0, (n - side) // 2), (n + side) // 2) for n in truth.shape)
corner, corner_truth = images[(slice(None), *middle)], truth[middle]
subsets = np.array(BRATS.subsets())
maps, seconds = {}, {}
for way in ("naive", "one pass"):
    began = time.perf_counter()
    maps[way] = subset_probabilities(net, corner, subsets, settings=windows, share_encoder=way == "one pass")
    seconds[way] = time.perf_counter() - began
print("one window of", corner_truth.shape, "voxels:", {way: f"{s:.2f} s" for way, s in seconds.items()})

# %% tags=["check"]
def rows_of(probabilities):
    """Scores of all subsets of this window."""
    labels = probabilities.argmax(1).byte().cpu().numpy()
    return pd.DataFrame(score_case(labels, corner_truth, subsets=subsets, spec=BRATS, diagonal=100.0,
                                   spacing=cohort.meta(names[0])["spacing"]))


torch.testing.assert_close(maps["one pass"], maps["naive"], rtol=1e-4, atol=1e-5)
pd.testing.assert_frame_equal(rows_of(maps["one pass"]), rows_of(maps["naive"]), check_exact=True)  # to the digit
assert len(subsets) == 2**BRATS.M - 1 and subsets.sum() == BRATS.M * 2 ** (BRATS.M - 1), "4 passes instead of 32"

# %% [markdown]
# Same numbers, to the last digit, and the encoders ran an eighth as often.
#
# **How large should a window be?** The instance norm sees the whole window, so a network answers best in windows of the
# sizes that it has learned from. Weights that have learned from crops of several sizes may use all of them: two windows
# of 32 voxels cover 48, and one of 48 does so with two thirds of the work along that axis. `windows_of` reads from the
# card what some weights may use, and `fitted_window` takes the size with the fewest voxels.
#
# ## 2 · Two metrics by hand
#
# [**Dice**](../docs/glossary.md#dice) asks how much two masks overlap, $2 |P \cap G| / (|P| + |G|)$; both empty counts 1, one empty 0. **HD95**
# asks how far their surfaces are apart. With $d(p, G)$ the distance in mm from a surface voxel $p$ of the prediction
# to the nearest surface voxel of the truth, and the other way round, there are two definitions in use:
# $$ \text{pooled} = Q_{95}\big( \{d(p, G)\} \cup \{d(g, P)\} \big), \qquad
#    \text{max directed} = \max\big( Q_{95}\{d(p, G)\},\ Q_{95}\{d(g, P)\} \big). $$

# %%
def distances(P, G, spacing):
    """Directed surface distances in mm, every pair of surface voxels looked at."""
    p, g = (surface_points(mask) * np.asarray(spacing) for mask in (P, G))
    apart = np.linalg.norm(p[:, None] - g[None], axis=2)
    return apart.min(1), apart.min(0)


def hd95_by_hand(P, G, spacing, definition):
    """HD95 of two masks that are not empty."""
    from_p, from_g = distances(P, G, spacing)
    if definition == "pooled":
        return np.percentile(np.concatenate([from_p, from_g]), 95)
    return max(np.percentile(from_p, 95), np.percentile(from_g, 95))

# %%
def ball(centre, radius, shape=(40, 40, 40)):
    """A ball as a mask."""
    return sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), centre, strict=True)) <= radius**2


spacing = (1.0, 1.0, 2.5)
G, P = ball((18, 18, 20), 8), ball((20, 19, 20), 7)
for definition in ("pooled", "max_directed"):
    print(f"{definition:13s} {hd95_by_hand(P, G, spacing, definition):.3f} mm, Dice {dice(P, G):.3f}")

# %% [markdown]
# The package measures with distance maps and trees, which is faster; MONAI was written by others. All three must agree.

# %% tags=["check"]
from monai.metrics import compute_dice, compute_hausdorff_distance

batch = [torch.from_numpy(mask)[None, None].float() for mask in (P, G)]
theirs = compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=spacing).item()
for definition in ("pooled", "max_directed"):
    ours = hd95(P, G, spacing, setting=HD95(definition))
    np.testing.assert_allclose(ours, hd95_by_hand(P, G, spacing, definition), rtol=1e-6)
np.testing.assert_allclose(theirs, hd95(P, G, spacing, setting=HD95("max_directed")), rtol=1e-5)
np.testing.assert_allclose(compute_dice(*batch).item(), dice(P, G), rtol=1e-6)

# %% [markdown]
# ## 3 · What HD95 hides
#
# **One false alarm.** A perfect prediction, and one small ball on the other side of the brain:

# %% [markdown]
# **Before you run**: a perfect prediction, and one tiny false ball far away. What will both HD95 be?
#
# <details><summary>Answer</summary>0 mm: the ball is less than one in twenty of the surface voxels.</details>

# %%
G = ball((14, 14, 20), 10)
alarm = ball((33, 33, 20), 1)
settings = [HD95("pooled"), HD95("max_directed")]
for name, P in (("without false alarm", G), ("with false alarm", G | alarm)):
    apart = {s.definition: f"{hd95(P, G, (1, 1, 1), setting=s):.1f} mm" for s in settings}
    print(f"{name:20s} {apart}, Dice {dice(P, G):.3f}")

# %% [markdown]
# The few voxels of the false alarm are less than one in twenty of all surface voxels, so both percentiles look past
# it. A second one, in the same place but a little larger, and the definitions part:

# %%
sizes = range(1, 6)
curves = {s.definition: [hd95(G | ball((33, 33, 20), r), G, (1, 1, 1), setting=s) for r in sizes] for s in settings}
print(pd.DataFrame(curves, index=pd.Index(sizes, name="radius")).round(1).T.to_string())

# %% tags=["check"]
part = next(i for i, r in enumerate(sizes) if curves["max_directed"][i] > 10)
assert curves["pooled"][part] == 0, "for one and the same prediction: 0 mm under one definition, many under the other"
assert all(a <= b for a, b in zip(curves["pooled"], curves["max_directed"], strict=True))

# %% [markdown]
# **One side empty.** If the network finds nothing, or finds something where nothing is, there is no distance. Published
# code disagrees about what to write, and the differences are not small (here for a BraTS volume's diagonal):

# %% [markdown]
# **Before you run**: the network finds nothing where something is. What will the HD95 be under five rules?
#
# <details><summary>Answer</summary>373.1, 1, 0, 0 mm, or left out: five code bases, one failure.</details>

# %%
nothing, diagonal = np.zeros_like(G), float(np.linalg.norm((240, 240, 155)))
situations = {"missed (nothing predicted)": (nothing, G), "invented (nothing true)": (G, nothing),
              "both empty": (nothing, nothing)}
written = {rule: {name: hd95(*pair, (1, 1, 1), setting=HD95(empty=rule), diagonal=diagonal)
                  for name, pair in situations.items()} for rule in EMPTY}
print(pd.DataFrame(written).round(1).T.to_string(na_rep="left out"))

# %% tags=["check"]
missed = [written[rule]["missed (nothing predicted)"] for rule in EMPTY]
assert max(np.nan_to_num(missed)) > 300 and 0 in missed, "one failure: the worst number of a table, or the best"
assert all(written[rule]["both empty"] == 0 for rule in EMPTY), "on nothing and nothing everybody agrees"

# %% [markdown]
# So every HD95 of the kit stands with its convention (`pooled/diagonal`), and a table of HD95 comes with the number of
# cases in which one side was empty.
#
# ## 4 · The subset table
#
# Now we score the weights on [phantoms](../docs/glossary.md#phantom) that they have never seen. The long table has one row per case, subset, region,
# metric and convention; every table and figure below is a pivot of it.

# %%
rules = (HD95("pooled", "diagonal"), HD95("max_directed", "one"))
if layout == "phantom" and not run_name:
    config = {"weights": "dmaf_net_phantom", "cases": cases, "overlap": overlap, "hd95": [rule.name for rule in rules]}
    kept = load_or_make(SUBSET_ROWS, recipes.score_shipped, config, needs=[folder])  # `make reproduce` compares them
    rows = pd.read_parquet(kept / "rows.parquet")
else:
    rows = evaluate(net, cohort, names, settings=EvaluationSettings(windows=windows, hd95=rules), progress=False)
print(len(rows), "rows")
print(rows.sample(4, random_state=seed).drop(columns="run").to_string(index=False))

# %%
regions = list(BRATS.regions)
table = subset_table(rows, "dice", regions=regions)
print(size_table(rows, "dice", regions=regions).round(3).to_string())

# %% tags=["hide-input"]
fig = figures.subset_heatmap(table, title=f"Dice, mean over {len(names)} unseen cases ({layout})")
figures.show(fig, alt="Heat map of Dice: fifteen subsets of modalities and their mean, by three regions")

# %% [markdown]
# Read the columns. WT is found from every subset, better from some than from others. TC and ET are high in the rows that
# hold T1ce and low in the rows that do not, ET most of all.
#
# The next table is HD95 of the same predictions, under two conventions:

# %%
far = {rule.name: subset_table(rows, "hd95", rule.name, regions=regions).loc[MEAN] for rule in rules}
print("HD95 in mm,", MEAN, "\n", pd.DataFrame(far).round(1).to_string())
empty = empty_table(rows).sum().unstack().loc[regions]
print(f"one side empty, of {len(names) * len(subsets)} predictions each\n{empty.to_string()}")

# %% tags=["check"]
one = rows.query("metric == 'dice' and region == 'WT' and case == @names[0]").set_index("subset")["value"]
again = subset_probabilities(net, images, np.array([[True] * BRATS.M]), settings=windows)[0].argmax(0).cpu().numpy()
assert abs(one["+".join(BRATS.modalities)] - dice(again > 0, truth > 0)) < 1e-3, "a row is what one prediction scores"
assert abs(table.drop(MEAN).mean()["WT"] - table.loc[MEAN, "WT"]) < 1e-9, "the last line is the mean of the others"

# %% [markdown]
# ## 5 · Look at the best and at the worst
#
# A mean hides its cases. `case_table` sorts them, worst first, and the two ends are worth a look.

# %%
by_case = case_table(rows, "dice", regions=regions)
print(by_case.round(3).to_string())
asked = {"all four": (True,) * 4, "T1ce": BRATS.mask_of(["T1ce"]), "T1": BRATS.mask_of(["T1"])}


def look(name):
    """FLAIR, truth, and the label maps of some subsets of one case."""
    scans, truth = cohort.read(name)
    found = subset_probabilities(net, scans, np.array(list(asked.values())), settings=windows).argmax(1)
    return scans[0], {"truth": truth, **dict(zip(asked, found.byte().cpu().numpy(), strict=True))}

# %% tags=["hide-input"]
for kind, name in (("worst", by_case.index[0]), ("best", by_case.index[-1])):
    scan, shown = look(name)
    shown = {f"{kind}: {k}" if k == "truth" else k: v for k, v in shown.items()}
    fig = figures.show_labels(scan, shown, cohort.meta(name)["affine"], classes=BRATS.classes)
    figures.show(fig, alt=f"The {kind} case over FLAIR: truth, predictions from all four scans, T1ce alone, T1 alone")

# %% [markdown]
# With all four scans the prediction comes close to the truth; T1ce alone keeps the core and frays the [oedema](../docs/glossary.md#oedema), T1 alone finds
# the place and loses the enhancing rim.
#
# ## 6 · A longer run on complete data
#
# A few cases are an anecdote. The kit brings the table of a longer run on complete data (random subsets were dropped
# while training), the one that made the shipped weights. This is where it comes from:

# %%
def committed(name):
    """A committed table of results and its card."""
    card = json.loads(Path("results", f"{name}.json").read_text(encoding="utf-8"))
    rows = pd.read_parquet(Path("results", f"{name}.parquet"))
    common, phantom = card["profile"]["common"], card["profile"]["phantom"]
    condition = common.get("condition") or ", ".join(dict.fromkeys(rows["rates"]))
    print(f"{name}: {card['data']}, {card['date']}, commit {card['commit']}\n{card['hardware']}\n"
          f"{common['steps']} steps a run, seeds {sorted(set(rows['seed']))}, condition {condition}\n"
          f"{phantom['train']} training and {rows['case'].nunique()} test cases at {phantom['spacing']:g} mm")
    return rows[rows["region"].isin(regions)], card


complete, complete_card = committed("complete")

# %%
def of(rows, variant):
    """The rows of one variant."""
    return rows[rows["variant"] == variant]


methods = list(complete_card["profile"]["variants"])
by_size = {variant: size_table(of(complete, variant), "dice", regions=regions) for variant in methods}
print(pd.concat(by_size, axis=1).round(3).to_string())
tables = {variant: subset_table(of(complete, variant), "dice", regions=regions) for variant in methods}
single = {variant: table.loc[list(BRATS.modalities)] for variant, table in tables.items()}
print(pd.concat(single, axis=1).round(3).to_string())

# %% tags=["check"]
for variant, sizes in by_size.items():
    assert (sizes.mean(axis=1).diff().dropna() > 0).all(), f"{variant}: on average, more modalities are better"
    best = single[variant].idxmax().to_dict()
    assert best == {"WT": "FLAIR", "TC": "T1ce", "ET": "T1ce"}, f"{variant}: the best single scans are {best}"

# %% [markdown]
# What radiologists know, the numbers show: every further scan helps on average, FLAIR alone is the best single scan for
# the whole tumour, T1ce alone for the core and for what enhances.

# %% tags=["hide-input"]
title = f"DMAF-Net: Dice, {complete['case'].nunique()} test cases (synthetic)"
fig = figures.subset_heatmap(tables["dmaf_net"], title=title)
figures.show(fig, alt="Heat map of Dice of the longer DMAF-Net run: fifteen subsets and their mean, by three regions")

# %% [markdown]
# The pattern of our few cases holds over more of them: without T1ce the enhancing tumour is mostly lost, and once T1ce is
# there, further scans add little to it.
#
# ## 7 · Is it better?
#
# For that question the kit brings a second table: the baseline with mean [fusion](../docs/glossary.md#fusion), then one part of DMAF-Net after the
# other, under imbalanced [missing rates](../docs/glossary.md#missing-rate), all with the same small budget.

# %%
ablation, ablation_card = committed("ablation")
variants = list(ablation_card["profile"]["variants"])
print("missing rates", ablation_card["profile"]["common"]["missing_rates"])
scores = ablation.query("metric == 'dice'")
means = scores.groupby(["variant", "region"], sort=False)["value"].mean().unstack().loc[variants, regions]
print(f"mean Dice over subsets, cases and seeds\n{means.round(3).to_string()}")

# %% [markdown]
# Two methods, the same cases. A hard case is hard for both, so we look at the **differences** $\delta_i$ per case $i$
# (subsets and seeds averaged first: they are not independent). How far would their mean move had we met other cases?
# Draw $n$ of the $n$ cases with replacement, many times, and take the middle 95 % of the means: the **bootstrap
# interval**.

# %%
def interval_by_hand(differences, draws=4000):
    """Percentile bootstrap interval of the mean, 95 %."""
    rng = np.random.default_rng(seed)
    means = rng.choice(differences, (draws, len(differences))).mean(axis=1)
    return np.percentile(means, [2.5, 97.5])


def case_means(variant):
    """Mean WT Dice of each case, over subsets and seeds."""
    return of(scores, variant).query("region == 'WT'").groupby("case")["value"].mean()


delta = (case_means(variants[-1]) - case_means(variants[0])).to_numpy()
print("by hand", interval_by_hand(delta).round(4), " package", np.round(bootstrap_interval(delta), 4))

# %% tags=["check"]
np.testing.assert_allclose(interval_by_hand(delta), bootstrap_interval(delta), atol=0.1 * delta.std() + 1e-6)
np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])  # smallest x 3, next x 2, never falling

# %% [markdown]
# Beside the interval stands a Wilcoxon signed-rank $p$, with **Holm's** correction, since whoever looks at three
# regions has three chances to be fooled. A difference whose interval holds 0 is not called one (`clear` is False).

# %%
columns = ["region", "cases", "ours", "other", "difference", "low", "high", "p_holm", "clear"]
print(f"{variants[-1]} minus {variants[0]}")
print(compare(of(ablation, variants[-1]), of(ablation, variants[0]))[columns].round(3).to_string(index=False))

# %% [markdown]
# ## 8 · What does each part add?
#
# First every variant against the baseline. The unit is the case, with an interval over cases; the seeds are few, so
# they are shown as they are, one point each, and not put into a formula.

# %%
def seed_differences(one, other, region, among=scores):
    """Difference of two variants in a region, seed by seed."""
    per_seed = among[among["region"] == region].groupby(["variant", "seed"])["value"].mean().unstack()
    return (per_seed.loc[one] - per_seed.loc[other]).to_numpy()


base = variants[0]
lines, points = [], {}
for variant in variants[1:]:
    table = compare(of(ablation, variant), of(ablation, base))
    lines.append(table.assign(variant=variant, line=variant + " · " + table["region"]))
    points |= {f"{variant} · {region}": seed_differences(variant, base, region) for region in regions}
against_baseline = pd.concat(lines, ignore_index=True)

# %% tags=["hide-input"]
fig = figures.interval_plot(against_baseline, value="difference", low="low", high="high", label="line", group="region",
                            points=points, unit="difference in Dice to the baseline (synthetic phantoms)")
figures.show(fig, alt="Differences in Dice to the baseline by variant and region: intervals over cases, seeds as dots")

# %% [markdown]
# How to read it: a strong line is an interval without 0, a pale one holds it; the small dots below are the seeds, one
# each. Where the dots of a line lie on both sides of 0, a single training would have told either story.
#
# Then each part by itself: every variant against the **one before**, so that each difference is the work of one part.
# The sentences are computed from the table, so they cannot be kinder than it is.

# %%
def verdict(line, seeds):
    """A sentence on one difference."""
    change = f"{line.region} {line.difference:+.3f} [{line.low:+.3f}, {line.high:+.3f}]"
    agree = f"{sum(np.sign(seeds) == np.sign(line.difference))} of {len(seeds)} seeds agree"
    if not line.clear:
        return f"{change}: no difference that the cases show; {agree}"
    return f"{change}: {'helped' if line.difference > 0 else 'HURT'}; {agree}"


# %%
steps_of_method = pd.concat([compare(of(ablation, one), of(ablation, before)).assign(variant=one, before=before)
                             for before, one in pairwise(variants)], ignore_index=True)
for (one, before), group in steps_of_method.groupby(["variant", "before"], sort=False):
    print(f"{one}, compared with {before}")
    for line in group.itertuples():
        print("   ", verdict(line, seed_differences(one, before, line.region)))

# %% tags=["check"]
sums = steps_of_method.groupby("region")["difference"].sum()
whole = against_baseline[against_baseline["variant"] == variants[-1]].set_index("region")["difference"]
np.testing.assert_allclose(sums[regions], whole[regions], atol=1e-6)  # the parts add up to the whole
for line in steps_of_method.itertuples():
    said = verdict(line, seed_differences(line.variant, line.before, line.region))
    assert ("helped" in said) == (line.low > 0) and ("HURT" in said) == (line.high < 0), "never more than the interval"

# %%
def named(chosen):
    """Lines of the comparison, as words."""
    return ", ".join(f"{line.variant} ({line.region})" for line in chosen.itertuples()) or "none"


agree = pd.Series([(np.sign(points[line.line]) == np.sign(line.difference)).all()
                   for line in against_baseline.itertuples()], index=against_baseline.index)
better, worse = against_baseline["low"] > 0, against_baseline["high"] < 0
for words, chosen in (("Better than the baseline on these phantoms, in every seed", better & agree),
                      ("Better over the cases, but one seed or more says the opposite", better & ~agree),
                      ("Worse over the cases", worse),
                      ("Cannot be told apart with these cases", ~against_baseline["clear"])):
    print(textwrap.fill(f"{words}: {named(against_baseline[chosen])}", 110, subsequent_indent="    "))

# %% [markdown]
# Where a part shows no gain, we looked for the reason before writing it down. Normalisation: with deepest features that
# were not normed, the covariance term grew a hundredfold in 800 steps; they are normed now, in every variant. Weights: each
# [distillation](../docs/glossary.md#distillation) term is 5 to 20 % of $L_\text{seg}$ at the end of the [warm-up](../docs/glossary.md#warm-up). Not tried: other weights, real
# scans. And the monitor: the tracked [gaps](../docs/glossary.md#gap) of the four [modalities](../docs/glossary.md#modality) stay close to each other in these runs, so there is not
# much for it to balance.
#
# What this table is, and what it is not: synthetic cases, a short budget, few seeds. It can say that a part works as
# built and roughly what it is worth here. It says nothing about patients, and nothing about the paper's own numbers.
# The same matrix at full size has not been run yet.
#
# ## 9 · Where does each part help?
#
# After 600 steps a method has started. A third table goes on to 1500 steps; larger voxels, smaller crops and fewer cases
# for validation pay for that. What counts as "helps" was written down before the first run, in
# [its profile](profiles/experiments/parts.yaml): an interval above 0, and every seed on the same side.

# %%
every_rate, parts_card = committed("parts")
every_rate = every_rate[every_rate["metric"] == "dice"]
parts = every_rate[every_rate["rates"] == "mr2468"]
seeds = set.intersection(*(set(of(parts, variant)["seed"]) for variant in variants))
parts = parts[parts["seed"].isin(seeds)]  # each difference is then between equal seeds
print("seeds that every variant has finished:", *sorted(seeds))
means = parts.groupby(["variant", "region"], sort=False)["value"].mean().unstack().loc[variants, regions]
print(f"mean Dice over subsets, cases and seeds\n{means.round(3).to_string()}")

# %%
looks = {variant: [curve for run, curve in curves_of(parts_card).items()
                   if run in {f"{variant}-mr2468-seed{one}" for one in seeds}] for variant in variants}
mean_curves = {variant: pd.concat(some).groupby("step", as_index=False).mean() for variant, some in looks.items()}
for variant, curve in mean_curves.items():
    print(f"{variant:24s} {'flat' if is_flat(curve['score']) else 'not flat'} by the rule of lesson 16, "
          f"{curve.query('step == 600')['score'].item():.3f} at step 600, {curve['score'].iloc[-1]:.3f} at the end")

# %% tags=["hide-input"]
fig = figures.validation_picture(mean_curves)
figures.show(fig, alt="Mean Dice on validation phantoms over the steps, one line for each variant: fast at first, then slow")

# %% [markdown]
# The learning rate falls to 0 in the end, so the last part of every curve rises, however long it is. Whether a budget is
# enough is told better by twice the budget: two of the runs once more, with 3000 steps
# ([profile](profiles/experiments/parts_long.yaml)).

# %%
longer, _ = committed("parts_long")
longer = longer[longer["metric"] == "dice"]
short = parts[parts["seed"].isin(set(longer["seed"]))]


def differences(ours, other):
    """Difference and interval of each region, as words."""
    found = compare(ours, other).set_index("region").loc[regions]
    return ", ".join(f"{region} {line.difference:+.3f} [{line.low:+.3f}, {line.high:+.3f}]"
                     for region, line in found.iterrows())


for variant in variants[:2]:
    print(f"{variant}, 3000 steps against 1500\n    {differences(of(longer, variant), of(short, variant))}")
for steps, table in ((1500, short), (3000, longer)):
    print(f"{variants[1]} against {variants[0]}, {steps} steps\n    "
          f"{differences(of(table, variants[1]), of(table, variants[0]))}")

# %% [markdown]
# So 1500 steps are not the end: twice as many add about .02. But both networks gain alike, and what [attention](../docs/glossary.md#attention) adds to TC and ET
# stays: these differences are no matter of the budget.

# %% [markdown]
# Each part by itself again, against the variant before it. And not only under these rates: the same variants were trained where
# only **one case in twenty has T2** (3 of 60) and all have the rest, the hardest lesson for a scan that is needed and never there.
# The plan's rule in one picture: a field has a colour only where the interval leaves 0 out and every seed agrees.

# %%
names_of = {(one, before): f"+ {one.split('+')[-1]}" for before, one in pairwise(variants)}
names_of[variants[-2], variants[-3]] = "+ prototypes"
names_of[variants[-1], variants[-2]] = "+ DTM"
names_of[variants[-1], variants[0]] = "all parts together"
map_of_effects = effects(every_rate, list(names_of), regions=regions)
helped = {rates: [f"{names_of[cell.one, cell.before]} ({cell.region})" for cell in group.itertuples()
                  if cell.verdict == "helps"] for rates, group in map_of_effects.groupby("rates", sort=False)}
for rates, found in helped.items():
    print(textwrap.fill(f"helps, by the plan, {rates}: {', '.join(found) or 'no part in any region'}", 110,
                        subsequent_indent="    "))

# %% tags=["hide-input"]
figures.show(figures.effect_map(map_of_effects, names=names_of),
             alt="Map of effects: parts of DMAF-Net down, regions across, one block for each kind of missing rates")

# %% [markdown]
# So [attention](../docs/glossary.md#attention) is what helps, and where T2 is rare it carries WT, too. Of the three terms of distillation none shows a gain of its own in
# the mean; the relation term gives to TC what it takes from WT where T2 is rare. Pale fields are one seed: wait for a second one
# before you believe them.
#
# An average over fifteen subsets may hide something: the parts were made for scans that are rare. So the same runs once
# more, for each scan alone.

# %%
alone = every_rate[every_rate["subset"].isin(BRATS.modalities)]
for rates, group in alone.groupby("rates", sort=False):
    missing_rates = parts_card["profile"]["rates"][rates]
    print(f"{rates}, mean Dice over regions, cases and seeds, each scan alone\nmissing in training:",
          ", ".join(f"{m} {rate:.0%}" for m, rate in missing_rates.items()) or "nothing")
    print(group.groupby(["variant", "subset"], sort=False)["value"].mean().unstack()
          .reindex(index=[v for v in variants if v in set(group["variant"])], columns=BRATS.modalities)
          .rename_axis(index=None, columns=None).round(3).to_string())

# %% [markdown]
# The scan that is [missing](../docs/glossary.md#available-and-missing) most often, by itself: what do all the distillation terms together add to [attention](../docs/glossary.md#attention)?

# %%
rare = "T2"  # in both tables
print(f"{variants[-1]}, compared with {variants[1]}, where {rare} is all there is")
distilled = effects(alone[alone["subset"] == rare], [(variants[-1], variants[1])], regions=regions)
for cell in distilled.itertuples():
    print(f"    {cell.rates:8s} {cell.region:4s} {cell.difference:+.3f} [{cell.low:+.3f}, {cell.high:+.3f}], {cell.seeds} "
          f"seed(s): {cell.verdict}")

# %% [markdown]
# Is there anything left to teach? A **dedicated** network for one subset is the ceiling: it has seen that subset alone, in all 60 cases,
# and has nothing else to learn ([its profile](profiles/experiments/dedicated.yaml)). Where the network that serves all subsets stands
# there already, no distillation can help.

# %%
dedicated, _ = committed("dedicated")
dedicated = dedicated[dedicated["metric"] == "dice"]
own = dedicated[dedicated["subset"] == dedicated["rates"]].groupby(["subset", "region"])["value"].mean().unstack()[regions]
ceiling = {"dedicated": own.mean(axis=1)}
for rates, group in every_rate.groupby("rates", sort=False):
    for variant in (variants[0], variants[1], variants[-1]):
        if variant in set(group["variant"]):
            ceiling[f"{variant}, {rates}"] = of(group, variant).groupby("subset")["value"].mean().reindex(own.index)
ceiling = pd.DataFrame(ceiling).T.rename_axis(index=None, columns=None)
print(f"mean Dice over regions, cases and seeds, by subset\n{ceiling.round(3).to_string()}")
gap = ceiling.loc["dedicated", "T2"] - ceiling.loc[f"{variants[0]}, mr2468", "T2"]
closed = {variant: (ceiling.loc[f"{variant}, mr2468", "T2"] - ceiling.loc[f"{variants[0]}, mr2468", "T2"]) / gap
          for variant in (variants[1], variants[-1])}
print(f"T2 alone, mr2468: the {variants[0]} is {gap:.3f} below its dedicated network\nattention closes {closed[variants[1]]:.0%} "
      f"of that, everything together {closed[variants[-1]]:.0%}")

# %% [markdown]
# So there is something to teach, most of all to T2 and T1ce, and everything together closes about half of the distance for the scan that
# is rarest. Where only one case in twenty has T2, and no subset is dropped while training, a network never meets a scan
# alone: far below the ceiling, and no term of the objective changes that much. Whoever expects single scans at prediction has to
# drop subsets in training, whatever the fusion is.

# %% tags=["check"]
for run, curve in curves_of(parts_card).items():
    assert curve["step"].is_monotonic_increasing and curve["score"].between(0, 1).all(), run
assert not (map_of_effects["verdict"].isin(["helps", "hurts"]) & (map_of_effects["seeds"] < 2)).any(), "one seed decides nothing"
assert parts.groupby("variant")["case"].apply(lambda names: tuple(sorted(set(names)))).nunique() == 1, "the same cases"

# %% [markdown]
# ## 10 · Many small lesions
#
# Cancers of other organs seed **many small foci** into a brain (metastases). Dice adds all voxels up, so it is the score
# of the largest focus; whether five of 0.2 ml were found hardly shows. So count lesions: a connected part of the truth is
# **found** if the prediction touches it, a part of the prediction that touches none is a **false positive**. The
# phantom's preset for metastases draws such [studies](../docs/glossary.md#study), synthetic like the others, and no weights of the kit have seen any.

# %%
many = BrainSettings(spacing=card["spacing"][0], metastases=True)
studies, cores = [], []
for index in range(cases_mets):
    study = normalise_case(make_brain_case(seed + 900, index, many), minimum=windows.window)
    everything = np.stack([study.images[m] for m in BRATS.modalities])
    found = subset_probabilities(net, everything, np.array([BRATS.subsets()[-1]]), settings=windows)[0].argmax(0)
    studies.append(study)
    cores.append([BRATS.region_mask(label, "TC") for label in (found.byte().cpu().numpy(), study.label)])
each = [lesions(found, true, study.spacing) for study, (found, true) in zip(studies, cores, strict=True)]
print("Dice of TC, study by study:", [round(dice(*pair), 2) for pair in cores])
lesion_table(each).round(2)

# %% tags=["hide-input"]
figures.show(figures.show_labels(studies[0].images["T1ce"], {"truth": cores[0][1] * 3, "found": cores[0][0] * 3},
                                 studies[0].affine),
             alt="One slice of a synthetic study with metastases on T1ce: the foci of the truth and those found")

# %% [markdown]
# Small foci are the ones that are missed, and at this voxel size one of 0.1 ml is four voxels. Now a reader who
# outlines the **large** ones perfectly and no others:

# %%
def only_large(true, spacing, above=1.0):
    """The parts of a mask that are larger than `above` ml."""
    parts, count = ndimage.label(true, np.ones((3, 3, 3)))
    ml = np.bincount(parts.ravel(), minlength=count + 1) * np.prod(spacing) / 1000
    ml[0] = 0
    return (ml > above)[parts]


large = [only_large(true, study.spacing) for study, (_, true) in zip(studies, cores, strict=True)]
by_hand = lesion_table([lesions(some, true, study.spacing) for some, study, (_, true)
                        in zip(large, studies, cores, strict=True)])
shares = [dice(some, true) for some, (_, true) in zip(large, cores, strict=True)]
print(f"Dice {np.mean(shares):.2f}, and {by_hand.loc['all', 'found']} of {by_hand.loc['all', 'lesions']} lesions found")

# %% tags=["check"]
assert by_hand.loc["above 1 ml", "sensitivity"] == 1 and by_hand.loc["all", "false positives per study"] == 0
assert by_hand.loc[["below 0.1 ml", "0.1 to 1 ml"], "found"].sum() == 0, "none of the small ones"
assert np.mean(shares) > by_hand.loc["all", "sensitivity"], "Dice flatters whoever finds the large ones"
perfect = lesion_table([lesions(true, true, study.spacing) for study, (_, true) in zip(studies, cores, strict=True)])
assert perfect.loc["all", "sensitivity"] == 1 and perfect.loc["all", "lesions"] == lesion_table(each).loc["all", "lesions"]

# %% [markdown]
# That is a good Dice, although not one of the small foci was found. Where lesions are many, report both: Dice, and by size how many were
# found and how many invented per study.
#
# ## The answer

# %% tags=["hide-input"]
here = subset_table(rows, "dice", regions=regions)
full, mean = here.loc["+".join(BRATS.modalities)], here.loc[MEAN]
print(f"mean Dice over {len(names)} unseen cases")
for words, line in (("all four scans", full), (MEAN, mean)):
    print(f"    {words:18s}", ", ".join(f"{region} {value:.2f}" for region, value in line.items()))
for rates, found in helped.items():
    print(textwrap.fill(f"after 1500 steps these help, by the plan, {rates}: {', '.join(found) or 'none'}", 110,
                        subsequent_indent="    "))

# %% [markdown]
# Very good with all scans, and for ET poor wherever T1ce is missing. How sure: the interval plots say which
# differences between methods survive other cases and other seeds. Of the parts of DMAF-Net, attention is the one that
# clearly helps on these phantoms, and most for the core and for what enhances. What distillation adds is too small to be
# seen in the mean over all subsets; section 9 shows it where it was meant for, at the scan that is missing most often.
#
# ## In practice
#
# - For real evaluations: `python -m dmaf_lite evaluate --weights W --cohort PREPARED --out DIR`. Finished cases are
#   kept, so it can be stopped; `--hd95 pooled/one` and others name the convention.
# - For a new patient: `python -m dmaf_lite predict --weights W --out DIR CASE_DIR` takes any non-empty subset and
#   writes a NIfTI file on the patient's own grid. For research and teaching, not a medical device; shipped weights
#   know phantoms only.
# - `ET_post` in the long table is the published post-processing (a very small predicted ET becomes necrosis), shown as
#   an extra region and never silently.
# - Choose settings on `val`, look at `test` once. A number chosen on the test set is a training number.
# - The whole second table again: `python -m dmaf_lite experiment notebooks/profiles/experiments/ablation.yaml --out
#   DIR`.
#
# ## What we built
#
# - evaluated fifteen subsets in one pass, equal to the naive way to the last digit
# - wrote two HD95 by hand, agreed with MONAI, and saw how far conventions alone can move a number
# - made the subset table of the shipped weights, and looked at its best and worst case
# - read from a longer run that more modalities are better on average, and which single scan shows which region
# - compared the parts of DMAF-Net by intervals, and said no more than they allow
# - counted lesions where a Dice would hide the small ones
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. How many subsets, and how many encoder passes per window?
#    <details><summary>Answer</summary>15 subsets, 4 passes instead of 32.</details>
# 2. HD95 of nothing against nothing?
#    <details><summary>Answer</summary>0, under every rule.</details>
# 3. Three p values 0.01, 0.04, 0.03: what does Holm make of the smallest?
#    <details><summary>Answer</summary>0.03.</details>
# 4. May we call a difference whose interval holds 0 a difference?
#    <details><summary>Answer</summary>No.</details>
# 5. Which single scan is best for ET in the longer run?
#    <details><summary>Answer</summary>T1ce.</details>

# %% tags=["check", "hide-input"]
assert len(subsets) == 15 and subsets.sum() == 32
assert all(written[rule]["both empty"] == 0 for rule in EMPTY)
assert abs(holm([0.01, 0.04, 0.03])[0] - 0.03) < 1e-12
assert not against_baseline.query("low <= 0 <= high")["clear"].any()
assert single[methods[0]]["ET"].idxmax() == "T1ce"

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 9.1 · One side empty
# HD95 (pooled) from the directed distances, where an empty array is an empty side:
# $$ Q_{95}\big( \{d(p, G)\} \cup \{d(g, P)\} \big), \quad \text{both empty: } 0, \quad \text{one empty: the penalty} . $$
# Expect: `pooled_hd95([], [], 373.0)` is 0, `pooled_hd95([], [2.0], 373.0)` is 373.

# %% tags=["exercise"]
def pooled_hd95(to_truth, to_prediction, penalty):
    """Distances in mm [|P|] and [|G|] -> HD95 in mm."""
    # >>> your turn: 9.1 one side empty
    if not len(to_truth) and not len(to_prediction):
        return 0.0
    if not len(to_truth) or not len(to_prediction):
        return penalty
    return float(np.percentile(np.concatenate([to_truth, to_prediction]), 95))
    # <<<

# %% tags=["exercise"]
exercises.check_9_1(pooled_hd95)

# %% [markdown] tags=["exercise"]
# ### Exercise 9.2 · The mean by size
# From the Dice of each subset to the mean over subsets of one scan, of two, and so on. Expect: `{"FLAIR": 0.6, "T2": 0.4,
# "FLAIR+T2": 0.8}` gives `{1: 0.5, 2: 0.8}`.

# %% tags=["exercise"]
def mean_by_size(table):
    """A dict from subset name (such as "FLAIR+T2") to Dice -> a dict from number of scans to mean Dice."""
    # >>> your turn: 9.2 the mean by size
    sizes = {}
    for subset, value in table.items():
        sizes.setdefault(subset.count("+") + 1, []).append(value)
    return {size: float(np.mean(values)) for size, values in sizes.items()}
    # <<<

# %% tags=["exercise"]
exercises.check_9_2(mean_by_size)

# %% [markdown] tags=["exercise"]
# ### Exercise 9.3 · Holm's correction
# The smallest of $n$ p values is multiplied by $n$, the next by $n - 1$, and so on; none may end up below one that was
# smaller, and none above 1:
# $$ \tilde p_{(i)} = \max_{j \le i}\ \min\big(1, (n - j + 1)\, p_{(j)}\big) . $$
# Expect: 0.01, 0.04, 0.03 become 0.03, 0.06, 0.06.

# %% tags=["exercise"]
def holm_correction(p):
    """A list of p values -> corrected ones, in the same order."""
    # >>> your turn: 9.3 Holm's correction
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    return corrected
    # <<<

# %% tags=["exercise"]
exercises.check_9_3(holm_correction)

# %% [markdown] tags=["exercise"]
# ### Exercise 9.4 · A question
# Two papers evaluate on the same split. One reports a mean HD95 of ET twice as large as the other's, with nearly the
# same Dice. Name three things to ask before you call its network worse.
#
# <details><summary>Answer</summary>
#
# What does an empty side count for: the diagonal, 1, 0, or is the case left out? A single missed ET can outweigh all
# other cases. Which definition: pooled, or the larger of the two directions? And was small predicted ET removed by
# post-processing? (Then: millimetres or voxels, best or last epoch, chosen on which set.)
#
# </details>

# %% [markdown]
# ## Next
#
# Tables say how much. In the next lesson you look at a study, its subsets and the weights yourself; the one after it
# compares the neighbours (RFNet, mmFormer, PASSION, AdaMM) under the same conditions.
