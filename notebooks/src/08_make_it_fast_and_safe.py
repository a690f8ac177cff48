# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 08 · Make it fast and safe
#
# The training of the last lesson again, from the engineer's side: it may be killed at any moment, and it does no work
# that changes nothing.
#
# **Question** can a training be killed at any moment without a trace, and which work can it leave out?
#
# **Do** prove that batches need no memory, stop a training and resume it, and time six ways to save work.
#
# **Learn**
# - to draw batches that depend on the seed and the step, and on nothing else
# - to make a training that can be killed at any moment and still ends with the same weights
# - to measure a saving together with a check that it changes no result
#
# **Need** lesson 07; 2 GB of memory. Nothing here is from the paper.
#
# Not here: what the weights are worth. That is lesson 09.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
cases_train: int = 24  # synthetic cases of the shared cohort
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
crop: int = 32  # voxels; side of a training crop
network_options: dict = {}  # what differs from the preset `lite`

# %% tags=["setup"]
import tempfile
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch

from dmaf_lite.base.device import choose_precision
from dmaf_lite.base.settings import from_mapping, to_plain
from dmaf_lite.data.batches import BatchSettings, TrainingBatches
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.lessons import artifacts, recipes
from dmaf_lite.lessons.exercises import lesson_08 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.nn.contract import Pairs
from dmaf_lite.nn.convolution import Conv3d
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import TrainSettings, train
from dmaf_lite.training.runlog import read_log
from dmaf_lite.training.step import StepModel, build_optimizer, train_step

check_parameters(globals())
config = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
cohort_folder = artifacts.load_or_make("cohort", recipes.make_cohort, config)
cohort, split = recipes.open_cohort(cohort_folder)
train_names, settings = split["train"], TrainSettings()
print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), {len(train_names)} training cases")

# %% [markdown]
# ## 1 · A batch is a function of seed and step
#
# Cases, crops, flips, shades and dropped scans are drawn anew at every step, from a generator made of `(seed, step)`
# alone. There is no hidden state that a checkpoint could forget. Ask for step 7, today or tomorrow, first or last:

# %% [markdown]
# **Before you run**: the batches 9, 8 and 7 are asked for backwards. Will they be those of a training that runs
# forwards?
#
# <details><summary>Answer</summary>Yes, number for number: a batch depends on the seed and the step alone.</details>

# %%
batches = TrainingBatches(TrainingSet(cohort, train_names), BatchSettings(crop=(crop,) * 3, seed=seed))


def same(a, b):
    """Whether two batches agree in every number."""
    return torch.equal(a.images, b.images) and torch.equal(a.label, b.label) and torch.equal(a.available, b.available)


again = TrainingBatches(TrainingSet(cohort, train_names), BatchSettings(crop=(crop,) * 3, seed=seed))
backwards = {step: again[step] for step in (9, 8, 7)}
print("step 7 is", *batches[7].names, "with", *(BRATS.subset_name(row.tolist()) for row in batches[7].available))

# %% tags=["check"]
torch.manual_seed(1)  # what anybody else draws does not matter
assert all(same(batches[step], one) for step, one in backwards.items()), "the same step gives the same batch"
assert not same(batches[7], batches[8]), "another step gives another batch"

# %% [markdown]
# Forwards or backwards, the batches are the same, number for number.
#
# ## 2 · Stop and resume
#
# A checkpoint holds the network, the objective (with the monitor's memory), the optimiser's $\mu$, $\nu$ and $n$, and
# the step. Batches need nothing, by section 1. We train a tiny network without a break, and its twin with one.

# %%
tiny = from_mapping(TrainSettings, {"network_options": {"width": 2, "levels": 2, "grid": 2, "depth": 1}, "steps": 6,
                                    "crop": [16] * 3, "log_every": 2, "precision": "float32", "seed": seed})
scratch = tempfile.TemporaryDirectory()  # gone when the kernel ends
few = TrainingSet(cohort, train_names[:4])
whole, broken = Path(scratch.name, "whole"), Path(scratch.name, "broken")
train(few, whole, tiny, device="cpu", progress=False)
train(few, broken, tiny, device="cpu", progress=False, stop_after=3)
stopped = len(read_log(broken / "log.csv"))
train(few, broken, tiny, device="cpu", progress=False)
print(f"rows of the log: {stopped} when stopped, {len(read_log(broken / 'log.csv'))} in the end")

# %% tags=["check"]
resumed_a, resumed_b = (load_weights(folder / "weights.safetensors")[0].state_dict() for folder in (whole, broken))
assert all(torch.equal(resumed_a[name], resumed_b[name]) for name in resumed_a), "resumed = uninterrupted, bit by bit"
logs = [read_log(folder / "log.csv").iloc[-1] for folder in (whole, broken)]
assert logs[0].equals(logs[1]), "the monitor, too, remembers everything"
try:
    train(few, broken, from_mapping(TrainSettings, {**to_plain(tiny), "lr": 1.0}), progress=False)
except ValueError as refused:
    assert "lr" in str(refused), "a run is never continued with other settings, and the message says which"

# %% [markdown]
# Not one bit of difference, and a run with other settings is refused.
#
# ## 3 · Make it fast
#
# A step of the public codes spends most of its time on things that change no result
# ([the benchmarks](../docs/benchmarks.md) have the whole table, against a plain form of them). Six candidates can be
# measured here: the time of the wasteful way, the
# time of ours, and a check that both give the same. Not all of them gain something at the size of this lesson.

# %%
bought = {}


def fastest(work, repeats=3):
    """Seconds of the fastest of some calls, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        work()
        times.append(perf_counter() - begin)
    return min(times)


def compare(name, wasteful, ours):
    """Time both ways and keep them."""
    bought[name] = fastest(wasteful), fastest(ours)


# %% [markdown]
# **Scans that are not there.** The public way puts zeros in, computes them, and multiplies by zero in the end. Ours
# has no row for them, and what is there gets the same features. Here two of four scans are there, in both [studies](../docs/glossary.md#study).

# %% [markdown]
# **Before you run**: two of four scans are there. By which factor can the [encoders](../docs/glossary.md#encoder) become faster, at most, if holes
# are not computed?
#
# <details><summary>Answer</summary>By 2. The whole step gains less, because fusion and decoder stay.</details>

# %%
torch.manual_seed(seed)
net = build_network("dmaf_net", BRATS, **network_options).train()
objective = build_objective("dmaf", BRATS, net, total_steps=100, missing_rates=[0.0] * BRATS.M)
optimizer, batch = build_optimizer(net, objective, lr=1e-3, weight_decay=settings.weight_decay), batches[0]
two_scans = torch.tensor([[True, False, True, False]] * len(batch.names))
random_batch = replace(batch, images=torch.randn(batch.images.shape), available=two_scans)
everything = torch.ones_like(two_scans)


def make_step(batch, dtype=torch.float32):
    """A step on a batch, as a function without arguments."""
    return lambda: train_step(StepModel(net, objective), optimizer, [batch], 100, clip=settings.clip, dtype=dtype)


compare("scans that are not there", make_step(replace(random_batch, available=everything)), make_step(random_batch))

# %% tags=["check"]
with torch.no_grad():
    all_of_them = net.encode(random_batch.images, everything).select(two_scans)
    only_there = net.encode(random_batch.images, two_scans)
for a, b in zip(all_of_them.levels, only_there.levels, strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)

# %% [markdown]
# **The order in memory.** A convolution wants all channels of a voxel side by side. And **half the bits**: where the
# processor multiplies `bfloat16` itself, we time the same step in mixed precision.

# %%
conv = torch.nn.Conv3d(8, 8, 3, padding=1)
first_order = torch.randn(2, 8, 48, 48, 48)
last_order = first_order.contiguous(memory_format=torch.channels_last_3d)  # the same numbers


def forward_and_back(x, conv=conv):
    """One convolution and its gradients, by the weights and by the input."""
    y = conv(x.requires_grad_())
    return torch.autograd.grad(y, (x, conv.weight), torch.ones_like(y))


compare("channels first in memory", lambda: forward_and_back(first_order), lambda: forward_and_back(last_order))
dtype = choose_precision("auto", torch.device("cpu"))
compare("32 bits everywhere", make_step(random_batch), make_step(random_batch, dtype))

# %% tags=["check"]
for a, b in zip(forward_and_back(first_order), forward_and_back(last_order), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-2)

# %% [markdown]
# **One study at a time.** Where a scan is rare, an encoder often sees one study of the batch. For one small map in 32 bits
# torch takes an old convolution, which writes the neighbours of every voxel out in memory. Cut into two halves, each with
# the planes beside it that its kernel reaches, the same map is a batch of two, and torch takes the new one.

# %%
halved = Conv3d(8, 8, 3, padding=1)
halved.load_state_dict(conv.state_dict())
one_study = last_order[:1, :, :24, :24, :24].contiguous(memory_format=torch.channels_last_3d)
compare("one study as torch does it", lambda: forward_and_back(one_study), lambda: forward_and_back(one_study, halved))

# %% tags=["check"]
for a, b in zip(forward_and_back(one_study), forward_and_back(one_study, halved), strict=True):
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-2)

# %% [markdown]
# **Whole maps at a time.** [Fusion](../docs/glossary.md#fusion) does little arithmetic on much memory: scores made larger, softmax, weights times
# features, sum. Written as in lesson 03, each of the four goes through maps of the full size, and the processor waits for
# memory. Where no gradient is needed, the package does all four on a few planes that fit the cache, then on the next.
# And it makes one map of scores larger less, since a softmax knows differences alone: with $x_m = \exp(S_m - S_1)$, so
# $x_1 = 1$, the fused map is $\sum_m x_m e^m \,/ \sum_m x_m$; of two scans it is
# $e^1 + \sigma(S_2 - S_1)\,(e^2 - e^1)$, with the sigmoid $\sigma$.

# %%
fusion, scans = net.fusions[0], Pairs.of(torch.ones(1, BRATS.M, dtype=torch.bool))
maps = torch.randn(BRATS.M, net.channels[0], 48, 48, 48).contiguous(memory_format=torch.channels_last_3d)
torch.nn.init.normal_(fusion.restore.weight)  # weights that differ from place to place


def fuse_whole_maps():
    """The four passes of DMAF, each over everything."""
    scores = torch.nn.functional.interpolate(fusion.scores(maps, scans), size=maps.shape[2:], mode="trilinear")
    weights = scores.softmax(dim=0)
    return (weights * maps).sum(dim=0, keepdim=True)


with torch.no_grad():
    compare("whole maps at a time", fuse_whole_maps, lambda: fusion(maps, scans)[0])

# %% tags=["check"]
with torch.no_grad():
    torch.testing.assert_close(fusion(maps, scans)[0], fuse_whole_maps(), rtol=1e-4, atol=1e-5)

# %% [markdown]
# **Encoding again for every [subset](../docs/glossary.md#subset)**, and **reading a whole case for one crop**. A window's features are the same for
# all 15 subsets; and a prepared case is a file per scan into which we can look at any place.

# %%
tiny_window = from_mapping(WindowSettings, {"window": [crop] * 3, "precision": "float32"})
study = batch.images[0].new_tensor(cohort.read(train_names[0], (0, 0, 0), (crop,) * 3)[0]).numpy()
subsets = np.array(BRATS.subsets())
forms = {share: partial(subset_probabilities, net, study, subsets, settings=tiny_window, share_encoder=share)
         for share in (False, True)}
compare("encoding again for every subset", forms[False], forms[True])

paths = sorted((cohort_folder / "prepared" / train_names[0]).glob("*.npy"))


def whole_then_crop():
    """The usual way: load everything, then cut."""
    return {path.stem: np.load(path)[:16, :16, :16].copy() for path in paths}


def crop_only():
    """Look into the file at one place."""
    return {path.stem: np.load(path, mmap_mode="r")[:16, :16, :16].copy() for path in paths}


compare("reading a whole case for a crop", whole_then_crop, crop_only)

# %% tags=["check"]
torch.testing.assert_close(forms[True](), forms[False](), rtol=1e-3, atol=1e-4)
assert all(np.array_equal(whole_then_crop()[name], part) for name, part in crop_only().items())

# %% tags=["hide-input"]
saved = pd.DataFrame(bought, index=["wasteful, s", "ours, s"]).T
saved["times"] = saved["wasteful, s"] / saved["ours, s"]
print(saved.round(4).to_string())
paid, not_here = saved[saved["times"] > 1.1].index, saved[saved["times"] <= 1.1].index
for words, names in (("Gained here", paid), ("Gained nothing here", not_here)):
    print(textwrap.fill(f"{words}: {', '.join(names) or 'none'}", 110))

# %% [markdown]
# The ratios depend on the crop and on the machine. At the size of this lesson a case is so small that reading it whole is
# cheap; at 1 mm it is 27 times as large. Half the bits gain something where the processor multiplies `bfloat16` quickly
# and the crop is large. So a way to save work has to be *measured* on the machine that shall use it. This is one run, on
# a machine that may be busy with other things; the repository's benchmarks repeat and isolate. Two more savings cannot be shown in a notebook that is already running: memory that the process
# keeps (`dmaf_lite/base/memory.py`), and no waiting for the device inside a step.
#
# ## The answer

# %% tags=["hide-input"]
print("stopped and resumed: not one bit of difference")
print(saved["times"].round(1).rename("times faster").to_string())

# %% [markdown]
# Yes: a batch is a function of seed and step, and a checkpoint holds everything else. Which work can be left out has
# to be measured; the table says what was gained here.
#
# ## In practice
#
# - `python -m dmaf_lite train --cohort PREPARED --out RUN --profile SETTINGS.yaml`: call it again after a crash, and it
#   goes on from the last checkpoint.
# - Where the processor or the GPU computes `bfloat16`, the loop uses it; covariances, [prototypes](../docs/glossary.md#prototype) and the monitor stay
#   in 32 bits.
# - More than one GPU, or many cores: `torchrun --nproc-per-node 2 -m dmaf_lite train ...`. Two processes are one with
#   the double batch; `accumulate` in the settings is the same thing one after another, for little memory.
# - `compile: true` in the settings asks torch to compile the [levels](../docs/glossary.md#level). The first steps then take minutes.
# - The log is the only place where a step waits for the device. Log rarely on a GPU.
#
# ## What we built
#
# - proved that a batch is a function of seed and step, and that a resumed run ends with the same bits
# - measured six ways to save work, each with a check that the result stays the same
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. On what does a batch depend?
#    <details><summary>Answer</summary>On the seed and the step, and on nothing else.</details>
# 2. How many bits differ between a resumed and an uninterrupted run?
#    <details><summary>Answer</summary>None.</details>
# 3. Two studies, two of four scans each: how many rows do the encoders compute?
#    <details><summary>Answer</summary>4 instead of 8.</details>
# 4. Can a run be continued with another learning rate?
#    <details><summary>Answer</summary>No, it is refused, and the message says which setting differs.</details>
# 5. Does a saving that was measured on one machine hold on another?
#    <details><summary>Answer</summary>Not without measuring it there.</details>

# %% tags=["check", "hide-input"]
assert same(batches[7], again[7])
assert all(torch.equal(resumed_a[name], resumed_b[name]) for name in resumed_a)
assert int(two_scans.sum()) == 4
assert logs[0].equals(logs[1])
assert (saved["times"] > 0).all()

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 8.1 · A subset for every step
# Draw a non-empty subset of the available scans that depends on `seed` and `step`, and on nothing else: no global
# generator, no memory. Two seeds must give two unrelated sequences, not one that is shifted. Expect: asked twice, the same
# answer; of four scans, all 15 subsets turn up sooner or later. (`np.random.default_rng` takes a list of numbers.)

# %% tags=["exercise"]
def subset_of(seed, step, available):
    """bool array [M] with at least one True -> bool array [M], a non-empty part of it."""
    # >>> your turn: 8.1 draw a subset from seed and step
    rng = np.random.default_rng([seed, step])
    while True:
        kept = available & (rng.random(len(available)) < 0.5)
        if kept.any():
            return kept
    # <<<

# %% tags=["exercise"]
exercises.check_8_1(subset_of)

# %% [markdown] tags=["exercise"]
# ### Exercise 8.2 · A question
# A colleague stores the state of the random generators in the checkpoint instead, and reads crops in four worker
# processes that run ahead of the training. After a crash the weights differ from an uninterrupted run. Why?
#
# <details><summary>Answer</summary>
#
# The workers have drawn batches that training had not used when it stopped: the stored state belongs to a later batch
# than the stored step, and how much later depends on timing. With a batch that is a function of (seed, step) there is
# no state to be late.
#
# </details>

# %% [markdown]
# ## Next
#
# We can train safely and without waste. How good are the weights with every subset of scans, measured how, and with what
# certainty? That is the next lesson.
