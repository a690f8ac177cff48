# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 10 · Explore cases and weights
#
# Three views that you control: a [study](../docs/glossary.md#study), what a network makes of any [subset](../docs/glossary.md#subset) of its scans, and a training.
#
# **Question** in a study that you can look at, what does the network lose with each scan?
#
# **Do** look through a study, switch scans off, read weights and confidence, and watch a training while it runs.
#
# **Learn**
# - to find your way in three planes, and never to mistake left for right
# - to see which scan shows what, and what is lost with it
# - to read [modality](../docs/glossary.md#modality) weights and confidence, and to know what they do not say
# - to tell from a few curves whether a training goes well
#
# **Need** lessons 03 (weights) and 06 (training monitor) for the meaning; 2 GB of memory.
#
# Not here: how a network that is too sure of itself can be mended. That is lesson 15.
#
# The views work without internet and without a graphics card. In a saved notebook you see a picture of each; **run the
# cells and it comes alive**. Everything here is also an application without code: `make explore`.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
layout: str = "phantom"  # or a real layout, such as brats2020: how the files in `case_folder` are named
case_folder: str = ""  # a folder with the NIfTI files of one study; empty: a synthetic study is made
look_spacing: float = 1.5  # mm; voxels of the synthetic study
weights_file: str = ""  # empty: the shipped weights, which know phantoms only
noise_levels: list = [0, 1, 2, 3]  # of the bad scan, in standard deviations
subsets_computed: int = 15  # how many subsets to compute at once; all 15 take half a minute
cases_train: int = 24  # synthetic cases of the cohort that the short training uses (as in lesson 06)
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
crop: int = 32  # voxels; side of a training crop
levels: int = 4  # of the network that is trained
steps: int = 120  # of the training
run_folder: str = ""  # empty: a short training of our own; else the folder of any run

# %% tags=["setup"]
from pathlib import Path

import numpy as np
import pandas as pd

from dmaf_lite import figures
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.figures.planes import window
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_10 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.spec import BRATS
from dmaf_lite.training.runlog import read_log
from dmaf_lite.widgets import ModalityExplorer, TrainingExplorer, VolumeExplorer, folder_study, phantom_study

check_parameters(globals())
print("explorers without WebGL and without network")

# %% [markdown]
# ## 1 · A study to look through
#
# Three planes meet in one cross-hair: where it stands in one of them, it stands in all. The first view is the slice with
# the most tumour. The pictures are drawn by your browser, so nothing here waits for Python.
#
# | key, mouse, control | what it does |
# |---|---|
# | click; arrow keys, wheel or swipe | move the cross-hair; one slice on or back |
# | drag | the grey window: to the right is wider, down is darker (the numbers say centre and width) |
# | Ctrl and wheel, **+** and **−**, pinch | zoom; a double click goes back |
# | **1** to **4** | the scans; *all scans* shows them side by side |
# | *measure* | a distance in mm |
# | *In three dimensions* | head and labels as a body that you turn; no graphics card is needed |
# | **?** | the list of all keys |
#
# **Look for** the [oedema](../docs/glossary.md#oedema) (ED), brightest in FLAIR (on T2 it is bright, too, but fluid is brighter); the enhancing rim (ET)
# in T1ce and nowhere else; the dark core (NCR/NET) inside it. **R** and **L** are the patient's sides: you look at the patient from the feet.

# %%
if case_folder:
    study = folder_study(case_folder, layout)
else:
    study = phantom_study(seed + 1000, 0, spacing=look_spacing)
explorer = VolumeExplorer(study)
explorer

# %% tags=["check"]
before, words = list(explorer.at), explorer.read()
explorer.go(axis=2, index=before[2] + 3)  # what three keys do in the page
assert explorer.at == [*before[:2], before[2] + 3] and explorer.read() != words, "three slices on, another voxel"
explorer.go(axis=2, index=before[2])
assert explorer.read() == words, "and back again"

# %% [markdown]
# ## 2 · From a scan to a picture
#
# A screen shows 256 greys, a scan has thousands. A **window** $[a, b]$ decides which of them to see:
# $$ g = 255 \cdot \mathrm{clip}\Big(\frac{x - a}{b - a},\, 0,\, 1\Big) . $$
# Outside the window everything is black or white, so a window can hide a lesion. By default $a$ and $b$ are the 1st and
# the 99.5th percentile of the head.

# %% [markdown]
# **Before you run**: in the window from 0 to 100, which grey does the intensity 50 get?
#
# <details><summary>Answer</summary>127.5, half way.</details>

# %%
def greys(x, a, b):
    """Intensities -> greys from 0 to 255."""
    return 255 * np.clip((x - a) / (b - a), 0, 1)


scan = study.images[next(iter(study.images))]
inside = scan[scan != 0]
for name, (a, b) in {"default": window(scan), "narrow": tuple(np.percentile(inside, (40, 60)))}.items():
    g = greys(inside, a, b)
    print(f"{name:8s} [{a:.0f}, {b:.0f}]: {np.mean((g > 0) & (g < 255)):.0%} of the head keep their contrast")

# %% [markdown]
# The file says by its **affine** where each voxel lies in the patient, and scanners do not agree on the order of the axes. So
# volumes are turned before they are shown: the first index runs to the patient's left, the second to the back, the third
# up (LPS). The voxel under the cross-hair goes the same way backwards, to the file.

# %%
print("cross-hair at", explorer.at, "of", explorer.frame.shape)
print(explorer.read())
in_file = (explorer.frame.to_file @ [*explorer.at, 1])[:3].round().astype(int)
print("in the file: voxel", in_file.tolist())

# %% tags=["check"]
shown = explorer.scans[next(iter(study.images))][tuple(explorer.at)]
assert shown == scan[tuple(in_file)], "the voxel that is shown is the voxel of the file"
mm = [study.affine @ explorer.frame.to_file @ [*voxel, 1] for voxel in ([0, 0, 0], [1, 0, 0])]
assert (mm[1] - mm[0])[0] < 0, "one on is to the patient's left: files count mm to the right"
assert np.allclose(greys(np.array([-5.0, 0, 50, 100, 900]), 0, 100), [0, 0, 127.5, 255, 255]), "greys are clipped"

# %% [markdown]
# ## 3 · Take scans away
#
# Now a network joins in. Press **1** to **4**, or the coloured buttons, and watch: colours are the segmentation, the dashed white line
# is the reference. The bars on the right are the [Dice](../docs/glossary.md#dice) of each [region](../docs/glossary.md#region), with a mark where all scans stand. Below them are the
# weights $A_m^l$ of lesson 03, their mean over the brain, one bar per [level](../docs/glossary.md#level) $l$: full size on top, the coarsest last. A
# [missing](../docs/glossary.md#available-and-missing) scan has weight 0, exactly, and the others share what it had.
#
# The small pictures are **all subsets at once**, at the present slice: full dots are the scans that are given, the numbers
# are Dice (WT, TC, ET). They come while you look; a click shows one of them large.

# %%
weights = load_weights(Path(weights_file) if weights_file else shipped())
modalities = ModalityExplorer(study, weights)
modalities

# %% [markdown]
# **Try**, in this order (tick *guess first*, and say which region will lose most before you see it):
#
# 1. Switch T1ce off. The rim (ET) is lost or guessed; *against all scans* paints what was lost and what was gained.
# 2. T1ce alone: the core is there, the oedema frays.
# 3. All but FLAIR: little is lost, since T2 shows the same water.
# 4. Choose *weight of T1ce* in place of *classes*: where does the network lean on it? Then switch FLAIR off, and see in the
#    bars who takes what FLAIR had, level by level.
# 5. With one scan left, read *Which scan next?*: once with hindsight, once for a new patient, from the mean of test cases.

# %%
everything = tuple(name in study.images for name in BRATS.modalities)
modalities.choose(everything)
modalities.look(map="weight/" + modalities.scan)
full = modalities.given
print(dict(zip(BRATS.modalities, full.mean_weights[0].astype(float).round(2).tolist(), strict=True)))

# %% tags=["check"]
np.testing.assert_allclose(full.mean_weights.sum(axis=1), 1, atol=0.01)  # one scan's gain is the others' loss
alone = next(mask for mask in modalities.masks if sum(mask) == 1)
modalities.choose(alone)
if not modalities.background:  # else it comes in a moment
    np.testing.assert_allclose(modalities.given.mean_weights, np.tile(alone, (len(full.mean_weights), 1)), atol=1e-3)
assert alone == modalities.mask, "the buttons follow"
modalities.choose(everything)

# %% [markdown]
# ## 4 · All subsets
# The next cells say in numbers what the small pictures show.

# %%
modalities.compute_all(modalities.masks[::-1][:subsets_computed], wait=True)
known = {mask: answer for mask, answer in modalities.desk.known.items() if answer.dice}

# %% [markdown]
# **Before you run**: switch off one scan at a time. Whose loss will cost ET most?
#
# <details><summary>Answer</summary>T1ce's: it alone shows what enhances.</details>

# %%
loss = {}
for m, name in enumerate(BRATS.modalities):
    without = tuple(is_available and i != m for i, is_available in enumerate(everything))
    if without in known and everything in known and without != everything:
        loss[name] = {r: full.dice[r] - known[without].dice[r] for r in BRATS.regions}
for name, lost in loss.items():
    print(f"without {name:5s} the Dice falls by", ", ".join(f"{r} {v:+.2f}" for r, v in lost.items()))

# %% tags=["hide-input"]
if known:
    rows = {BRATS.subset_name(mask): answer.dice for mask, answer in known.items()}
    table = pd.DataFrame(rows).T.loc[[BRATS.subset_name(m) for m in modalities.masks if m in known]]
    fig = figures.subset_heatmap(table, title=f"Dice of {modalities.study.title}")
    figures.show(fig, alt="Heat map of Dice of this study: the subsets computed, by three regions")

# %% tags=["check"]
for answer in list(known.values())[:3]:
    again = {r: dice(BRATS.region_mask(answer.label, r), BRATS.region_mask(modalities.reference, r))
             for r in BRATS.regions}
    assert again == dict(answer.dice), "the numbers are those of the pictures"
if not case_folder and not weights_file and "T1ce" in loss:
    assert max(loss, key=lambda name: loss[name]["ET"]) == "T1ce", "only T1ce shows what enhances"

# %% [markdown]
# ## 5 · A bad scan, or no scan?
#
# A scan can be there and be bad: noise, uneven brightness, a patient who moved. Open *A bad scan, or no scan?* below the
# small pictures, choose one, and slide: left the answer with the bad scan, right the answer without it, and a curve that
# grows while you slide. Where it falls below the dashed line, the scan does harm.
#
# Does [attention](../docs/glossary.md#attention) notice, and turn away from the bad scan? The next cell asks, with noise of growing strength.

# %%
bad = "FLAIR" if "FLAIR" in study.images else next(iter(study.images))
m = BRATS.modalities.index(bad)
rest = tuple(is_available and i != m for i, is_available in enumerate(everything))
kept = {level: modalities.degraded(bad, "noise", level, mask=everything) for level in noise_levels}
for level, answer in kept.items():
    score = np.mean(list((answer.dice or answer.expected).values()))
    print(f"noise {level:g}: Dice {score:.3f}, mean weight of {bad} {answer.mean_weights[:, m].mean():.2f}")
left_out = modalities.predict(rest) if any(rest) else full
print(f"without {bad}: Dice {np.mean(list((left_out.dice or left_out.expected).values())):.3f}")

# %% [markdown]
# The weight hardly moves: it was learned from good scans and absent ones, never from bad ones. What helps is to predict
# **with and without** the scan, and to keep the answer that *expects* the higher Dice of itself. With the probability
# $P_i$ of a region in voxel $i$ and the answer $A$ (the voxels where the region wins),
# $$ \widehat{D} = \frac{2 \sum_{i \in A} P_i}{|A| + \sum_i P_i} , $$
# which needs no reference.

# %%
for level, answer in kept.items():
    sure, without = (np.mean(list(a.expected.values())) for a in (answer, left_out))
    print(f"noise {level:g}: expected {sure:.3f} with it, {without:.3f} without: {'keep' if sure >= without else 'leave out'}")

# %% tags=["check"]
worst = kept[max(kept)]
assert all(0 <= v <= 1 for v in worst.expected.values()), "an expected Dice is a Dice"
moved = np.abs(worst.mean_weights[:, m] - full.mean_weights[:, m]).max()
assert 0 < moved < 0.5, "another picture, other weights; but the scan is not given up"
np.testing.assert_allclose(kept[0].mean_weights, full.mean_weights, atol=1e-3)  # no noise, the same answer

# %% [markdown]
# ## 6 · Is it right where it is sure?
#
# The **confidence** is the probability of the [class](../docs/glossary.md#class) that won. Its map (*confidence* in place of *classes*) is low along
# borders, where two classes meet. But a network may be sure and wrong: only a comparison with a reference tells.

# %%
answer, truth = full, modalities.reference
if truth is not None:
    where = (truth > 0) | (answer.label > 0)  # the tumour, true or predicted; outside, everything is easy
    confidence, right = answer.confidence[where] / 255, (answer.label == truth)[where]
    edges = np.array([0.25, 0.5, 0.7, 0.9, 1.001])
    bins = np.digitize(confidence, edges) - 1
    for b in range(len(edges) - 1):
        if (bins == b).any():
            print(f"{edges[b]:.2f} to {min(edges[b + 1], 1):.2f} sure: {right[bins == b].mean():.0%} right "
                  f"({(bins == b).sum()} voxels)")

# %% tags=["check"]
if truth is not None and not case_folder:
    assert right[confidence > 0.9].mean() > right[confidence < 0.7].mean(), "sure is right more often than unsure"

# %% tags=["hide-input"]
if truth is not None:
    mean_sure = [confidence[bins == b].mean() for b in range(len(edges) - 1) if (bins == b).any()]
    share_right = [right[bins == b].mean() for b in range(len(edges) - 1) if (bins == b).any()]
    fig = figures.reliability_picture(mean_sure, share_right, title="tumour voxels, true or predicted")
    figures.show(fig, alt="Share of right voxels against confidence; a point below the diagonal is overconfident")
    print(f"sure on average {confidence.mean():.0%}, right {right.mean():.0%}:",
          "overconfident" if confidence.mean() > right.mean() else "not overconfident")

# %% [markdown]
# A point on the diagonal would mean: of the voxels that the network calls 80 % sure, 80 % are right. A point below it is
# **[overconfident](../docs/glossary.md#calibrated)**. Look where the confidence is low:

# %% tags=["hide-input"]
modalities

# %% [markdown]
# What weights and confidence do **not** say: a high weight is no proof that a scan mattered (take it away and look at the
# Dice), and a sure network that meets a patient unlike its training cases stays sure. The shipped weights know [phantoms](../docs/glossary.md#phantom)
# only: on a real patient, their confidence means nothing, and a red banner says so.
#
# ## 7 · Watch a training
#
# A run writes `log.csv` as it goes. This view reads it: loss terms, and for each modality the [distillation](../docs/glossary.md#distillation) [gap](../docs/glossary.md#gap), the loss
# weight and the update factor of lesson 06. Keys, wheel and click move a line through the steps. Press *live* and it
# reads again every other second: start a training in a terminal, open its folder here, and watch.

# %%
if run_folder:
    run = Path(run_folder)
else:
    config = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
    cohort = load_or_make("cohort", recipes.make_cohort, config)
    missing = {"FLAIR": 0.6, "T1ce": 0.4, "T1": 0.2, "T2": 0.8}  # very unequal, as in lesson 06
    run = load_or_make("dmaf-watched", recipes.train_run, {
        "network": "dmaf_net", "network_options": {"width": 8, "levels": levels}, "objective": "dmaf",
        "condition": "imbalanced", "missing_rates": missing, "steps": steps, "crop": [crop] * 3,
        "log_every": max(1, steps // 60), "seed": seed}, needs=[cohort])
training = TrainingExplorer(run)
training

# %% [markdown]
# **Look for**: `seg` that falls and stays low; distillation terms that rise first and fall later, because in the [warm-up](../docs/glossary.md#warm-up)
# they have no weight yet; gaps that come closer to each other; loss weights that differ where a modality lags; and no
# curve that grows without end.

# %% tags=["check"]
log = read_log(run / "log.csv")
assert len(training.rows) == len(log), "all of the log is shown"
step = log["step"].iloc[len(log) // 2]
training.picture.index = len(log) // 2  # what a key does
assert f"step {step}" in training.readout.value, "and the line reads what was logged there"

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
for name, lost in loss.items():
    worst_region = max(lost, key=lost.get)
    print(f"without {name:5s} {worst_region} loses most: {lost[worst_region]:+.2f} Dice")

# %% [markdown]
# You have seen it in the pictures, and the lines above say it in numbers (empty where few subsets were computed).
# T1ce is worth most, to ET; the others are worth little *while the rest is there*, because they show partly the same.
#
# ## In practice
#
# - **Your own study**: `VolumeExplorer(folder_study("folder", "brats2020"))`, or set `case_folder` above. Any subset of
#   the scans will do. A prepared case: `cohort_study(cohort, name)`.
# - **Your own weights**: `weights_file`, or `ModalityExplorer(study, load_weights(path))`. The study is brought to the
#   grid that the weights were trained on.
# - **A picture for a report**: `explorer.figure()` is the present state as a matplotlib figure.
# - **Offline**: nothing here asks the network for anything, in JupyterLab, in the application and in the HTML book.
# - For research and teaching, not a medical device.
#
# ## What we built
#
# - looked through a study in three planes, and followed a click back to the voxel of the file
# - wrote the grey window by hand, and saw how much a narrow one hides
# - switched scans off, and checked that the weights sum to 1 and that a missing scan has none
# - computed all subsets of a study, and asked which scan was worth most to which region
# - compared confidence with truth, and read a training off its curves
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. Which grey does the middle of a window get?
#    <details><summary>Answer</summary>127.5.</details>
# 2. What do the bars of one level sum to?
#    <details><summary>Answer</summary>1.</details>
# 3. A window has centre 40 and width 80. Where does it begin and end?
#    <details><summary>Answer</summary>At 0 and 80.</details>
# 4. Which way does the first index of a picture in LPS order grow?
#    <details><summary>Answer</summary>To the patient's left, which is the right side of the picture.</details>
# 5. Does 80 % confidence mean 80 % right?
#    <details><summary>Answer</summary>Only if the network is calibrated; the diagram of section 6 shows whether it is.</details>

# %% tags=["check", "hide-input"]
assert greys(50, 0, 100) == 127.5
np.testing.assert_allclose(full.mean_weights.sum(axis=1), 1, atol=0.01)
assert (40 - 80 / 2, 40 + 80 / 2) == (0, 80)
assert len(in_file) == 3 and min(in_file) >= 0
assert 0 <= float(np.mean(full.confidence)) / 255 <= 1

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 10.1 · A window by centre and width
# Radiologists name a window by its centre $c$ and width $w$: it runs from $c - w/2$ to $c + w/2$. Give the greys:
# $$ g = 255 \cdot \mathrm{clip}\Big(\frac{x - (c - w/2)}{w},\, 0,\, 1\Big) . $$
# Expect: the centre becomes 127.5.

# %% tags=["exercise"]
def windowed(x, centre, width):
    """Intensities [..] -> greys from 0 to 255 [..]."""
    # >>> your turn: 10.1 a window by centre and width
    return 255 * np.clip((x - (centre - width / 2)) / width, 0, 1)
    # <<<

# %% tags=["exercise"]
exercises.check_10_1(windowed)

# %% [markdown] tags=["exercise"]
# ### Exercise 10.2 · Who lost most
# From the Dice of each subset, find the scan whose loss hurts most: mean over all subsets that hold it (and at least one
# other scan) of the Dice with it minus the Dice without it:
# $$ \mathrm{worth}(m) = \mathrm{mean}_{S \ni m,\, |S| > 1}\ \big(\mathrm{Dice}(S) - \mathrm{Dice}(S \setminus m)\big) . $$
# Expect: the name with the largest worth.

# %% tags=["exercise"]
def most_missed(table):
    """A dict from frozenset of names to Dice, all subsets -> the name of the scan that is missed most."""
    # >>> your turn: 10.2 who lost most
    names = frozenset().union(*table)
    def worth(name):
        pairs = [(subset, subset - {name}) for subset in table if name in subset and len(subset) > 1]
        return np.mean([table[subset] - table[less] for subset, less in pairs])
    return max(names, key=worth)
    # <<<

# %% tags=["exercise"]
exercises.check_10_2(most_missed)

# %% [markdown] tags=["exercise"]
# ### Exercise 10.3 · How much does a scan add?
# A weight says how much of a scan's *features* goes into the sum $f = \sum_m A_m \odot e^m$, and the features may be large or
# small. Give the share of each scan in the sum:
# $$ c_m = \frac{\lVert A_m \odot e^m \rVert}{\sum_j \lVert A_j \odot e^j \rVert} . $$
# Expect: two scans with equal weights, one with features ten times as large, have the shares 1/11 and 10/11.

# %% tags=["exercise"]
def shares(weights, features):
    """Weights and features [M, ...] -> shares [M] that sum to 1."""
    # >>> your turn: 10.3 the norm of each product, divided by their sum
    sizes = np.sqrt(((weights * features) ** 2).reshape(len(weights), -1).sum(1))
    return sizes / sizes.sum()
    # <<<

# %% tags=["exercise"]
exercises.check_10_3(shares)

# %% [markdown] tags=["exercise"]
# ### Exercise 10.4 · A question
# In a picture of *weight of T1ce*, T1ce's weight is high all over the brain, not only in the rim. Does the network waste
# T1ce?
#
# <details><summary>Answer</summary>
#
# Not by that picture alone. Weights are made on a coarse grid of tokens (lesson 03, $4^3$ per window) and stretched to full
# size: they cannot follow a rim. And by exercise 10.3 a large weight may multiply small features. What a scan is worth,
# you see by taking it away.
#
# </details>

# %% [markdown]
# ## Next
#
# You have seen one method from the inside and from the outside. Its neighbours (RFNet, mmFormer, PASSION, AdaMM) come next,
# on the same footing.
