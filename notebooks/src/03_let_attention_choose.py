# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 03 · Let attention choose
#
# The [fusion](../docs/glossary.md#fusion) of DMAF-Net, written out for one [study](../docs/glossary.md#study): [attention](../docs/glossary.md#attention) between coarse [tokens](../docs/glossary.md#token) of the scans that are there decides,
# channel by channel and voxel by voxel, how much each scan counts.
#
# **Question** who decides which scan is heard where, and can a missing scan be heard at all?
#
# **Do** build tokens, masked attention, restore, weights and fusion by hand, check them, and look inside.
#
# **Learn**
# - to mask a [missing](../docs/glossary.md#available-and-missing) scan so that not even a NaN in it reaches the result
# - to turn attention into weights that sum to 1 over what is there
# - to prove a fusion: identity for one scan, mean at the start, permutation, equality of two forms
# - to read attention and [modality](../docs/glossary.md#modality) weights of a network, and to know how far they may be trusted
#
# **Need** lesson 02; 2 GB of memory; paper abstract and figure (dynamic modality-aware fusion, [DMAF](../docs/glossary.md#dmaf)).
#
# > The paper shows DMAF as a figure: project, four masked attention blocks, restore, weigh, add. What the figure leaves
# > open is completed by us, in remarks like this one.
#
# Not here: the [distillation](../docs/glossary.md#distillation) terms (lessons 04 and 05) and a training long enough to compare fusions (lesson 09).

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
steps: int = 120  # of the short training

# %% tags=["setup"]
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange

from dmaf_lite import figures
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_03 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.nn import Pairs
from dmaf_lite.nn.fusion import DMAF, MeanFusion
from dmaf_lite.spec import BRATS

check_parameters(globals())
print(f"torch {torch.__version__}, threads: {torch.get_num_threads()}; everything in this lesson runs on the CPU")

# %% [markdown]
# ## 1 · One level, one study
#
# A mean gives every scan the same say everywhere. But [oedema](../docs/glossary.md#oedema) is bright on FLAIR and the active rim on T1ce: *who* should
# be heard depends on *where*. DMAF lets the scans look at each other before they are added.
#
# ![DMAF at one level: maps, tokens, attention blocks, scores, weights, fused map; T1 is missing and masked](figures/fusion.svg)
#
# | symbol | meaning |
# |---|---|
# | $e^m$ | features of modality $m$ at one level, $C \times D \times H \times W$ |
# | $x$ | tokens, $N = g^3$ per modality, each with $C$ numbers |
# | $q, k, v$ | queries, keys and values of the attention |
# | $S_m$ | restored score map of modality $m$ |
# | $A_m$ | its weight, element by element; $f = \sum_m A_m \odot e^m$ |
#
# We work on one [level](../docs/glossary.md#level) with made-up features. T1 is missing. The package's module `DMAF` holds the parameters. Three of
# them start at zero or near it; we set them to random numbers, as after a training, because otherwise all weights would
# be equal.

# %%
torch.manual_seed(seed)
M, C, size = 4, 16, 6
dmaf = DMAF(C, M)
for parameter in (dmaf.restore.weight, dmaf.position_embedding, dmaf.modality_embedding):
    torch.nn.init.normal_(parameter, std=0.5)
available = torch.tensor([True, True, False, True])
e = {m: torch.randn(C, size, size, size) for m in range(M) if available[m]}
print("there:", BRATS.subset_name(available.tolist()))

# %% [markdown]
# ## 2 · Project: maps become tokens
#
# Attention between all voxels would cost far too much. So each map is averaged to a coarse grid of $g^3$ cells, and each
# cell becomes a token that also knows where it lies and which scan it comes from:
#
# $$ x^m = W \, \mathrm{pool}_g(e^m) + b + \mathrm{position} + \mathrm{modality}_m $$
#
# > The grid ($g = 4$, or the map's own size where that is smaller) and both embeddings are [ours](../docs/glossary.md#ours).

# %%
def tokens_of(dmaf, e, m):
    """e [C, D, H, W] -> tokens [N, C]."""
    grid = [min(dmaf.grid, n) for n in e.shape[1:]]
    cells = F.adaptive_avg_pool3d(e, grid).flatten(1).T  # (N, C)
    position = F.interpolate(dmaf.position_embedding, size=grid, mode="trilinear")[0].flatten(1).T
    return dmaf.project(cells) + position + dmaf.modality_embedding[m]


x = {m: tokens_of(dmaf, e[m], m) for m in e}
print({BRATS.modalities[m]: tuple(tokens.shape) for m, tokens in x.items()})

# %% [markdown]
# ## 3 · Mask: set, never add
#
# In a batch every study has room for all $M$ modalities, and a missing one must not be heard. Its weight after the
# softmax has to be exactly 0, so its score before has to be $-\infty$. There are two ways to write that, and they look
# alike as long as the empty place holds a harmless number.

# %% [markdown]
# **Before you run**: minus infinity is *added* to the score NaN. What will the four weights be?
#
# <details><summary>Answer</summary>All NaN: NaN minus infinity is NaN, and one NaN spoils a softmax.</details>

# %%
score = torch.tensor([1.0, 2.0, float("nan"), 0.5])  # whatever lies where T1 would be
minus_infinity = torch.where(available, 0.0, -torch.inf)
added = (score + minus_infinity).softmax(0)
was_set = torch.where(available, score, -torch.inf).softmax(0)
print("added:", added.tolist())
print("set:  ", [round(w, 3) for w in was_set.tolist()])

# %% [markdown]
# NaN minus infinity is NaN, and one NaN in a softmax takes the whole row with it. A score that is *set* leaves no trace.
# The values need the same care: a weight of 0 does not silence a NaN, because $0 \times \mathrm{NaN} = \mathrm{NaN}$.
# So the empty place is filled with exact zeros *before* any product. They are never used as if they were a scan: they only
# make the products harmless, and the mask gives them the weight 0.

# %%
value = torch.tensor([1.0, 1.0, float("nan"), 1.0])
print("weight 0 times NaN:", float((was_set * value).sum()))
print(f"filled first:       {float((was_set * torch.where(available, value, 0.0)).sum()):.3f}")

# %% tags=["check"]
assert added.isnan().all(), "adding minus infinity spoils every weight"
assert was_set[2] == 0 and (was_set.sum() - 1).abs() < 1e-6, "a score that is set leaves a weight of exactly 0"
assert (was_set * value).sum().isnan(), "0 x NaN is NaN: the mask alone is not enough"

# %% [markdown]
# ## 4 · Attend, by hand
#
# For a single study the cleanest mask is to leave the missing tokens out. Each token asks ($q$), every token answers
# ($k$) and hands over its content ($v$), in heads of eight channels:
#
# $$ \mathrm{attention} = \mathrm{softmax}\!\left( \frac{q \, k^\top}{\sqrt{8}} \right), \qquad
#    x \leftarrow x + W_o \,(\mathrm{attention} \; v) + b_o $$

# %%
def attention_of(block, x):
    """Tokens x [T, C] -> attention [heads, T, T] and values [heads, T, C / heads]."""
    q, k, v = rearrange(block.qkv(block.norm_attention(x)), "t (three h c) -> three h t c", three=3, h=block.heads)
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    return scores.softmax(-1), v


# %% [markdown]
# Then every token thinks for itself in a small feed-forward network. Both steps add to $x$ (residual) and norm first.
#
# > Four blocks are the figure's; pre-norm, the feed-forward ratio of 2 and no dropout are ours.

# %%
def slow_block(block, x):
    """Tokens [T, C] -> tokens [T, C]."""
    attention, v = attention_of(block, x)
    x = x + block.out(rearrange(attention @ v, "h t c -> t (h c)"))
    return x + block.feedforward(block.norm_feedforward(x))


def attend(dmaf, x):
    """All blocks, one after the other."""
    for block in dmaf.blocks:
        x = slow_block(block, x)
    return x


# %% [markdown]
# Now the mask of the package: tokens of all four modalities, T1's filled with zeros, and its keys masked.

# %%
T = len(x[0])
key_mask = available.repeat_interleave(T)
full = torch.zeros(1, M * T, C)
full[0, key_mask] = torch.cat(list(x.values()))
with torch.no_grad():
    masked = dmaf.blocks[0](full, key_mask[None])[0, key_mask]
    left_out = slow_block(dmaf.blocks[0], torch.cat(list(x.values())))
    unmasked = dmaf.blocks[0](full, torch.ones_like(key_mask)[None])[0, key_mask]
print(f"masked against left out:   {float((masked - left_out).abs().max()):.0e}")
print(f"unmasked against left out: {float((unmasked - left_out).abs().max()):.2f}")

# %% tags=["check"]
torch.testing.assert_close(masked, left_out, atol=1e-5, rtol=1e-4)
assert (unmasked - left_out).abs().max() > 0.01, "a token of zeros is still a key, and takes attention"

# %% [markdown]
# ## 5 · Restore, weigh, add
#
# The tokens go back to maps (linear, then trilinear up to the level's size). A softmax over the modalities, separately for
# each channel and voxel, makes weights of them, and the weights mix the features:
#
# $$ S_m = \mathrm{up}(W_r \, x^m + b_r), \qquad A_m = \frac{\exp S_m}{\sum_{j\ \mathrm{there}} \exp S_j}, \qquad
#    f = \sum_{m\ \mathrm{there}} A_m \odot e^m $$
#
# > The last sum is the figure's. That the weights are an element-wise softmax (`gate="sigmoid"` is the alternative), and
# > that $W_r, b_r$ start at zero, is ours.

# %%
def slow_dmaf(dmaf, e):
    """One study: e {modality: [C, D, H, W]} -> f [C, D, H, W], weights A [k, C, D, H, W]."""
    size = next(iter(e.values())).shape[1:]
    d, h, w = (min(dmaf.grid, n) for n in size)
    x = attend(dmaf, torch.cat([tokens_of(dmaf, e[m], m) for m in e]))
    S = rearrange(dmaf.restore(x), "(k d h w) c -> k c d h w", d=d, h=h, w=w)
    A = F.interpolate(S, size=size, mode="trilinear").softmax(0)
    return (A * torch.stack(list(e.values()))).sum(0), A


f, A = slow_dmaf(dmaf, e)
for m, weight in zip(e, A.detach(), strict=True):
    print(f"{BRATS.modalities[m]:6s} weights from {float(weight.min()):.3f} to {float(weight.max()):.3f}")

# %% [markdown]
# ## 6 · Slow form, package form
#
# The package computes a whole batch at once. We give it all 15 [subsets](../docs/glossary.md#subset) as one batch ([packed](../docs/glossary.md#packed): one row per scan that is
# there, as in lesson 02), and compare study by study.

# %%
masks = torch.tensor(BRATS.subsets())
pairs = Pairs.of(masks)
packed = torch.randn(pairs.P, C, size, size, size, requires_grad=True)
fast_f, fast_A = dmaf(packed, pairs)
slow_f = []
for b in range(pairs.B):
    rows = (pairs.study == b).nonzero().flatten()
    slow_f.append(slow_dmaf(dmaf, {int(pairs.modality[i]): packed[i] for i in rows})[0])
slow_f = torch.stack(slow_f)
print(f"largest difference of f over {pairs.B} subsets: {float((slow_f - fast_f).detach().abs().max()):.0e}")

# %% [markdown]
# Equal values are half the proof. The gradients must be equal too, for the features and for every parameter.

# %%
direction = torch.randn_like(fast_f)
wanted = [packed, *dmaf.parameters()]
names = ["features", *(name for name, _ in dmaf.named_parameters())]
fast = torch.autograd.grad((fast_f * direction).sum(), wanted)
slow = torch.autograd.grad((slow_f * direction).sum(), wanted)
least = 1e-3 * max(float(b.norm()) for b in slow)  # a bias that the softmax cancels has a gradient of rounding only
furthest = max(float((a - b).norm() / b.norm().clamp(min=least)) for a, b in zip(fast, slow, strict=True))
print(f"{len(names)} gradients, largest relative difference {furthest:.0e}")

# %% tags=["check"]
torch.testing.assert_close(slow_f, fast_f, atol=1e-4, rtol=1e-4)
assert furthest < 1e-3, "the two forms agree in every gradient"

# %% [markdown]
# ## 7 · What DMAF promises
#
# **The weights sum to 1 over what is there; a single scan passes unchanged.**

# %% tags=["check"]
torch.testing.assert_close(pairs.sum_by_study(fast_A), torch.ones_like(fast_f))
for b in range(M):  # the first M subsets have one modality
    assert torch.equal(fast_f[b], packed[pairs.study == b][0]), "one modality: f = e, to the bit"

# %% [markdown]
# **It starts as the mean.** With Restore at zero all scores are equal, so a fresh DMAF is the baseline's fusion and learns
# to deviate from it.

# %% [markdown]
# **Before you run**: a DMAF that has learned nothing yet. Which simple fusion will it be equal to?
#
# <details><summary>Answer</summary>The mean: Restore starts at zero, so all scores are equal.</details>

# %% tags=["check"]
fresh, _ = DMAF(C, M)(packed, pairs)
mean, _ = MeanFusion()(packed, pairs)
torch.testing.assert_close(fresh, mean)

# %% [markdown]
# **The order of the scans does not matter.** Change the order of the modalities, with their embeddings: the weights change
# places with them, and $f$ stays.

# %%
order = [2, 0, 3, 1]
features = torch.randn(M, C, size, size, size)
everything = Pairs.of(torch.ones(1, M, dtype=torch.bool))
f_before, A_before = dmaf(features, everything)
embedding = dmaf.modality_embedding.detach().clone()
dmaf.modality_embedding.data = embedding[order]
f_after, A_after = dmaf(features[order], everything)
dmaf.modality_embedding.data = embedding

# %% tags=["check"]
torch.testing.assert_close(A_after, A_before[order], atol=1e-5, rtol=1e-4)
torch.testing.assert_close(f_after, f_before, atol=1e-5, rtol=1e-4)

# %% [markdown]
# **A missing scan changes no bit.** This is the strictest promise, and we test it on the whole network with DMAF
# at every level: fill the missing
# scans of a mixed batch with NaN, and compare [logits](../docs/glossary.md#logits) and gradients bit by bit with those for zeros.

# %%
net = build_network("dmaf_net", BRATS, width=width, levels=levels)
small = 2 * max(net.stride)
images = torch.randn(15, M, small, small, small)


def run_with(hole):
    """Logits and gradients with the missing scans filled by `hole`."""
    filled = torch.where(masks[:, :, None, None, None], images, hole)
    net.zero_grad()
    logits = net(filled, masks).logits
    logits.square().mean().backward()
    return logits.detach(), [p.grad.clone() for p in net.parameters() if p.grad is not None]


(logits_zero, grads_zero), (logits_nan, grads_nan) = run_with(0.0), run_with(float("nan"))
print(f"{len(grads_zero)} gradients compared")

# %% tags=["check"]
assert torch.equal(logits_zero, logits_nan), "NaN in a missing scan must not change a bit of the logits"
assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(grads_zero, grads_nan, strict=True))

# %% [markdown]
# ## 8 · Look inside, after a short training
#
# Now the network on the synthetic cohort, with segmentation losses only, for the few steps of this lesson. This is a sign
# of life, far from a trained network; read the pictures as *where to look*, never as findings.

# %%
settings = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
cohort_folder = load_or_make("cohort", recipes.make_cohort, settings)
cohort, split = recipes.open_cohort(cohort_folder)
run_settings = {"network": "dmaf_net", "network_options": {"width": width, "levels": levels}, "objective": "plain",
                "steps": steps, "crop": [crop] * 3, "log_every": max(1, steps // 40), "seed": seed}
run = load_or_make("dmaf-first-steps", recipes.train_run, run_settings, needs=[cohort_folder])
trained, card = load_weights(run / "weights.safetensors")

# %% [markdown]
# One test study the network has never seen, cut to a box around its tumour.

# %%
name = split["test"][0]
label = cohort.read(name)[1]
centre = np.argwhere(label > 0).mean(0)
room = np.maximum(np.array(label.shape) - crop, 0)
start = np.clip(np.rint(centre - crop / 2), 0, room).astype(int)
scans, label = cohort.read(name, start, (crop,) * 3)
with torch.no_grad():
    study = trained.encode(torch.as_tensor(scans)[None], torch.ones(1, M, dtype=torch.bool))
    seen = trained.decode(study, study.pairs.available)
for number, weights in enumerate(seen.modality_weights, start=1):
    print(f"level {number}:", {m: round(float(w.mean()), 3) for m, w in zip(BRATS.modalities, weights, strict=True)})

# %% tags=["hide-input"]
with figures.style():
    fig, ax = plt.subplots(figsize=(figures.WIDTH, 3))
    for m, modality in enumerate(BRATS.modalities):
        heights = [float(weights[m].mean()) for weights in seen.modality_weights]
        ax.bar(np.arange(levels) + 0.2 * (m - 1.5), heights, 0.18, label=modality,
               color=figures.MODALITY_COLOURS[modality])
    ax.axhline(1 / M, color="0.5", lw=1)
    ax.set_xticks(range(levels), [f"level {number + 1}" for number in range(levels)])
    ax.set(ylabel="mean weight", title=f"{name} (synthetic), after {steps} steps")
    ax.legend(ncols=M, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    fig.canvas.draw()
figures.show(fig, alt="Bars of the mean modality weight at every level; the line at one quarter is mean fusion")

# %% [markdown]
# The grey line is mean fusion, where all training starts: a bar above it is a scan that is heard more than in the mean, a
# bar below it one that is heard less.

# %%
level = max(range(levels), key=lambda number: float(seen.modality_weights[number].std(dim=0).mean()))
chosen = seen.modality_weights[level]
enlarged = F.interpolate(chosen, size=(crop,) * 3, mode="nearest")[:, 0].numpy()
index = int((label > 0).sum((0, 1)).argmax())
print(f"level {level + 1}, where the weights of the four scans differ most; slice {index}")

# %% tags=["hide-input"]
far = max(float(np.abs(enlarged[..., index] - 1 / M).max()), 1e-3)
fig = figures.show_maps(dict(zip(BRATS.modalities, enlarged, strict=True)), np.eye(4), index=index, image=scans[0],
                        limits=(max(0.0, 1 / M - far), 1 / M + far))
figures.show(fig, alt="FLAIR of one slice, and beside it the weight of each of the four scans over the same slice")

# %% [markdown]
# The middle of the colour scale is mean fusion, and its ends are the largest deviations from it in this slice: read the
# numbers on the bar before the colours.

# %% [markdown]
# And the attention itself: whom does the token at the tumour's centre ask, in the last block of that level? Its row of the
# attention matrix has $N$ numbers for every scan; we show the ones in its own slice of the grid.

# %%
fusion = trained.fusions[level]
with torch.no_grad():
    x, (d, h, w) = fusion.tokens(study.levels[level], study.pairs)
    x = x.flatten(0, 1)
    for block in list(fusion.blocks)[:-1]:
        x = slow_block(block, x)
    attention = attention_of(fusion.blocks[-1], x)[0].mean(0)  # over the heads: (M N, M N)
cell = np.argwhere(label > 0).mean(0) * (d, h, w) // crop
token = int(np.ravel_multi_index(cell.astype(int), (d, h, w)))  # FLAIR's token, in the tumour's middle
row = attention[token].unflatten(0, (M, d, h, w))
print("attention per scan:", {m: round(float(a.sum()), 3) for m, a in zip(BRATS.modalities, row, strict=True)})

# %% tags=["hide-input"]
slice_of = row[..., int(cell[2])] * row[0].numel() * M
maps = {m: F.interpolate(a[None, None], size=(crop, crop))[0, 0, :, :, None].expand(-1, -1, crop).numpy()
        for m, a in zip(BRATS.modalities, slice_of, strict=True)}
top = max(float(slice_of.max()), 1.01)
fig = figures.show_maps(maps, np.eye(4), index=index, image=scans[0], limits=(0, top), unit="times an equal share")
figures.show(fig, alt="FLAIR of one slice, and the attention of its central tumour token on the cells of each scan")

# %% [markdown]
# A cell at 1 gets what it would get if the token asked all cells of all scans alike; a brighter one is asked more.

# %% tags=["check"]
torch.testing.assert_close(row.sum(), torch.tensor(1.0))
for weights in seen.modality_weights:
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))

# %% [markdown]
# ## 9 · The same, after a long training
#
# That was *before*. Now the weights that come with the kit, trained for much longer with the whole objective, on a [phantom](../docs/glossary.md#phantom)
# that they have never seen.

# %%
learned, learned_card = load_weights(shipped("dmaf_net_phantom"))
unseen_folder = load_or_make("first-study", recipes.make_cohort, {
    "train": 1, "val": 1, "test": 1, "seed": seed + 1000, "spacing": learned_card["spacing"][0]})
unseen, unseen_split = recipes.open_cohort(unseen_folder)
label = unseen.read(unseen_split["test"][0])[1]
side = learned_card["window"][0]
start = np.clip(np.rint(np.argwhere(label > 0).mean(0) - side / 2), 0, np.array(label.shape) - side).astype(int)
scans, label = unseen.read(unseen_split["test"][0], start, (side,) * 3)
with torch.no_grad():
    everything = torch.ones(1, M, dtype=torch.bool)
    learned_weights = learned(torch.as_tensor(scans)[None], everything).modality_weights

# %%
def at_full_size(weights):
    """Weights [M, C, d, h, w] -> their mean over the channels, [M, D, H, W]."""
    return F.interpolate(weights.mean(1, keepdim=True), size=label.shape, mode="nearest")[:, 0].numpy()


index = int((label > 0).sum((0, 1)).argmax())
maps_of = {number: at_full_size(learned_weights[number - 1]) for number in (1, 2)}
core, ring = (label == 1) | (label == 3), label == 2
listened = {name: dict(zip(BRATS.modalities, (float(m[mask].mean()) for m in maps_of[2]), strict=True))
            for name, mask in (("core", core), ("ring", ring))}

# %% tags=["hide-input"]
for number, shown in maps_of.items():
    top = float(shown[..., index].max())
    fig = figures.show_maps(dict(zip(BRATS.modalities, shown, strict=True)), np.eye(4), index=index, image=scans[0],
                            limits=(0, top), outline=label)
    figures.show(fig, alt=f"Trained weights at level {number}: FLAIR, and the weight of each scan; the tumour is outlined "
                 "in white, its core in orange")

# %% [markdown]
# Above level 1, below level 2; white is the border of the tumour, orange that of its core. Compare with the pictures of
# section 8: now *who* is heard depends on *where*. The next cell puts numbers to level 2.

# %%
for name, heard in listened.items():
    print(f"{name:5s}", {m: round(w, 2) for m, w in heard.items()}, " most:", max(heard, key=heard.get))

# %% tags=["check"]
assert listened["core"]["T1ce"] > listened["ring"]["T1ce"], "T1ce is heard more in the core than around it"
assert listened["ring"]["FLAIR"] > listened["core"]["FLAIR"], "FLAIR more in the oedema than in the core"

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
core, ring = (listened[k] for k in ("core", "ring"))
print("tumour core: ", {m: f"{w:.0%}" for m, w in core.items()})
print("oedema:      ", {m: f"{w:.0%}" for m, w in ring.items()})
print("a missing scan: weight 0, not one bit of influence")

# %% [markdown]
# Attention between coarse tokens decides, separately for each channel and voxel. In the trained weights of the kit
# the numbers above say who is heard in the core of this study's tumour and who in the oedema around it. A missing
# scan cannot be heard.
#
# ## In practice
#
# - The cost of attention grows with the square of the number of tokens; the grid keeps that number the same at every
#   level, however large the crop.
# - `gate="sigmoid"` opens each scan on its own and divides by the sum. It keeps every promise above.
# - A weight is not an explanation: the [encoders](../docs/glossary.md#encoder) can make $e^m$ twice as large and the weight half as large, and nothing
#   changes in $f$. Compare weights between places and subsets, not between networks.
#
# ## What we built
#
# - We made tokens, masked attention, restored maps, weights and the fused features by hand, for one study.
# - We saw why a score is set to minus infinity and a hole filled with zeros before any product.
# - We checked: slow form = package form in values and gradients for all subsets; NaN in a missing scan changes no bit;
#   weights sum to 1; one scan is passed on; it starts as the mean; order does not matter.
# - We looked at weights and attention of a network after a short training, and of the weights that come with the kit.
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. What do the weights of the available scans sum to, at each voxel?
#    <details><summary>Answer</summary>1.</details>
# 2. What weight does a missing scan get?
#    <details><summary>Answer</summary>Exactly 0.</details>
# 3. What is a fresh DMAF equal to?
#    <details><summary>Answer</summary>The mean over what is there.</details>
# 4. How many tokens has one scan with g = 4?
#    <details><summary>Answer</summary>4³ = 64.</details>
# 5. A study has one scan only. What is f?
#    <details><summary>Answer</summary>That scan's map, to the bit.</details>

# %% tags=["check", "hide-input"]
torch.testing.assert_close(pairs.sum_by_study(fast_A), torch.ones_like(fast_f))
assert was_set[2] == 0
torch.testing.assert_close(fresh, mean)
assert len(tokens_of(dmaf, e[0], 0)) == 4**3
assert torch.equal(fast_f[0], packed[pairs.study == 0][0])

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 3.1 · Weights over what is there
# A softmax over the second axis in which missing modalities get exactly 0, whatever lies in their place:
# $$ A_m = \frac{\exp S_m}{\sum_{j\ \mathrm{there}} \exp S_j} . $$
# Expect: equal scores of two available scans give 0.5 and 0.5; a NaN in a missing one changes nothing.

# %% tags=["exercise"]
def masked_softmax(scores, available):
    """scores [B, M, C], available bool [B, M] -> weights [B, M, C]."""
    # >>> your turn: 3.1 set the scores of missing modalities
    scores = torch.where(available[:, :, None], scores, -torch.inf)
    return scores.softmax(1)
    # <<<

# %% tags=["exercise"]
exercises.check_3_1(masked_softmax)

# %% [markdown] tags=["exercise"]
# ### Exercise 3.2 · Fuse
# The weighted sum $f = \sum_{m\ \mathrm{there}} A_m \odot e^m$ for a dense batch, whose holes may hold NaN. The weights are those
# of exercise 3.1; write them again here. Expect: one scan alone is passed on unchanged.

# %% tags=["exercise"]
def fuse(e, scores, available):
    """e and scores [B, M, C], available bool [B, M] -> f [B, C]."""
    # >>> your turn: 3.2 fill the holes, weigh, add
    e = torch.where(available[:, :, None], e, 0.0)
    weights = torch.where(available[:, :, None], scores, -torch.inf).softmax(1)
    return (weights * e).sum(1)
    # <<<

# %% tags=["exercise"]
exercises.check_3_2(fuse)

# %% [markdown] tags=["exercise"]
# ### Exercise 3.3 · Recall
# Restore starts at zero. Do the attention blocks get a gradient in the very first step? And in the second?
#
# <details><summary>Answer</summary>
# In the first step no: the way back to the blocks leads through the weights of Restore, which are zero. Restore itself
# does get one, so from the second step on the blocks learn as well.
# </details>

# %% [markdown]
# ## Next
#
# The fused features know more than any single scan. Let each scan learn from them: align relations.
