# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 04 · Align relations
#
# A [modality](../docs/glossary.md#modality) alone should see relations as all modalities together see them: between channels (CCA), and between places
# (MAA).
#
# **Question** how can a scan learn from all scans together how things belong together?
#
# **Do** compute covariance alignment and masked graph attention by hand, then with the package.
#
# **Learn**
# - to compute a Deep CORAL value with pencil and paper
# - to tell a [gap](../docs/glossary.md#gap) from its sampling floor, and a learning [encoder](../docs/glossary.md#encoder) from a learning Linear
# - to write [attention](../docs/glossary.md#attention) over a graph by loops and by matrices, and prove both equal to the package
# - to prove that an edge which is masked carries no gradient
#
# **Need** lessons 02 and 03; 1 GB of memory; paper section 3 (relation [distillation](../docs/glossary.md#distillation)).
#
# Not here: how much each modality's gap should weigh. That is lesson 06.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
cases_train: int = 24  # synthetic cases of the cohort that all lessons share
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
crop: int = 32  # voxels; side of a training crop
look: int = 64  # voxels; side of the slab that we look at
steps: int = 120  # of the short run whose features we use
align_steps: int = 20  # of alignment alone
neighbours: int = 4  # K_nn, edges of each node

# %% tags=["setup"]
import copy
import math

import numpy as np
import torch

from dmaf_lite import figures
from dmaf_lite.figures.planes import Plane, fullest_slice, to_lps, window
from dmaf_lite.lessons import recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_04 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.weights import load_weights
from dmaf_lite.nn import Pairs
from dmaf_lite.objectives.dmaf import students
from dmaf_lite.objectives.relation import GraphAttention, RelationAlignment, covariance, covariance_gap, nearest_nodes

check_parameters(globals())
torch.manual_seed(seed)
print(f"torch {torch.__version__} on the CPU, profile {profile}")

# %% [markdown]
# ## 1 · Covariance alignment, with pencil and paper
#
# **Distillation** means: a network that sees more, the *teacher*, gives one that sees less, the *student*, a goal for its
# features. The student learns, the teacher does not notice: its values are used as constants (`detach`, written sg).
#
# ![Teacher and student: the fused map of all scans, the map of one scan, three comparisons, gradient to the student only](figures/teacher_and_student.svg)
#
# The **teacher** is the fused map $f$ at the deepest [level](../docs/glossary.md#level), a **student** is one modality's map $e^m$ there. Write a
# map as a table: $V$ voxels (rows) by $d$ channels (columns). Which channels rise together is what the covariance says:
#
# $$ \mathrm{Cov}(X) = \frac{(X - \bar X)^\top (X - \bar X)}{V - 1} \tag{4.1} $$

# %%
X = torch.tensor([[1.0, 2.0],  # voxel 1, two channels
                  [3.0, 2.0],
                  [5.0, 8.0]])
Y = torch.tensor([[1.0, 0.0],
                  [3.0, 4.0],
                  [5.0, 2.0]])


def cov(X):
    V = X.shape[0]
    centred = X - X.mean(0)  # V x d
    return centred.T @ centred / (V - 1)  # d x d


print(cov(X), cov(Y), sep="\n")

# %% [markdown]
# [Covariance alignment](../docs/glossary.md#covariance-alignment) (CCA) is the squared distance between two covariances, scaled as in Deep CORAL (Sun and Saenko,
# 2016). The paper's figure shows that covariances are aligned; **this distance and its scale are [ours](../docs/glossary.md#ours)**.
#
# $$ L_\text{cov} = \frac{\lVert \mathrm{Cov}(X) - \mathrm{Cov}(Y) \rVert_F^2}{4\, d^2} \tag{4.2} $$

# %% [markdown]
# **Before you run**: take the two matrices above. What is $L_\text{cov}$, by pencil?
#
# <details><summary>Answer</summary>The difference has the entries 0, 4, 4, 8; (0 + 16 + 16 + 64) / (4 · 2²) = 6.</details>

# %%
difference = cov(X) - cov(Y)
by_hand = (0**2 + 4**2 + 4**2 + 8**2) / (4 * 2**2)  # the four entries of the difference, read off
print(difference, f"L_cov = {by_hand}", sep="\n")

# %% tags=["check"]
assert torch.equal(cov(X), torch.tensor([[4.0, 6.0], [6.0, 12.0]])), "pencil and paper"
assert covariance_gap(covariance(X), covariance(Y)).item() == by_hand, "the package's value is the value by hand"

# %% [markdown]
# ## 2 · How small can the gap be?
#
# Equal maps have a gap of exactly 0. Two **independent** samples of one and the same thing have not: draw $V$ voxels
# twice from the same Gaussian, and the two covariances differ by chance, although there is nothing to align. For unit
# variance in $d$ channels the expected value of this *floor of chance* is
#
# $$ \mathbb E\, L_\text{cov} = \frac{1 + 1/d}{2\,(V - 1)} \tag{4.3} $$

# %%
d, draws = 128, 100
floor = {}
for V in (8, 27, 64, 125):
    x, y = torch.randn(2, draws, V, d)
    floor[V] = covariance_gap(covariance(x), covariance(y)).mean().item()
    print(f"V = {V:3d}: measured {floor[V]:.4f}, expected {(1 + 1 / d) / (2 * (V - 1)):.4f}, "
          f"rank of Cov {torch.linalg.matrix_rank(covariance(x[0])).item():3d} of {d}")

# %% [markdown]
# The last column says why. $V$ centred rows span at most $V - 1$ directions, so with few voxels most of the covariance's
# directions have variance 0. A larger crop is the remedy, not a larger weight. (In training, student and teacher look at
# the *same* voxels, so they are not independent, and their gap can fall below this floor: section 4 shows it.)

# %% tags=["check"]
for V, measured in floor.items():
    assert math.isclose(measured, (1 + 1 / d) / (2 * (V - 1)), rel_tol=0.05), "the sampling floor"
    assert torch.linalg.matrix_rank(covariance(torch.randn(V, d))) <= V - 1, "rank at small V"

# %% [markdown]
# ## 3 · Real features
#
# A network that trained for a short while on synthetic brains, without any distillation, and one batch with all scans
# there.

# %%
config = {"train": cases_train, "val": cases_val, "test": cases_test, "seed": seed, "spacing": spacing}
cohort_folder = load_or_make("cohort", recipes.make_cohort, config)
run = load_or_make("short-run", recipes.train_run, {
    "network": "dmaf_net", "objective": "plain", "steps": steps, "crop": [crop] * 3, "lr": 2e-3, "seed": seed,
}, needs=[cohort_folder])
cohort, split = recipes.open_cohort(cohort_folder)
net, _ = load_weights(run / "weights.safetensors")

# %%
def tumour_crop(name):
    """Scans [M, D, H, W] and label [D, H, W] of a crop around the tumour."""
    label = cohort.read(name)[1]
    start = np.argwhere(label > 0).mean(0) - crop / 2
    return cohort.read(name, np.clip(start.round(), 0, np.array(label.shape) - crop).astype(int), [crop] * 3)


images = torch.stack([torch.from_numpy(tumour_crop(name)[0]) for name in split["train"][:4]])
available = torch.ones(4, cohort.spec.M, dtype=torch.bool)
with torch.no_grad():
    features = net.encode(images, available)
    pairs = features.pairs
    f = net.fusions[-1](features.levels[-1], pairs)[0]  # B, d, D, H, W: the teacher
e = features.levels[-1]  # P, d, D, H, W: all students, packed
V, d = e[0, 0].numel(), e.shape[1]
print(f"{pairs.P} students of {pairs.B} teachers, V = {V} voxels, d = {d} channels")

# %% [markdown]
# ## 4 · Who learns: the Linear or the encoder?
#
# In the paper's figure a Linear sits on the modality's side: $X = W e^m$. Does that help? We freeze the encoder
# and let **only** $W$ learn; then the other way round. The teacher stands still here, so that one thing moves at a
# time; in training it moves too, held in place by the segmentation loss.

# %%
def align(parameters, student, *, steps=align_steps, lr=2e-3):
    """Minimise L_cov over some parameters; returns its course."""
    optimizer, course = torch.optim.Adam(parameters, lr), []
    for _ in range(steps):
        loss = relation(student(), f, pairs.study)["cov"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    return course


# %%
relation = RelationAlignment(d, relation="cov")  # W starts at the identity (ours)
only_linear = align(relation.parameters(), lambda: e)
W = relation.cov.linear.weight.detach()

relation = RelationAlignment(d, relation="cov").requires_grad_(False)
moved = copy.deepcopy(net)
only_encoder = align(moved.encoders.parameters(), lambda: moved.encode(images, available).levels[-1])
for name, course in (("only the Linear", only_linear), ("only the encoders", only_encoder)):
    print(f"{name:18s} L_cov {course[0]:.4f} -> {course[-1]:.4f}")

# %% tags=["check"]
assert only_linear[-1] < only_linear[0], "the Linear alone lowers the term"
with torch.no_grad():
    again = net.encode(images, available).levels[-1]
assert torch.equal(again, e), "and yet the encoder has learnt nothing"
assert only_encoder[-1] < only_encoder[0], "the encoders can lower it too"

# %% [markdown]
# So a falling $L_\text{cov}$ is no proof that an encoder learns. The Linear starts at the identity (ours), which makes at
# least the *first* gap speak of the encoder.

# %% tags=["hide-input"]
with torch.no_grad():
    after = moved.encode(images, available).levels[-1]
tables = {"teacher": f[0], "student before": e[0], "Linear alone": torch.einsum("oc,c...->o...", W, e[0]),
          "encoder moved": after[0]}
matrices = {name: covariance(x.flatten(1).T) for name, x in tables.items()}


@figures.figure
def draw_covariances():
    import matplotlib.pyplot as plt

    top = torch.quantile(matrices["teacher"].abs(), 0.98).item()
    fig, axes = plt.subplots(1, 4, figsize=(figures.WIDTH, 2.4))
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=True):
        picture = ax.imshow(matrix, vmin=-top, vmax=top, cmap="RdBu_r")
        ax.set(title=f"{name}\ngap {covariance_gap(matrix, matrices['teacher']):.3f}", xticks=[], yticks=[])
    fig.colorbar(picture, ax=axes, label="covariance", shrink=0.8)
    return fig


figures.show(draw_covariances(), alt="Four covariance matrices of channels: the teacher's, a student's before "
             "alignment, after its Linear alone has learnt, and after its encoder has learnt")

# %% [markdown]
# The number above each matrix is its distance to the first one: both routes bring the student's pattern (FLAIR of the
# first [study](../docs/glossary.md#study)) nearer to the teacher's, and only the last one changed the network.

# %% [markdown]
# ## 5 · Masked graph attention, by loops
#
# Now relations between **places** (MAA). The nodes of a graph are the voxels of the deepest level. Node $i$ of the
# student asks, the teacher's nodes $j$ answer, and what comes back should be the teacher's own node:
#
# $$ s_{ij} = \frac{(W_q e_i)^\top (W_k f_j)}{\sqrt c}, \qquad G_i = W_o \sum_{j \in N(i)}
# \frac{\exp s_{ij}}{\sum_{k \in N(i)} \exp s_{ik}}\, W_v f_j, $$
# $$ L_\text{att} = \mathrm{mean}\,(G - f)^2 \tag{4.4} $$
#
# $N(i)$ are the neighbours of $i$: the $K_{nn}$ nodes nearest to $f_i$ in cosine similarity, $i$ itself always among
# them. That the target is $f$, the paper's figure of June shows (section 10 has the one of May); **heads of eight channels, the shared parameters and the choice of
# neighbours are ours**. The package joins all nodes unless `neighbours` is set. We take 8 channels, so one head.

# %%
module = GraphAttention(8, neighbours=neighbours)
ei = e[0, :8].flatten(1).T.clone().requires_grad_()  # V, 8: a student's nodes
fi = f[0, :8].flatten(1).T.clone().requires_grad_()  # V, 8: its teacher's
N = nearest_nodes(fi[None], neighbours)[0]  # V, V: True where i may look at j
print(f"{len(N)} nodes, {N.sum().item()} of {N.numel()} edges; node 0 looks at {N[0].nonzero().flatten().tolist()}")


# %%
def graph_by_loops(e, f, N):
    G = []
    for i in range(len(e)):
        joined = N[i].nonzero().flatten().tolist()
        q = module.query(e[i])
        s = [torch.dot(q, module.key(f[j])) / math.sqrt(len(q)) for j in joined]
        total = sum(value.exp() for value in s)
        G.append(sum(value.exp() / total * module.value(f[j]) for value, j in zip(s, joined, strict=True)))
    return module.out(torch.stack(G))


# %% [markdown]
# ## 6 · The same by matrices
#
# All scores at once, $-\infty$ where there is no edge, *before* the softmax.

# %%
def graph_by_matrix(e, f, N):
    s = module.query(e) @ module.key(f).T / math.sqrt(e.shape[1])  # V, V
    s = torch.where(N, s, -torch.inf)
    return module.out(s.softmax(1) @ module.value(f))


ways = {"loops": graph_by_loops(ei, fi, N), "matrix": graph_by_matrix(ei, fi, N),
        "package": module(ei[None], fi[None], torch.tensor([0]))[0]}
losses = {name: (G - fi.detach()).square().mean() for name, G in ways.items()}
print({name: round(loss.item(), 6) for name, loss in losses.items()})

# %% tags=["check"]
inputs = [ei, fi, *module.parameters()]
gradients = {name: torch.autograd.grad(loss, inputs, retain_graph=True) for name, loss in losses.items()}
for name in ("loops", "matrix"):
    torch.testing.assert_close(ways[name], ways["package"], rtol=1e-4, atol=1e-5)
    for one, other in zip(gradients[name], gradients["package"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

# %% [markdown]
# ## 7 · A masked edge carries nothing
#
# Take one node and ask: on which of the teacher's nodes does its answer depend? (We let the gradient through to $f$ for
# this question only; in the objective the teacher is detached, **ours**.)

# %% [markdown]
# **Before you run**: a node has four neighbours, itself included. On how many of the teacher's nodes will its answer
# depend?
#
# <details><summary>Answer</summary>On four, and on no other.</details>

# %% tags=["check"]
node = len(N) // 2
flow, = torch.autograd.grad(ways["package"][node].square().sum(), fi, retain_graph=True)
reach = flow.abs().sum(1)  # one number per teacher's node
print(f"node {node}: gradient on {(reach > 0).sum().item()} nodes, exactly 0 on {(reach == 0).sum().item()}")
assert (reach[~N[node]] == 0).all(), "no edge, no gradient"
assert (reach[N[node]] > 0).all(), "every edge carries some"

# %% [markdown]
# ## 8 · The graph over a slice
#
# One slab of a brain: each dot is a voxel of the deepest level, drawn over the FLAIR scan. The graph is that of the
# slab's own nodes.

# %%
name = max(split["train"], key=lambda n: (cohort.read(n)[1] > 0).sum())
label = cohort.read(name)[1]
centre = [label.shape[0] // 2, label.shape[1] // 2, fullest_slice(label)]
start = [centre[0] - look // 2, centre[1] - look // 2, centre[2] - 4]
scans, label = cohort.read(name, start, [look, look, 16])
with torch.no_grad():
    deep = net.encode(torch.from_numpy(scans)[None], available[:1])
    slab = net.fusions[-1](deep.levels[-1], deep.pairs)[0][0, :, :, :, 0]  # d, H, W: first layer of nodes
joined = nearest_nodes(slab.flatten(1).T[None], neighbours)[0]
side = slab.shape[1]
share = (label[..., :8] > 0).reshape(side, 8, side, 8, 8).mean((1, 3, 4))  # tumour in each node
print(f"{side} x {side} nodes of {8 * spacing:.0f} mm, {(share > 0.25).sum()} of them more than a quarter tumour")

# %% tags=["hide-input"]
@figures.figure
def draw_graph():
    import matplotlib.pyplot as plt

    affine = cohort.meta(name)["affine"]
    plane = Plane("axial", (spacing,) * 3)
    scan = to_lps(scans[0], affine)
    picture = plane.cut(scan, scan.shape[2] - 5 if affine[2][2] < 0 else 4)
    order = plane.cut(to_lps(np.arange(side**2).reshape(side, side, 1), affine), 0)
    place = {int(n): (8 * c + 3.5, 8 * r + 3.5) for (r, c), n in np.ndenumerate(order)}
    tumour = share.flatten() > 0.25
    brain = (to_lps(scans[0], affine) != 0).any(2)
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 4.1))
    low, high = window(picture)
    for ax, kind, colour in zip(axes, (tumour, ~tumour), ("#D55E00", "#56B4E9"), strict=True):
        ax.imshow(np.where(picture == 0, low, picture), vmin=low, vmax=high)
        for i in np.flatnonzero(kind):
            if not brain.T[int(place[i][1]), int(place[i][0])]:
                continue
            for j in joined[i].nonzero().flatten().tolist():
                if not brain.T[int(place[j][1]), int(place[j][0])]:
                    continue  # a node of air
                ax.plot(*zip(place[i], place[j], strict=True), color=colour, lw=0.8, alpha=0.8)
            ax.plot(*place[i], "o", color=colour, ms=4)
        ax.set_axis_off()
    axes[0].set_title("nodes with tumour and their neighbours")
    axes[1].set_title("the other nodes inside the head")
    return fig


figures.show(draw_graph(), alt="Two copies of an axial FLAIR slice with a grid of nodes; lines join each node to its "
             "nearest nodes by features, for nodes with tumour on the left and for the others on the right")

# %%
inside = joined[torch.from_numpy(share.flatten() > 0.25)].float()
mates = torch.from_numpy(share.flatten() > 0.25).float()
print(f"of the edges that leave tumour nodes, {(inside @ mates).sum() / inside.sum():.0%} end at a tumour node; "
      f"tumour nodes are {mates.mean():.0%} of all")

# %% [markdown]
# Lines join places that look alike to the network, not places that lie side by side: some run across the whole head
# (lines to nodes outside the head are not drawn). The printed line compares how often the edges of tumour nodes end at a
# tumour node with what a blind choice would give.

# %% [markdown]
# ## 9 · Neighbours have a floor too
#
# Neighbours are chosen by looking at the target. So even a student that knows **nothing**, and weighs all its
# neighbours alike, gets part of $f$ for free. How much of the variance? On pure noise:

# %%
noise, free = torch.randn(20, 125, 64), {}
for K in (1, 2, 4, 16, 125):
    A = nearest_nodes(noise, K).float() / K  # equal weights: the ignorant query
    G = A @ noise
    slope = (G * noise).sum() / G.square().sum()  # the best that W_v and W_o can do with one number
    free[K] = 1 - (slope * G - noise).square().sum() / noise.square().sum()
    print(f"K_nn = {K:3d}: an ignorant query reaches {free[K].item():.0%} of Var(f)")

# %% [markdown]
# With few neighbours, half of the target or more comes for free, and the term can fall without anybody learning. With
# all nodes joined (the default) an ignorant query reaches next to nothing.

# %% tags=["check"]
assert torch.allclose(nearest_nodes(noise, 1).float() @ noise, noise), "one neighbour is the node itself: all for free"
assert free[2] > 0.5 and free[4] > 0.5, "few neighbours: half of it for free"
assert free[125] < 0.05, "all nodes joined: nothing for free"

# %% [markdown]
# ## 10 · Who asks whom
#
# The paper has two versions, and their figures differ. In June the modality asks the fused map; in May the **fused map asks the modality**,
# $Q = W_q f$, $K = W_k e^m$, $V = W_v e^m$, with the same target. Both are a setting.

# %% tags=["check"]
asked = GraphAttention(d, direction="fused_queries")
e_rows, f_rows = e.flatten(2).mT, f.flatten(2).mT
order = torch.randperm(V)
same = asked(e_rows[:, order], f_rows, pairs.study)
torch.testing.assert_close(same, asked(e_rows, f_rows, pairs.study), rtol=1e-4, atol=1e-5)
print("fused_queries: shuffle the student's voxels, and nothing changes")
asks = GraphAttention(d, direction="modality")
assert not torch.allclose(asks(e_rows[:, order], f_rows, pairs.study), asks(e_rows, f_rows, pairs.study), atol=1e-5)

# %% [markdown]
# That is worth knowing: when the fused map asks all nodes, the student is a *bag* of voxels, and where they lie plays
# no part.
#
# ## 11 · Who takes part
#
# In a study with one modality the fused map **is** that modality, and any gap would be an accident of $W$. So only
# studies with at least two modalities have students.

# %% tags=["check"]
table = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
kept, rows = students(Pairs.of(table))
print("modalities per study", table.sum(1).tolist(), "-> students of studies", sorted(kept.study.tolist()))
assert set(kept.study.tolist()) == {0, 2}, "studies 1 and 3 have one modality only"
assert not kept.available[[1, 3]].any()

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
print(f"L_cov falls from {only_encoder[0]:.4f} to {only_encoder[-1]:.4f} when the encoders learn, "
      f"and from {only_linear[0]:.4f} to {only_linear[-1]:.4f} when only the Linear does")

# %% [markdown]
# By two comparisons with the fused map, which sees all scans: which channels rise together (covariance), and which
# places belong together ([graph attention](../docs/glossary.md#graph-attention)). But a falling loss alone does not prove that the encoder has learned: a
# Linear can make it fall, too.
#
# ## In practice
#
# - Both terms look at the deepest level only: there the graph is small ($V$ nodes), and each node has seen a large part
#   of the scan.
# - Covariances are computed in float32 even under mixed precision: they subtract numbers that are nearly equal.
# - The Linear and the attention belong to the objective, not to the network: after training they are thrown away.
# - Weights of the terms (`lambda_cov`, `lambda_att`) are ours, found on [phantoms](../docs/glossary.md#phantom); [from the paper to the code](../docs/paper_to_code.md)
#   says how.

# %% [markdown]
# ## What we built
#
# - a covariance gap by hand, equal to the package's; we measured its floor, its rank, and who lowers it
# - graph attention by loops and by matrices, equal to the package's in values and gradients
# - a graph whose missing edges carry exactly no gradient, drawn over a brain
# - the floor of its neighbours, its two directions, and the rule of who takes part

# %% [markdown]
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. What is the gap of the toy matrices X and Y?
#    <details><summary>Answer</summary>6.</details>
# 2. V voxels, many channels: how large can the rank of the covariance be?
#    <details><summary>Answer</summary>At most V − 1.</details>
# 3. How large is the gap of a map with itself?
#    <details><summary>Answer</summary>0. The floor of chance concerns independent samples.</details>
# 4. How much gradient flows along an edge that is masked?
#    <details><summary>Answer</summary>None.</details>
# 5. A study has one scan. How many students has it?
#    <details><summary>Answer</summary>None: the fused map is that scan.</details>

# %% tags=["check", "hide-input"]
assert by_hand == 6
assert torch.linalg.matrix_rank(covariance(torch.randn(8, 128))) <= 7
assert covariance_gap(covariance(X), covariance(X)) == 0
assert (reach[~N[node]] == 0).all()
assert 1 not in kept.study.tolist() and 3 not in kept.study.tolist()

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 4.1 · Covariance of the channels
#
# `X` is `[V, d]`. Give the `[d, d]` covariance of its columns:
# $$ \mathrm{Cov}(X) = \frac{(X - \bar X)^\top (X - \bar X)}{V - 1} . $$
# Expect: the rows (1, 2), (3, 2), (5, 8) give ((4, 6), (6, 12)).

# %% tags=["exercise"]
def my_covariance(X):
    """Covariance of the d channels over the V voxels."""
    # >>> your turn: 4.1 centre, multiply, divide
    centred = X - X.mean(0)
    return centred.T @ centred / (len(X) - 1)
    # <<<


# %% tags=["exercise"]
exercises.check_4_1(my_covariance)

# %% [markdown] tags=["exercise"]
# ### Exercise 4.2 · Weights along edges
#
# `scores` is `[V, V]`, `edges` bool `[V, V]`. Give attention weights: rows sum to 1, and exactly 0 where there is
# no edge:
# $$ A_{ij} = \frac{\exp s_{ij}}{\sum_{k \in N(i)} \exp s_{ik}} \ \text{ for } j \in N(i), \text{ else } 0 . $$
# Expect: equal scores and two edges give 0.5 and 0.5.

# %% tags=["exercise"]
def edge_weights(scores, edges):
    """Softmax of each row over its edges only."""
    # >>> your turn: 4.2 mask before the softmax
    return torch.where(edges, scores, -torch.inf).softmax(1)
    # <<<


# %% tags=["exercise"]
exercises.check_4_2(edge_weights)

# %% [markdown] tags=["exercise"]
# ### Exercise 4.3 · Choose the neighbours
#
# `f` is `[V, d]`. Give the bool adjacency `[V, V]`: row $i$ is True at $i$ itself and at the `K - 1` other nodes of
# largest cosine similarity $f_i^\top f_j / (\lVert f_i \rVert \lVert f_j \rVert)$ with $f_i$. Expect: K = 1 gives the identity.

# %% tags=["exercise"]
def choose_neighbours(f, K):
    """Masked adjacency from cosine similarity, every node its own neighbour."""
    # >>> your turn: 4.3 similarity, then the K largest per row
    unit = torch.nn.functional.normalize(f, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(2)
    nearest = similarity.topk(K, dim=1).indices
    return torch.zeros_like(similarity, dtype=torch.bool).scatter(1, nearest, True)
    # <<<


# %% tags=["exercise"]
exercises.check_4_3(choose_neighbours)

# %% [markdown] tags=["exercise"]
# ### Exercise 4.4 · Think
#
# Why has the Linear in CCA no bias, and the key in MAA none either?
#
# <details><summary>Answer</summary>
#
# A covariance subtracts the mean, and a bias with it. A bias on the keys adds the same number to all scores of a row,
# and the softmax takes it out again.
#
# </details>

# %% [markdown]
# ## Next
#
# Relations say how things go together. Lesson 05 aligns the things themselves: one [prototype](../docs/glossary.md#prototype) for each [class](../docs/glossary.md#class).
