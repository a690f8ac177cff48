# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 16 · Reproduce
#
# A comparison of methods is a matrix: methods x [missing rates](../docs/glossary.md#missing-rate) x seeds, each cell a run of hours. Here you read one as a
# reader should, with intervals, with its holes, and with what it has cost.
#
# **Question** what may one say after many runs of many methods, and what not?
#
# **Do** read a whole matrix of runs, finished or not, and say what it supports.
#
# **Learn**
# - to read a table of methods with its intervals over cases and its seeds
# - to see what a missing cell forbids to say
# - to ask whether a curve was flat before the table was made
#
# **Need** lessons 09 and 11; 1 GB of memory.
#
# Not here: what the methods do. That is lesson 11.
#
# With `matrix` empty this reads the comparison that comes with the kit. `python -m dmaf_lite report OUT` runs it on the
# folder of your own experiment and writes a notebook and a page there.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
matrix: str = ""  # the --out folder of an experiment; empty: the committed comparison
results: str = "converged"  # which committed comparison: a name in results/
condition: str = "complete"  # of the published numbers beside it

# %% tags=["setup"]
import json
from pathlib import Path

import numpy as np
import pandas as pd

from dmaf_lite import figures
from dmaf_lite.base.settings import from_mapping, read_settings
from dmaf_lite.evaluation.conventions import CONVENTIONS
from dmaf_lite.experiment import summary as report
from dmaf_lite.experiment.matrix import collect
from dmaf_lite.experiment.profile import OWN, ExperimentSettings, RunKey
from dmaf_lite.experiment.status import as_text, status
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.peers.published_results import SPEC, published_table

check_parameters(globals())

# %% [markdown]
# ## 1 · What the matrix consists of
#
# A run is a folder, and the folder alone says how far it is: its rows are there, or a heartbeat, or the sentence of an
# error. Nothing else has to be asked, so any number of machines can share a matrix.

# %%
if matrix:
    rows, settings = collect(matrix), read_settings(ExperimentSettings, Path(matrix, "profile.yaml"))
    print(as_text(status(matrix)))
else:
    rows = pd.read_parquet(Path("results", f"{results}.parquet"))
    card = json.loads(Path("results", f"{results}.json").read_text(encoding="utf-8"))
    try:
        settings = from_mapping(ExperimentSettings, card["profile"])
    except ValueError as error:  # a table of an earlier version: what was planned beside it is not known
        print(f"the profile of this table is not of this version: {error}")
        settings = ExperimentSettings(name=results, variants={name: {} for name in dict.fromkeys(rows["variant"])},
                                      seeds=tuple(sorted(set(map(int, rows["seed"])))) or (0,))
    print(f"{results}: {rows['run'].nunique()} runs, {card['data']}, {card['hardware']}, {card['date']}, {card['commit']}")
rows = report.with_axes(rows)

# %% [markdown]
# ## 2 · Method x missing rates
#
# One number for a case is the mean over its [subsets](../docs/glossary.md#subset) and [regions](../docs/glossary.md#region); subsets and seeds of one case say nearly the same thing
# twice, so the interval is taken over cases (bootstrap, 95 %), never over rows. A cell without a run is called *missing*:
# nothing is carried over from elsewhere.
#
# **Before you run**: nine methods of the kit, 1200 steps each. How far apart will the best and the worst mean [Dice](../docs/glossary.md#dice) be?
#
# <details><summary>Answer</summary>By about 0.05. After 200 steps it was nearly 0.3: so short a budget tells how quickly methods
# start, not how good they become.</details>

# %%
table = report.score_table(rows, settings)
seeds = report.seed_means(rows).groupby(level=["variant", "rates"], sort=False).apply(list).to_dict() if len(rows) else {}
print(report.pivot(table).rename_axis(index=None, columns=None).to_string())

# %% tags=["hide-input"]
fig = figures.score_picture(table, seeds)
figures.show(fig, alt="Each method's mean Dice with its interval over cases, one point below for each seed")

# %% [markdown]
# Where two intervals overlap by half, the table gives no order. The points say it in another way: if the points of one
# method lie further apart than two methods do, another seed could have turned their order round. For a paired comparison,
# case by case, see lesson 09.

# %% tags=["check"]
known = table[table["cases"] > 1]
assert ((known["low"] <= known["mean"]) & (known["mean"] <= known["high"])).all(), "a mean lies in its interval"
one = report.per_case(rows) if len(rows) else pd.Series(dtype=float)
if len(one):
    cell = one.groupby(level=["variant", "rates"]).mean().iloc[0]
    assert 0 <= cell <= 1, "the mean of Dice is a Dice"

# %% [markdown]
# ## 3 · A hole stays a hole
#
# Take one method's runs away, as if its jobs had failed.
#
# **Before you run**: what will stand in the line of that method, and how many other lines will change?
#
# <details><summary>Answer</summary>*missing*, and none.</details>

# %%
gone = table.index[0][0]
fewer = report.score_table(rows[rows["variant"] != gone], settings)
print(report.pivot(fewer).rename_axis(index=None, columns=None).to_string())

# %% tags=["check"]
assert "missing" in report.pivot(fewer).loc[gone].to_numpy(), "what was not run is called missing"
rest = [cell for cell in table.index if cell[0] != gone]
assert np.allclose(fewer.loc[rest, "mean"], table.loc[rest, "mean"], equal_nan=True), "and nothing else changes"
assert RunKey("a", OWN, 0).name == "a-seed0", "runs of a profile without an axis of rates keep their names"

# %% [markdown]
# ## 4 · Were the curves flat?
#
# A method that still learns is not compared, it is interrupted. The rule: over the last fifth of the looks at the
# validation cases the mean rises by less than 0.01 against the fifth before. Curves of fewer than ten looks are not judged.

# %%
curves = report.curves(matrix) if matrix else report.curves_of(card)
for name, looks in curves.items():
    print(f"{name:40s} {len(looks):3d} looks, {'flat' if report.is_flat(looks['score']) else 'not judged flat'}")
if not curves:
    print("no run of this matrix looked at validation cases: the table says how far methods are, not where they end")

# %% tags=["hide-input"]
rates, seed_shown = table.index[-1][1] if len(table) else OWN, min(settings.seeds)
shown = {run.variant: curves[run.name] for run in settings.runs
         if run.name in curves and run.rates == rates and run.seed == seed_shown}
if shown:
    fig = figures.validation_picture(shown, unit=f"mean Dice, validation, {rates}, seed {seed_shown}")
    figures.show(fig, alt="Mean Dice on the validation cases over the steps, one line for each method")

# %% tags=["check"]
assert report.is_flat([0.1 * i for i in range(10)] + [0.9] * 10), "a curve that has stopped rising is flat"
assert not report.is_flat(np.linspace(0, 1, 20)), "a curve that rises to the end is not"

# %% [markdown]
# ## 5 · Beside what others have printed
#
# Published numbers never stand in one table with ours: their data, budgets and rules are others. They stand here so that
# you see the distance between the conditions, not to be subtracted. They are about brain tumours, and are shown for no other organ.

# %%
spec = report.spec_of(rows)
if spec is SPEC:
    published = published_table(condition).reset_index()
    print(published.drop(columns="source").to_string(index=False, na_rep="-"))
    print("the rules under which others score:", ", ".join(name for name in CONVENTIONS if name != "kit"))
elif spec:
    print(f"this matrix is about {', '.join(spec.regions)}; the kit holds no published number of those regions")
else:
    print("no run is finished yet, so there is nothing to stand beside")

# %% [markdown]
# ## 6 · What it has cost
#
# Here are hours and hardware of every run. A table without them cannot be judged, and cannot be planned again.

# %%
spent = report.costs(matrix) if matrix else report.costs_of(card)
minutes = spent.rename(columns=lambda name: name.replace(", h", ", min")).drop(columns="hardware") * 60
order = [run.name for run in settings.runs if run.name in spent.index]
print(minutes.round(1).join(spent["hardware"]).loc[order].to_string() if len(spent) else
      "this comparison was made before costs were kept by run")

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
for rates, of_rates in table.dropna().groupby(level="rates", sort=False):
    ranked = of_rates.droplevel("rates").sort_values("mean", ascending=False)
    first = ranked.iloc[0]
    near = [name for name, line in ranked.iloc[1:].iterrows() if line["high"] >= first["mean"]]
    print(f"{rates}: highest mean Dice {first.name}, {first['mean']:.3f} [{first['low']:.3f}, {first['high']:.3f}]\n"
          f"    intervals that reach up to it: {len(near)} of {len(ranked) - 1}")

# %% [markdown]
# One may say who leads, and by how much, with the interval over cases beside it; not more. Where intervals reach up to the leader,
# these runs give no order. A missing cell forbids every sentence about its method, and curves that still rise forbid
# the word *best*.
#
# ## In practice
#
# - `python -m dmaf_lite experiment PROFILE --out OUT` works at a matrix; start it as often as you have machines.
#   `--slurm` submits it, `--print-sbatch` prints a script for sites where Python may not submit.
# - `python -m dmaf_lite experiment status OUT` says what waits, runs, has failed or is stale, from the folders alone.
# - `--cohort PREPARED --split DIR` runs the same matrix on real data.
# - Ask of every published table: how many cases, how many seeds, flat curves or one budget, which weights were chosen.
#
# ## What we built
#
# A report that a half-finished matrix cannot spoil: means with intervals over cases, seeds as points, holes as holes,
# curves with a rule, costs.
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. One case has fifteen subsets and three regions under two seeds. How many numbers of it enter an interval?
#    <details><summary>Answer</summary>One: their mean.</details>
# 2. A method has no finished run. What does its cell say?
#    <details><summary>Answer</summary>missing</details>
# 3. A curve rises until its last look. Is it flat?
#    <details><summary>Answer</summary>No, and the method is interrupted, not compared.</details>
# 4. A curve of nine equal looks: is it flat?
#    <details><summary>Answer</summary>It is not judged: ten looks are the least.</details>
# 5. A matrix of hearts: which published numbers stand beside it?
#    <details><summary>Answer</summary>None: those of the kit are about brain tumours.</details>

# %% tags=["check", "hide-input"]
assert one.empty or one.groupby(level=["variant", "rates", "case"]).ngroups == table["cases"].sum()
assert "missing" in report.pivot(fewer).loc[gone].to_numpy()
assert not report.is_flat(np.linspace(0, 1, 20))
assert not report.is_flat([0.5] * 9)
assert report.spec_of(rows.head(1).assign(region="scar")) is not SPEC

# %% [markdown]
# ## Next
#
# This is the last lesson. The project [a fusion of your own](../docs/your_own_fusion.md) goes on from here: change one idea in one folder (`dmaf_lite/README.md` says which), write a [profile](../docs/glossary.md#profile) with your
# variant beside the baseline, and let the matrix answer.
