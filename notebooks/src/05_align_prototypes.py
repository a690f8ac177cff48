# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 05 · Align prototypes
#
# Each [modality](../docs/glossary.md#modality) keeps an average picture of each [class](../docs/glossary.md#class) in its features: a [prototype](../docs/glossary.md#prototype). Here they learn to point the way
# the fused ones do.
#
# **Question** does each scan know where each class lies, and can it learn that from all scans together?
#
# **Do** build soft class prototypes and their cosine alignment, and draw them in two dimensions.
#
# **Learn**
# - to pool a label so that a spot of one voxel survives
# - to average features per class without ever dividing 0 by 0
# - to prove that an absent class and the teacher get no gradient
# - to read a picture of prototypes, and to say what it cannot show
#
# **Need** lessons 02 and 03; 1 GB of memory; paper section 3 (prototype [distillation](../docs/glossary.md#distillation)).
#
# Not here: relations between channels and places. They are lesson 04.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
cases_train: int = 24  # synthetic cases of the cohort that all lessons share
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
crop: int = 32  # voxels; side of a training crop
steps: int = 120  # of the short run whose features we use
align_steps: int = 20  # of alignment alone

# %% tags=["setup"]
import copy

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from dmaf_lite import figures
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_05 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.weights import load_weights, shipped
from dmaf_lite.objectives.prototype import prototype_gap, prototype_loss, prototypes, soft_membership
from dmaf_lite.objectives.segmentation import LabelStats

check_parameters(globals())
torch.manual_seed(seed)
print(f"torch {torch.__version__} on the CPU, profile {profile}")

# %% [markdown]
# ## 1 · Who belongs to a class, eight times coarser?
#
# Features of the deepest [level](../docs/glossary.md#level) lie on a coarse grid, labels on a fine one. The label must come down. Take a line of
# eight voxels with one voxel of class 1, and two coarse voxels of four:

# %%
label = torch.tensor([0, 0, 0, 0, 0, 1, 0, 0])
one_hot = F.one_hot(label, 2).float()  # 8 voxels, 2 classes
nearest = label[::4]  # take every fourth
winner = one_hot.reshape(2, 4, 2).sum(1).argmax(1)  # the most frequent class
print("nearest", nearest.tolist(), " arg-max", winner.tolist())

# %% [markdown]
# Class 1 is gone either way. So we keep **shares** instead of names ([ours](../docs/glossary.md#ours); the paper does not say how the label is
# brought down): with $\Omega_i$ the fine voxels inside the coarse voxel $i$,
#
# $$ y(i, c) = \frac{1}{|\Omega_i|} \sum_{v \in \Omega_i} [\,\mathrm{label}(v) = c\,] \tag{5.1} $$

# %% [markdown]
# **Before you run**: one of four fine voxels is of class 1. Which share will the coarse voxel have?
#
# <details><summary>Answer</summary>1/4 = 0.25.</details>

# %%
y = one_hot.reshape(2, 4, 2).mean(1)  # 2 coarse voxels, 2 classes
print(y)

# %% tags=["check"]
assert 1 not in nearest and 1 not in winner, "nearest and arg-max lose the small region"
assert y[:, 1].tolist() == [0, 0.25], "its share survives"
assert torch.equal(y.sum(1), torch.ones(2)), "shares of a voxel sum to 1"

# %% [markdown]
# ## 2 · On synthetic brains
#
# How often does that happen? We count, over the training cases, the classes of a crop that have no voxel left.

# %%
config = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
cohort_folder = load_or_make("cohort", recipes.make_cohort, config)
cohort, split = recipes.open_cohort(cohort_folder)
classes = cohort.spec.classes


def tumour_crop(name, cohort=cohort):
    """Scans [M, D, H, W] and label [D, H, W] of a crop around the tumour."""
    label = cohort.read(name)[1]
    start = np.argwhere(label > 0).mean(0) - crop / 2
    return cohort.read(name, np.clip(start.round(), 0, np.array(label.shape) - crop).astype(int), [crop] * 3)


# %%
labels = torch.from_numpy(np.stack([tumour_crop(name)[1] for name in split["train"]])).long()
stats = LabelStats.of(labels, len(classes))
size = (crop // 8,) * 3  # the deepest of four levels
pooled = soft_membership(stats.one_hot, size)  # B, K, d, h, w
left = {"nearest": LabelStats.of(labels[:, ::8, ::8, ::8], len(classes)).counts > 0,
        "arg-max": F.one_hot(pooled.argmax(1), len(classes)).flatten(1, 3).sum(1) > 0,
        "soft": pooled.flatten(2).sum(2) > 0}

# %%
in_crop = stats.counts > 0
for name, kept in left.items():
    lost = (in_crop & ~kept).sum(0) / in_crop.sum(0).clamp(min=1)
    print(f"{name:8s} loses " + ", ".join(f"{c} {x:.0%}" for c, x in zip(classes, lost.tolist(), strict=True)))

# %% tags=["check"]
assert torch.equal(left["soft"], in_crop), "soft membership never loses a class, and never invents one"
torch.testing.assert_close(pooled.sum(1), torch.ones_like(pooled[:, 0]))

# %% [markdown]
# ## 3 · Prototypes
#
# A prototype is the mean feature of a class, weighted by membership. Background is a class like the others.
#
# $$ p_c = \frac{\sum_i y(i, c)\, e(i)}{\sum_i y(i, c)} \tag{5.2} $$
#
# For a class that is absent this is 0/0. We leave it out before anything is divided.

# %%
def prototypes_by_loops(e, y):
    """e [d, V], y [K, V] -> class -> p_c [d], for the classes that are there."""
    found = {}
    for c in range(len(y)):
        mass = y[c].sum()
        if mass > 0:
            found[c] = sum(y[c, i] * e[:, i] for i in range(e.shape[1])) / mass
    return found


e = torch.tensor([[1.0, 3.0],  # channel 1 in two voxels
                  [0.0, 2.0]])
print(prototypes_by_loops(e, y.T))

# %% [markdown]
# Class 1 lives in the second voxel only, so its prototype is that voxel's feature, however small its share.
#
# ## 4 · Alignment
#
# The student $p^m_c$ should point where the teacher $p^f_c$ points. The teacher is detached ($\mathrm{sg}$), and
# $\mathcal C$ are the classes present in the [study](../docs/glossary.md#study). **Cosine and detaching are ours**; the published material says that
# prototypes are aligned.
#
# $$ L_\text{proto} = \frac{1}{|\mathcal C|} \sum_{c \in \mathcal C} \bigl(1 - \cos(p^m_c, \mathrm{sg}\; p^f_c)\bigr)
# \tag{5.3} $$

# %%
def loss_by_loops(e, f, y):
    student, teacher = prototypes_by_loops(e, y), prototypes_by_loops(f.detach(), y)
    gaps = [1 - torch.dot(student[c], teacher[c]) / (student[c].norm() * teacher[c].norm()) for c in student]
    return sum(gaps) / len(gaps)


# %% [markdown]
# We compare with the package, on random features of two studies with two students each; the second study has no
# enhancing tumour.

# %%
small = labels[:2].clone()
small[1][small[1] == 3] = 0  # no class 3 here
small_stats = LabelStats.of(small, len(classes))
study = torch.tensor([0, 1, 0, 1])
students = torch.randn(4, 6, *size, requires_grad=True)  # P, d, ...
teachers = torch.randn(2, 6, *size, requires_grad=True)  # B, d, ...
y = soft_membership(small_stats.one_hot, size).flatten(2)  # B, K, V
fast = prototype_loss(students, teachers, small_stats, study)
slow = torch.stack([loss_by_loops(students[p].flatten(1), teachers[b].flatten(1), y[b])
                    for p, b in enumerate(study.tolist())])
for name, values in (("loops", slow), ("package", fast)):
    print(f"{name:8s}", [round(value, 4) for value in values.tolist()])

# %% tags=["check"]
torch.testing.assert_close(slow, fast)
weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
slow_gradient, = torch.autograd.grad((weights * slow).sum(), students)
fast_gradient, = torch.autograd.grad((weights * fast).sum(), students, retain_graph=True)
torch.testing.assert_close(slow_gradient, fast_gradient)

# %% [markdown]
# ## 5 · Four things that must hold
#
# **Equal features cost nothing**, and since only the angle counts, neither do longer ones.

# %% [markdown]
# **Before you run**: the student's features are the teacher's, three times as long. What will the loss be?
#
# <details><summary>Answer</summary>0: only the angle counts.</details>

# %% tags=["check"]
with torch.no_grad():
    same = prototype_loss(teachers[study], teachers, small_stats, study)
    longer = prototype_loss(3 * teachers[study], teachers, small_stats, study)
print(f"equal {same.abs().max():.0e}, three times as long {longer.abs().max():.0e}")
assert same.abs().max() < 1e-6 and longer.abs().max() < 1e-6

# %% [markdown]
# **The gradient goes to the student only.** Without that, the teacher would learn to see as little as its weakest
# student.

# %% tags=["check"]
students.grad = teachers.grad = None
prototype_loss(students, teachers, small_stats, study).sum().backward()
assert teachers.grad is None, "the teacher is detached"
assert (students.grad.flatten(1).abs().sum(1) > 0).all(), "every student learns"

# %% [markdown]
# **An absent class gives no term.** It is no zero in the mean either: the mean is over what is present.

# %% tags=["check"]
p, q = torch.randn(1, 4, 6, requires_grad=True), torch.randn(1, 4, 6)
present = torch.tensor([[True, True, True, False]])
gap = prototype_gap(p, q, present)
torch.testing.assert_close(gap[0], (1 - F.cosine_similarity(p[0, :3], q[0, :3], dim=1)).mean())
flow, = torch.autograd.grad(gap.sum(), p)
print("gradient per class", [round(value, 3) for value in flow.abs().sum(2)[0].tolist()])
assert (flow[0, 3] == 0).all(), "the absent class has no gradient"

# %% [markdown]
# **No 0/0**: a crop of background only has three absent classes, and all stays finite.

# %% tags=["check"]
empty = LabelStats.of(torch.zeros_like(small), len(classes))
students.grad = None
gap = prototype_loss(students, teachers, empty, study)
gap.sum().backward()
assert gap.isfinite().all() and students.grad.isfinite().all()
assert (prototypes(students, soft_membership(empty.one_hot, size)[study])[:, 1:] == 0).all(), "exactly 0, not NaN"

# %% [markdown]
# ## 6 · Real features
#
# Now a network that trained for a short while without any distillation, and four training crops with all scans there.

# %%
run = load_or_make("short-run", recipes.train_run, {
    "network": "dmaf_net", "objective": "plain", "steps": steps, "crop": [crop] * 3, "lr": 2e-3, "seed": seed,
}, needs=[cohort_folder])
net, _ = load_weights(run / "weights.safetensors")
images = torch.stack([torch.from_numpy(tumour_crop(name)[0]) for name in split["train"][:4]])
batch_stats = LabelStats.of(labels[:4], len(classes))
available = torch.ones(4, cohort.spec.M, dtype=torch.bool)

# %%
with torch.no_grad():
    features = net.encode(images, available)
    pairs, before = features.pairs, features.levels[-1]  # P, d, ...
    f = net.fusions[-1](before, pairs)[0]  # B, d, ...: the teacher
gap_before = prototype_loss(before, f, batch_stats, pairs.study)
for m, modality in enumerate(cohort.spec.modalities):
    print(f"{modality:6s} L_proto {gap_before[pairs.modality == m].mean():.3f}")

# %% [markdown]
# Let the [encoders](../docs/glossary.md#encoder) follow this term alone for a few steps. The teacher stands still here, so that the picture shows one
# thing; in training it moves too, held in place by the segmentation loss.

# %%
moved = copy.deepcopy(net)
optimizer = torch.optim.Adam(moved.encoders.parameters(), lr=2e-3)
course = []
for _ in range(align_steps):
    loss = prototype_loss(moved.encode(images, available).levels[-1], f, batch_stats, pairs.study).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    course.append(loss.item())
with torch.no_grad():
    after = moved.encode(images, available).levels[-1]
print(f"L_proto {course[0]:.3f} -> {prototype_loss(after, f, batch_stats, pairs.study).mean():.3f}")

# %% tags=["check"]
gap_after = prototype_loss(after, f, batch_stats, pairs.study)
assert gap_after.mean() < gap_before.mean(), "the encoders follow"

# %% [markdown]
# ## 7 · Drawn in two dimensions
#
# A prototype has as many numbers as the level has channels; a sheet of paper has two. **PCA** keeps the two directions along which
# points differ most. Because the loss knows angles only, every prototype is first brought to length 1. With $U$ the
# points (rows) and $\bar U$ their mean,
#
# $$ U - \bar U = A\, \Sigma\, B^\top, \qquad \text{picture} = (U - \bar U)\, B_{:,1:2} \tag{5.4} $$

# %%
y = soft_membership(batch_stats.one_hot, f.shape[2:])
points = {"teacher": prototypes(f, y), "before": prototypes(before, y[pairs.study]),
          "after": prototypes(after, y[pairs.study])}
points = {name: F.normalize(p, dim=2) for name, p in points.items()}  # [., K, d]
U = torch.cat([points[name].flatten(0, 1) for name in points])
U = U[U.norm(dim=1) > 0]  # without absent classes
_, spread, B = torch.linalg.svd(U - U.mean(0), full_matrices=False)
flat = {name: (p - U.mean(0)) @ B[:2].T for name, p in points.items()}
kept = (spread[:2] ** 2).sum() / (spread**2).sum()
print(f"two directions hold {kept:.0%} of the variance")

# %% tags=["hide-input"]
COLOURS = ("#7F7F7F", *figures.CLASS_COLOURS[1:4])
MARKS = ("o", "s", "^", "v")


@figures.figure
def draw_prototypes():
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.9), sharex=True, sharey=True)
    present = batch_stats.counts > 0
    for ax, when in zip(axes, ("before", "after"), strict=True):
        for c, colour in enumerate(COLOURS):
            for row, (b, m) in enumerate(zip(pairs.study.tolist(), pairs.modality.tolist(), strict=True)):
                if present[b, c]:
                    start, end = flat[when][row, c], flat["teacher"][b, c]
                    ax.plot(*zip(start, end, strict=True), color=colour, lw=0.5, alpha=0.5)
                    ax.plot(*start, MARKS[m], color=colour, ms=5)
            shown = flat["teacher"][present[:, c], c]
            ax.plot(*shown.T, "*", color=colour, ms=13, mec="black", mew=0.6, ls="none")
        loss = prototype_loss({"before": before, "after": after}[when], f, batch_stats, pairs.study).mean()
        ax.set(title=f"{when} alignment: L_proto {loss:.3f}", xlabel="first direction")
    axes[0].set_ylabel("second direction")
    named = [plt.Line2D([], [], color=k, marker="o", ls="none", label=n) for k, n in zip(COLOURS, classes, strict=True)]
    named += [plt.Line2D([], [], color="0.3", marker=k, ls="none", label=n)
              for k, n in zip(MARKS, cohort.spec.modalities, strict=True)]
    named += [plt.Line2D([], [], color="w", marker="*", mec="black", ms=11, ls="none", label="fused (teacher)")]
    fig.legend(handles=named, loc="outside lower center", ncols=5)
    return fig


figures.show(draw_prototypes(), alt="Prototypes of four classes in two dimensions before and after alignment; lines "
             "join each modality's prototype to the fused one of the same study and class")

# %% [markdown]
# Each line joins a modality's prototype to its teacher, the star of the same study and colour. After alignment the
# modalities of a class have gathered, those of the tumour classes around their stars; the background's still lie apart
# from theirs (a cosine compares directions, not lengths, and the steps were few). Notice also that the three tumour classes share one spot: so short a
# training taught the deepest level tumour or not, and little more. What lies in the other directions a picture cannot
# show, so the number above it decides.

# %% [markdown]
# ## 8 · What trained prototypes show
#
# The weights that come with the kit were trained for long, with this term among others, and have never seen these three
# [phantoms](../docs/glossary.md#phantom). How far do the prototypes of each scan point where the fused ones do? One number per scan and class, the mean
# cosine: 1 is the same direction, 0 has nothing in common.

# %%
learned, learned_card = load_weights(shipped("dmaf_net_phantom"))
unseen_folder = load_or_make("first-study", recipes.make_cohort, {
    "train": 1, "val": 1, "test": 1, "seed": seed + 1000, "spacing": learned_card["spacing"][0]})
unseen, unseen_split = recipes.open_cohort(unseen_folder)
crops = [tumour_crop(name, unseen) for names in unseen_split.values() for name in names]
unseen_stats = LabelStats.of(torch.from_numpy(np.stack([label for _, label in crops])).long(), len(classes))
with torch.no_grad():
    deep = learned.encode(torch.from_numpy(np.stack([scans for scans, _ in crops])),
                          torch.ones(len(crops), cohort.spec.M, dtype=torch.bool))
    fused = learned.fusions[-1](deep.levels[-1], deep.pairs)[0]

# %%
membership_of = soft_membership(unseen_stats.one_hot, fused.shape[2:])
ours, theirs = prototypes(deep.levels[-1], membership_of[deep.pairs.study]), prototypes(fused, membership_of)
cosines = F.cosine_similarity(ours, theirs[deep.pairs.study], dim=2)  # P, K
in_label = (unseen_stats.counts > 0)[deep.pairs.study]
agreement = torch.stack([(cosines * in_label)[deep.pairs.modality == m].sum(0)
                         / in_label[deep.pairs.modality == m].sum(0).clamp(min=1) for m in range(cohort.spec.M)])
print(pd.DataFrame(agreement.numpy(), index=cohort.spec.modalities, columns=classes).round(2).to_string())

# %% tags=["check"]
assert ((agreement >= -1 - 1e-5) & (agreement <= 1 + 1e-5)).all(), "a cosine"

# %% [markdown]
# Read it by row: a scan whose row is high carries the classes in the directions of the fused map. Read it by column: a
# class that is low everywhere is one for which no scan alone points where the fused map does.
#
# ## The answer

# %% tags=["hide-input"]
print(f"L_proto {course[0]:.3f} -> {gap_after.mean():.3f} after {align_steps} steps of alignment alone")
mean_cosine = dict(zip(cohort.spec.modalities, agreement.mean(1).tolist(), strict=True))
print("trained weights, mean cosine to the fused prototype:", {m: round(c, 2) for m, c in mean_cosine.items()})

# %% [markdown]
# A prototype is the mean feature of a class. Alignment turns the prototypes of each scan towards those of the fused
# map, and the numbers above say how near they come, in this short run and in the shipped weights.
#
# ## In practice
#
# - Prototypes are averaged in float32 even under mixed precision.
# - Only studies with at least two modalities take part: with one, student and teacher are the same map.
# - `distance="l2"` compares lengths too; the default is cosine.
# - Prototypes here belong to a study. Others keep one memory for the whole data set; then a rare class is always there,
#   but it lags behind the network.

# %% [markdown]
# ## What we built
#
# - soft membership, and how often nearest and arg-max pooling lost a class
# - prototypes and their cosine alignment by loops, equal to the package's in values and gradients
# - we proved: equal features cost 0, the teacher gets no gradient, an absent class gives no term and no 0/0
# - a picture of prototypes moving towards their teachers

# %% [markdown]
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. What do the shares of a coarse voxel sum to?
#    <details><summary>Answer</summary>1.</details>
# 2. Which of the three ways of bringing a label down never loses a class?
#    <details><summary>Answer</summary>Soft membership.</details>
# 3. The student's features are three times the teacher's. What is the loss?
#    <details><summary>Answer</summary>0.</details>
# 4. Which gradient does an absent class get?
#    <details><summary>Answer</summary>Exactly none.</details>
# 5. Who learns from this loss, the teacher or the student?
#    <details><summary>Answer</summary>The student only; the teacher is detached.</details>

# %% tags=["check", "hide-input"]
torch.testing.assert_close(pooled.sum(1), torch.ones_like(pooled[:, 0]))
assert torch.equal(left["soft"], in_crop)
assert longer.abs().max() < 1e-6
assert (flow[0, 3] == 0).all()
assert teachers.grad is None

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 5.1 · Soft membership
#
# `label` is integer `[8, 8, 8]`. Give shares `[K, 2, 2, 2]`, with $\Omega_i$ the 4 x 4 x 4 fine voxels of the coarse voxel $i$:
# $$ y(i, c) = \frac{1}{|\Omega_i|} \sum_{v \in \Omega_i} [\,\mathrm{label}(v) = c\,] . $$
# Expect: one voxel of a class gives the share 1/64, and the shares of a voxel sum to 1.

# %% tags=["exercise"]
def membership(label, K):
    """Share of each of K classes in each coarse voxel of 4 x 4 x 4 fine ones."""
    # >>> your turn: 5.1 one-hot, then the mean of each block
    one_hot = F.one_hot(label, K).movedim(-1, 0).float()
    return F.avg_pool3d(one_hot, 4)
    # <<<


# %% tags=["exercise"]
exercises.check_5_1(membership)

# %% [markdown] tags=["exercise"]
# ### Exercise 5.2 · Prototypes without 0/0
#
# `e` is `[d, V]`, `y` is `[K, V]`. Give `[K, d]`, exactly 0 where a class is absent, with finite gradients:
# $$ p_c = \frac{\sum_i y(i, c)\, e(i)}{\sum_i y(i, c)} . $$
# Expect: a class in one voxel has that voxel's feature, however small its share.

# %% tags=["exercise"]
def class_means(e, y):
    """Mean feature per class, weighted by membership."""
    # >>> your turn: 5.2 weigh, sum, divide where there is something
    mass = y.sum(1, keepdim=True)
    return (y @ e.T) / torch.where(mass > 0, mass, 1)
    # <<<


# %% tags=["exercise"]
exercises.check_5_2(class_means)

# %% [markdown] tags=["exercise"]
# ### Exercise 5.3 · The gap
#
# `p` and `q` are `[K, d]`, `present` is bool `[K]`. Give the loss of the student `p` towards the teacher `q`, which gets no
# gradient:
# $$ L_\text{proto} = \frac{1}{|\mathcal C|} \sum_{c \in \mathcal C} \bigl(1 - \cos(p_c, \mathrm{sg}\; q_c)\bigr) . $$
# Expect: equal prototypes cost 0, opposite ones 2.

# %% tags=["exercise"]
def proto_gap(p, q, present):
    """Mean over present classes of 1 - cos; no gradient to the teacher q."""
    # >>> your turn: 5.3 keep what is present, detach, compare
    return (1 - F.cosine_similarity(p[present], q.detach()[present], dim=1)).mean()
    # <<<


# %% tags=["exercise"]
exercises.check_5_3(proto_gap)

# %% [markdown] tags=["exercise"]
# ### Exercise 5.4 · A teacher that moves
#
# In section 6 the teacher stands still. Let it move instead: the teacher is the mean of the students' prototypes and is
# **not** detached. `p` is `[M, K, d]`, the prototypes of $M$ students. Give
# $$ L = \frac{1}{M K} \sum_{m, c} \bigl(1 - \cos(p^m_c, \bar p_c)\bigr), \qquad \bar p_c = \frac1M \sum_m p^m_c , $$
# with gradients through the teacher, too. The next cell lets random prototypes follow it. Expect: the loss falls to nearly
# 0, whether the classes stay apart or not; nothing in it tells classes apart. Is that good news?
#
# <details><summary>Answer</summary>
#
# No. Teacher and students may meet anywhere, also where two classes are the same. Only the segmentation loss, which is
# absent here, would object. That is why the teacher is detached and held by the segmentation loss.
#
# </details>

# %% tags=["exercise"]
def moving_teacher(p):
    """Prototypes p [M, K, d] -> the loss, with gradients to students and teacher."""
    # >>> your turn: 5.4 a mean that is not detached, then one minus cosine
    teacher = p.mean(0, keepdim=True)
    return (1 - F.cosine_similarity(p, teacher, dim=2)).mean()
    # <<<


# %% tags=["exercise"]
exercises.check_5_4(moving_teacher)

# %% [markdown]
# ## Next
#
# Three [gaps](../docs/glossary.md#gap) per modality are now known. Lesson 06 watches them over time, and helps those who lag.
