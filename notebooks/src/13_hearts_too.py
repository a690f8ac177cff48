# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 13 · Hearts too
#
# The same network on another organ: three scans of a heart after an infarct, a handful of thick slices, six [classes](../docs/glossary.md#class).
# Hearts teach what brains cannot: some [regions](../docs/glossary.md#region) are found from any scan, others from one scan alone.
#
# **Question** a heart lacks one of its three scans: which regions suffer, and would a published table show it?
#
# **Do** open synthetic hearts, find out what each scan is for, and count the same predictions in two ways.
#
# **Learn**
# - to treat a stack of thick slices as what it is, in the data, in the network and in the metrics
# - to tell regions that show what a [missing](../docs/glossary.md#available-and-missing) scan costs from regions that cannot
# - to say why five test patients, selected on themselves, mean nothing
# - to say what changes when scans are missing by hospital and not by chance
#
# **Need** lesson 09; 2 GB of memory; paper section 4 (its second data set is MyoPS 2020: bSSFP, which is
# called C0, late enhancement, LGE, and T2). All hearts here are **synthetic**.
#
# Not here: hearts of patients. None is in the kit, and no number of this lesson was measured on one.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
cases: int = 4  # synthetic hearts scored here
cases_threshold: int = 6  # synthetic hearts for the thresholds
spacing: float = 2.0  # mm in plane
simulations: int = 2000  # of a choice among checkpoints

# %% tags=["setup"]
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from dmaf_lite import figures
from dmaf_lite.base.device import choose_device
from dmaf_lite.data.missing import missing_table, realised_rates
from dmaf_lite.data.protocols import folds, passion_split, passion_table
from dmaf_lite.evaluation.conventions import usual
from dmaf_lite.evaluation.evaluate import evaluate
from dmaf_lite.evaluation.inference import probabilities_and_weights
from dmaf_lite.evaluation.statistics import bootstrap_interval
from dmaf_lite.evaluation.tables import MEAN, subset_table
from dmaf_lite.figures.short_axis import show_heart
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_13 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.nn.dmaf_net import DmafNetSettings
from dmaf_lite.phantom.heart.heart_realism import thresholds
from dmaf_lite.phantom.heart.hearts import HeartSettings, make_heart
from dmaf_lite.spec import MYOPS

check_parameters(globals())
warnings.filterwarnings("ignore", category=FutureWarning, module="monai")  # it warns of its own old calls
device = choose_device()
RESULTS = Path("results") if Path("results").is_dir() else Path("notebooks/results")

# %% [markdown]
# ## 1 · A stack of thick slices
#
# A heart beats and the chest breathes, so it is scanned slice by slice, each in one held breath: two to six slices, 12
# to 23 mm apart, of pixels below 1 mm. **C0** shows blood bright and muscle grey: the anatomy. **LGE** is taken some
# minutes after a contrast agent: healthy muscle is black, dead muscle, the **scar**, is bright. **T2** shows water: the
# swollen muscle around and in the scar, the [**oedema**](../docs/glossary.md#oedema). Blood is black there.

# %%
config = {"kind": "heart", "train": cases_threshold, "val": 1, "test": cases, "seed": seed + 500, "spacing": spacing}
cohort, split = recipes.open_cohort(load_or_make("hearts", recipes.make_cohort, config))
name = split["test"][0]
images, truth = cohort.read(name)
meta = cohort.meta(name)
print(cohort.spec.modalities, cohort.spec.classes)
print(f"{name}: {truth.shape} voxels of {' x '.join(f'{s:.1f}' for s in meta['spacing'])} mm")

# %%
figures.show(show_heart(dict(zip(MYOPS.modalities, images, strict=True)), {"truth": truth}, MYOPS.classes),
             alt="One slice of a synthetic heart on C0, LGE and T2, and its truth: a ring of muscle around the left "
                 "cavity, the right cavity beside it, scar and oedema in the ring")

# %% [markdown]
# Three things differ from brains, and each is a setting:
#
# - **data**: the planes are resampled, the slices never; what lies around a heart is a chest, so the crop is the centre
#   of the image and not a box around a foreground;
# - **network**: no stride along the slices, and a kernel over three slices only where a voxel is not much longer than
#   wide (nnU-Net's rule). Or every slice is a sample by itself, as in published code, and as here;
# - **metrics**: section 4.

# %%
for pixel in (1.0, 1.5, 2.0):
    kernels = DmafNetSettings(through_plane=False, anisotropy=14 / pixel).kernels
    print(f"{pixel} mm pixels, slices 14 mm apart: kernels", ["x".join(map(str, kernel)) for kernel in kernels])

# %% tags=["check"]
for one in cohort.names:
    meta = cohort.meta(one)
    assert meta["spacing"][2] > 10 and meta["grid_shape"][2] == meta["original_shape"][2], "no slice was made or lost"
    assert meta["shape"][:2] == (round(192 / spacing),) * 2, "the middle 192 mm"
assert all(k[2] == 1 for k in DmafNetSettings(through_plane=False, kernel_through=1).kernels)

# %% [markdown]
# ## 2 · What each scan is for
#
# The [yardstick](../docs/glossary.md#yardstick) of lesson 01, a threshold on one scan, needs help here: over the whole image it finds nothing, as half
# the chest is as bright as a scar. So it is told where the true wall is and has only to find the injured part of it.

# %%
hearts = [make_heart(seed + 700, index, HeartSettings(spacing=spacing)) for index in range(cases_threshold)]
best = {key: float(np.nanmedian(values)) for key, values in thresholds(hearts).items()}
pd.Series(best).unstack()[["wall", *MYOPS.modalities]].round(2)

# %% [markdown]
# *wall* calls all of the wall injured. C0 is hardly better than that: it does not see the injury. LGE finds the scar;
# T2 finds the oedema zone, which holds the scar as well. Now the network: weights that come with the kit, trained on 80
# synthetic hearts, every slice a sample.

# %%
net, card = load_weights(shipped("dmaf_net_hearts"), device)
settings = usual(MYOPS, card["window"])
rows = evaluate(net, cohort, split["test"], settings=settings, progress=False)
table = subset_table(rows, "dice", spec=MYOPS)[["LV", "RV", "myocardium", "oedema", "scar"]]
figures.show(figures.subset_heatmap(table, title="Dice of a few synthetic hearts"),
             alt="Heat map of Dice: seven subsets of scans against five regions; anatomy is good in every row, scar "
                 "and oedema are not")

# %%
probabilities, _ = probabilities_and_weights(net, images, np.array([True, True, True]), settings=settings.windows)
without, _ = probabilities_and_weights(net, images, np.array([True, False, True]), settings=settings.windows)
labels = {"truth": truth, "all scans": probabilities.argmax(0).byte().cpu().numpy(),
          "without LGE": without.argmax(0).byte().cpu().numpy()}
figures.show(show_heart({"LGE": images[1]}, labels, MYOPS.classes),
             alt="LGE, the truth, the prediction from all scans and the one without LGE: the ring stays, the border "
                 "between scar and oedema does not")

# %% tags=["check"]
assert len(table) == 2**MYOPS.M - 1 + 1 and list(table.index)[-1] == MEAN
blind = images.copy()
blind[1] = np.nan  # a scan that is not used may hold anything
again, _ = probabilities_and_weights(net, blind, np.array([True, False, True]), settings=settings.windows)
assert np.array_equal(again.cpu().numpy(), without.cpu().numpy()), "LGE was really not looked at"

# %% [markdown]
# A few hearts say little. The table that comes with the kit was made on 32 that no training has seen. What does it cost
# to leave one scan out of three?
#
# **Before you run**: leave out LGE, then T2. Which region loses most each time?
#
# <details><summary>Answer</summary>Without LGE the scar, without T2 the oedema zone. The rest hardly moves.</details>

# %%
stored = pd.read_parquet(RESULTS / "hearts.parquet")
print({variant: sorted(set(rows["seed"])) for variant, rows in stored.groupby("variant")}, "seeds;",
      stored["case"].nunique(), "synthetic hearts")
anatomy_and_injury = ["LV", "RV", "myocardium", "oedema", "scar"]
wide = stored[stored["metric"] == "dice"].pivot(index=["variant", "seed", "case", "region"], columns="subset",
                                                values="value")
left_out = {"C0": "LGE+T2", "LGE": "C0+T2", "T2": "C0+LGE"}
lost = pd.DataFrame({f"without {m}": wide["C0+LGE+T2"] - wide[rest] for m, rest in left_out.items()})
per_variant = lost.groupby(["variant", "region"]).mean().loc[(slice(None), anatomy_and_injury), :]
cost = per_variant.loc["complete"].loc[anatomy_and_injury]
many = wide.loc["complete"].groupby("region").mean().T[anatomy_and_injury]  # subsets against regions
cost.T.round(3)

# %% [markdown]
# Three trainings differ in nothing but their seed, and 32 hearts are not all hearts: so the picture shows intervals over the
# hearts, and one small dot for each seed.

# %% tags=["hide-input"]
lines, dots = [], {}
for region in anatomy_and_injury:
    for way in cost:
        some = lost.xs(("complete", region), level=("variant", "region"))[way]
        low, high = bootstrap_interval(some.groupby("case").mean().to_numpy())
        lines.append({"line": f"{region}, {way}", "region": region, "lost": some.mean(), "low": low, "high": high})
        dots[f"{region}, {way}"] = some.groupby("seed").mean().tolist()
figures.show(figures.interval_plot(pd.DataFrame(lines), value="lost", low="low", high="high", label="line", group="region",
                                   points=dots, unit="Dice lost when one scan is left out (synthetic hearts)"),
             alt="Dice lost by region and scan left out: scar loses most without LGE, the oedema zone without T2, and LV, "
                 "RV and myocardium lose little; the dots of the seeds lie close together")

# %% [markdown]
# Those networks were trained on hearts that have every scan. The next table is the same for trainings on the imbalanced
# table, where the rarest scan, T2, is there for 3 hearts in 10:

# %%
per_variant.loc["imbalanced"].loc[anatomy_and_injury].T.round(3)

# %% tags=["check"]
assert cost.loc["scar"].idxmax() == "without LGE", "scar loses most without LGE"
assert cost.loc["oedema"].idxmax() == "without T2", "the oedema zone loses most without T2"
anatomy = cost.loc[["LV", "RV", "myocardium"]].to_numpy()
assert anatomy.max() < cost.loc["scar"].max() / 2, "anatomy hardly depends on which scans there are"
by_seed = lost.groupby(["variant", "seed", "region"]).mean()
for (variant, number), one in by_seed.groupby(level=["variant", "seed"]):
    one = one.droplevel(["variant", "seed"])
    assert one.loc["scar"].idxmax() == "without LGE" and one.loc["oedema"].idxmax() == "without T2", (variant, number)

# %% [markdown]
# **Slices or stacks?** So far every slice was a sample by itself. A network can also be given whole stacks, with kernels that
# are 3 voxels deep, although the next slice lies 14 mm away. Both were trained once, on the same hearts, for the same number
# of steps and about as many slices a step (`hearts_stacks.yaml`).
#
# **Before you run**: does the scar gain from the slices next to it?
#
# <details><summary>Answer</summary>No: with whole stacks it is found a little less well, and so is RV. 14 mm are far.</details>

# %%
ways = pd.read_parquet(RESULTS / "hearts_stacks.parquet").query("metric == 'dice' and subset == 'C0+LGE+T2'")
ways = ways.pivot(index=["region", "case"], columns="variant", values="value").loc[anatomy_and_injury]
gain = (ways["stacks"] - ways["slices"]).groupby("region")
pd.concat([ways.groupby("region").mean(), gain.mean().rename("stacks minus slices"),
           gain.agg(lambda one: bootstrap_interval(one.to_numpy())[0]).rename("low"),
           gain.agg(lambda one: bootstrap_interval(one.to_numpy())[1]).rename("high")], axis=1).loc[anatomy_and_injury].round(3)

# %% tags=["check"]
assert ways.groupby("region").size().eq(stored["case"].nunique()).all(), "the same hearts as in the table above"
assert gain.mean()["scar"] < 0 and gain.mean()["RV"] < 0, "slices by themselves are better"

# %% [markdown]
# The interval is one over hearts: it does not know that another training of either would be a little different. The table of
# three trainings above says how much that is.
#
# ## 3 · Published regions, and useful ones
#
# Published tables on MyoPS 2020 with missing scans report LV, RV and the whole ring, *MYO*; scar and oedema are learned
# as classes and not reported. How much does the **choice of scans** move a region, from the worst [subset](../docs/glossary.md#subset) to the best?

# %%
spread = (many.max() - many.min()).rename("best minus worst subset")
spread.round(3).to_frame().T

# %% [markdown]
# A table of LV, RV and MYO can hardly show what a missing scan costs, because it costs little there. Report them first,
# as the others do, and scar and oedema beside them.
#
# ## 4 · Patients or slices
#
# Published work averages over **slices**, counts an empty slice that is called empty as [Dice](../docs/glossary.md#dice) 1, and measures [HD95](../docs/glossary.md#hd95) in
# **pixels**, with 1.0 where one side is empty. Ours averages over patients, and measures in mm, in plane, in slices
# where both are there: in 3-D, the 14 mm to the next slice would decide. The same predictions, both ways:

# %%
published = evaluate(net, cohort, split["test"], settings=usual(MYOPS, card["window"], "published"), progress=False)
both = {"patients": rows, "slices": published}
pd.DataFrame({f"{metric} by {way}": subset_table(some, metric, spec=MYOPS).loc["C0+LGE+T2"]
              for metric in ("dice", "hd95") for way, some in both.items()}).round(2)

# %% tags=["check"]
slices = published.query("metric == 'dice' and region == 'scar' and subset == 'C0+LGE+T2'")
assert len(slices) == sum(cohort.meta(one)["shape"][2] for one in split["test"]), "one row per slice"
scarred = np.concatenate([(cohort.read(one)[1] == 5).any((0, 1)) for one in split["test"]])
assert set(slices["value"][~scarred]) <= {0.0, 1.0}, "a slice without scar counts all or nothing"
assert set(published.loc[published["metric"] == "hd95", "unit"]) == {"px"}

# %% [markdown]
# ## 5 · Five patients, selected on themselves
#
# The published protocol: 20 patients to train, 5 to test, no validation set; every ten epochs the five are scored and
# the **best** checkpoint is reported. Suppose 30 checkpoints that are all equally good: what does the best of them
# show? Patients differ by 0.10 in Dice, and a checkpoint changes each patient by 0.04, up or down by chance.
#
# **Before you run**: by how much will the best of the 30 look better than it is?
#
# <details><summary>Answer</summary>By nearly 0.04 in Dice, although nothing has improved.</details>

# %%
def best_of(checkpoints, patients, rng, between=0.10, change=0.04, true=0.70):
    """Mean Dice of the checkpoint that looks best on these patients, and of a random one."""
    level = true + between * rng.standard_normal(patients)
    scores = (level + change * rng.standard_normal((checkpoints, patients))).mean(1)
    return scores.max(), scores[0]


rng = np.random.default_rng(seed)
drawn = np.array([best_of(30, 5, rng) for _ in range(simulations)])
optimism, noise = (drawn[:, 0] - drawn[:, 1]).mean(), drawn[:, 1].std()
print(f"the best of 30 looks {optimism:.3f} better than it is; five other patients move it by {noise:.3f}, either way")

# %% tags=["check"]
alone = np.array([best_of(1, 5, rng) for _ in range(simulations)])
assert np.array_equal(alone[:, 0], alone[:, 1]) and optimism > 0.02, "no choice, no optimism"
many_patients = np.array([best_of(30, 100, rng) for _ in range(simulations)])
assert (many_patients[:, 0] - many_patients[:, 1]).mean() < optimism / 2, "more patients, less to gain by choosing"
assert many_patients[:, 1].std() < noise / 2

# %% [markdown]
# Differences of a point between methods are below both numbers. With 25 patients, test **all** of them, each by a
# network that has not seen it: five folds, one interval over 25 patients (`folds`; protocol `cv5`).

# %%
patients = [f"myops_training_{number}" for number in range(101, 126)]
parts = folds(patients, count=5, seed=seed)
print("tested in each fold:", [len(part["test"]) for part in parts])
print("published:", *passion_split(patients)["test"])

# %% [markdown]
# ## 6 · Missing, but not at random
#
# The published table for rates 0.3, 0.5, 0.7 misses fewer scans than its name says, and its six versions are one with
# its columns permuted. In both, whether a patient has T2 is chance. In a cohort of several hospitals it is the
# **address**: whole centres never acquire T2.

# %%
train = passion_split(patients)["train"]
rates = {"C0": 0.3, "LGE": 0.5, "T2": 0.7}
published_table = pd.DataFrame(passion_table(train, rates), index=train, columns=list(MYOPS.modalities))
print("published", realised_rates(published_table).round(2).to_dict())
print("ours     ", realised_rates(missing_table(train, rates, spec=MYOPS, seed=seed)).round(2).to_dict())
centre = np.arange(20) // 5  # four hospitals of five patients
by_centre = pd.DataFrame({"C0": centre != 3, "LGE": centre != 0, "T2": centre == 0}, index=train)

# %%
def together(table):
    """Patients who show both LGE and T2: only they can teach one scan with the other."""
    return int((table["LGE"] & table["T2"]).sum())


chance = missing_table(train, dict(realised_rates(by_centre)), spec=MYOPS, seed=seed)
print(f"rates {realised_rates(by_centre).to_dict()} in both")
print(f"LGE and T2 of one patient: {together(chance)} by chance, {together(by_centre)} by centre")
figures.show(figures.availability_picture(by_centre, title="Scans by centre"),
             alt="Which of 20 patients has which scan: whole blocks of five lack the same scans")

# %% [markdown]
# The rates agree, the data do not. By centre no patient shows both, so nothing can be distilled from one to the other;
# and "T2 is there" now means "this scanner, these patients", which a network can learn instead of the disease. A
# [missing-rate](../docs/glossary.md#missing-rate) table drawn by chance is the **kindest** kind of missing.
#
# ## The answer

# %% tags=["hide-input"]
print(f"Dice lost, mean over {stored['case'].nunique()} synthetic hearts: scar {cost.loc['scar', 'without LGE']:.2f} without "
      f"LGE, oedema zone {cost.loc['oedema', 'without T2']:.2f} without T2;\nLV, RV and myocardium at most {anatomy.max():.2f}")

# %% [markdown]
# Scar suffers without LGE and the oedema zone without T2; anatomy is found from any scan. A table of LV, RV and MYO
# does not show what a missing scan costs.
#
# ## In practice
#
# - Five folds, or the published protocol with the last and the best-on-test weights side by side:
#   `python -m dmaf_lite experiment notebooks/profiles/experiments/hearts_cv5.yaml --cohort OUT --out RUNS` (or
#   `hearts_passion.yaml`).
# - MyoPS 2020: `python data_scripts/prepare_cohort.py FOLDER OUT --layout myops2020 --spacing 1.0`, then `dmaf train`,
#   `evaluate` and `predict` as for brains; the network needs `through_plane: false`. It has not been run on real
#   hearts here.
# - Make your own: `python data_scripts/make_phantom.py OUT --kind heart --count 25`.
# - Test labels of the challenge are encrypted: they are never read as labels.
#
# ## What we built
#
# - stacks of slices from files to metrics, by the same commands
# - a table that tells regions any scan shows from regions that need one scan
# - the price of choosing among checkpoints on five test patients
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. Which region suffers most without LGE?
#    <details><summary>Answer</summary>The scar.</details>
# 2. A heart of three slices is resampled. How many slices has it afterwards?
#    <details><summary>Answer</summary>Three: only the planes are resampled.</details>
# 3. By slices, which Dice can a slice without scar have?
#    <details><summary>Answer</summary>0 or 1: one wrong voxel makes it 0, and nothing found makes it 1.</details>
# 4. Scans are missing by hospital, as in section 6. How many patients show both LGE and T2?
#    <details><summary>Answer</summary>None.</details>
# 5. The best of 30 equal checkpoints is chosen on more patients. Does it look better or worse than on five?
#    <details><summary>Answer</summary>Worse, and that is nearer to the truth: chance evens out.</details>

# %% tags=["check", "hide-input"]
assert cost.loc["scar"].idxmax() == "without LGE"
assert all(cohort.meta(one)["grid_shape"][2] == cohort.meta(one)["original_shape"][2] for one in cohort.names)
assert set(slices["value"][~scarred]) <= {0.0, 1.0}
assert together(by_centre) == 0 < together(chance)
assert (many_patients[:, 0] - many_patients[:, 1]).mean() < optimism

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 13.1 · What a scan is worth
# From the Dice of every subset to the worth of one scan $m$: how much it adds on average to a subset $S$ that lacks it. The
# empty subset does not count:
# $$ \mathrm{worth}(m) = \mathrm{mean}_{S \not\ni m,\, S \neq \emptyset}\ \big(\mathrm{Dice}(S + m) - \mathrm{Dice}(S)\big) . $$
# Expect: `worth({"C0": 0.5, "T2": 0.4, "C0+T2": 0.7}, "T2")` is 0.2.

# %% tags=["exercise"]
def worth(table, scan):
    """A dict from subset name (such as "C0+T2") to Dice, a scan -> mean gain by adding the scan."""
    # >>> your turn: 13.1 what a scan is worth
    gains = []
    for subset, value in table.items():
        rest = [other for other in subset.split("+") if other != scan]
        if scan in subset.split("+") and rest:
            gains.append(value - table["+".join(rest)])
    return sum(gains) / len(gains)
    # <<<

# %% tags=["exercise"]
exercises.check_13_1(worth)

# %% [markdown] tags=["exercise"]
# ### Exercise 13.2 · The published mean
# Dice averaged over the $n$ slices of a stack, from the voxels of every slice; a slice where both sides are empty counts 1:
# $$ \frac1n \sum_s \frac{2\, |P_s \cap G_s|}{|P_s| + |G_s|}, \qquad \text{both empty: } 1 . $$
# Expect: `mean_over_slices([5, 0], [10, 0], [10, 0])` is 0.75.

# %% tags=["exercise"]
def mean_over_slices(both, predicted, true):
    """Three lists, one number per slice: voxels of the intersection, the prediction, the truth -> mean Dice."""
    # >>> your turn: 13.2 the published mean
    scores = []
    for b, p, t in zip(both, predicted, true, strict=True):
        scores.append(2 * b / (p + t) if p + t else 1.0)
    return sum(scores) / len(scores)
    # <<<

# %% tags=["exercise"]
exercises.check_13_2(mean_over_slices)

# %% [markdown] tags=["exercise"]
# ### Exercise 13.3 · A question
# A method gains 4 points in scar when "Dice over slices" replaces "Dice over patients". Its contours are the same. Where
# do the points come from?
#
# <details><summary>Answer</summary>
#
# From slices without scar. Called empty, each of them counts 1 and pulls the mean up; in the Dice of a patient they add
# nothing. The more slices lie beyond the infarct, the larger the gain, and a method that says "nothing" more readily
# gains most. Report how many slices are empty, or count patients.
#
# </details>

# %% [markdown]
# ## Next
#
# All of this was learned on drawings. Lesson 14 asks what that is worth on real images.
