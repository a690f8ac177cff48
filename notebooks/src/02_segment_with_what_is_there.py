# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 02 · Segment with what is there
#
# The baseline network, written out for one [study](../docs/glossary.md#study) and then [packed](../docs/glossary.md#packed) for many: it encodes the scans that exist and
# never touches the others.
#
# **Question** how can one network take any number of scans, and how can we be sure that a missing one changes
# nothing?
#
# **Do** build encoders, decoders and mean fusion by hand, check them, and train for a minute.
#
# **Learn**
# - to fuse any number of [modalities](../docs/glossary.md#modality) by a mean over those that are there
# - to compute a mixed batch without a single row for a [missing](../docs/glossary.md#available-and-missing) scan
# - to prove that a missing scan cannot change a prediction, not even by a bit
# - to say why an input of zeros is not a missing input
#
# **Need** lesson 01; 2 GB of memory; paper section 3 (network), without its [fusion](../docs/glossary.md#fusion) and its [distillation](../docs/glossary.md#distillation).
#
# Not here: fusion by [attention](../docs/glossary.md#attention) (lesson 03) and the distillation terms (lessons 04 and 05).

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
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from dmaf_lite import figures
from dmaf_lite.data.batches import BatchSettings, TrainingBatches
from dmaf_lite.data.training_set import TrainingSet
from dmaf_lite.evaluation.inference import WindowSettings, subset_probabilities
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_02 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.networks import build_network
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.nn import Pairs
from dmaf_lite.objectives import PlainObjective, total
from dmaf_lite.objectives.segmentation import LabelStats, segmentation_loss
from dmaf_lite.spec import BRATS
from dmaf_lite.training.runlog import read_log

check_parameters(globals())
print(f"torch {torch.__version__}, threads: {torch.get_num_threads()}; everything in this lesson runs on the CPU")

# %% [markdown]
# ## 1 · A batch in which scans are missing
#
# We begin with two studies: the first lacks one scan, the second lacks two. These letters are used from here on; the
# [glossary](../docs/glossary.md#notation) lists them all.
#
# | symbol | meaning |
# |---|---|
# | $B, M, K$ | studies in the batch, modalities, classes |
# | $a_m$ | 1 if modality $m$ of a study is there, else 0; $k = \sum_m a_m$ |
# | $e^m_l$ | features of modality $m$ at level $l = 1..L$ |
# | $f_l$ | fused features |
# | $z, z^m$ | logits from the fused features, and from one modality alone |

# %%
settings = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
cohort_folder = load_or_make("cohort", recipes.make_cohort, settings)
cohort, split = recipes.open_cohort(cohort_folder)
batches = TrainingBatches(TrainingSet(cohort, split["train"]), BatchSettings(crop=(crop,) * 3, seed=seed))
batch = batches[0]
available = torch.tensor([[True, True, False, True], [False, True, True, False]])
images, label = batch.images.clone(), batch.label
images[~available] = torch.nan  # what is missing is unknown: any use of it will show
for name, row in zip(batch.names, available, strict=True):
    print(f"{name}: {BRATS.subset_name(row.tolist())}")

# %% [markdown]
# ## 2 · The network by hand, for one study
#
# ![The network: four encoders, one scan missing, fusion at every level, fusion decoder with deep heads, shared decoder](figures/network.svg)
#
# The drawing shows the whole DMAF-Net. In this lesson its fusion is a plain mean; lesson 03 puts [DMAF](../docs/glossary.md#dmaf) into its place.
#
# One brick does nearly all the work: **instance norm** without scale and shift, LeakyReLU, convolution without bias,
# $$ \text{NAC}(x) = w * \phi\!\left(\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}\right), \qquad
#    \phi(u) = \max(u, 0.2\,u), $$
# with $\mu, \sigma^2$ over the voxels of one channel of one scan.

# %%
def norm(x):
    """Instance norm: mean 0 and deviation 1 over the voxels of every channel."""
    mean = x.mean((2, 3, 4), keepdim=True)
    variance = x.var((2, 3, 4), keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def nac(x, weight):
    """Norm, LeakyReLU, convolution: [1, C, D, H, W] -> the same shape."""
    x = norm(x)
    return F.conv3d(torch.where(x > 0, x, 0.2 * x), weight, padding=1)

# %% [markdown]
# An [**encoder**](../docs/glossary.md#encoder) is a chain of [levels](../docs/glossary.md#level), each half the size of the one above (the first keeps the size). The strided
# convolution $u = w * x$ is kept as it is, and what two bricks find is added: $e_l = u + \text{NAC}(\text{NAC}(u))$.
# The deepest map is normed at the end, because later lessons compare modalities there. There is one encoder per
# modality, since a bright voxel means something else on each. Our slow form borrows the weights of the package's
# network, nothing else.

# %%
torch.manual_seed(seed)
net = build_network("baseline", BRATS, width=width, levels=levels)


def encode(x, encoder):
    """One scan [1, 1, D, H, W] -> its pyramid e_1 .. e_L."""
    pyramid = []
    for number, level in enumerate(encoder.levels):
        u = F.conv3d(x, level.enter.weight, stride=2 if number else 1, padding=1)
        x = u + nac(nac(u, level.refine[0][2].weight), level.refine[1][2].weight)
        pyramid.append(x)
    return [*pyramid[:-1], norm(pyramid[-1])]

# %% [markdown]
# A [**decoder**](../docs/glossary.md#decoder) walks back up. From the deepest map it halves the channels, doubles the size, and adds what the encoder
# had at that level: $h_L = f_L$ and
# $$ g_l = \text{up}(w\,h_{l+1}) + f_l, \qquad h_l = g_l + \text{NAC}(g_l), \qquad l = L-1, \ldots, 1 . $$

# %%
def decode(pyramid, decoder):
    """Pyramid f_1 .. f_L -> decoded maps h_1 .. h_L."""
    decoded = [pyramid[-1]]
    for up, skip in zip(reversed(decoder.ups), reversed(pyramid[:-1]), strict=True):
        reduced = F.conv3d(decoded[0], up.reduce.weight)
        g = skip + F.interpolate(reduced, size=skip.shape[2:], mode="trilinear", align_corners=False)
        decoded.insert(0, g + nac(g, up.merge[2].weight))
    return decoded


def head(h, layer):
    """A map [1, C, D, H, W] -> logits [1, K, D, H, W]."""
    return F.conv3d(h, layer.weight, layer.bias)

# %% [markdown]
# And fusion: at every level the **mean over what is there**,
# $$ f_l = \frac{1}{k} \sum_{m:\, a_m = 1} e^m_l , \qquad k = \sum_m a_m . $$
# The *shared* decoder (one set of weights for all modalities) segments from each scan alone. The *fusion* decoder
# segments from $f$ and, while training, also from its deeper maps: the *deep heads*.

# %%
def segment(study, available):
    """One study [M, D, H, W] and its availability [M] -> logits, {m: unimodal logits}, deep logits."""
    pyramids = {m: encode(study[None, None, m], net.encoders[m]) for m in range(len(available)) if available[m]}
    fused = [sum(maps) / len(maps) for maps in zip(*pyramids.values(), strict=True)]
    shared, fusion = net.shared_decoder, net.fusion_decoder
    unimodal = {m: head(decode(e, shared)[0], shared.head) for m, e in pyramids.items()}
    decoded = decode(fused, fusion)
    deep = [head(h, layer) for h, layer in zip(decoded[1:], fusion.deep_heads, strict=True)]
    return head(decoded[0], fusion.head), unimodal, deep

# %% [markdown]
# A missing scan is not replaced by anything: the comprehension in the first line passes it by.

# %%
slow = [segment(study, mask) for study, mask in zip(images, available.tolist(), strict=True)]
for name, (logits, unimodal, deep) in zip(batch.names, slow, strict=True):
    alone = [BRATS.modalities[m] for m in unimodal]
    print(f"{name}: logits {list(logits.shape[1:])}, alone {alone}, deep {[list(d.shape[2:]) for d in deep]}")

# %% tags=["check"]
for logits, _unimodal, deep in slow:
    assert logits.shape == (1, net.classes, crop, crop, crop), "one number per class and voxel"
    assert torch.isfinite(logits).all(), "the NaN of the missing scans has reached nothing"
    assert len(deep) == levels - 1, "a deep head at every level but the first"

# %% [markdown]
# ## 3 · Packed: only pairs that exist
#
# A loop over studies is slow, and a dense array [B, M, ...] would have to be filled with *something* where a scan is
# missing. The package keeps one row per existing **pair** (study, modality), sorted by modality, so that each encoder
# works on one contiguous block of rows.
#
# ![Left a batch with holes, right the five rows that exist, sorted by modality](figures/packed.svg)

# %% [markdown]
# **Before you run**: two studies, one with three scans and one with two. How many rows will the packed batch have,
# and which encoder gets two of them?
#
# <details><summary>Answer</summary>Five rows; T1ce's encoder gets two, since both studies have T1ce.</details>

# %%
pairs = Pairs.of(available)
rows = pd.DataFrame({"study": pairs.study.tolist(), "modality": [BRATS.modalities[m] for m in pairs.modality]})
print(rows.rename_axis("row").T.to_string())
print("rows of each encoder", dict(zip(BRATS.modalities, pairs.blocks, strict=True)))
print("scans per study k   ", pairs.counts.tolist())

# %% [markdown]
# There are $P$ rows instead of $B \cdot M$, and no row in which a missing scan could leave a trace. Fusion is then a
# sum over the rows of a study, divided by its $k$.

# %%
net.train()
prediction = net(images, available)
for name in ("logits", "unimodal_logits", "decoder_features"):
    print(f"{name:17s}", list(getattr(prediction, name).shape))

# %% tags=["check"]
for b, (logits, unimodal, deep) in enumerate(slow):
    torch.testing.assert_close(prediction.logits[b: b + 1], logits, rtol=1e-4, atol=1e-4)
    for level, packed in enumerate(prediction.deep_logits):
        torch.testing.assert_close(packed[b: b + 1], deep[level], rtol=1e-4, atol=1e-4)
    for row in (pairs.study == b).nonzero().flatten().tolist():
        one = unimodal[int(pairs.modality[row])]
        torch.testing.assert_close(prediction.unimodal_logits[row: row + 1], one, rtol=1e-4, atol=1e-4)

# %% [markdown]
# The same values. And, for training, the same gradients? We need a loss for that.
#
# ## 4 · The loss by hand
#
# With probabilities $p$, the one-hot label $y$, $V$ voxels and $N_c$ voxels of [class](../docs/glossary.md#class) $c$:
# $$ \text{WCE} = -\frac1V \sum_v \sum_c w_c\, y_{c,v} \ln p_{c,v}, \qquad
#    \text{DL} = 1 - \frac1K \sum_c \frac{2 \sum_v p_{c,v}\, y_{c,v} + s}{\sum_v p_{c,v} + N_c + s} . $$
# Cross-entropy gives every voxel a gradient; [Dice](../docs/glossary.md#dice) looks at a [region](../docs/glossary.md#region) as a whole, so a small one counts as much as a
# large one. Published code takes $w_c = 1 - N_c / V$ and $s = 0$; our default is $w_c = 1$ and $s = 1$.

# %%
def loss(logits, label, rarity=False, s=1.0):
    """L_seg = WCE + DL of one study: logits [1, K, D, H, W], label [D, H, W] -> a number."""
    K = logits.shape[1]
    log_p = logits[0].log_softmax(0).flatten(1)  # [K, V]; the log of a softmax could be -inf
    p = log_p.exp()
    y = torch.stack([label.flatten() == c for c in range(K)]).float()  # [K, V]
    N, V = y.sum(1), y.shape[1]
    w = 1 - N / V if rarity else torch.ones(K)
    cross_entropy = -(w[:, None] * y * log_p).sum() / V
    dice = 1 - ((2 * (p * y).sum(1) + s) / (p.sum(1) + N + s + 1e-7)).mean()
    return cross_entropy + dice

# %% tags=["check"]
for rarity, weighting, s in ((False, "none", 1.0), (True, "rarity", 0.0)):
    stats = LabelStats.of(label, net.classes, weighting=weighting)
    by_hand = torch.stack([loss(logits, label[b], rarity, s) for b, (logits, _, _) in enumerate(slow)])
    by_package = segmentation_loss(prediction.logits, stats, smooth=s)
    torch.testing.assert_close(by_hand, by_package, rtol=1e-4, atol=1e-4)

# %% [markdown]
# Why another default? Look at a crop without any tumour, where a network should learn to stay silent.

# %%
healthy = torch.zeros_like(label[0])
guess = torch.randn(1, net.classes, crop, crop, crop, generator=torch.Generator().manual_seed(seed), requires_grad=True)
for name, rarity, s in (("published", True, 0.0), ("ours", False, 1.0)):
    gradient, = torch.autograd.grad(loss(guess, healthy, rarity, s), guess)
    print(f"{name:10s} gradient {gradient.norm().item():.6f} on a crop without tumour")

# %% [markdown]
# The published form has little to say there: $w_0 = 0$ silences the cross-entropy, and the overlap of an absent class
# is 0 whatever is predicted. What is left comes from the Dice of the background.

# %% [markdown]
# The baseline's objective adds the deep heads, each half as important as the one above, and each modality alone, then
# takes the mean over studies:
# $$ \mathcal{L} = L_\text{seg}(z) + \sum_{l \ge 2} 2^{-(l-1)} L_\text{seg}(z_l) + \sum_m a_m L_\text{seg}(z^m) . $$
# A deep head's probabilities are raised to full size first.

# %%
def raised(logits, size):
    """Logits of a deep head -> log-probabilities at full size, as logits again."""
    p = F.interpolate(logits.softmax(1), size=size, mode="trilinear", align_corners=True)
    return p.clamp(min=1e-7).log()


def objective(logits, unimodal, deep, label):
    """All terms of one study."""
    terms = [loss(logits, label)] + [loss(z, label) for z in unimodal.values()]
    terms += [loss(raised(z, label.shape), label) / 2 ** (level + 1) for level, z in enumerate(deep)]
    return sum(terms)

# %%
slow_loss = torch.stack([objective(*one, label[b]) for b, one in enumerate(slow)]).mean()
terms = PlainObjective(BRATS, net)(net, None, prediction, batch, step=0)
fast_loss = total(terms)
print("terms", list(terms), f" total {fast_loss.item():.4f}, by hand {slow_loss.item():.4f}")

# %% tags=["check"]
parameters = dict(net.named_parameters())
slow_gradients = torch.autograd.grad(slow_loss, list(parameters.values()), retain_graph=True)
fast_gradients = torch.autograd.grad(fast_loss, list(parameters.values()))
torch.testing.assert_close(slow_loss, fast_loss, rtol=1e-4, atol=1e-4)
for name, g, h in zip(parameters, slow_gradients, fast_gradients, strict=True):
    assert torch.isfinite(h).all(), f"{name}: NaN in a missing scan has reached a gradient"
    assert (g - h).norm() <= 1e-2 * h.norm() + 1e-4, f"{name}: the slow and the packed form differ"

# %% [markdown]
# The packed form is the slow form: values and gradients agree, to the rounding of 32-bit numbers.
#
# ## 5 · What is missing changes nothing
#
# Now the strongest form of the promise. Take one study with all its scans, and for each of the 15 [subsets](../docs/glossary.md#subset) put NaN into
# the channels that are missing. If a single missing voxel took part in a single sum, its NaN would spread.

# %%
net.eval()
study = batch.images[:1]


@torch.no_grad()
def predict(images, subset, network=net):
    """Logits of images [1, M, D, H, W] with an availability mask of M entries."""
    return network(images, torch.tensor([subset])).logits

# %% tags=["check"]
full = torch.randn(study.shape, generator=torch.Generator().manual_seed(seed))
for subset in BRATS.subsets():
    mask = torch.tensor(subset)[None, :, None, None, None]
    clean, dirty = torch.where(mask, full, 0.0), torch.where(mask, full, torch.nan)
    assert torch.equal(predict(clean, subset), predict(dirty, subset)), f"{BRATS.subset_name(subset)}: a bit has changed"

# %% [markdown]
# Fifteen subsets, not one bit of difference.
#
# ## 6 · Zeroing is not leaving out
#
# Many implementations do something simpler: they feed zeros in place of the missing scan and fuse all $M$ as usual. Is
# that the same? Three things can go wrong.
#
# **(a) The mean divides by $M$ instead of $k$.** Our encoders answer zeros with zeros (no bias, no affine norm), so the
# sum is right and the divisor is not.

# %% [markdown]
# **Before you run**: the other three scans are zeros instead of left out. By which factor will the [fused map](../docs/glossary.md#feature-map) be too
# small?
#
# <details><summary>Answer</summary>By 4: the sum is right and the divisor is 4 instead of 1.</details>

# %%
alone = (True, False, False, False)
only = torch.where(torch.tensor(alone)[None, :, None, None, None], full, 0.0)
with torch.no_grad():
    left_out = net(only, torch.tensor([alone])).fused_features
    zeroed = net(only, torch.ones(1, 4, dtype=torch.bool)).fused_features
for level, (f, g) in enumerate(zip(left_out, zeroed, strict=True), start=1):
    print(f"level {level}: zeroed / left out = {(g.norm() / f.norm()).item():.4f}")

# %% [markdown]
# With one scan of four, every fused map has a quarter of its size. The norms inside the bricks take the factor out
# again, but the direct path $g_l + \ldots$ carries it to the heads.

# %%
with torch.no_grad():
    deepest = net.fusion_decoder.deep_heads[-1]
    for name, a, b in (("final logits", predict(only, alone), predict(only, (True,) * 4)),
                       ("deepest head", deepest(left_out[-1]), deepest(zeroed[-1]))):
        print(f"{name}: relative change {((a - b).norm() / a.norm()).item():.3f}")

# %% [markdown]
# **(b) Attention looks at zeros.** Lesson 03 fuses by attention. A [token](../docs/glossary.md#token) of zeros scores 0, and $e^0 = 1$ is not
# nothing. Say the scan that is there scores $s$, and three tokens are zero:

# %%
for s in (0.0, 1.0, 2.0):
    weights = torch.tensor([s, 0.0, 0.0, 0.0]).softmax(0)
    print(f"s = {s:.0f}: the scan that is there gets {weights[0]:.2f}, the missing ones {weights[1:].sum():.2f}")

# %% [markdown]
# **(c) Encoders with a bias answer zeros with something.** Ours do not; a convolution with bias whose output is used
# before any norm does (the pre-norm encoders of mmFormer are of this kind).

# %%
torch.manual_seed(seed)
nothing = torch.zeros(1, 1, crop, crop, crop)
with torch.no_grad():
    answers = {"our encoder": net.encoders[0](nothing)[-1], "with bias": torch.nn.Conv3d(1, 8, 3, padding=1)(nothing)}
for name, answer in answers.items():
    print(f"{name:12s} answers a volume of zeros with at most {answer.abs().max().item():.3f}")

# %% tags=["check"]
assert (answers["our encoder"] == 0).all() and (answers["with bias"] != 0).any()
for f, g in zip(left_out, zeroed, strict=True):
    torch.testing.assert_close(g, f / 4)  # (a), exactly k / M
assert not torch.equal(deepest(left_out[-1]), deepest(zeroed[-1])), "zeroing an input is not leaving it out"

# %% [markdown]
# So the kit never feeds zeros for a scan that is not there. It leaves it out.
#
# ## 7 · The network as a table

# %%
def count(module):
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters())


with torch.no_grad():
    pyramid = net.encode(study, torch.ones(1, 4, dtype=torch.bool)).levels
rows = [(f"encoder level {number}", 4, f"{e.shape[1]} x {e.shape[2]}^3", count(layer))
        for number, (e, layer) in enumerate(zip(pyramid, net.encoders[0].levels, strict=True), start=1)]
rows += [(f"{part} decoder", 1, f"{net.classes} x {crop}^3", count(module))
         for part, module in (("shared", net.shared_decoder), ("fusion", net.fusion_decoder))]
summary = pd.DataFrame(rows, columns=["part", "copies", "output", "parameters"])
print(summary.to_string(index=False))
print("all:", f"{(summary.copies * summary.parameters).sum():,}", "parameters")

# %% tags=["check"]
assert (summary.copies * summary.parameters).sum() == count(net), "the table holds every parameter once"

# %% [markdown]
# Nearly all parameters sit in the encoders' deepest levels, where the maps are small and the channels many. Mean
# fusion has none.
#
# ## 8 · A short training
#
# The loop of the package: crops of complete studies, from each a random subset of scans, AdamW. A
# useful training takes a few thousand steps; these few only show that it works.

# %%
run_settings = {"network": "baseline", "network_options": {"width": width, "levels": levels}, "objective": "plain",
                "steps": steps, "crop": [crop] * 3, "log_every": max(1, steps // 40), "seed": seed}
run = load_or_make("baseline-first-steps", recipes.train_run, run_settings, needs=[cohort_folder])
trained, card = load_weights(run / "weights.safetensors")
log = read_log(run / "log.csv")

# %% tags=["hide-input"]
fig = figures.training_curves(log, ["seg", "deep", "unimodal"], smooth=5)
figures.show(fig, alt="The loss terms seg, deep and unimodal over the training steps")

# %% [markdown]
# The losses are far below where they started, and so few steps are far from enough. (`unimodal` is a sum over the scans
# of a study, so it is larger.)

# %% tags=["check"]
tail = max(1, len(log) // 4)
assert np.isfinite(log["total"]).all(), "the loss stays a number"
assert steps < 50 or log["seg"].tail(tail).mean() < log["seg"].head(tail).mean(), "the loss falls"

# %% [markdown]
# Now one test study the network has never seen, cut into overlapping windows, with all four scans and with one.

# %%
asked = {"all four": (True,) * 4, "FLAIR": (True, False, False, False), "T1": (False, False, True, False)}
name = split["test"][0]
scans, truth = cohort.read(name)
windows = WindowSettings(window=(crop,) * 3)
probabilities = subset_probabilities(trained, scans, np.array(list(asked.values())), settings=windows)
predicted = probabilities.argmax(1).to(torch.uint8).numpy()
for subset, found in zip(asked, predicted, strict=True):
    P, G = found > 0, truth > 0
    print(f"{name}, {subset:8s} Dice of the whole tumour {2 * (P & G).sum() / max(1, P.sum() + G.sum()):.2f}")

# %% tags=["hide-input"]
maps = {"truth": truth} | dict(zip(asked, predicted, strict=True))
fig = figures.show_labels(scans[0], maps, cohort.meta(name)["affine"], classes=BRATS.classes)
figures.show(fig, alt="A slice of a test study: true labels, predictions from four scans, from FLAIR, from T1")

# %% [markdown]
# Compare each prediction with the truth on its left: after so few steps the outlines are rough, and how good they are
# depends on which scans were there. What a longer training reaches is for lessons 07 and 09 to show.

# %% tags=["check"]
once = torch.as_tensor(scans)[None]
with torch.no_grad():
    corner = once[..., :crop, :crop, :crop]
    noisy = torch.where(torch.tensor(asked["T1"])[None, :, None, None, None], corner, torch.nan)
    a, b = (predict(x, asked["T1"], trained) for x in (corner, noisy))
    assert torch.equal(a, b), "still true after training: T1 alone sees nothing of the others"

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
print(f"{len(BRATS.subsets())} subsets, NaN in every missing scan: 0 bits of the prediction changed")
print(f"zeros instead of leaving out: the deepest head changes by {((deepest(left_out[-1]) - deepest(zeroed[-1])).norm() / deepest(left_out[-1]).norm()).item():.0%}")

# %% [markdown]
# One encoder for each scan that is there, and a mean over those scans: then any number will do, and what is missing
# takes part in no sum. Zeros are not the same thing.
#
# ## In practice
#
# - Sizes of crops are multiples of the total stride, and at least twice that; the network says so otherwise.
# - `available` stays on the CPU: it decides shapes, and asking a GPU for it would make every step wait.
# - On processors that have `bfloat16` the loop uses it, which changes the last digits; lesson 08 measures what it gains.
# - The shared decoder and the deep heads serve training only; a prediction does not compute them.
# - Block sizes, the added (not concatenated) skips and the two presets are [ours](../docs/glossary.md#ours); the paper's figures show the parts.
#
# ## What we built
#
# - wrote encoders, shared decoder, mean fusion and fusion decoder for one study, and a loss from its formula
# - packed a mixed batch into existing pairs, equal to the slow form in values and gradients
# - proved for all 15 subsets that a missing scan does not change one bit
# - showed three ways in which zeros are not nothing
# - trained for a moment and looked at it honestly
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. Studies with three and with two scans: how many rows has the packed batch?
#    <details><summary>Answer</summary>5, one per scan that is there.</details>
# 2. One scan of four, the others zero instead of left out: how large is the fused map?
#    <details><summary>Answer</summary>A quarter of what it should be.</details>
# 3. Attention, one scan with score 0 beside three zero tokens: which weight does the scan get?
#    <details><summary>Answer</summary>0.25, although nothing else is there.</details>
# 4. How many parameters has mean fusion?
#    <details><summary>Answer</summary>None.</details>
# 5. What is 0 times NaN?
#    <details><summary>Answer</summary>NaN; so a hole has to be filled or left out before any product.</details>

# %% tags=["check", "hide-input"]
assert pairs.P == 5
torch.testing.assert_close(zeroed[0], left_out[0] / 4)
assert torch.zeros(4).softmax(0)[0] == 0.25
assert count(net.fusions) == 0
assert (torch.tensor(0.0) * torch.nan).isnan()

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 2.1 · The mean over what is there
# Fuse a dense array in which missing scans may hold anything, NaN too:
# $$ f = \frac{1}{k} \sum_{m:\, a_m = 1} e^m, \qquad k = \sum_m a_m . $$
# Mind that $0 \cdot \text{NaN}$ is NaN. Expect: scans 1, 3 and a missing one give 2.

# %% tags=["exercise"]
def mean_over_available(e, available):
    """Features e [B, M, C], available bool [B, M] -> fused f [B, C]."""
    # >>> your turn: 2.1 the mean over what is there
    mask = available[:, :, None]
    return torch.where(mask, e, 0.0).sum(1) / mask.sum(1)
    # <<<

# %% tags=["exercise"]
exercises.check_2_1(mean_over_available)

# %% [markdown] tags=["exercise"]
# ### Exercise 2.2 · List the pairs
# Give the packed order of an availability table: by modality first, then by study. Expect: `[[True, True], [False, True]]`
# gives `[(0, 0), (0, 1), (1, 1)]`, as (study, modality).

# %% tags=["exercise"]
def list_pairs(available):
    """bool [B, M] -> a list of (study, modality), sorted by modality, then study."""
    # >>> your turn: 2.2 list the pairs
    B, M = available.shape
    return [(b, m) for m in range(M) for b in range(B) if available[b, m]]
    # <<<

# %% tags=["exercise"]
exercises.check_2_2(list_pairs)

# %% [markdown] tags=["exercise"]
# ### Exercise 2.3 · Soft Dice loss
# For one study, with probabilities $p$, one-hot label $y$, $V$ voxels and $N_c = \sum_v y_{c,v}$:
# $$ \text{DL} = 1 - \frac1K \sum_c \frac{2 \sum_v p_{c,v}\, y_{c,v} + s}{\sum_v p_{c,v} + N_c + s} . $$
# Expect: a perfect prediction costs 0, and so does a class that is absent and not predicted (with $s = 1$).

# %% tags=["exercise"]
def soft_dice_loss(p, y, s=1.0):
    """Probabilities p [K, V], one-hot label y [K, V] -> the loss, a number."""
    # >>> your turn: 2.3 soft dice loss
    return 1 - ((2 * (p * y).sum(1) + s) / (p.sum(1) + y.sum(1) + s)).mean()
    # <<<

# %% tags=["exercise"]
exercises.check_2_3(soft_dice_loss)

# %% [markdown] tags=["exercise"]
# ### Exercise 2.4 · Recall
# In section 6 all fused maps are too small by the same factor. Which part of a brick does not notice? And would it
# still not notice if only *one* level divided by the wrong number?
#
# <details><summary>Answer</summary>
# Instance norm divides every channel by its own deviation, so a factor common to all voxels cancels inside NAC. With
# one wrong level the sum up(w h) + f mixes two scales, and no norm after it can undo that.
# </details>

# %% [markdown]
# ## Next
#
# The mean gives every scan the same say. Let attention choose.
