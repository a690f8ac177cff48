# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 10 · Explore cases and weights
#
# Three views that you control: a study, what a network makes of any subset of its scans, and a training.
#
# **Do** look through a study, switch scans off, read weights and confidence, and watch a training while it runs.
#
# **Learn**
# - to find your way in three planes, and never to mistake left for right
# - to see which scan shows what, and what is lost with it
# - to read modality weights and confidence, and to know what they do not say
# - to tell from a few curves whether a training goes well
#
# **Need** lessons 03 (weights) and 06 (training monitor) for the meaning; 2 minutes, 2 GB of memory.
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
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.spec import BRATS
from dmaf_lite.training.runlog import read_log
from dmaf_lite.widgets import ModalityExplorer, TrainingExplorer, VolumeExplorer, folder_study, phantom_study

print("explorers without WebGL and without network; 3-D on demand")

# %% [markdown]
# ## 1 · A study to look through
#
# Choose a scan, a plane, a slice. The first view is the slice with the most tumour.
#
# | key, mouse, control | what it does |
# |---|---|
# | arrow keys, wheel over the picture | one slice on or back (click the picture first, so that the keys go there) |
# | Page Up, Page Down; Home, End | ten slices; first and last |
# | click | reads all scans and the label at that voxel; the other planes then open at it |
# | *window* | darkest and brightest grey, in percentiles of the head |
# | *labels* | how much of the reference covers the scan; 0 shows the scan alone |
# | *3-D* | three planes and a rendering, where the browser has WebGL2 |
#
# **Look for** the oedema (ED), brightest in FLAIR (on T2 it is bright, too, but fluid is brighter); the enhancing rim (ET)
# in T1ce and nowhere else; the dark core (NCR/NET) inside it. **R** and **L** are the patient's sides: you look at the patient from the feet.

# %%
if case_folder:
    study = folder_study(case_folder, layout)
else:
    study = phantom_study(seed + 1000, 0, spacing=look_spacing)
explorer = VolumeExplorer(study)
explorer

# %% tags=["check"]
sharp = VolumeExplorer(study).picture.png
explorer.index.value += 1  # what the slider does in the page
assert explorer.picture.png != sharp, "another slice, another picture"
explorer.index.value -= 1
assert explorer.picture.png == sharp, "and back again"

# %% [markdown]
# ## 2 · From a scan to a picture
#
# A screen shows 256 greys, a scan has thousands. A **window** $[a, b]$ decides which of them to see:
# $$ g = 255 \cdot \mathrm{clip}\Big(\frac{x - a}{b - a},\, 0,\, 1\Big) . $$
# Outside the window everything is black or white, so a window can hide a lesion. By default $a$ and $b$ are the 1st and
# the 99.5th percentile of the head.

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
# volumes are turned before they are cut: columns run to the patient's left, rows to the back (axial) or down. A click goes
# the same way backwards.

# %%
frame = explorer.frame
clicked = (0.25, 0.5)  # a quarter from the left edge, half way down
voxel = frame.voxel(*clicked, explorer.index.value)
print(f"{explorer.plane.value} slice {explorer.index.value}, click at {clicked}")
print(explorer.read(voxel))

# %% tags=["check"]
back = frame.point(voxel)
assert np.abs(np.subtract(back, clicked)).max() < 0.05, "the voxel's middle is where the click was, within a voxel"
left_half = frame.voxel(0.9, 0.5, 0)[0] > frame.voxel(0.1, 0.5, 0)[0]
assert left_half, "LPS: the first index grows to the patient's left, which is the right side of the picture"
assert np.allclose(greys(np.array([-5.0, 0, 50, 100, 900]), 0, 100), [0, 0, 127.5, 255, 255]), "greys are clipped"

# %% [markdown]
# ## 3 · Take scans away
#
# Now a network: switch scans off above, and watch what happens below. Left, the segmentation, with the outline of the
# reference in white; right, whatever you choose: the **reference**, the **confidence**, or the **weight** of one scan.
#
# The bars are the weights $A_m^l$ of lesson 03, their mean over the brain, one bar per level $l$: full size on top, the
# coarsest last. A missing scan has weight 0, exactly, and the others share what it had.
#
# The first answer is there at once; the next ones are computed while you wait, the newest question first, and kept.

# %%
weights = load_weights(Path(weights_file) if weights_file else shipped())
modalities = ModalityExplorer(study, weights)
modalities

# %% [markdown]
# **Try**, in this order:
#
# 1. Switch T1ce off. The rim (ET) is lost or guessed, and the outline tells where.
# 2. T1ce alone: the core is there, the oedema frays.
# 3. All but FLAIR: little is lost, since T2 shows the same water.
# 4. Choose *weight of T1ce* on the right: where does the network lean on it? Then switch FLAIR off, and see in the bars
#    who takes what FLAIR had, level by level.

# %%
everything = tuple(name in study.images for name in BRATS.modalities)
modalities.choose(everything)
modalities.view.value = "weight of " + modalities.scan
full = modalities.answer
print(dict(zip(BRATS.modalities, full.mean_weights[0].astype(float).round(2).tolist(), strict=True)))

# %% tags=["check"]
np.testing.assert_allclose(full.mean_weights.sum(axis=1), 1, atol=0.01)  # one scan's gain is the others' loss
alone = next(mask for mask in modalities.masks if sum(mask) == 1)
modalities.choose(alone)
if not modalities.background:  # else it comes in a moment
    np.testing.assert_allclose(modalities.answer.mean_weights, np.tile(alone, (len(full.mean_weights), 1)), atol=1e-3)
assert alone == modalities.mask, "the toggles follow"
modalities.choose(everything)

# %% [markdown]
# ## 4 · All subsets
#
# The button *compute all* fills the table; a click on a row shows that subset. Here we ask for it in code.

# %%
modalities.compute_all(modalities.masks[::-1][:subsets_computed], wait=True)
modalities.choose(everything)
known = {mask: answer for mask, answer in modalities.desk.known.items() if answer.dice}

# %%
loss = {}
for m, name in enumerate(BRATS.modalities):
    without = tuple(there and i != m for i, there in enumerate(everything))
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
    assert again == dict(answer.dice), "the table's Dice is that of the picture"
if not case_folder and not weights_file and "T1ce" in loss:
    assert max(loss, key=lambda name: loss[name]["ET"]) == "T1ce", "only T1ce shows what enhances"

# %% [markdown]
# ## 5 · Is it right where it is sure?
#
# The **confidence** is the probability of the class that won. Its map is low along borders, where two classes meet. But a
# network may be sure and wrong: only a comparison with a reference tells.

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
# **overconfident**. Look where the confidence is low:

# %% tags=["hide-input"]
modalities.view.value = "confidence"
modalities

# %% [markdown]
# What weights and confidence do **not** say: a high weight is no proof that a scan mattered (take it away and look at the
# Dice), and a sure network that meets a patient unlike its training cases stays sure. The shipped weights know phantoms
# only: on a real patient, their confidence means nothing.
#
# ## 6 · Watch a training
#
# A run writes `log.csv` as it goes. This view reads it: loss terms, and for each modality the distillation gap, the loss
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
# **Look for**: `seg` that falls and stays low; distillation terms that rise first and fall later, because in the warm-up
# they have no weight yet; gaps that come closer to each other; loss weights that differ where a modality lags; and no
# curve that grows without end.

# %% tags=["check"]
log = read_log(run / "log.csv")
assert len(training.rows) == len(log), "all of the log is shown"
step = log["step"].iloc[len(log) // 2]
training.picture.index = len(log) // 2  # what a key does
assert f"step {step}" in training.readout.value, "and the line reads what was logged there"

# %% [markdown]
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
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 10.1 · A window by centre and width
# Radiologists name a window by its centre $c$ and width $w$: it runs from $c - w/2$ to $c + w/2$. Give the greys, from 0
# to 255.

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
# other scan) of the Dice with it minus the Dice without it.

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
# ### Exercise 10.3 · A question
# On the right you see *weight of T1ce*: bright all over the brain, not only in the rim. Does the network waste T1ce?
#
# <details><summary>Answer</summary>
#
# Weights are made on a coarse grid of tokens (lesson 03, $4^3$ per window) and stretched to full size: they cannot follow a
# rim. And a weight says how much of a scan's *features* goes into the sum, not how much of its picture: the features of
# T1ce may be large or small there. What a scan is worth, you see by taking it away.
#
# </details>

# %% [markdown]
# ## Next
#
# You have seen one method from the inside and from the outside. Its neighbours (RFNet, mmFormer, PASSION, AdaMM) come next,
# on the same footing.
