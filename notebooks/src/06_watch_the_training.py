# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 06 · Watch the training
#
# A monitor that tracks how far each [modality](../docs/glossary.md#modality) is behind the fused features, re-weights its losses and slows the [encoders](../docs/glossary.md#encoder)
# that are ahead: [DTM](../docs/glossary.md#dtm), dynamic training monitoring.
#
# **Question** how do we notice that a modality lags behind, and what can we do for it?
#
# **Do** build the gap track, the loss weights and the update factors by hand, and test them in a simulation.
#
# **Learn**
# - to follow a noisy quantity that is seen rarely, without being fooled at the start
# - to keep weights inside bounds by an exact projection
# - to say why scaling a gradient does nothing under Adam, and what does
# - to judge a controller in a simulation whose assumptions you know, before trusting it in a training
#
# **Need** lessons 03 to 05; 2 GB of memory; paper abstract (dynamic training monitoring).
#
# > The abstract says what DTM does: track [distillation](../docs/glossary.md#distillation) [gaps](../docs/glossary.md#gap), re-weight losses, scale gradients. It gives no formula.
# > **Every formula of this lesson is [ours](../docs/glossary.md#ours)**, after ideas of PASSION (preference) and OGM-GE (gradient modulation).
#
# Not here: whether it helps segmentation. Longer runs say that; lesson 09 reads them.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
cases_train: int = 24  # synthetic cases of the shared cohort
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
crop: int = 32  # voxels; side of a training crop, a multiple of the total stride
width: int = 8  # C_1, channels of the first level
levels: int = 4  # L; level l has C_1 2^(l-1) channels
steps: int = 120  # of the short real training
simulated_steps: int = 1500  # of the simulation
simulations: int = 5  # seeds of the simulation

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from dmaf_lite import figures
from dmaf_lite.data.missing import missing_table, realised_rates
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_06 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.objectives.monitor import MonitorSettings, TrainingMonitor, project_weights, start_weights
from dmaf_lite.spec import BRATS
from dmaf_lite.training.runlog import read_log

check_parameters(globals())
print(f"torch {torch.__version__}, threads: {torch.get_num_threads()}; everything in this lesson runs on the CPU")

# %% [markdown]
# ## 1 · The gap of a modality
#
# A modality lags if its distillation terms stay larger than those of the others. Its **gap** says by how much: it adds the
# terms, each divided by the mean of that term over all modalities.
#
# | symbol | meaning |
# |---|---|
# | $L^m_{t,b}$ | distillation term $t$ of modality $m$ in study $b$ (lessons 04, 05) |
# | $k_b$ | modalities of study $b$; only studies with $k_b \ge 2$ count |
# | $s_t$ | running mean of term $t$ over all modalities |
# | $d^m_b$ | gap of modality $m$ in study $b$; $D^m$ its track over time |
# | $r^m$ | relative gap: above 0 it lags, below 0 it is ahead |
# | $\beta^m, \gamma^m$ | weight of its losses, factor on its encoder's update |
#
# $$ d^m_b = \Big(\sum_t \frac{L^m_{t,b}}{s_t}\Big) \Big/ \Big(1 - \frac{1}{k_b}\Big) $$
#
# Dividing by $s_t$ brings all terms to one size, and when a loss falls for all modalities, none of them seems to be ahead.
# The factor $1 - 1/k_b$ is there to be fair: the fused features contain $e^m$ itself with a weight of about $1/k_b$.

# %%
L = torch.tensor([[0.9, 0.3, 0.6, 0.0],   # FLAIR, T1ce and T1 are there
                  [0.4, 0.2, 0.0, 0.0]])  # FLAIR and T1ce
available = L > 0
k = available.sum(1, keepdim=True)
s = L[available].mean()
d = torch.where(available, L / s / (1 - 1 / k), 0.0)
print("gaps d:", [[round(v, 2) for v in row] for row in d.tolist()])

# %% [markdown]
# ## 2 · Track it, and correct the bias
#
# One step is noisy, so an exponential mean follows the gap, **only in the steps where the modality occurs**; $n_m$ counts
# them. It starts at 0, which is not a measurement, so for a while it reads too low; the share it has really seen is
# $1 - \rho^{n_m}$:
#
# $$ D^m \leftarrow \rho\, D^m + (1 - \rho)\, \overline{d^m_b}, \qquad \hat D^m = \frac{D^m}{1 - \rho^{n_m}} $$

# %%
def slow_track(values, rho):
    """Values of one modality, None where it is absent -> the track D and its corrected form, step by step."""
    D, n, track, corrected = 0.0, 0, [], []
    for value in values:
        if value is not None:
            D, n = rho * D + (1 - rho) * value, n + 1
        track.append(D)
        corrected.append(D / (1 - rho**n) if n else 0.0)
    return track, corrected


# %% [markdown]
# Take two modalities that are **equally far behind**: their gap is 1 in every step. One occurs in 80 % of the steps, the
# other in 20 %.

# %%
rng = np.random.default_rng(seed)
rho = MonitorSettings().rho
tracks = {}
for kind, rate in (("frequent", 0.8), ("rare", 0.2)):
    occurs = rng.random(300) < rate
    tracks[kind] = slow_track([1.0 if occurs_now else None for occurs_now in occurs], rho)
at = 50
for kind, (track, corrected) in tracks.items():
    print(f"{kind:8s} after {at} steps: raw {track[at - 1]:.2f}, corrected {corrected[at - 1]:.2f}")

# %% tags=["hide-input"]
with figures.style():
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.4), sharey=True)
    for ax, title, which in zip(axes, ("raw", "corrected"), (0, 1), strict=True):
        for (kind, pair), look in zip(tracks.items(), ("-", "--"), strict=True):
            ax.plot(pair[which], look, label=kind)
        ax.set(xlabel="step", title=title, ylim=(0, 1.15))
    axes[0].set_ylabel("tracked gap")
    axes[0].legend(loc="lower right")
    fig.canvas.draw()
figures.show(fig, alt="The tracked gap of a frequent and a rare modality: apart in the raw track, equal when corrected")

# %% [markdown]
# Raw, the rare modality stays far below the frequent one, as if it were ahead; corrected, both read 1 from their first
# appearance on.

# %% tags=["check"]
assert tracks["rare"][0][at - 1] < 0.6 * tracks["frequent"][0][at - 1], "the raw track mistakes rare for advanced"
for _, corrected in tracks.values():
    np.testing.assert_allclose([v for v in corrected if v], 1.0)

# %% [markdown]
# ## 3 · The same in the package
#
# `TrainingMonitor.observe` takes the terms of one batch. Fed with random terms for some steps, its tracked gap must be
# ours, worked out with plain loops from the two formulas above.

# %%
def slow_observe(batches, rho):
    """Corrected gap of every modality after batches of (L [B, M], available [B, M]); one term."""
    M = batches[0][0].shape[1]
    seen, means = [[] for _ in range(M)], []
    for L, available in batches:
        distilled = [b for b in range(len(L)) if available[b].sum() >= 2]
        values = [float(L[b, m]) for b in distilled for m in range(M) if available[b, m]]
        means.append(sum(values) / len(values) if values else None)
        s = slow_track(means, rho)[1][-1]
        for m in range(M):
            d = [float(L[b, m]) / s / (1 - 1 / int(available[b].sum())) for b in distilled if available[b, m]]
            seen[m].append(sum(d) / len(d) if d else None)
    return torch.tensor([slow_track(values, rho)[1][-1] for values in seen])


# %%
generator = torch.Generator().manual_seed(seed)
rates = torch.tensor([0.6, 0.4, 0.2, 0.8])  # missing rates of FLAIR, T1ce, T1, T2
batches = []
for _ in range(40):
    available = torch.rand(2, 4, generator=generator) > rates
    available[:, 2] |= ~available.any(1)  # no study without any modality
    batches.append((torch.rand(2, 4, generator=generator), available))
monitor = TrainingMonitor(["cov"], rates.tolist())
for L, available in batches:
    monitor.observe({"cov": L}, available)
by_hand = slow_observe(batches, rho)
print("by hand:", [round(v, 4) for v in by_hand.tolist()])
print("package:", [round(v, 4) for v in monitor.tracked_gap().tolist()])

# %% [markdown]
# From the gaps follows who lags, relative to the average of those that have been seen:
#
# $$ r^m = \hat D^m \big/ \mathrm{mean}_j \hat D^j - 1 $$

# %%
r = by_hand / by_hand.mean() - 1
print("relative gap:", {m: round(v, 3) for m, v in zip(BRATS.modalities, r.tolist(), strict=True)})

# %% tags=["check"]
torch.testing.assert_close(by_hand, monitor.tracked_gap(), rtol=1e-4, atol=1e-5)
torch.testing.assert_close(r, monitor.relative_gap(), rtol=1e-3, atol=1e-4)

# %% [markdown]
# ## 4 · Loss weights inside bounds
#
# The weights start at $\beta_0^m \propto 1/(1-\mathrm{MR}^m)$, mean 1, so that what is rarely seen weighs more. Once per
# epoch they move towards those that lag, with a small leak $\kappa$ back to the start, and are projected on the set
# "mean 1, none below 0.1":
#
# $$ \beta \leftarrow \mathrm{Proj}\big(\beta_0 + (1-\kappa)(\beta - \beta_0) + \eta\, r\big), \qquad
#    \mathrm{Proj}(\beta)^m = \max(\beta^m - \theta,\ 0.1) $$
#
# One number $\theta$ makes the mean 1. By hand we find it by bisection; the package finds it by one sort.

# %%
def slow_projection(weights, floor=0.1):
    """The nearest weights with mean 1 and none below `floor`."""
    low, high = float(weights.min()) - 2, float(weights.max())
    for _ in range(60):
        theta = (low + high) / 2
        if (weights - theta).clamp(min=floor).mean() > 1:
            low = theta
        else:
            high = theta
    return (weights - theta).clamp(min=floor)


wild = torch.tensor([2.6, 0.9, -0.7, 1.4], dtype=torch.float64)
print("before:", wild.tolist(), " after:", [round(v, 3) for v in slow_projection(wild).tolist()])

# %% tags=["check"]
for _ in range(50):
    wild = 3 * torch.randn(4, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(project_weights(wild), slow_projection(wild))
start = start_weights(rates.tolist()).float()
s = MonitorSettings()
moved = slow_projection((start + (1 - s.kappa) * 0 + s.eta * r).double())
torch.testing.assert_close(monitor.update_epoch().double(), moved, rtol=1e-4, atol=1e-4)

# %% [markdown]
# The weights stay inside the bounds, even if one modality seems hopelessly far behind for hundreds of epochs:

# %%
extreme = TrainingMonitor(["cov"], rates.tolist())
for _ in range(20):
    extreme.observe({"cov": torch.tensor([[100.0, 0.1, 0.1, 0.1]])}, torch.ones(1, 4, dtype=torch.bool))
history = torch.stack([extreme.update_epoch() for _ in range(300)])
print("weights after 300 epochs:", [round(v, 3) for v in history[-1].tolist()])

# %% tags=["check"]
assert (history >= 0.1 - 1e-6).all(), "no modality is ever switched off"
torch.testing.assert_close(history.mean(1), torch.ones(300))

# %% [markdown]
# ## 5 · Slow down who is ahead
#
# The encoder of a modality that is ahead takes smaller steps. The factor depends on how far it is ahead, and $\alpha$ says
# how strongly:
#
# $$ \gamma^m = 1 - \tanh\big(\alpha \max(0, -r^m)\big) $$
#
# A lagging encoder keeps 1, one that is ahead is slowed. But *what* is multiplied by $\gamma$? We scale the **gradient** of
# one parameter by a constant, then the **learning rate** instead, and compare the first hundred steps with unscaled ones.

# %%
gamma = float(1 - torch.tanh(torch.tensor(s.alpha * 0.8)))  # a modality with r = -0.8


def distance(optimizer, on_gradient=1.0, on_lr=1.0):
    """How far one number travels in 100 steps along a gradient that wobbles around 1."""
    x = torch.zeros(1, dtype=torch.float64)
    run = optimizer([x], lr=0.01 * on_lr)
    noise = torch.Generator().manual_seed(seed)
    for _ in range(100):
        x.grad = on_gradient * (1 + 0.3 * torch.randn(1, dtype=torch.float64, generator=noise))
        run.step()
    return float(x.abs())


# %% [markdown]
# **Before you run**: under Adam the gradient is multiplied by a constant $\gamma$. How much shorter will the way be?
#
# <details><summary>Answer</summary>Not at all: Adam divides the gradient by its own size.</details>

# %%
ratios = pd.DataFrame({
    name: {"gradient scaled": distance(kind, on_gradient=gamma) / distance(kind),
           "learning rate scaled": distance(kind, on_lr=gamma) / distance(kind)}
    for name, kind in (("Adam", torch.optim.Adam), ("SGD", torch.optim.SGD))})
print(f"gamma = {gamma:.3f}; way travelled, relative to unscaled:\n{ratios.round(3).to_string()}")

# %% [markdown]
# Adam divides the gradient by its own size, and a constant factor is gone: the ratio is 1. Under SGD both ways agree.
# Therefore the kit gives every encoder a learning rate of its own, $\mathrm{lr}^m = \gamma^m \mathrm{lr}$, which works for
# both.

# %% tags=["check"]
assert abs(ratios.loc["gradient scaled", "Adam"] - 1) < 1e-3, "Adam normalises a constant factor away"
np.testing.assert_allclose(ratios.loc["learning rate scaled"], gamma, rtol=1e-6)
np.testing.assert_allclose(ratios.loc["gradient scaled", "SGD"], gamma, rtol=1e-6)

# %% [markdown]
# ## 6 · A simulation: fast and slow, frequent and rare
#
# Before a real training we look at a world whose truth we know. **Its assumptions:** every modality has a true gap $G^m$ that starts
# at 1; in a step where it occurs, the gap shrinks towards a floor of 0.05 by a share $c^m \beta^m \gamma^m$, so that a
# weight acts exactly like speed; what the monitor sees is $G^m$ times noise; the modalities do not influence each other.
# Real encoders keep none of these promises exactly.

# %%
world = pd.DataFrame({"speed": [0.02, 0.02, 0.01, 0.01], "missing": [0.2, 0.8, 0.2, 0.8]},
                     index=["fast, frequent", "fast, rare", "slow, frequent", "slow, rare"])
print(world.to_string())


def draw_available(rng, missing):
    """One batch of two studies, each with at least two modalities, so that every study counts."""
    occurs_now = rng.random((2, len(missing))) > missing
    while (occurs_now.sum(1) < 2).any():
        occurs_now = rng.random((2, len(missing))) > missing
    return torch.from_numpy(occurs_now)


# %% [markdown]
# The monitor is the package's, with an epoch of 12 steps. `none` tracks but does not act; `start` keeps the fixed weights
# $\beta_0$; the others follow the gaps.

# %% [markdown]
# **Before you run**: five ways to run the simulation: `none`, `start`, `reweighting`, `gradients`, `both`. Which will balance
# the gaps first, and which will not balance them sooner than `none`?
#
# <details><summary>Answer</summary>`both` or `reweighting` is first. Slowing alone (`gradients`) is about as late as `none`: it teaches nobody.</details>

# %%
def simulate(mode, seed):
    """True gaps [steps, M], and weights [steps, M]."""
    rng = np.random.default_rng(seed)
    monitor = TrainingMonitor(["gap"], world.missing.tolist(), mode="both" if mode == "start" else mode)
    G, speed, gaps, weights = torch.ones(4), torch.tensor(world.speed.to_numpy()), [], []
    for step in range(simulated_steps):
        available = draw_available(rng, world.missing.to_numpy())
        seen = G * torch.from_numpy(rng.lognormal(0, 0.3, (2, 4)))
        # the monitor divides by 1 - 1/k, as a real gap contains e^m itself: so does this one
        monitor.observe({"gap": seen * (1 - 1 / available.sum(1, keepdim=True))}, available)
        G = 0.05 + (G - 0.05) * (1 - speed * monitor.beta * monitor.gamma * available.float().mean(0))
        if mode != "start" and (step + 1) % 12 == 0:
            monitor.update_epoch()
        gaps.append(G)
        weights.append(monitor.beta)
    return torch.stack(gaps), torch.stack(weights)


modes = ("none", "start", "reweighting", "gradients", "both")
runs = {mode: [simulate(mode, seed + i) for i in range(simulations)] for mode in modes}

# %% [markdown]
# We measure balance by the spread of the true gaps, $(\max_m G^m - \min_m G^m) / \mathrm{mean}_m G^m$. We call the gaps
# *balanced from* the step after which the spread never exceeds one half again.

# %%
def spread(gaps):
    return (gaps.amax(1) - gaps.amin(1)) / gaps.mean(1)


def balanced_from(gaps):
    """First step from which on the spread stays below one half; the number of steps if never."""
    above = (spread(gaps)[50:] > 0.5).nonzero()  # the first steps start equal: no merit
    return 50 + int(above[-1]) + 1 if len(above) else 50


summary = pd.DataFrame({mode: {
    "balanced from step": np.mean([balanced_from(gaps) for gaps, _ in found]),
    "largest spread": np.mean([float(spread(gaps).max()) for gaps, _ in found]),
    "mean gap at half time": np.mean([float(gaps[len(gaps) // 2].mean()) for gaps, _ in found]),
} for mode, found in runs.items()}).T
print(f"simulation, mean of {simulations} seeds, {simulated_steps} steps\n{summary.round(3).to_string()}")

# %% tags=["hide-input"]
with figures.style():
    fig, axes = plt.subplots(1, 3, figsize=(figures.WIDTH, 3.2))
    for ax, mode in zip(axes, ("none", "both"), strict=False):
        for m, kind in enumerate(world.index):
            ax.plot(runs[mode][0][0][:, m], label=kind)
        ax.set(xlabel="step", title=f"true gaps, DTM {mode}", ylim=(0, 1.02))
    for number, mode in enumerate(modes):
        axes[2].plot(spread(runs[mode][0][0]), label=mode, color=f"C{4 + number}")  # colours that no modality has
    axes[2].axhline(0.5, color="0.6", lw=1)
    axes[2].set(xlabel="step", title="spread", ylim=(0, 3.6))  # room for the legend above the curves
    axes[0].legend()
    axes[2].legend()
    fig.canvas.draw()
figures.show(fig, alt="Simulation: true gaps of four modalities without and with DTM, and their spread for all modes")

# %% [markdown]
# Left and middle, the same world without and with DTM; right, the closer to 0 a curve lies, the better the balance.
# The last column of the table says what the balance costs or gains: a smaller mean gap is better for everybody. The next
# cell takes the two halves of the monitor, each by itself.

# %%
for mode in ("reweighting", "gradients"):
    gain = summary.loc["none", "balanced from step"] - summary.loc[mode, "balanced from step"]
    print(f"{mode:12s} balances", f"{gain:.0f} steps sooner than none" if gain > 1 else "no sooner than none")

# %% [markdown]
# Slowing who is ahead teaches nobody. In this world it is the weights that balance.

# %% tags=["check"]
for found in runs.values():
    for _, weights in found:
        assert (weights >= 0.1 - 1e-6).all(), "the weights stay above the floor"
        torch.testing.assert_close(weights.mean(1), torch.ones(len(weights)))
if simulated_steps >= 1000:
    assert summary.loc["both", "balanced from step"] < summary.loc["none", "balanced from step"], "sooner with DTM"
    assert summary.loc["both", "largest spread"] < summary.loc["none", "largest spread"], "and never as far apart"

# %% [markdown]
# ## 7 · A real, short training
#
# Now we train on the synthetic cohort, where every modality is [missing](../docs/glossary.md#available-and-missing) at its own rate, with the whole objective of
# DMAF-Net. The monitor looks at real distillation gaps. The run is short: it shows the instrument working, not a verdict on it.

# %%
settings = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
cohort_folder = load_or_make("cohort", recipes.make_cohort, settings)
cohort, split = recipes.open_cohort(cohort_folder)
missing = {m: round(rate, 1) for m, rate in zip(BRATS.modalities, rates.tolist(), strict=True)}
table = missing_table(split["train"], missing, seed=seed)
print("missing rates as drawn:", realised_rates(table).round(2).to_dict())
print("cases with it and at least one other:", table[table.sum(axis=1) >= 2].sum().to_dict())

# %%
run_settings = {"network": "dmaf_net", "network_options": {"width": width, "levels": levels}, "objective": "dmaf",
                "condition": "imbalanced", "missing_rates": missing, "steps": steps, "crop": [crop] * 3,
                "log_every": max(1, steps // 60), "seed": seed}
run = load_or_make("dmaf-watched", recipes.train_run, run_settings, needs=[cohort_folder])
log = read_log(run / "log.csv")
states = ("gap", "relative_gap", "beta", "gamma")
print(pd.DataFrame({state: {m: log[f"{state}/{m}"].iloc[-1] for m in BRATS.modalities} for state in states}).round(3))

# %% tags=["hide-input"]
fig = figures.modality_curves(log, ["relative_gap", "beta", "gamma"], BRATS.modalities)
figures.show(fig, alt="Relative gap, loss weight and update factor of each modality over a short real training")

# %% [markdown]
# Above 0 a modality lags and its weight is pushed up, below 0 it is ahead and its factor drops under 1; the weights start
# apart, because what is rarely there starts with more.

# %% tags=["check"]
beta = log[[f"beta/{m}" for m in BRATS.modalities]].to_numpy()
gammas = log[[f"gamma/{m}" for m in BRATS.modalities]].to_numpy()
assert (beta >= 0.1 - 1e-6).all() and np.allclose(beta.mean(1), 1, atol=1e-5), "loss weights stay in their bounds"
assert ((gammas > 0) & (gammas <= 1)).all(), "an encoder is slowed, never stopped and never pushed"

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
print("balanced from step:", {mode: int(step) for mode, step in summary["balanced from step"].items()})

# %% [markdown]
# We track the distillation gap of each modality, corrected for how rarely it is seen, give more weight to those that
# lag, and slow those that are ahead. In the simulation, under the assumptions stated there, that balances sooner;
# nearly all of it is the work of the weights. Whether it helps segmentation is asked in lesson 09.
#
# ## In practice
#
# - The monitor's whole state is in every checkpoint; with several processes, sums and counts of the gaps are exchanged.
# - During the [warm-up](../docs/glossary.md#warm-up) of the distillation terms it tracks and does not act.
# - A modality that is slow because its scan shows little gets more weight and never catches up. The floor, the leak and
#   the mean of 1 keep that from doing harm; they do not make it useful.
#
# ## What we built
#
# - We tracked gaps with bias correction, by hand, and found the package's numbers.
# - We projected loss weights on their bounds and scaled updates instead of gradients, and saw why.
# - We checked: rare is not mistaken for advanced; weights stay in bounds; Adam normalises a constant factor away; in the
#   simulation balance comes sooner with DTM, under the assumptions stated there.
# - We watched the gaps of a short real training.
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. Two modalities have the same gap, one is seen rarely. What does the corrected track say?
#    <details><summary>Answer</summary>The same for both.</details>
# 2. What is the mean of the loss weights β?
#    <details><summary>Answer</summary>1, always.</details>
# 3. How small can a loss weight become?
#    <details><summary>Answer</summary>0.1, never less: no modality is switched off.</details>
# 4. What does Adam make of a gradient that is scaled by a constant?
#    <details><summary>Answer</summary>The same step as without.</details>
# 5. Which update factor γ has a modality that lags?
#    <details><summary>Answer</summary>1: it is never slowed.</details>

# %% tags=["check", "hide-input"]
np.testing.assert_allclose([tracks["rare"][1][-1], tracks["frequent"][1][-1]], 1.0)
torch.testing.assert_close(history.mean(1), torch.ones(len(history)))
assert history.min() >= 0.1 - 1e-6
assert abs(ratios.loc["gradient scaled", "Adam"] - 1) < 1e-3
assert 1 - np.tanh(s.alpha * max(0, -0.3)) == 1

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 6.1 · Track with bias correction
# Return the corrected track after the last value; `None` means that the modality was absent in that step:
# $$ D \leftarrow \rho\, D + (1 - \rho)\, d, \qquad \hat D = \frac{D}{1 - \rho^{n}}, \qquad n \text{ values seen} . $$
# Expect: any number of values of 1 gives 1.

# %% tags=["exercise"]
def tracked(values, rho):
    """Values, None where absent -> corrected exponential mean; 0.0 if it was never there."""
    # >>> your turn: 6.1 track and correct
    D, n = 0.0, 0
    for value in values:
        if value is not None:
            D, n = rho * D + (1 - rho) * value, n + 1
    return D / (1 - rho**n) if n else 0.0
    # <<<

# %% tags=["exercise"]
exercises.check_6_1(tracked)

# %% [markdown] tags=["exercise"]
# ### Exercise 6.2 · Update factors
# From the corrected gaps to $\gamma$:
# $$ r^m = D^m / \mathrm{mean}_j D^j - 1, \qquad \gamma^m = 1 - \tanh\big(\alpha \max(0, -r^m)\big) . $$
# Expect: equal gaps give 1 for all; who is ahead (small gap) gets less than 1.

# %% tags=["exercise"]
def update_factors(D, alpha):
    """Corrected gaps D [M], all seen -> gamma [M]."""
    # >>> your turn: 6.2 slow down who is ahead
    r = D / D.mean() - 1
    return 1 - torch.tanh(alpha * (-r).clamp(min=0))
    # <<<

# %% tags=["exercise"]
exercises.check_6_2(update_factors)

# %% [markdown] tags=["exercise"]
# ### Exercise 6.3 · Recall
# During a training the distillation losses of all modalities fall to a tenth. What does that do to $\beta$, and which two
# divisions are the reason?
#
# <details><summary>Answer</summary>
# Nothing: the terms are divided by their running mean over all modalities, and the relative gap once more by the mean of
# the gaps. Only differences between modalities move a weight.
# </details>

# %% [markdown]
# ## Next
#
# All parts are there. Train it all.
