# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 07 · Train it all
#
# Everything of the lessons before in one sum, one step and one loop, and a judgement of what the loop is worth.
#
# **Question** what does the training want, all in all, and is the result better than a threshold?
#
# **Do** train DMAF-Net with its whole objective, and set trained weights against a threshold.
#
# **Learn**
# - to read the whole objective off one equation, and to say who pays for which part of it
# - to write one training step by hand, the optimiser included
# - to judge a network fairly against a [yardstick](../docs/glossary.md#yardstick) that has learned nothing
#
# **Need** lessons 02 to 06; 2 GB of memory; paper section 3 (objective). What it does not print is [ours](../docs/glossary.md#ours).
#
# Not here: stop, resume and speed (lesson 08); all [subsets](../docs/glossary.md#subset) and all metrics (lesson 09).

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
layout: str = "phantom"  # or a real cohort's, such as brats2020, prepared in DMAF_DATA/<layout>
cases_train: int = 24  # synthetic cases of the shared cohort
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
crop: int = 32  # voxels; side of a training crop
network_options: dict = {}  # what differs from the preset `lite`
condition: str = "complete"  # or imbalanced, imbalanced+drop
steps: int = 140  # of the training
lr: float = 2e-3  # where the learning rate starts
rotation: float = 0.0  # degrees; crops are turned by up to this angle, published: 10
workers: int = 0  # processes that read crops ahead of a named run, for a GPU
run_name: str = ""  # empty: made anew when anything changed; else a folder that a long run resumes
cases_unseen: int = 6  # synthetic cases that no weights of the kit have seen
cases_threshold: int = 8  # synthetic cases on which a threshold is chosen

# %% tags=["setup"]

import numpy as np
import pandas as pd
import torch

from dmaf_lite import figures
from dmaf_lite.base.device import choose_device, choose_precision
from dmaf_lite.base.settings import read_yaml, to_plain
from dmaf_lite.data.batches import AugmentationSettings, BatchSettings, TrainingBatches
from dmaf_lite.data.cohort import Cohort, read_split
from dmaf_lite.data.missing import missing_table, published_rates
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.lessons import artifacts, recipes
from dmaf_lite.lessons.exercises import lesson_07 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.objectives import build_objective
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.objectives import total
from dmaf_lite.objectives.segmentation import LabelStats, segmentation_loss
from dmaf_lite.phantom.brain.realism import threshold_dice
from dmaf_lite.spec import BRATS
from dmaf_lite.training.loop import TrainSettings, learning_rate, train
from dmaf_lite.training.runlog import read_log
from dmaf_lite.training.step import StepModel, build_optimizer, train_step

check_parameters(globals())
device = choose_device()
print(f"torch {torch.__version__}, training on {device.type} in {choose_precision('auto', device)}")

# %% [markdown]
# ## 1 · The whole objective
#
# Here is everything that the training wants: as a drawing, as an equation, and as a table.
#
# ![The objective: six terms in six colours and the places of the network where they take hold](figures/objective.svg)
#
# For one [study](../docs/glossary.md#study), with the symbols of the lessons before; then the mean over studies:
# $$ \mathcal{L} = \underbrace{L_\text{seg}(z)}_{\texttt{seg}}
#    + \underbrace{\sum_{l \ge 2} 2^{-(l-1)} L_\text{seg}(z_l)}_{\texttt{deep}}
#    + \sum_m a_m \Big[ \underbrace{L_\text{seg}(z^m)}_{\texttt{unimodal}}
#    + \beta^m\, w(t)\, L^m_\text{distil} \Big] , \tag{7} $$
# $$ L^m_\text{distil} = \lambda_\text{cov} \underbrace{L^m_\text{cov}}_{\texttt{cov}}
#    + \lambda_\text{att} \underbrace{L^m_\text{att}}_{\texttt{att}}
#    + \lambda_\text{proto} \underbrace{L^m_\text{proto}}_{\texttt{proto}} . $$
#
# | part | what it wants | lesson |
# |---|---|---|
# | `seg`, `deep` | the fused prediction, and its deeper heads, right | 02, 03 |
# | `unimodal` | every scan alone right, through the shared decoder | 02 |
# | `cov`, `att` | voxels of one scan related as those of the fused map | 04 |
# | `proto` | classes of one scan where the fused map has them | 05 |
# | $\beta^m$ | more for who lags, less for who leads | 06 |
# | $w(t)$ | teachers first: rises from 0 to 1 while the fused map is still worthless | here |

# %%
if layout == "phantom":
    config = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
    cohort_folder = artifacts.load_or_make("cohort", recipes.make_cohort, config)
else:
    cohort_folder = artifacts.data_folder(layout)  # holds prepared/ and split/
cohort, split = Cohort(cohort_folder / "prepared"), read_split(cohort_folder / "split")
settings = TrainSettings(network_options=network_options, condition=condition, steps=steps, crop=(crop,) * 3, lr=lr,
                         missing_rates=published_rates("mr2468"), seed=seed, log_every=max(1, steps // 40),
                         augmentation=AugmentationSettings(rotation=rotation))
print(len(split["train"]), "training cases,", steps, "steps of", settings.batch, "crops")

# %% [markdown]
# Every part keeps one number per study, or per study and [modality](../docs/glossary.md#modality), until the very end. So we can look at who pays.

# %%
small = min(crop, 32)  # by hand everything stays small, at whatever size the profile trains


def start():
    """A network, its objective and its optimiser, the same each time."""
    torch.manual_seed(seed)
    net = build_network("dmaf_net", BRATS, **{**network_options, "preset": "lite"}).train()
    objective = build_objective("dmaf", BRATS, net, total_steps=steps, missing_rates=[0.0] * BRATS.M)
    return net, objective, build_optimizer(net, objective, lr=lr, weight_decay=settings.weight_decay)


net, objective, optimizer = start()
batches = TrainingBatches(TrainingSet(cohort, split["train"]), BatchSettings(crop=(small,) * 3, seed=seed))
batch = next(b for b in (batches[step] for step in range(50)) if b.available.sum(1).min() == 2)  # students in both
features = net.encode(batch.images, batch.available)
terms = objective(net, features, net.decode(features, batch.available), batch, steps)

# %%
def lines(terms):
    """One line per term: its value per modality (or in all), its weights, what it adds to the sum."""
    for name, term in terms.items():
        value, weight = term.value.detach(), torch.as_tensor(term.weight)
        columns = BRATS.modalities if value.ndim == 2 else ("all",)
        per = dict(zip(columns, value.mean(0, keepdim=value.ndim == 1).tolist(), strict=True))
        yield {"term": name, **per, "weight": float(weight.mean()), "adds": float(term.contribution().detach())}


for name, row in zip(batch.names, batch.available, strict=True):
    print(f"{name}: {BRATS.subset_name(row.tolist())}")
print(pd.DataFrame(lines(terms)).set_index("term").round(3).to_string(na_rep=""))

# %% tags=["check"]
by_hand = torch.zeros(())
for b in range(len(batch.names)):  # equation (7), term by term
    for term in terms.values():
        weight = torch.as_tensor(term.weight).expand(BRATS.M)
        one = term.value[b]
        by_hand = by_hand + ((one * weight).sum() if one.ndim else one * weight[0]) / len(batch.names)
torch.testing.assert_close(by_hand, total(terms))
for name in ("unimodal", "cov", "att", "proto"):
    assert (terms[name].value[~batch.available] == 0).all(), f"{name}: who is not there pays nothing"

# %% [markdown]
# ## 2 · Three choices that a short training needs
#
# All three are ours, and we learned them from failures. With the published loss and blocks that normalise their sum,
# short trainings **invented tumours**: most of what they called tumour was healthy. Look at a crop with a small tumour,
# and a confident false alarm of the same size. How hard does each form of the loss pull at the false voxels, for each
# unit of pull at the ones that were missed?

# %%
def pull(weighting, smooth):
    """Mean gradient on falsely called and on missed voxels, as a ratio."""
    label = torch.zeros(1, 16, 16, 16, dtype=torch.int64)
    label[0, 2:5, 2:5, 2:5] = 3
    calls = torch.zeros(1, 4, 16, 16, 16)
    calls[:, 0] = 3.0  # background everywhere ...
    calls[0, :, 10:13, 10:13, 10:13] = torch.tensor([0.0, 0, 0, 3])[:, None, None, None]  # ... but here
    calls.requires_grad_()
    segmentation_loss(calls, LabelStats.of(label, 4, weighting=weighting), smooth=smooth).sum().backward()
    return (calls.grad[0, 0, 10:13, 10:13, 10:13].abs().mean() / calls.grad[0, 0, 2:5, 2:5, 2:5].abs().mean()).item()


pulls = {"published": pull("rarity", 0.0), "ours": pull("none", 1.0)}
print(*(f"{name:10s} a false voxel counts {ratio:.2f} of a missed one" for name, ratio in pulls.items()), sep="\n")

# %% tags=["check"]
assert pulls["ours"] > 2 * pulls["published"], "without class weights, inventing a tumour is no longer cheap"

# %% [markdown]
# The published [class](../docs/glossary.md#class) weights $1 - N_c/V$ make background nearly free, and its [Dice](../docs/glossary.md#dice) says nothing to a class that is
# absent. Long trainings live with that. So: (a) **no class weights**, and 1 added above and below in the Dice;
# (b) **pre-norm residual blocks**, which leave the sum alone, so that a crop with and a crop without tumour do not end
# up with the same contrast; (c) the **deepest map is normed** once, because a covariance that may grow without bound
# grows with the fourth power of the features, and would soon be all that the training looks at.
#
# ## 3 · One step by hand
#
# With $g$ the gradient of $\mathcal{L}$ over all parameters $\theta$: first it is clipped, then **AdamW** keeps running
# means of $g$ and $g^2$, corrects their start, and moves each parameter by about the same amount, whatever the size of
# its gradient:
# $$ g \leftarrow g \cdot \min\!\Big(1, \frac{c}{\lVert g \rVert}\Big), \quad
#    \mu \leftarrow \rho_1 \mu + (1 - \rho_1)\, g, \quad \nu \leftarrow \rho_2 \nu + (1 - \rho_2)\, g^2, $$
# $$ \theta \leftarrow (1 - \eta\, \delta)\,\theta - \eta\,
#    \frac{\mu / (1 - \rho_1^n)}{\sqrt{\nu / (1 - \rho_2^n)} + \epsilon} . $$

# %%
def adamw(theta, g, state, eta, decay, rho=(0.9, 0.999), epsilon=1e-8):
    """One AdamW update of one parameter, in place; `state` is its memory."""
    state.setdefault("mu", torch.zeros_like(g)), state.setdefault("nu", torch.zeros_like(g))
    state["n"] = n = state.get("n", 0) + 1
    state["mu"] = rho[0] * state["mu"] + (1 - rho[0]) * g
    state["nu"] = rho[1] * state["nu"] + (1 - rho[1]) * g**2
    step = (state["mu"] / (1 - rho[0] ** n)) / ((state["nu"] / (1 - rho[1] ** n)).sqrt() + epsilon)
    theta.mul_(1 - eta * decay).sub_(eta * step)

# %% [markdown]
# The whole step, then: encode what is there, decode, all terms, the gradient, the update. A parameter that took no part
# (the [encoder](../docs/glossary.md#encoder) of a scan that nobody has) has **no** gradient, which is not a gradient of 0: it is not moved, not even
# by the weight decay.

# %%
def step_by_hand(net, objective, batch, number, memory):
    """One training step; `memory` holds the optimiser's state of each parameter."""
    features = net.encode(batch.images, batch.available)
    terms = objective(net, features, net.decode(features, batch.available), batch, number)
    parameters = [*net.parameters(), *objective.parameters()]
    gradients = torch.autograd.grad(total(terms), parameters, allow_unused=True)
    norm = torch.sqrt(sum((g**2).sum() for g in gradients if g is not None))
    with torch.no_grad():
        for index, (theta, g) in enumerate(zip(parameters, gradients, strict=True)):
            if g is not None:
                g = g * min(1.0, settings.clip / (float(norm) + 1e-6))
                adamw(theta, g, memory.setdefault(index, {}), settings.lr, settings.weight_decay)

# %% [markdown]
# **Before you run**: nobody in this batch has one of the scans. Will the weight decay move that scan's encoder?
#
# <details><summary>Answer</summary>No: without a gradient a parameter is not moved at all.</details>

# %%
slow, slow_objective, _ = start()
fast, fast_objective, optimizer = start()
absent = next(m for m in range(BRATS.M) if not batch.available[:, m].any())
before = [p.clone() for p in fast.encoders[absent].parameters()]
memory = {}
for number in range(2):  # the second step uses the memory of the first
    step_by_hand(slow, slow_objective, batch, number, memory)
    train_step(StepModel(fast, fast_objective), optimizer, [batch], number, clip=settings.clip)

# %% [markdown]
# A trap for whoever compares: some numbers in the network have no effect at all, such as a bias that shifts the scores
# of all modalities alike before a softmax. Their gradient is 0 but for rounding, and AdamW divides rounding by rounding
# and takes a full step. So we compare where there is a gradient.

# %%
first = start()[0]
gaps = {}
triples = zip(slow.named_parameters(), fast.parameters(), first.parameters(), strict=True)
for index, ((name, p), q, p0) in enumerate(triples):
    real = memory[index]["nu"] > 1e-16 if index in memory else torch.zeros_like(p, dtype=torch.bool)
    if real.any():
        gaps[name] = ((p - q)[real].norm() / (q - p0)[real].norm()).item()
print(f"{len(gaps)} parameters moved; largest difference, as a part of the move: {max(gaps.values()):.1e}")

# %% tags=["check"]
assert max(gaps.values()) < 1e-2, f"{max(gaps, key=gaps.get)}: by hand and the package differ"
assert all(map(torch.equal, before, fast.encoders[absent].parameters())), "an encoder that saw nothing has not moved"
assert any(name.startswith("encoders.") for name in gaps), "the encoders that saw something have"

# %% [markdown]
# After two steps by hand and two of the package the weights are the same up to rounding, and the encoder of the scan that
# nobody in this batch has is untouched.
#
# ## 4 · Which scans does training see?
#
# A batch draws its cases, crops, flips, shades and dropped scans from a generator made of `(seed, step)` alone (lesson 08
# proves it). There are three conditions, and results of different ones never share a column:
#
# - `complete`: every case has all its scans; at each step a random non-empty subset of them is kept.
# - `imbalanced`: the [missing-rate](../docs/glossary.md#missing-rate) table decides once for all. What it takes is never seen; nothing else is dropped.
# - `imbalanced+drop`: the table decides, then a random subset of what is left is kept.

# %%
train_names = split["train"]
frame = missing_table(train_names, published_rates("mr2468"), seed=seed)
table = {name: row.to_numpy(dtype=bool) for name, row in frame.iterrows()}
seen = {}
for name in ("complete", "imbalanced", "imbalanced+drop"):
    chosen = TrainingSet(cohort, train_names, None if name == "complete" else table)
    drawn = TrainingBatches(chosen, BatchSettings(crop=(8,) * 3, seed=seed, condition=name))
    masks = np.concatenate([drawn[step].available.numpy() for step in range(2 * drawn.steps_per_epoch)])
    seen[name] = pd.DataFrame(masks, columns=BRATS.modalities)

# %% tags=["hide-input"]
for name, masks in seen.items():
    print(f"{name:16s} {masks.to_numpy().sum(1).mean():.1f} scans of a study on average")
fig = figures.availability_picture(seen["imbalanced"], title="condition imbalanced: what two epochs see")
figures.show(fig, alt="One column per training sample of two epochs, filled where a modality is available")

# %% [markdown]
# Under the published rates T2 is the rarest scan and T1 the most frequent one; the second epoch sees, in another order,
# exactly the scans that the first one saw.

# %% tags=["check"]
half = len(train_names)
codes = seen["imbalanced"].to_numpy() @ (1, 2, 4, 8)  # a number for each subset
first, second = np.sort(codes[:half]), np.sort(codes[half: 2 * half])
assert np.array_equal(first, second), "imbalanced: an epoch is the table, in another order"
assert all(masks.any(axis=1).all() for masks in seen.values()), "no study without any scan"

# %% [markdown]
# ## 5 · Two schedules
#
# The [distillation](../docs/glossary.md#distillation) terms rise linearly over the first tenth of all $T$ steps, since a teacher that knows nothing has
# nothing to teach; the learning rate falls all the way (polynomial decay):
# $$ w(t) = \min\!\Big(1, \frac{t + 1}{T_w}\Big), \qquad \eta(t) = \eta_0 \Big(1 - \frac{t}{T}\Big)^{0.9} . $$

# %%
time = np.arange(steps)
w = np.array([objective.warmup_factor(t) for t in time])
eta = np.array([learning_rate(t, settings) for t in time])

# %% tags=["check"]
warm = objective.warmup_steps
np.testing.assert_allclose(w, np.minimum(1, (time + 1) / warm))
np.testing.assert_allclose(eta, lr * (1 - time / steps) ** 0.9)
assert (np.diff(eta) < 0).all() and w[warm - 1] == 1, "one falls all the way, the other is done after the warm-up"

# %% tags=["hide-input"]
schedules = pd.DataFrame({"step": time, "w(t)": w, "learning rate / start": eta / lr})
fig = figures.training_curves(schedules, ["w(t)", "learning rate / start"])
fig.axes[0].set_ylabel("factor")
figures.show(fig, alt="The warm-up rises to 1 within the first tenth of the steps; the learning rate falls to 0")

# %% [markdown]
# The [warm-up](../docs/glossary.md#warm-up) is over early, and the learning rate reaches zero with the last step.
#
# ## 6 · The training
#
# Now the package's loop, which is the step above with a log and a checkpoint around it. A few minutes are no training;
# they are enough to see every part work. A long run gets a name (`run_name`), so that it goes on where it was stopped.

# %%
if run_name:
    run = artifacts.root() / run_name
    train(TrainingSet(cohort, train_names), run, settings, workers=workers)
else:
    run = artifacts.load_or_make("train-it-all", recipes.train_run, to_plain(settings), needs=[cohort_folder])
log = read_log(run / "log.csv")
trained, card = load_weights(run / "weights.safetensors", device)
print(f"{card['recipe']['steps']} steps on {card['hardware']} in {card['precision']}, data: {layout}")

# %% tags=["hide-input"]
fig = figures.training_curves(log, ["seg", "deep", "unimodal", "cov", "att", "proto"], logarithmic=True, smooth=5)
figures.show(fig, alt="All six terms over the training steps, logarithmic")

# %% [markdown]
# The segmentation terms come down. The distillation terms are [gaps](../docs/glossary.md#gap) to a teacher that itself moves, so they need not fall
# steadily. All are bare, before their weights; `unimodal` and the last three are sums over the scans of a study.

# %% tags=["check"]
assert np.isfinite(log.to_numpy()).all(), "every number of the log is a number"
tail = max(1, len(log) // 4)
for name in ("seg", "unimodal"):
    assert steps < 50 or log[name].tail(tail).mean() < 0.8 * log[name].head(tail).mean(), f"{name} falls"

# %% [markdown]
# **What does each part weigh?** A term that is a thousandth of the sum does nothing, one that is most of it does harm.
# The $\lambda$ are ours: chosen so that each distillation term is a modest part of the segmentation loss when the
# warm-up ends. With the log's columns and equation (7):

# %%
def paid(log, name):
    """What a distillation term added to the sum, at each logged step."""
    ramp = np.array([objective.warmup_factor(t) for t in log["step"]])
    weighted = sum(log[f"beta/{m}"] * log[f"{name}/{m}"] for m in BRATS.modalities)
    return objective.lambdas[name] * ramp * weighted


level = log["seg"].rolling(5, min_periods=1).mean()
shares = pd.DataFrame({"step": log["step"]} | {name: paid(log, name) / level for name in objective.lambdas})
after = shares[(shares["step"] >= warm) & (shares["step"] < warm + max(10, steps // 4))]
print("parts of seg after the warm-up:", {name: f"{after[name].mean():.0%}" for name in objective.lambdas})

# %% tags=["check"]
rebuilt = log[["seg", "deep", "unimodal"]].sum(axis=1) + sum(paid(log, name) for name in objective.lambdas)
epoch = -(-len(train_names) // settings.batch)
quiet = (log["step"] + 1) % epoch != 0  # where an epoch ends, the log holds the weights of the next one already
np.testing.assert_allclose(rebuilt[quiet], log["total"][quiet], rtol=1e-3)

# %% tags=["hide-input"]
fig = figures.training_curves(shares, list(objective.lambdas), smooth=8)
fig.axes[0].set_ylabel("part of L_seg")
figures.show(fig, alt="The weighted distillation terms as parts of the segmentation loss over the steps")

# %% [markdown]
# The log holds the whole objective: the sum of its parts is its total. The shares rise with the warm-up, then follow
# the gaps themselves.
#
# ## 7 · What is it worth?
#
# A score means little without a **yardstick**. Ours has learned nothing about shapes: tumour is where FLAIR is brighter
# than a threshold, enhancing tumour where T1ce is. There are two of them, and they are not the same thing:
#
# - **fixed**: one threshold for all cases, chosen on other cases. That is a method; it could be used tomorrow.
# - **oracle**: the best threshold for *each* case, chosen with its true label in hand (`threshold_dice`). No method can
#   do that; it is an upper bound of everything that thresholds can reach on this scan.
#
# The networks get no such help. They get all four scans, a threshold gets the best one for its [region](../docs/glossary.md#region). The cases are
# fresh [phantoms](../docs/glossary.md#phantom) from a seed that nothing in the kit was trained on.

# %%
weights, its_card = load_weights(shipped("dmaf_net_phantom"), device)
side = its_card["spacing"][0]
unseen_seed = seed + 1000
config = {"train": cases_threshold, "val": 1, "test": cases_unseen, "seed": unseen_seed, "spacing": side}
unseen, parts = recipes.open_cohort(artifacts.load_or_make("unseen-cohort", recipes.make_cohort, config))
print(f"shipped: {its_card['recipe']['steps']} steps on {its_card['training_cases']} phantoms, {its_card['date']}")

# %%
def segment(net, card, cohort, name):
    """The label map of a case from all its scans."""
    images, _ = cohort.read(name)
    windows = WindowSettings(window=tuple(card["window"]))
    probabilities = subset_probabilities(net, images, cohort.available(name)[None], settings=windows)
    return probabilities[0].argmax(0).byte().cpu().numpy()


BEST = {"WT": "FLAIR", "ET": "T1ce"}  # the scan that shows a region best


def scan_and_region(cohort, name, region):
    """The best scan for a region (z-scored, 0 outside the brain), and where the region is."""
    images, truth = cohort.read(name)
    return images[BRATS.modalities.index(BEST[region])], BRATS.region_mask(truth, region)

# %%
def fixed_threshold(region):
    """The threshold with the highest mean Dice over the cases for choosing it."""
    cases = [scan_and_region(unseen, name, region) for name in parts["train"]]
    tried = np.linspace(0, 5, 51)
    return max(tried, key=lambda t: np.mean([dice(image > t, mask) for image, mask in cases]))


thresholds = {region: fixed_threshold(region) for region in BEST}
print("in standard deviations above the brain's mean:", {region: f"{t:.1f}" for region, t in thresholds.items()})

# %% [markdown]
# **Before you run**: a threshold that is chosen for each case with its true label in hand. Can a network lose to it?
#
# <details><summary>Answer</summary>Yes: such an oracle is an upper bound of all thresholds on this scan, not a method.</details>

# %%
rows = []
for name in parts["test"]:
    found = {"shipped weights": segment(weights, its_card, unseen, name)}
    if layout == "phantom" and spacing == side:
        found["this lesson's run"] = segment(trained, card, unseen, name)
    for region in BEST:
        image, mask = scan_and_region(unseen, name, region)
        scores = {method: dice(BRATS.region_mask(label, region), mask) for method, label in found.items()}
        scores["fixed threshold"] = dice(image > thresholds[region], mask)
        scores["oracle threshold"] = threshold_dice(image, mask) if mask.any() else 1.0  # it would call nothing tumour
        rows += [{"case": name, "region": region, "method": m, "dice": d} for m, d in scores.items()]
scores = pd.DataFrame(rows)
means = scores.pivot_table(index="method", columns="region", values="dice", sort=False)
print(f"mean Dice over {cases_unseen} unseen phantoms (synthetic)\n{means.round(3).to_string()}")

# %% tags=["check"]
assert read_yaml("profiles/experiments/complete.yaml")["phantom"]["seed"] != unseen_seed, "unseen, indeed"
for region in BEST:
    mean = means[region]
    assert mean["shipped weights"] > mean["fixed threshold"], f"{region}: it beats what could be used"
    assert mean["fixed threshold"] <= mean["oracle threshold"] + 1e-9, "an oracle is never worse"

# %% tags=["hide-input"]
ahead = [region for region in BEST if means.loc["shipped weights", region] > means.loc["oracle threshold", region]]
print("Shipped weights against the fixed threshold: ahead for WT and ET;")
print("against the oracle, which has seen the answer: ahead for", " and ".join(ahead) or "neither")
if "this lesson's run" in means.index:
    for region in BEST:
        gain = means.loc["this lesson's run", region] - means.loc["fixed threshold", region]
        print(f"This lesson's run against the fixed threshold: {region} {gain:+.3f}", "(ahead)" if gain > 0 else "(BEHIND)")

# %% tags=["hide-input"]
name = parts["test"][0]
images, truth = unseen.read(name)
shown = {"truth": truth, "shipped weights": segment(weights, its_card, unseen, name),
         "fixed threshold (WT)": (images[0] > thresholds["WT"]) * np.uint8(2)}
if "this lesson's run" in means.index:
    shown["this lesson's run"] = segment(trained, card, unseen, name)
fig = figures.show_labels(images[0], shown, unseen.meta(name)["affine"], classes=BRATS.classes)
figures.show(fig, alt="One unseen phantom: truth, the shipped weights, a fixed threshold on FLAIR, this lesson's run")

# %% [markdown]
# The shipped weights follow the outline and name the classes; a threshold leaves speckles and knows one class only. This
# lesson's own run, where it is shown, has found the place, and its outline is rough.
#
# ## The answer

# %% tags=["hide-input"]
for region in BEST:
    print(f"{region}: shipped weights {means.loc['shipped weights', region]:.2f}, "
          f"fixed threshold {means.loc['fixed threshold', region]:.2f} (mean Dice, {cases_unseen} unseen synthetic cases)")

# %% [markdown]
# The training wants six things in one sum: that the fused prediction is right, that its deeper heads are right, that
# every scan alone is right, and that each scan's features come near those of all scans, in three ways. Trained for
# long enough, a network beats the fixed threshold; the lines at the end of section 7 say whether the short run of this
# lesson does.
#
# ## In practice
#
# - The same notebook trains at full size: `python -m dmaf_lite lessons run --profile gpu-full 07` takes the preset
#   `full`, 1 mm phantoms and crops of 80 voxels; `--profile brats2020` takes the cohort prepared in
#   `DMAF_DATA/brats2020` (folders `prepared` and `split`, see [getting BraTS](../docs/getting_brats.md)). Nobody has run the latter yet.
# - The same without a notebook: `python -m dmaf_lite train --cohort PREPARED --out RUN --profile SETTINGS.yaml`. Call
#   it again after a crash, and it goes on.
# - Under Adam, [DTM](../docs/glossary.md#dtm)'s factor $\gamma^m$ acts on the learning rate of encoder $m$, hence one parameter group per encoder.
#
# ## What we built
#
# - took the whole objective apart and put it together again, term by term
# - wrote one training step, with clipping and AdamW, equal to the package's
# - trained for a moment, and read every part's share off the log
# - judged longer-trained weights against a threshold that is a method, and against one that is an oracle
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. How many terms has the objective?
#    <details><summary>Answer</summary>Six: seg, deep, unimodal, cov, att, proto.</details>
# 2. What does a scan that is not there pay?
#    <details><summary>Answer</summary>Nothing, in each term.</details>
# 3. A batch holds no T2. How far does T2's encoder move?
#    <details><summary>Answer</summary>Not at all.</details>
# 4. A gradient of norm 5 is clipped at 1. By which factor is it shortened?
#    <details><summary>Answer</summary>0.2, the same for all parameters.</details>
# 5. When is the warm-up over?
#    <details><summary>Answer</summary>After the first tenth of the steps.</details>

# %% tags=["check", "hide-input"]
assert set(terms) == {"seg", "deep", "unimodal", "cov", "att", "proto"}
assert all((terms[name].value[~batch.available] == 0).all() for name in ("unimodal", "cov", "att", "proto"))
assert all(map(torch.equal, before, fast.encoders[absent].parameters()))
assert min(1.0, 1 / 5) == 0.2
assert w[warm - 1] == 1 and warm <= max(1, round(0.1 * steps) + 1)

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 7.1 · The sum
# Add up an objective: mean over studies, sum over modalities, each term times its weight (a number, or one per
# modality):
# $$ \mathcal L = \frac1B \sum_b \sum_t \sum_m w_{t,m}\, L_{t,b,m} . $$
# Expect: one term of values 1 and 3 with weight 1 gives 2.

# %% tags=["exercise"]
def add_up(terms):
    """A list of (value [B] or [B, M], weight: a number or a tensor [M]) -> the scalar to minimise."""
    # >>> your turn: 7.1 add up the terms
    loss = 0.0
    for value, weight in terms:
        weighted = value * weight
        loss = loss + (weighted.sum(1) if weighted.ndim == 2 else weighted).mean()
    return loss
    # <<<

# %% tags=["exercise"]
exercises.check_7_1(add_up)

# %% [markdown] tags=["exercise"]
# ### Exercise 7.2 · Clip the gradient
# Shorten all gradients by one common factor, so that their norm taken together is at most `limit`. A parameter that
# took no part has `None`, and keeps it:
# $$ g \leftarrow g \cdot \min\!\Big(1, \frac{\text{limit}}{\lVert g \rVert}\Big), \qquad
#    \lVert g \rVert^2 = \sum_\theta \lVert g_\theta \rVert^2 . $$
# Expect: gradients (3, 0) and (4) have the norm 5; with limit 1 each is divided by 5.

# %% tags=["exercise"]
def clip(gradients, limit):
    """A list of tensors or None -> a list of the same, with joint norm at most `limit`."""
    # >>> your turn: 7.2 clip the gradient
    norm = torch.sqrt(sum((g**2).sum() for g in gradients if g is not None))
    factor = min(1.0, limit / float(norm))
    return [None if g is None else g * factor for g in gradients]
    # <<<

# %% tags=["exercise"]
exercises.check_7_2(clip)

# %% [markdown]
# ## Next
#
# The training works. The next lesson makes it safe against interruption, and finds what it can leave out.
