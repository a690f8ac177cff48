# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 01 · Prepare scans and lose some
#
# From five files of one patient to a store from which a network can be fed, and to a table that says which scans
# it will never see.
#
# **Question** what does a network get to see of a patient, and what is lost before its training begins?
#
# **Do** read MRI files, normalise and crop them, and draw a table of missing scans.
#
# **Learn**
# - to read a NIfTI file and to say which side of the picture is the patient's left
# - to name what each [modality](../docs/glossary.md#modality) shows, and prove that the tumour's [regions](../docs/glossary.md#region) are nested
# - to normalise a scan so that it knows nothing of the other scans
# - to make a [missing-rate](../docs/glossary.md#missing-rate) table whose rates are what they claim to be
#
# **Need** nothing before this; 1 GB of memory; paper section 1 (setting).
#
# Not here: how a network copes with what is [missing](../docs/glossary.md#available-and-missing). That is lesson 02.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
layout: str = "phantom"  # or a real cohort's, such as brats2020, found in the folder that DMAF_DATA names
look_spacing: float = 2.0  # mm; voxels of the synthetic study that we look at
crop: int = 32  # voxels; side of a training crop
cases_train: int = 24  # synthetic cases of the cohort that all lessons share
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
cases_yardstick: int = 12  # cases on which the thresholds are measured

# %% tags=["setup"]
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from dmaf_lite import figures
from dmaf_lite.data import missing
from dmaf_lite.data.case import load_case
from dmaf_lite.data.cohort import LAYOUTS, Cohort, files_in_folder, find_cases, prepare_cohort
from dmaf_lite.data.volume import any_foreground, background_value, bounding_box, crop_to, foreground, zscore
from dmaf_lite.figures.planes import to_lps
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import data_folder, load_or_make
from dmaf_lite.lessons.exercises import lesson_01 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.phantom.brain import threshold_dice, write_brain_cohort
from dmaf_lite.spec import BRATS

check_parameters(globals())
print(f"nibabel {nib.__version__}, numpy {np.__version__}, layout {layout}")

# %% [markdown]
# ## 1 · Five files
#
# Patients' scans may not be passed on, so the kit brings [**phantoms**](../docs/glossary.md#phantom): synthetic brains with synthetic tumours,
# saved exactly as the BraTS 2020 cohort is. Everything below reads a real cohort with the same cells: set `DMAF_DATA`
# and the parameter `layout`. This is the way of the data, from left to right; each section below is one step of it.
#
# ![The data's way: NIfTI files, z-score, crop to the head, store, table of missing scans, batch](figures/data_way.svg)

# %%
scratch = tempfile.TemporaryDirectory()  # gone when the kernel ends
raw = Path(scratch.name, "raw")
if layout == "phantom":
    write_brain_cohort(raw, count=1, seed=seed, spacing=look_spacing, workers=0)
else:
    raw = data_folder(layout)
files = find_cases(raw, layout)[0]
for path in [*files.images.values(), files.label]:
    print(f"{path.name:32s} {path.stat().st_size / 1e6:5.2f} MB")

# %% [markdown]
# One file for each **modality**, and `seg`, what an annotator drew. A NIfTI file is an array with a header that says
# where the array lies in the world.

# %%
file = nib.load(files.images["FLAIR"])
print("array   ", file.shape, "of", file.get_data_dtype())
print("voxel   ", " x ".join(f"{edge:.1f}" for edge in file.header.get_zooms()), "mm")
print("axes to ", "".join(nib.aff2axcodes(file.affine)), "  (L left, R right, A front, P back, S up, I down)")
print("affine", *np.round(file.affine, 1).tolist(), sep="\n    ")

# %% [markdown]
# ## 2 · Which side is left?
#
# The **affine** $A$ takes an array index to a place in millimetres,
# $$ x = A\,(i, j, k, 1)^T . $$
# NIfTI's world axes point to the patient's right, to the front and up. `load_case` reads all files of a [study](../docs/glossary.md#study) and
# refuses those that do not lie on one grid.

# %%
def place(affine, voxels):
    """Mean place of some voxels [N, 3], in mm to the right, front and top."""
    return (affine @ [*voxels.mean(axis=0), 1])[:3]


case = load_case(files, spec=BRATS, labels=LAYOUTS[layout].labels)
tumour, brain = np.argwhere(case.label > 0), np.argwhere(any_foreground(case.images))
offset = (place(case.affine, tumour) - place(case.affine, brain))[0]
print(f"one step along the first axis moves {case.affine[0, 0]:+.1f} mm to the right")
print(f"the tumour lies {abs(offset):.0f} mm to the {'right' if offset > 0 else 'left'} of the middle of the brain")

# %% [markdown]
# The order of an array is a matter of taste; the place in the world is not. Turn the array around and correct its
# affine, and every voxel stays where it was. The kit brings every volume to one order (left, back, up) before it draws.

# %% tags=["check"]
turn = np.diag([-1.0, 1, 1, 1])
turn[0, 3] = case.shape[0] - 1
turned, affine = case.label[::-1], case.affine @ turn
np.testing.assert_allclose(place(affine, np.argwhere(turned > 0)), place(case.affine, tumour), atol=1e-6)
assert np.array_equal(to_lps(turned, affine), to_lps(case.label, case.affine)), "drawn alike, whatever the order"

# %% tags=["hide-input"]
fig = figures.show_planes(case.images["FLAIR"], case.affine, label=case.label, classes=BRATS.classes)
figures.show(fig, alt="FLAIR in an axial, a coronal and a sagittal slice, the tumour's classes in colour")

# %% [markdown]
# We look at the patient from the feet and from the front: R, the patient's right, is on the left of the axial and the
# coronal picture, so the side of the tumour agrees with the number above. In the sagittal picture A is the front.
#
# ## 3 · Four modalities

# %% tags=["hide-input"]
fig = figures.show_modalities(case.images, case.affine, label=case.label, classes=BRATS.classes)
figures.show(fig, alt="The same axial slice in FLAIR, T1ce, T1 and T2, and with the labels over FLAIR")

# %% [markdown]
# One slice, four answers. On FLAIR the whole tumour is bright. On T2 it is brighter than the brain around it, but far
# brighter fluid lies beside it. The enhancing part is bright on T1ce alone. T1 shows only that something is darker. Who
# loses a scan loses one of these answers.
#
# ## 4 · Labels and nested regions
#
# The annotator gave every voxel one [**class**](../docs/glossary.md#class): `NCR/NET`, the necrotic (dead) and the non-enhancing part of the core;
# `ED`, [oedema](../docs/glossary.md#oedema), the swollen brain around it; `ET`, the enhancing tumour, which takes up the contrast agent of T1ce; or
# background. Doctors ask for **regions**, which are unions of classes: whole tumour (WT = NCR/NET + ED + ET), tumour core
# (TC = NCR/NET + ET) and enhancing tumour (ET). BraTS 2020 writes ET as 4, BraTS 2023 as 3: the layout knows, and inside
# the kit it is always 3.

# %%
volume = np.prod(case.spacing) / 1000  # cm3 of a voxel
for number, name in enumerate(BRATS.classes[1:], start=1):
    print(f"class {number}  {name:8s} {(case.label == number).sum() * volume:6.1f} cm3")
masks = {region: BRATS.region_mask(case.label, region) for region in BRATS.regions}
for region, mask in masks.items():
    print(f"region   {region:8s} {mask.sum() * volume:6.1f} cm3 = classes {sorted(BRATS.regions[region])}")

# %% [markdown]
# ET lies in TC and TC in WT, for *any* label map: a voxel's membership depends on its class alone, so four classes are
# all the cases there are.

# %% [markdown]
# **Before you run**: in how many of the four rows will ET be True and TC be False?
#
# <details><summary>Answer</summary>In none: ET is a part of TC, for every class.</details>

# %% tags=["check"]
every_class = np.arange(len(BRATS.classes))
member = {region: BRATS.region_mask(every_class, region) for region in BRATS.regions}
for inner, outer in BRATS.nested:
    assert (member[inner] <= member[outer]).all(), f"{inner} lies in {outer} for every class, so for every label map"
    assert (masks[inner] <= masks[outer]).all(), f"{inner} lies in {outer} in this study"
print(pd.DataFrame(member, index=BRATS.classes).to_string())

# %% tags=["hide-input"]
fig = figures.show_regions(case.images["FLAIR"], masks, case.affine)
figures.show(fig, alt="The regions WT, TC and ET over the same slice of FLAIR, each inside the one before")

# %% [markdown]
# From left to right each region is a part of the one before. Regions have colours of their own, since a region is not a
# class.
#
# ## 5 · `x > 0` is not the brain
#
# Our phantom's background is 0 and its brain positive, so `x > 0` would do. Files from elsewhere are not so kind:
# a scan that was normalised before it was saved has a negative constant around the head and negative voxels inside it.

# %%
flair = case.images["FLAIR"]
inside = foreground(flair)
exported = (flair - flair[inside].mean()) / flair[inside].std()  # as such a file stores it
print(f"background value         {background_value(exported):8.2f}")
print(f"x > 0 finds              {(exported > 0).sum() / inside.sum():8.1%} of the brain")
print(f"x != background finds    {foreground(exported).sum() / inside.sum():8.1%}")

# %% [markdown]
# `foreground` looks at the six faces of the volume, takes their most frequent value as background, and calls
# everything else foreground. The brain is where *any* modality that is there differs from its background.

# %% tags=["check"]
assert np.array_equal(foreground(exported), inside), "foreground does not care about the background's value"
assert (exported > 0).sum() < 0.9 * inside.sum(), "x > 0 loses a part of the brain"

# %% [markdown]
# ## 6 · Normalise a scan by itself
#
# MRI has no unit: the same tissue may be 200 on one scanner and 900 on the next. So each scan is
# **z-scored**, over the mask $\Omega_m$ of its own foreground:
# $$ \tilde x_m = \frac{x_m - \mu_{\Omega_m}}{\sigma_{\Omega_m}} \ \text{inside}\ \Omega_m, \qquad
#    \tilde x_m = 0 \ \text{outside}. $$

# %%
def zscore_over(image, mask):
    """z-score of an image over a mask, 0 outside it."""
    values = image[mask].astype(np.float64)
    return np.where(mask, (image - values.mean()) / values.std(), 0).astype(np.float32)

# %% tags=["check"]
by_hand = zscore_over(flair, foreground(flair))
np.testing.assert_allclose(by_hand, zscore(flair), atol=1e-5)  # the package's form
np.testing.assert_allclose([by_hand[inside].mean(), by_hand[inside].std()], [0, 1], atol=1e-4)
assert (by_hand[~inside] == 0).all(), "the background stays exactly 0"

# %% [markdown]
# Published work takes one mask for all: the **union** of the four brains. That lets the scans look at each other. In
# our phantom the four masks agree, in patients they do not: some scans do not reach the top of the head. We cut FLAIR's
# field of view in the same way, and ask what FLAIR's numbers are when T1ce is there and when it is missing.

# %%
short = {name: to_lps(image, case.affine).copy() for name, image in case.images.items()}
own = foreground(short["FLAIR"])
top = np.flatnonzero(own.any(axis=(0, 1)))[-1]
short["FLAIR"][:, :, top - round(20 / case.spacing[2]):] = background_value(flair)  # the upper 20 mm
own = foreground(short["FLAIR"])
rows = {"own foreground": own, "union with T1ce": any_foreground([short["FLAIR"], short["T1ce"]])}
for name, mask in rows.items():
    values = short["FLAIR"][mask]
    print(f"{name:16s} mean {values.mean():7.2f}, deviation {values.std():6.2f}")

# %% [markdown]
# The same FLAIR file gives two different inputs, depending on whether T1ce exists. A network could read off FLAIR that
# T1ce exists, which it must not when T1ce is said to be missing. Over its own foreground this cannot happen.

# %%
leak = zscore_over(short["FLAIR"], rows["union with T1ce"]) - zscore(short["FLAIR"])
print(f"z-scores of FLAIR move by {np.abs(leak[own]).mean():.3f} on average, because T1ce is there")

# %% tags=["check"]
without = {name: image for name, image in short.items() if name != "T1ce"}
assert np.abs(leak[own]).mean() > 1e-3, "over the union, T1ce leaks into FLAIR"
for images in (short, without):
    assert np.array_equal(zscore(images["FLAIR"]), zscore_over(images["FLAIR"], own)), "own foreground: no leak"

# %% [markdown]
# ## 7 · Crop to the head
#
# Most of the volume is air. We keep the bounding box of what is there, but never less than a training crop.

# %%
box = bounding_box(any_foreground(case.images), minimum=crop)
head = crop_to(flair, box)
print("volume", flair.shape, "-> box", head.shape, f"= {head.size / flair.size:.0%} of the voxels")

# %% tags=["check"]
assert np.array_equal(np.sort(head[head != background_value(flair)]), np.sort(flair[inside])), "no brain voxel is lost"
assert all(side >= min(crop, whole) for side, whole in zip(head.shape, flair.shape, strict=True)), "a crop fits"

# %% [markdown]
# ## 8 · A store that gives crops
#
# Training reads thousands of random crops. To unpack whole `.nii.gz` files for each would take too long, so a cohort
# is **prepared** once: loaded, checked, z-scored, cropped, and saved as plain `.npy` arrays, one per modality.

# %%
store = Path(scratch.name, "prepared")
print(prepare_cohort(raw, store, layout=layout, names=[files.name], minimum=crop, workers=0))
cohort = Cohort(store)
print(*sorted(path.name for path in (store / files.name).iterdir()))

# %% [markdown]
# A plain array can be **memory-mapped**: the file is opened, and only the pages that a crop touches are read.

# %%
def milliseconds(read, repeats=7):
    """The median time of a call."""
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        read()
        spent.append(1000 * (time.perf_counter() - start))
    return float(np.median(spent))


corner = tuple(max(0, (side - crop) // 2) for side in cohort.meta(files.name)["shape"])
ways = {"unpack the .nii.gz files": lambda: [nib.load(path).get_fdata() for path in files.images.values()],
        "read the prepared case": lambda: cohort.read(files.name),
        "read one crop of it": lambda: cohort.read(files.name, corner, (crop,) * 3)}
for name, read in ways.items():
    print(f"{name:26s} {milliseconds(read):7.2f} ms")

# %% [markdown]
# The files lie in the computer's memory by now, so these times leave the disk out; what remains is unpacking and
# copying, and a crop saves both. What is not asked for is not even opened.

# %% tags=["check"]
whole, label = cohort.read(files.name)
images, crop_label = cohort.read(files.name, corner, (crop,) * 3, available=BRATS.mask_of(["FLAIR", "T2"]))
window = tuple(slice(start, start + crop) for start in corner)
assert np.array_equal(images[0], crop_to(whole, window)[0]) and np.array_equal(crop_label, crop_to(label, window))
assert not images[[1, 2]].any(), "T1ce and T1 were not asked for: exactly 0"
np.testing.assert_allclose(whole[0], crop_to(zscore(flair), box), atol=1e-5)  # the store holds what we did by hand

# %% [markdown]
# ## 9 · Lose some scans
#
# In a hospital some scans are rare. The paper's setting is a **missing rate** per modality, decided once for each
# training case: a scan that the table takes away is never seen. The simplest table tosses a coin for every scan.

# %% [markdown]
# **Before you run**: four coins, one per scan, with missing rates of 0.6, 0.4, 0.2 and 0.8. How many of 219 patients
# will keep no scan at all, about?
#
# <details><summary>Answer</summary>0.6 · 0.4 · 0.2 · 0.8 = 3.8 % of 219, about 8; chance moves it by a few.</details>

# %%
rates = missing.published_rates("mr2468")  # the rates of published work
names = [f"case_{number:03d}" for number in range(219)]  # as many as BraTS 2020's usual training split has
rng = np.random.default_rng(seed)
coins = pd.DataFrame(rng.random((219, 4)) >= [rates[m] for m in BRATS.modalities], names, BRATS.modalities)
print("missing rates ", rates)
print("without any scan:", (~coins.any(axis=1)).sum(), "of", len(coins), "cases")

# %% [markdown]
# Coins leave some patients with nothing, and a study without a scan is no study. `missing_table` offers two ways out:
# `exact` ([ours](../docs/glossary.md#ours)) keeps every column's count and moves scans to the empty cases from cases that have several; `published`
# repeats, number by number, the algorithm behind the tables of published work.

# %%
tables = {method: missing.missing_table(names, rates, seed=missing.PUBLISHED_SEED, method=method)
          for method in ("exact", "published")}
realised = pd.DataFrame({"nominal": rates} | {method: missing.realised_rates(t) for method, t in tables.items()})
print(realised.loc[list(BRATS.modalities)].map("{:.1%}".format).to_string())
gap = 100 * (realised["published"] - realised["nominal"]).abs().max()
print(f"\nthe published method misses its own rates by up to {gap:.1f} points")

# %% [markdown]
# A rate that a table claims is not always the rate that a network was trained with: report the realised one.

# %% tags=["check"]
for method, table in tables.items():
    assert table.any(axis=1).all(), f"{method}: every case keeps a scan"
counts = np.rint([(1 - rates[m]) * len(names) for m in BRATS.modalities])
assert np.array_equal(tables["exact"].sum(), counts), "exact: the rate is hit to one case"

# %% [markdown]
# Now the same for the cohort that all lessons share. It is an [artefact](../docs/glossary.md#artefact): made once, and kept.

# %%
if layout == "phantom":
    settings = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
    cohort_folder = load_or_make("cohort", recipes.make_cohort, settings)
    shared, split = recipes.open_cohort(cohort_folder)
    originals, training = cohort_folder / "raw", split["train"]
else:
    originals, training = raw, [found.name for found in find_cases(raw, layout)]
table = missing.missing_table(training, rates, seed=seed)
print("cases that miss nothing:", table.all(axis=1).sum(), "of", len(table))

# %% tags=["hide-input"]
fig = figures.availability_picture(table, title=f"what {len(table)} training cases have")
figures.show(fig, alt="One row per modality and one column per training case, coloured where the scan is there")

# %% [markdown]
# Read it by column: the line above the picture says how many columns are full. Read it by row: T2 has few coloured
# fields, so an [encoder](../docs/glossary.md#encoder) for T2 learns from few patients. This imbalance is what the paper is about.

# %% tags=["check"]
path = Path(scratch.name, "missing_rates.csv")
missing.write_table(path, table)
assert missing.read_table(path).equals(table), "written in the published format and read back, nothing is lost"
print(path.read_text().splitlines()[1])

# %% [markdown]
# ## 10 · A yardstick before any network
#
# How far does one number get? For each modality and region we take the threshold $t$ that fits best, *knowing the
# truth*, and note its [Dice](../docs/glossary.md#dice),
# $$ \text{Dice}(P, G) = \frac{2\,|P \cap G|}{|P| + |G|}, \qquad P = \{x > t\} . $$

# %%
def dice(predicted, truth):
    """Overlap of two masks, 1 where both are empty."""
    size = predicted.sum() + truth.sum()
    return 2 * (predicted & truth).sum() / size if size else 1.0


thresholds = np.quantile(flair[inside], np.linspace(0, 0.999, 200))
slow = max(dice(flair > t, masks["WT"]) for t in thresholds)
fast = threshold_dice(flair, masks["WT"], inside)
print(f"WT on FLAIR: {slow:.3f} with 200 thresholds, {fast:.3f} with every grey value as a threshold")

# %% tags=["check"]
assert slow <= fast + 1e-9, "all grey values include the best of 200 thresholds"
assert fast - slow < 0.05, "and 200 thresholds come close"

# %%
rows = []
for name in training[:cases_yardstick]:
    study = load_case(files_in_folder(originals / name, layout), labels=LAYOUTS[layout].labels)
    for modality, image in study.images.items():
        for region in BRATS.regions:
            mask = BRATS.region_mask(study.label, region)
            rows.append((region, modality, threshold_dice(image, mask, foreground(image))))
frame = pd.DataFrame(rows, columns=["region", "modality", "dice"])
yardstick = frame.pivot_table(index="modality", columns="region", values="dice", aggfunc="median", sort=False)
print(f"median over {len(training[:cases_yardstick])} cases; a case without the region is left out")

# %% tags=["hide-input"]
fig = figures.subset_heatmap(yardstick, title="best threshold", unit="Dice (median)")
figures.show(fig, alt="Median Dice of the best threshold, modalities in rows, regions in columns")

# %% [markdown]
# FLAIR alone goes far for the whole tumour, T1ce alone for the enhancing part, and T1, where the tumour is dark, for
# next to nothing: the modalities are unequal, as they are in patients. A network has learned something once it beats
# these numbers.

# %% tags=["check"]
if layout == "phantom":
    assert yardstick["WT"].idxmax() == "FLAIR", "on the phantom FLAIR shows the whole tumour best"
    assert yardstick["ET"].idxmax() == "T1ce", "and T1ce the enhancing part"
assert yardstick.to_numpy().min() >= 0 and yardstick.to_numpy().max() <= 1, "Dice lies between 0 and 1"

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
kept = table.sum(axis=1)
print(f"{kept.mean():.1f} of {BRATS.M} scans per training case; {(kept == BRATS.M).sum()} of {len(table)} cases have all")

# %% [markdown]
# A network sees z-scored crops of the scans that the table leaves. With the published missing rates about two of four
# scans remain of each case, most often T1 and most rarely T2. The line above says how many cases
# are complete.
#
# ## In practice
#
# - Scans that were not taken on one grid must be co-registered first; `load_case` refuses them and says so.
# - Masks are read by rounding: some files hold 0.99999997. An unknown label value is an error that lists it.
# - `python data_scripts/prepare_cohort.py --help` prepares a whole cohort in parallel and goes on after a kill.
# - The numbers of this lesson are measured on synthetic studies, unless you read a real cohort: no clinical result.
#
# ## What we built
#
# - read a study from its files, and found left and right by the affine, whatever the order of the array
# - proved that ET lies in TC and TC in WT for every label map
# - z-scored a scan over its own foreground, and showed what the union of all scans would have leaked
# - cropped, stored and read a crop without reading the case
# - drew missing-rate tables that leave nobody without a scan, and compared the rates they claim with those they have
# - measured the [yardstick](../docs/glossary.md#yardstick) that every network has to beat
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. Put ET, TC and WT in order, from the smallest to the largest.
#    <details><summary>Answer</summary>ET, TC, WT: each lies in the next.</details>
# 2. Which internal label does ET have?
#    <details><summary>Answer</summary>3, whatever number the files use.</details>
# 3. Why is `x > 0` not the brain?
#    <details><summary>Answer</summary>A file that was normalised before it was saved has negative voxels inside the head.</details>
# 4. Missing rates 0.6, 0.4, 0.2, 0.8: how many scans does a case keep on average?
#    <details><summary>Answer</summary>0.4 + 0.6 + 0.8 + 0.2 = 2.</details>
# 5. Which of the two tables has exactly the rates that it claims?
#    <details><summary>Answer</summary>`exact`, to one case.</details>

# %% tags=["check", "hide-input"]
assert masks["ET"].sum() <= masks["TC"].sum() <= masks["WT"].sum()
assert BRATS.regions["ET"] == {3}
assert (exported[inside] < 0).any()
assert abs(sum(1 - rate for rate in rates.values()) - 2) < 1e-9
assert np.array_equal(tables["exact"].sum(), counts)

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 1.1 · Regions from classes
# Turn an internal label map (0 background, 1 NCR/NET, 2 ED, 3 ET) into the three regions:
# $$ \text{WT} = \{1, 2, 3\}, \qquad \text{TC} = \{1, 3\}, \qquad \text{ET} = \{3\} . $$
# Expect: `regions(np.array([0, 1, 2, 3]))["TC"]` is `[False, True, False, True]`.

# %% tags=["exercise"]
def regions(label):
    """Label map [...] -> {"WT": bool [...], "TC": bool [...], "ET": bool [...]}."""
    # >>> your turn: 1.1 regions from classes
    return {"WT": label > 0, "TC": (label == 1) | (label == 3), "ET": label == 3}
    # <<<

# %% tags=["exercise"]
exercises.check_1_1(regions)

# %% [markdown] tags=["exercise"]
# ### Exercise 1.2 · z-score any background
# Normalise a scan over its own foreground $\Omega$, exactly 0 outside it:
# $$ \tilde x = (x - \mu_\Omega) / \sigma_\Omega . $$
# The background is the value of the first voxel, and may be anything. Expect: mean 0 and deviation 1 inside.

# %% tags=["exercise"]
def normalise(image):
    """Scan [X, Y, Z] -> z-scores over its own foreground, exactly 0 in the background."""
    # >>> your turn: 1.2 z-score any background
    mask = image != image[0, 0, 0]
    return np.where(mask, (image - image[mask].mean()) / image[mask].std(), 0.0)
    # <<<

# %% tags=["exercise"]
exercises.check_1_2(normalise)

# %% [markdown] tags=["exercise"]
# ### Exercise 1.3 · Drop some of what is there
# A *complete* cohort is trained on by dropping scans at random, anew in every step. Draw a random non-empty subset of
# the scans that a study has, every non-empty subset with the same chance. Expect: from two scans there are three subsets,
# each in about a third of the draws.

# %% tags=["exercise"]
def drop(available, rng):
    """bool [M] with at least one True -> bool [M], a random non-empty part of it."""
    # >>> your turn: 1.3 drop some of what is there
    while True:
        kept = available & (rng.random(len(available)) < 0.5)
        if kept.any():
            return kept
    # <<<

# %% tags=["exercise"]
exercises.check_1_3(drop)

# %% [markdown] tags=["exercise"]
# ### Exercise 1.4 · Recall
# With missing rates of 0.9, 0.9, 0.9 and 0.4, `missing_table` raises an error. Why must it?
#
# <details><summary>Answer</summary>
# There are 0.1 + 0.1 + 0.1 + 0.6 = 0.9 scans per case. Each case needs at least one, so the rates cannot all be kept.
# </details>

# %% [markdown]
# ## Next
#
# A network that encodes what is there, and does not notice what is not.
