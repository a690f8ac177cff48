# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 15 · Trust
#
# A segmentation always looks sure of itself. Is it? And what can one do when a scan is bad, [missing](../docs/glossary.md#available-and-missing), or not what its
# name says?
#
# **Question** how much may one believe a segmentation that looks sure of itself, and what if one of its scans is bad?
#
# **Do** measure whether probabilities keep their word, mend them, and let a network say how good its own answer is.
#
# **Learn**
# - to draw a reliability diagram where it matters, and to say why the easy background must stay out of it
# - to turn probabilities into an expected [Dice](../docs/glossary.md#dice) and a volume with an interval, and to test that they hold
# - to find out, without a truth, when a bad scan is worse than none
# - to say which scan would help most, and when nothing should be promised at all
#
# **Need** lesson 09; 2 GB of memory. Nothing of this is in the paper: what a promise needs, the kit adds.
#
# Not here: promises for patients. They need a calibration on patients, which the kit cannot bring.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
run_name: str = ""  # empty: the shipped weights of the plain phantoms; else a calibrated run of lesson 07
cases: int = 6  # synthetic studies looked at here
tried: int = 3  # of them are spoiled and repaired
cases_unseen: int = 6  # synthetic cases that no weights of the kit have seen (as in lesson 09)
cases_threshold: int = 8  # the same, for choosing a threshold (lesson 07)
levels: list = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]  # of noise, in deviations of the brain

# %% tags=["setup"]
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from dmaf_lite import figures
from dmaf_lite.base.device import choose_device
from dmaf_lite.data.cohort import Cohort, read_split
from dmaf_lite.data.damage import damage
from dmaf_lite.evaluation import observed
from dmaf_lite.evaluation.calibration import beside, read_calibration
from dmaf_lite.evaluation.confidence import confidence
from dmaf_lite.evaluation.expected import doubts, expected_dice
from dmaf_lite.evaluation.experience import features, unfamiliar
from dmaf_lite.evaluation.inclusion import steps, violations
from dmaf_lite.evaluation.inference import probabilities_and_weights, subset_probabilities, windows_of
from dmaf_lite.evaluation.metrics import dice
from dmaf_lite.evaluation.reliability import Scaling, entropy, expected_calibration_error, reliability, zone, zone_of
from dmaf_lite.evaluation.repair import calibrated, one_left_out, repair
from dmaf_lite.figures.planes import fullest_slice, to_lps
from dmaf_lite.lessons import artifacts, recipes
from dmaf_lite.lessons.artifacts import load_or_make
from dmaf_lite.lessons.exercises import lesson_15 as exercises
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.methods.weights import load_weights, shipped, weights_digest
from dmaf_lite.spec import BRATS

check_parameters(globals())
device = choose_device()

# %%
path = artifacts.root() / run_name / "weights.safetensors" if run_name else shipped("dmaf_net_phantom")
net, card = load_weights(path, device)
calibration = read_calibration(beside(path), weights_digest(net))
config = {"train": cases_threshold, "val": 1, "test": cases_unseen, "seed": seed + 1000, "spacing": card["spacing"][0]}
folder = load_or_make("unseen-cohort", recipes.make_cohort, config)
cohort, names = Cohort(folder / "prepared"), read_split(folder / "split")["test"][:cases]
spacing, windows = cohort.meta(names[0])["spacing"], windows_of(card)
print(f"calibrated on {calibration.studies} studies: {calibration.data}\nothers looked at here: {len(names)}")

# %% [markdown]
# We segment every [study](../docs/glossary.md#study) from all of its fifteen [subsets](../docs/glossary.md#subset), in one pass each, and keep the voxels of the **zone**: those to
# which at least one subset gives some chance (2 %) of tumour.

# %%
everything = (True,) * BRATS.M
studies = []
for name in names:
    images, truth = cohort.read(name)
    studies.append(observed.observe(net, images, truth, everything, spacing, spec=BRATS, settings=windows))
print("voxels of the zone, study by study:", [len(study.truth) for study in studies])

# %% [markdown]
# ## 1 · Do probabilities keep their word?
#
# Of all voxels that are given a probability near 0.8 for "tumour", about 80 % should be tumour. Put the voxels into
# bins by what was promised, and compare with what came. The mean distance between both, weighted by the size of the
# bins, is the **expected calibration error**.

# %%
def calibration_error_by_hand(promised, came, bins=10):
    """Mean distance between promise and truth over the bins."""
    which = np.minimum((promised * bins).astype(int), bins - 1)
    error = 0.0 if len(promised) else np.nan
    for b in np.unique(which):
        inside = which == b
        error += inside.mean() * abs(promised[inside].mean() - came[inside].mean())
    return error


def of_subset(mask, region, scaling=None):
    """Promised probability of a region and whether it came, where a subset sees a chance of it, all studies together."""
    labels = sorted(BRATS.regions[region])
    p, truth = (np.concatenate(parts, axis=-1) for parts in zip(*(study.of(mask) for study in studies), strict=True))
    near = zone_of(p, labels)
    return (scaling or Scaling())(p)[labels].sum(axis=0)[near], BRATS.region_mask(truth, region)[near]

# %%
shown = {name: BRATS.mask_of([name]) for name in BRATS.modalities} | {"all four": everything}
table = pd.DataFrame({name: {region: calibration_error_by_hand(*of_subset(mask, region)) for region in BRATS.regions}
                      for name, mask in shown.items()})
print("expected calibration error in the zone\n" + table.round(3).to_string())

# %% [markdown]
# Why the zone? A head has some hundred thousand voxels in which nobody suspects a tumour. To be right there is easy,
# and so many easy voxels hide any error.
#
# **Before you run**: the same probabilities, judged in the whole box and in the zone. How many times larger is the
# error in the zone?
#
# <details><summary>Answer</summary>About seven or eight times: nearly as many times as the box has more voxels than the zone. What
# lies outside the zone adds voxels, and next to no error.</details>

# %%
images, truth = cohort.read(names[0])
whole = subset_probabilities(net, images, np.array([shown["T1"]]), settings=windows)[0].cpu().numpy()
where = {"the whole box": np.ones(truth.shape, bool), "the zone": zone(whole)}
wt = {place: ((1 - whole[0])[inside], (truth > 0)[inside]) for place, inside in where.items()}
for place, (promised, came) in wt.items():
    print(f"{place:14s} {len(came):7d} voxels, error {calibration_error_by_hand(promised, came):.4f}")

# %% tags=["check"]
for pair in (*wt.values(), of_subset(everything, "ET")):
    np.testing.assert_allclose(calibration_error_by_hand(*pair), expected_calibration_error(*pair), atol=1e-6)
assert calibration_error_by_hand(*wt["the zone"]) > calibration_error_by_hand(*wt["the whole box"])

# %% [markdown]
# ## 2 · Mend them
#
# A network that is too sure needs flatter probabilities: take their logarithms, multiply by a slope below 1, and
# normalise again, $q = \mathrm{softmax}(s \log p + b)$. With $b = 0$ that is temperature scaling ($s = 1/T$); with one number more
# per [class](../docs/glossary.md#class), classes that are promised too often are taken back. The fit is one line of maximum likelihood. It
# was made per subset on other studies; here it meets new ones.

# %%
def scaled_by_hand(p, slope, bias):
    """softmax(slope * log p + bias) over the first axis."""
    powered = np.maximum(p, 1e-6) ** slope * np.exp(np.asarray(bias)).reshape(-1, *[1] * (p.ndim - 1))
    return powered / powered.sum(axis=0)


for name, mask in shown.items():
    scaling = calibration.subsets[BRATS.subset_name(mask)].scaling
    print(f"{name:9s} slope {scaling.slope:.2f}, bias {np.round(scaling.bias, 2)}")

# %%
def after(mask):
    """The scaling of a subset."""
    return calibration.subsets[BRATS.subset_name(mask)].scaling


errors = {region: {when: np.nanmean([expected_calibration_error(*of_subset(mask, region, scaling(mask)))
                                  for mask in BRATS.subsets()])
                   for when, scaling in (("before", lambda mask: Scaling()), ("after", after))}
          for region in BRATS.regions}
print("mean over fifteen subsets\n" + pd.DataFrame(errors).round(3).to_string())

# %% tags=["hide-input"]
def draw_diagram(ax, mask, region, title):
    for label, scaling, colour in (("before", Scaling(), "0.6"), ("after", after(mask), figures.REGION_COLOURS[region])):
        bins = reliability(*of_subset(mask, region, scaling))
        ax.plot(bins[:, 1], bins[:, 2], "o-", ms=3, color=colour, label=label)
    ax.plot([0, 1], [0, 1], ":", color="0.3")
    ax.set(title=title, xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="promised")


@figures.figure
def diagrams(region):
    """One reliability diagram per single scan and for all."""
    fig, axes = plt.subplots(1, len(shown), figsize=(figures.WIDTH, 2.3), sharey=True)
    for ax, (name, mask) in zip(axes, shown.items(), strict=True):
        draw_diagram(ax, mask, region, f"{region}, {name}")
    axes[0].set_ylabel("came true")
    axes[0].legend(loc="lower right", fontsize=7)
    return fig


figures.show(diagrams("WT"), alt="Reliability diagrams of the whole tumour from each scan alone and from all four, before "
                                 "and after scaling, with the diagonal of perfect promises")

# %% tags=["check"]
p, _ = studies[0].of(everything)
scaling = after(everything)
np.testing.assert_allclose(scaled_by_hand(p, scaling.slope, scaling.bias), scaling(p), atol=1e-4)
q = scaling(p)
np.testing.assert_allclose(q.sum(axis=0), 1, atol=1e-5)
assert (q[3] <= q[[1, 3]].sum(axis=0) + 1e-6).all(), "regions stay nested: they are sums of the same classes"

# %% [markdown]
# Under the dotted line too much was promised. A curve far from it says how much a number like "90 % tumour" is worth
# when it comes from that scan alone.
#
# ## 3 · How good is this segmentation?
#
# If each voxel of a mask $P$ is right with probability $q$, then $\sum_P q$ voxels are right on average, and the unknown
# truth has $\sum q$ voxels. That gives a Dice **without a truth**:
# $$ \mathbb{E}\,\text{Dice} \approx \frac{2 \sum_P q}{|P| + \sum q}. $$

# %%
def expected_by_hand(p, labels):
    """Expected Dice of the region of some classes, from probabilities [K, N]."""
    q = p[labels].sum(axis=0)
    mask = np.isin(p.argmax(axis=0), labels)
    return 2 * q[mask].sum() / (mask.sum() + q.sum())


p, _ = studies[0].of(everything)
for region, labels in BRATS.regions.items():
    print(f"{region}: expected {expected_by_hand(p, sorted(labels)):.3f}, true "
          f"{studies[0].dice(everything, BRATS)[region]:.3f}")

# %% [markdown]
# Voxels are not independent, though: a tumour is missed or found as a whole. So the package adds a line per subset and
# [region](../docs/glossary.md#region), fitted on the studies of the calibration: it says what an expected Dice of 0.8 was worth there.

# %%
def promises(study, mask):
    """Region -> (taken at its word, calibrated, low, high, true) for one study and subset."""
    p, _ = study.of(mask)
    known, true = calibration.subsets[BRATS.subset_name(mask)], study.dice(mask, BRATS)
    word = expected_dice(p, BRATS)
    found = doubts(p.argmax(axis=0), known.scaling(p), BRATS)
    lines = {region: known.regions[region] for region in BRATS.regions}
    return {region: (word[region], lines[region].dice(doubt), *lines[region].dice_interval(doubt), true[region])
            for region, doubt in found.items()}

# %%
columns = ["word", "calibrated", "low", "high", "true"]
rows = pd.DataFrame([(number, BRATS.subset_name(mask), region, *values) for number, study in enumerate(studies)
                     for mask in study.masks for region, values in promises(study, mask).items()],
                    columns=["study", "subset", "region", *columns])
for region, group in rows.groupby("region", sort=False):
    error = {name: (group[name] - group["true"]).abs().mean() for name in ("word", "calibrated")}
    print(f"{region}: correlation with the true Dice {group['calibrated'].corr(group['true']):.2f}; mean error "
          f"{error['word']:.3f} taken at its word, {error['calibrated']:.3f} calibrated")
print(f"{rows.eval('low <= true <= high').mean():.0%} of the true Dice lie in their 90 % interval")

# %% tags=["hide-input"]
@figures.figure
def scatter(rows):
    """Expected against true Dice, a dot per study, subset and region."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.WIDTH, 3.4), sharey=True)
    for ax, name, title in zip(axes, ("word", "calibrated"), ("taken at its word", "calibrated"), strict=True):
        for region, group in rows.groupby("region", sort=False):
            ax.plot(group[name], group["true"], ".", color=figures.REGION_COLOURS[region], label=region, alpha=0.6)
        ax.plot([0, 1], [0, 1], ":", color="0.3")
        ax.set(xlabel="expected Dice", title=title, xlim=(0, 1), ylim=(0, 1.02))
    axes[0].set_ylabel("true Dice (synthetic)")
    axes[0].legend()
    return fig


figures.show(scatter(rows), alt="Expected against true Dice of all studies, subsets and regions, raw and calibrated")

# %% tags=["check"]
p, _ = studies[0].of(everything)
for region, labels in BRATS.regions.items():
    np.testing.assert_allclose(expected_by_hand(p, sorted(labels)), expected_dice(p, BRATS)[region], rtol=1e-4)
assert rows[["calibrated", "low", "high"]].stack().between(0, 1).all()
assert (rows["low"] <= rows["high"]).all()

# %% [markdown]
# The same for **volumes**: $\sum q$ voxels, corrected by what volumes were on the other studies, with an interval that
# holds nine of ten. That is what `predict` writes beside every segmentation:

# %%
sure = confidence(whole, calibration.subsets["T1"], BRATS, spacing)
lines = {region: {"expected Dice": one.dice, "volume (ml)": one.volume_ml, "from": one.low_ml, "to": one.high_ml,
                  "true (ml)": studies[0].true_voxels[region] * studies[0].voxel_ml}
         for region, one in sure.regions.items()}
print("study 1 from T1 alone\n" + pd.DataFrame(lines).round(2).to_string())

# %% tags=["hide-input"]
label = whole.argmax(axis=0)
affine = cohort.meta(names[0])["affine"]
level = fullest_slice(to_lps(truth, affine))
figures.show(figures.show_labels(images[2], {"truth": truth, "answer from T1": label}, affine, index=level,
                                 classes=BRATS.classes),
             alt="A slice of a synthetic study on T1: the true labels, and the answer from T1 alone")
inside = np.where(images[2] != 0, sure.map, np.nan)
figures.show(figures.show_maps({"confidence": inside}, affine, index=level, image=images[2],
                               limits=(float(np.nanmin(inside)), 1.0), unit="probability of being right"),
             alt="The same slice: T1, and the probability that the answer is right, low along the edges of the tumour")

# %% [markdown]
# ## 4 · Does one scan more make the answer surer?
#
# It should: whoever learns more should not become less certain on average. **Entropy** says how unsure a voxel is, 0 for
# a certain answer and $\log 4$ for none at all. There are 28 steps from a subset to one with a scan more. In how many
# does the mean entropy of the zone rise?

# %%
def entropies(study, scaling_of):
    """Subset -> entropy of every voxel of the zone."""
    return {mask: entropy(scaling_of(mask)(p.astype(np.float32)))
            for mask, p in zip(study.masks, study.probabilities, strict=True)}


found = {when: [violations(entropies(study, of)) for study in studies]
         for when, of in (("before scaling", lambda mask: Scaling()), ("after", after))}
for when, many in found.items():
    print(f"{when:15s} {np.mean([one.steps for one in many]):5.1%} of the steps, "
          f"{np.mean([one.voxels for one in many]):5.1%} of the voxels are less sure with a scan more")
by_scan = pd.DataFrame([one.by_scan for one in found["after"]]).mean().set_axis(BRATS.modalities)
print("by the scan that is added:", by_scan.round(2).to_dict())

# %% tags=["check"]
by_hand = []
values = entropies(studies[0], after)
for small, large, scan in steps(values):
    assert not small[scan] and large[scan]
    by_hand.append(values[large].mean() > values[small].mean())
assert len(by_hand) == 28 and np.mean(by_hand) == found["after"][0].steps

# %% [markdown]
# Not every rise is a fault: T1ce can rightly shake a FLAIR that was sure of too much. But where the rises are many, the
# [fusion](../docs/glossary.md#fusion) adds noise and not knowledge.
#
# ## 5 · A bad scan or no scan?
#
# Now spoil FLAIR with more and more noise, and compare with leaving it out.
#
# **Before you run**: [attention](../docs/glossary.md#attention) chooses among scans. Will it give a noisy FLAIR less weight?
#
# <details><summary>Answer</summary>No, hardly less: nothing in its training has told it that a scan can be bad.</details>

# %%
def scores(p, truth):
    """Mean Dice over the regions of class probabilities."""
    label = p.argmax(axis=0)
    return np.mean([dice(BRATS.region_mask(label, r), BRATS.region_mask(truth, r)) for r in BRATS.regions])


def with_noise(level):
    """Mean true Dice, expected Dice, and FLAIR's mean weight in the brain, for a noisy FLAIR."""
    spoiled = images.copy()
    spoiled[0] = damage(images[0], "noise", level, seed=seed)
    p, weights = probabilities_and_weights(net, spoiled, np.array(everything), settings=windows)
    share = 0.0 if weights is None else float(weights[0].cpu().numpy()[images[0] != 0].mean())
    p = p.cpu().numpy()
    return scores(p, truth), np.mean(list(expected_dice(p, BRATS).values())), share

# %%
curve = pd.DataFrame([with_noise(level) for level in levels], index=pd.Index(levels, name="noise"),
                     columns=["true", "expected", "weight of FLAIR"])
without = (False, True, True, True)
p = subset_probabilities(net, images, np.array([without]), settings=windows)[0].cpu().numpy()
left_out = {"true": scores(p, truth), "expected": np.mean(list(expected_dice(p, BRATS).values()))}
print(curve.round(3).T.to_string(), f"\nwithout FLAIR: {left_out['true']:.3f}, expected {left_out['expected']:.3f}")

# %% tags=["hide-input"]
@figures.figure
def noise_curve():
    """Dice and weight against noise."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(figures.WIDTH, 2.8))
    for name, style in (("true", "o-"), ("expected", "s--")):
        left.plot(curve.index, curve[name], style, color="#0072B2", label=f"FLAIR kept, {name}")
        left.axhline(left_out[name], ls=style[1:], color="#D55E00", label=f"left out, {name}")
    left.set(xlabel="noise on FLAIR (deviations)", ylabel="mean Dice (synthetic)")
    left.legend(fontsize=7)
    right.plot(curve.index, curve["weight of FLAIR"], "o-", color="#0072B2")
    right.set(xlabel="noise on FLAIR (deviations)", ylabel="weight of FLAIR", ylim=(0, 1))
    return fig


figures.show(noise_curve(), alt="Left: mean Dice falls with noise on FLAIR and crosses the line of FLAIR left out. Right: "
                                "the weight that attention gives to FLAIR hardly moves")

# %% [markdown]
# The right picture is the lesson: **attention does not notice**. Weights say where a scan is looked at, not whether it
# deserves it. The expected Dice does notice, and needs no truth.
#
# ## 6 · Repair
#
# So: predict with all scans and without each of them, all from the same encoded features, and keep the subset that
# promises most. The promise is the [calibrated](../docs/glossary.md#calibrated) one: a subset without T1ce can be very sure of a core that it cannot see.

# %%
expect = calibrated(calibration, BRATS)  # probabilities and their subset -> expected Dice


def means(p, masks):
    """Mean expected Dice of each subset."""
    return {mask: float(np.mean(list(expect(one, mask).values()))) for mask, one in zip(masks, p, strict=True)}


def repaired_by_hand(images, worth_it=0.01):
    """The subset to use."""
    masks = one_left_out(everything)
    promised = means(subset_probabilities(net, images, np.array(masks), settings=windows).cpu().numpy(), masks)
    best = max(promised, key=promised.get)
    return best if promised[best] >= promised[everything] + worth_it else everything

# %%
tries = []
for name in names[:tried]:
    images, truth = cohort.read(name)
    for scan, kind, level in ((0, "noise", 2.0), (0, "bias", 0.8), (3, "noise", 2.0), (None, "nothing", 0.0)):
        spoiled = images.copy()
        if scan is not None:
            spoiled[scan] = damage(images[scan], kind, level, seed=seed)
        found = repair(net, spoiled, everything, spec=BRATS, settings=windows, expect=expect)
        kept = scores(subset_probabilities(net, spoiled, np.array([everything]), settings=windows)[0].cpu().numpy(), truth)
        tries.append((name, kind, "-" if scan is None else BRATS.modalities[scan], found.left_out or "-", kept,
                      scores(found.probabilities, truth)))
table = pd.DataFrame(tries, columns=["study", "damage", "of", "left out", "all kept", "repaired"])
print(table.round(3).to_string(index=False))

# %%
change = table["repaired"] - table["all kept"]
print(f"{(change > 0.005).sum()} better, {(change.abs() <= 0.005).sum()} the same, {(change < -0.005).sum()} worse; "
      f"mean change {change.mean():+.3f} Dice")

# %% tags=["check"]
again = repair(net, images, everything, spec=BRATS, settings=windows, expect=expect)
assert repaired_by_hand(images) == again.kept
assert again.mean(again.kept) >= again.mean(everything)

# %% [markdown]
# Read the table with care. A promise is about the answer, not about the scan: where a study is hard, leaving out a scan
# that disagrees can look better than it is, and a wrong answer can be a very sure one. Noise is found more easily than a
# smooth bias. What repair needs is a threshold, and a person who is told what was left out.
#
# ## 7 · Which scan next?
#
# The other way round: a study has a few scans. Which one is worth another quarter of an hour in the scanner? The
# calibration knows, for each subset and region, what share of the missing Dice every further scan has brought on
# average; times what is missing **here**, that is the expected gain.

# %%
def gain_by_hand(expected, shares):
    """Expected gain in mean Dice: region -> expected Dice, region -> recovered share."""
    return float(np.mean([shares[region] * (1 - expected[region]) for region in shares]))


expected = {region: one.dice for region, one in sure.regions.items()}
gain = {scan: gain_by_hand(expected, shares) for scan, shares in calibration.subsets["T1"].recovered.items()}
print("study 1 has T1; expected gain of", {scan: round(g, 3) for scan, g in gain.items()})
next_scan = calibration.quality["next_scan"]
print("mean true gain on other studies, chosen by", {way: round(g, 3) for way, g in next_scan.items()})

# %% tags=["check"]
assert next(iter(sure.gains)) == max(gain, key=gain.get)
np.testing.assert_allclose([sure.gains[scan] for scan in gain], list(gain.values()), rtol=1e-6)
assert next_scan["random"] < next_scan["ours"] <= next_scan["oracle"], "better than chance, no better than the truth"

# %% [markdown]
# The plain mean table (`table`) is nearly as good as knowing the truth (`oracle`): what a scan brings depends on the
# scans much more than on the patient.
#
# ## 8 · When to promise nothing
#
# All of this holds for studies like those of the calibration. So the kit looks at the scans themselves: how many litres,
# which grey values, how the rim of the brain stands out, how scans go together. What no study had is said in words.

# %%
images, _ = cohort.read(names[0])
swapped = images[[3, 1, 2, 0]]
turned = images.copy()
turned[2] = -turned[2]
situations = {"as it is": (images, spacing), "FLAIR and T2 swapped": (swapped, spacing), "T1 inverted": (turned, spacing),
              "voxels in metres": (images, np.array(spacing) / 1000)}
said = {what: unfamiliar(features(scans, everything, mm, BRATS), calibration.experience)
        for what, (scans, mm) in situations.items()}
for what, sentences in said.items():
    print(textwrap.fill(f"{what}: {sentences[0] if sentences else 'nothing unusual'}", 100, subsequent_indent="    "))

# %% tags=["check"]
assert all(said[what] for what in situations if what != "as it is"), "what is wrong is said"
assert len(said["as it is"]) <= len(said["FLAIR and T2 swapped"])

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
apart = (rows["calibrated"] - rows["true"]).abs().groupby(rows["region"], sort=False).mean()
print("expected and true Dice lie apart by", ", ".join(f"{region} {value:.2f}" for region, value in apart.items()))
print(f"FLAIR with noise {levels[-1]:g}: true Dice {curve['true'].iloc[-1]:.2f} if it is kept, {left_out['true']:.2f} if it is left "
      f"out;\nits weight {curve['weight of FLAIR'].iloc[0]:.2f} when clean, {curve['weight of FLAIR'].iloc[-1]:.2f} when spoiled")

# %% [markdown]
# One may believe it as far as its calibration shows: on studies like those of the fit, expected Dice and volume come with intervals that can be
# counted. A bad scan can do worse than none; attention does not notice, the expected Dice often does. Where a study is
# unlike all that was seen, nothing should be promised.
#
# ## In practice
#
# - `python -m dmaf_lite calibrate --weights W` fits all of this for weights of your own, on synthetic studies or on a
#   prepared `--cohort` that was not trained on. The file lies beside the weights and belongs to them alone.
# - `python -m dmaf_lite predict` then writes expected Dice, volumes with intervals and the next scan into its JSON file,
#   and with `--confidence-map` a map. Without a calibration it says so and writes none.
# - Intervals are promises about studies like those of the calibration. The kit's are synthetic: for patients, calibrate
#   on patients. For research and teaching, not a medical device.
#
# ## What we built
#
# - measured calibration where it matters, and saw the background hide an error
# - mended probabilities by a slope and a bias per class, and tried them on studies that the fit had not seen
# - let the network say its own Dice, without a truth, and held it against the truth
# - counted how often a scan more makes an answer less sure
# - saw a bad scan do worse than none while attention did not notice, and left it out
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. Of the voxels that are promised 0.8, how many should be tumour?
#    <details><summary>Answer</summary>80 %.</details>
# 2. Where is the calibration error larger, in the whole box or in the zone?
#    <details><summary>Answer</summary>In the zone.</details>
# 3. How many steps lead from a subset of four scans to one with a scan more?
#    <details><summary>Answer</summary>28: the four scans can be added to 8 subsets each, less the 4 steps from the
#    empty one.</details>
# 4. A mask of four voxels, each right with probability 0.5, and nothing outside it. Which Dice is expected?
#    <details><summary>Answer</summary>2 · 2 / (4 + 2) = 0.67.</details>
# 5. FLAIR and T2 are swapped. Is anything said?
#    <details><summary>Answer</summary>Yes: their grey values are unlike those of any study of the calibration.</details>

# %% tags=["check", "hide-input"]
assert calibration_error_by_hand(np.full(10, 0.8), np.arange(10) < 8) < 1e-9
assert calibration_error_by_hand(*wt["the zone"]) > calibration_error_by_hand(*wt["the whole box"])
assert len(by_hand) == 28 == BRATS.M * 2 ** (BRATS.M - 1) - BRATS.M
half = np.stack([np.full(4, 0.5 - 1e-9), *np.zeros((2, 4)), np.full(4, 0.5 + 1e-9)])
assert round(float(expected_by_hand(half, [3])), 2) == 0.67
assert said["FLAIR and T2 swapped"]

# %% [markdown]
# ## Exercises

# %% [markdown] tags=["exercise"]
# ### Exercise 15.1 · Promise and truth
# One bin $b$ of a reliability diagram: of the voxels whose promise $p_i$ lies in [low, high), the mean promise and the share
# that came true ($y_i = 1$),
# $$ \frac{1}{|b|} \sum_{i \in b} p_i \quad\text{and}\quad \frac{1}{|b|} \sum_{i \in b} y_i . $$
# Expect: an empty bin gives `nan` twice.

# %% tags=["exercise"]
def one_bin(promised, came, low, high):
    """Promises in [0, 1] and booleans, arrays of one length -> (mean promise, share that came true)."""
    # >>> your turn: 15.1 promise and truth
    inside = (promised >= low) & (promised < high)
    if not inside.any():
        return np.nan, np.nan
    return float(promised[inside].mean()), float(came[inside].mean())
    # <<<

# %% tags=["exercise"]
exercises.check_15_1(one_bin)

# %% [markdown] tags=["exercise"]
# ### Exercise 15.2 · A Dice without a truth
# From the probability $q$ of each voxel, the expected Dice of the mask $P = \{q \geq t\}$,
# $$ \mathbb{E}\,\text{Dice} \approx \frac{2 \sum_P q}{|P| + \sum q} . $$
# Which of some thresholds $t$ promises most? Expect: not always a half. For $q$ = (0.9, 0.4, 0.4) and the thresholds 0.3 and
# 0.5 it is 0.3.

# %% tags=["exercise"]
def best_threshold(q, thresholds):
    """Probabilities [N] and a list of thresholds -> the threshold with the highest expected Dice."""
    # >>> your turn: 15.2 a Dice without a truth
    def expected(t):
        mask = q >= t
        return 2 * q[mask].sum() / (mask.sum() + q.sum())

    return max(thresholds, key=expected)
    # <<<

# %% tags=["exercise"]
exercises.check_15_2(best_threshold)

# %% [markdown] tags=["exercise"]
# ### Exercise 15.3 · Which scan to leave out
# From the expected Dice $E$ with all scans (`"nothing"` left out) and without each one, what to leave out: the scan $m$ with
# the largest $E_m$, if $E_m \geq E_\text{nothing}$ + `worth_it`, else `"nothing"`. Expect: `leave_out({"nothing": 0.80, "T1": 0.85}, 0.01)`
# is `"T1"`, and with `worth_it` = 0.1 it is `"nothing"`.

# %% tags=["exercise"]
def leave_out(expected, worth_it):
    """A dict from what is left out ("nothing" or a scan) to expected Dice -> what to leave out."""
    # >>> your turn: 15.3 which scan to leave out
    best = max(expected, key=expected.get)
    return best if expected[best] >= expected["nothing"] + worth_it else "nothing"
    # <<<

# %% tags=["exercise"]
exercises.check_15_3(leave_out)

# %% [markdown]
# ## Next
#
# Whatever is promised has to be shown again from the start: the last lesson puts all results into one report.
