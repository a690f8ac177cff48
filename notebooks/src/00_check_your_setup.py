# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 00 · Check your setup
#
# At the end you know that your computer can run every lesson, and you have met your first patient, a synthetic one.
#
# **Question** what does a network still find when one of four scans is missing, and can your computer show it?
#
# **Do** check packages, memory and device; draw a first synthetic study.
#
# **Learn**
# - to tell which package is not there or too old, and what to install
# - to name what your computer computes with, and how precisely
# - to read four MRI [modalities](../docs/glossary.md#modality) of one brain side by side
#
# **Need** nothing before this; a computer with 4 GB of memory.
#
# Not here: how the network works. That begins in lesson 02.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
spacing: float = 3.0  # edge of a voxel in mm; BraTS has 1

# %% tags=["setup"]
import os
import sys
from importlib.metadata import PackageNotFoundError, requires, version

import numpy as np
import torch
from packaging.requirements import Requirement

from dmaf_lite import figures
from dmaf_lite.base.device import choose_device, choose_precision
from dmaf_lite.lessons import hero
from dmaf_lite.lessons.parameters import check_parameters
from dmaf_lite.phantom.brain import BrainSettings, make_brain
from dmaf_lite.spec import BRATS

check_parameters(globals())

# %% [markdown]
# ## 1 · A result first
#
# A brain tumour is looked at on four MRI scans: FLAIR, T1ce, T1 and T2. The picture below shows a synthetic [study](../docs/glossary.md#study) that the
# shipped network has never seen, and what the network finds from all four scans and from fewer. WT is the whole tumour,
# TC its core, ET the enhancing part. Yellow is ET, orange the rest of the core (NCR/NET: dead or not enhancing), green
# the swollen brain around it (ED, [oedema](../docs/glossary.md#oedema)); the numbers are [Dice](../docs/glossary.md#dice), the overlap with the reference (1 is perfect).
#
# **Before you run**: the absence of which scan hurts most, and for which [region](../docs/glossary.md#region)?
#
# <details><summary>Answer</summary>T1ce, for ET: nothing but T1ce shows what takes up the contrast agent.</details>

# %%
first = hero.first_study(seed)
figures.show(hero.picture(first), alt=hero.ALT)

# %% tags=["check"]
lost = {region: first.scores["all four"][region] - first.scores["without T1ce"][region] for region in BRATS.regions}
print("without T1ce the Dice falls by", ", ".join(f"{region} {value:.2f}" for region, value in lost.items()))
assert max(lost, key=lost.get) == "ET", "the enhancing tumour suffers most"

# %% [markdown]
# FLAIR alone finds the whole tumour nearly as well as all four scans do. T1ce alone finds the core. How a network can work
# with whatever is there, and what can be done for the regions that suffer, is the subject of this kit.
#
# ## 2 · Packages
#
# The kit says in one place, `pyproject.toml`, what it needs. We compare that list with what is installed here.


# %%
def state_of(requirement: Requirement) -> str:
    """``OK``, or what to install."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f'missing: pip install "{requirement}"'
    fits = requirement.specifier.contains(found, prereleases=True)
    return "OK" if fits else f'{found} does not fit: pip install "{requirement}"'


# %%
needed = [Requirement(text) for text in requires("dmaf-lite") or []]
needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
report = {f"{r.name} {r.specifier}": state_of(r) for r in needed}
for requirement, state in report.items():
    print(f"{requirement:36s} {state}")

# %% [markdown]
# Every line should end in OK. If one does not, run what it says in a terminal, restart the kernel, and run this
# lesson again.

# %% tags=["check"]
assert needed, "the package dmaf-lite is not installed: run `make env`, then choose the kernel of .venv"
assert set(report.values()) == {"OK"}, [line for line in report.items() if line[1] != "OK"]

# %% [markdown]
# ## 3 · Kernel and computer
#
# The kernel is the Python that runs these cells. Versions 3.11 to 3.14 can be installed; the kit is tested with 3.11, and was tried with 3.12 and 3.13.

# %%
device = choose_device()
precision = choose_precision("auto", device)
print(f"Python     {sys.version.split()[0]}")
print(f"torch      {torch.__version__}, threads: {torch.get_num_threads()}, cores: {os.cpu_count()}")
print(f"device     {device.type}")
print(f"precision  {str(precision).removeprefix('torch.')}")

# %% [markdown]
# `device` is what networks run on: `cuda` is an NVIDIA GPU, `mps` an Apple one, `cpu` works for every lesson.
# `precision` is `bfloat16` where the hardware multiplies such numbers itself. What that gains is measured in lesson 08.


# %%
def memory_gb() -> float:
    """Memory of this computer; NaN where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return float("nan")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


print(f"memory     {memory_gb():.0f} GB")

# %% tags=["check"]
assert (3, 11) <= sys.version_info[:2] <= (3, 14), "choose a kernel with Python 3.11 to 3.14"
assert not memory_gb() < 4, "the lessons need 4 GB of memory; close other programs or use another computer"

# %% [markdown]
# One multiplication tells whether the device really works, in the precision that the kit will use on it.

# %% tags=["check"]
a = torch.rand(64, 64, generator=torch.Generator().manual_seed(seed))
on_device = a.to(device, precision)
result = (on_device @ on_device.T).float().cpu()
# bfloat16 keeps 8 bits of a number: an error up to 1 % is its nature, more would be a fault.
torch.testing.assert_close(result, a @ a.T, rtol=0.02, atol=0.05)

# %% [markdown]
# ## 4 · A first patient, synthetic
#
# Real scans may not be passed on, so the kit makes its own: a [**phantom**](../docs/glossary.md#phantom), four MRI modalities of one brain with a
# tumour in it, made from a seed. It is saved in the same files as the real cohort (lesson 01).

# %%
study = make_brain(seed, 0, BrainSettings(spacing=spacing))
for name in BRATS.modalities:
    inside = study[name][study[name] > 0]
    print(f"{name:6s} {study[name].shape} voxels, mean inside the brain {inside.mean():6.1f}")

# %% tags=["hide-input"]
images = {name: study[name] for name in BRATS.modalities}
fig = figures.show_modalities(images, study["affine"], label=np.where(study["seg"] == 4, 3, study["seg"]),
                              classes=BRATS.classes)
figures.show(fig, alt="One axial slice of a synthetic brain in FLAIR, T1ce, T1 and T2, with the tumour's classes")

# %% [markdown]
# Look for the tumour in each picture: the oedema (swelling) is the brightest part of FLAIR; on T2 it is brighter than the
# brain around it, but fluid is brighter still; the active rim is bright on T1ce alone; and T1 shows little. No modality
# shows everything, and that is the reason for this kit.

# %% [markdown]
# **Before you run**: the same study is made a second time from the same seed. How many voxels will differ?
#
# <details><summary>Answer</summary>None. Everything random comes from the seed.</details>

# %% tags=["check"]
again = make_brain(seed, 0, BrainSettings(spacing=spacing))
assert all(np.array_equal(study[name], again[name]) for name in study), "the same seed gives the same patient"
assert set(np.unique(study["seg"])) <= {0, 1, 2, 4}, "the label values of BraTS2020"
assert all((study[name] != 0).any() for name in BRATS.modalities), "every modality shows a brain"

# %% [markdown]
# ## The answer

# %% tags=["hide-input"]
scores = first.scores
print(f"ET: {scores['all four']['ET']:.2f} from all four scans, {scores['without T1ce']['ET']:.2f} without T1ce; "
      f"WT: {scores['all four']['WT']:.2f} from all four, {scores['FLAIR alone']['WT']:.2f} from FLAIR alone")

# %% [markdown]
# Without T1ce the whole tumour is still found and its enhancing part is mostly lost; your computer has just shown it.
# One synthetic study is an example, not a result: the results, with [intervals](../docs/glossary.md#bootstrap-interval), are in lesson 09.
#
# ## In practice
#
# - A wrong kernel is the most frequent trouble: choose the one of `.venv` (top right in JupyterLab).
# - Nothing is downloaded in any lesson, and none needs a GPU.
# - More answers are in [troubleshooting](../docs/troubleshooting.md).
#
# ## What we built
#
# - compared the installed packages with what the kit asks for
# - named device, precision and memory, and checked that the device computes what it should
# - made a synthetic study twice and found it the same
#
# ## Five questions
#
# Answer first, then unfold. The cell below checks the answers against the numbers of this lesson.
#
# 1. How many non-empty [subsets](../docs/glossary.md#subset) of four scans are there?
#    <details><summary>Answer</summary>15, which is 2⁴ − 1.</details>
# 2. Which region suffers most when T1ce is [missing](../docs/glossary.md#available-and-missing)?
#    <details><summary>Answer</summary>ET, the enhancing tumour.</details>
# 3. Which value do BraTS 2020 files use for ET?
#    <details><summary>Answer</summary>4; inside the kit it is 3.</details>
# 4. You make the same study again with the same seed. What changes?
#    <details><summary>Answer</summary>Nothing.</details>
# 5. Does any lesson need a GPU or the internet?
#    <details><summary>Answer</summary>No. The device is chosen from what is there, and `cpu` works for every lesson.</details>

# %% tags=["check", "hide-input"]
assert len(BRATS.subsets()) == 15
assert max(lost, key=lost.get) == "ET"
assert set(np.unique(study["seg"])) <= {0, 1, 2, 4} and BRATS.regions["ET"] == {3}
assert np.array_equal(study["FLAIR"], again["FLAIR"])
assert device.type in ("cpu", "cuda", "mps")

# %% [markdown]
# ## Next
#
# How such a study lies on disk, and what it means to lose some of its modalities.
