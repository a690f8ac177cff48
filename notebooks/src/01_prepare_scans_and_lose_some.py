# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 01 · Prepare scans and lose some
#
# From five files of one patient to a store from which a network can be fed, and to a table that says which scans
# it will never see.
#
# **Do** read MRI files, normalise and crop them, and draw a table of missing scans.
#
# **Learn**
# - to read a NIfTI file and to say which side of the picture is the patient's left
# - to name what each modality shows, and prove that the tumour's regions are nested
# - to normalise a scan so that it knows nothing of the other scans
# - to make a missing-rate table whose rates are what they claim to be
#
# **Need** nothing before this; 1 minute, 1 GB of memory; paper section 1 (setting).
#
# Not here: how a network copes with what is missing. That is lesson 02.

# %% tags=["parameters"]
profile: str = "cpu-small"  # set by the runner
seed: int = 0  # one seed for everything random
layout: str = "phantom"  # or a real cohort's, such as brats2020, found in the folder that DMAF_DATA names
look_spacing: float = 2.0  # mm; voxels of the synthetic study that we look at
crop: int = 32  # voxels; side of a training crop
cases_train: int = 24  # synthetic cases of the cohort that all lessons share
cases_val: int = 4  # the same, for choosing settings
cases_test: int = 8  # the same, for the final judgement
spacing: float = 3.0  # mm; voxels of that cohort
cases_yardstick: int = 12  # cases on which the thresholds are measured

# %% tags=["setup"]
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from dmaf_lite import figures, missing, phantom, recipes
from dmaf_lite.artifacts import data_folder, load_or_make
from dmaf_lite.case import load_case
from dmaf_lite.cohort import LAYOUTS, Cohort, files_in_folder, find_cases, prepare_cohort
from dmaf_lite.exercises import lesson_01 as exercises
from dmaf_lite.figures.planes import to_lps
from dmaf_lite.spec import BRATS
from dmaf_lite.volume import background_value, bounding_box, brain_mask, crop_to, foreground, zscore

print(f"nibabel {nib.__version__}, numpy {np.__version__}, layout {layout}")

# %% [markdown]
# ## 1 · Five files
#
# Patients' scans may not be passed on, so the kit brings **phantoms**: synthetic brains with synthetic tumours,
# saved exactly as the BraTS 2020 cohort is. Everything below reads a real cohort with the same cells: set `DMAF_DATA`
# and the parameter `layout`.

# %%
scratch = Path(tempfile.mkdtemp())
if layout == "phantom":
    raw = scratch / "raw"
    phantom.write_brain_cohort(raw, count=1, seed=seed, spacing=look_spacing, workers=0)
else:
    raw = data_folder(layout)
files = find_cases(raw, layout)[0]
for path in sorted(files.images[m].parent for m in list(files.images)[:1])[0].iterdir():
    print(f"{path.name:36s} {path.stat().st_size / 1e6:5.2f} MB")

# %% [markdown]
# One file for each **modality**, and `seg`, what an annotator drew. A NIfTI file is an array with a header that says
# where it lies in the world.

# %%
file = nib.load(files.images["FLAIR"])
print("array    ", file.shape, "of", file.get_data_dtype())
print("voxel    ", " x ".join(f"{edge:.1f}" for edge in file.header.get_zooms()), "mm")
print("axes to  ", "".join(nib.aff2axcodes(file.affine)), "(L left, R right, A front, P back, S up, I down)")
print("affine   ", *np.round(file.affine, 1).tolist(), sep="\n  ")

# %% [markdown]
# ## 2 · Which side is left?
#
# The **affine** $A$ takes an array index to millimetres, $x = A\,(i, j, k, 1)^T$. NIfTI's world axes point to the
# patient's right, to the front and up. So the sign in the first column tells where the first array axis goes.

# %%
case = load_case(files, spec=BRATS, labels=LAYOUTS[layout].labels)
tumour = np.argwhere(case.label > 0)
centre = tumour.mean(axis=0)
x, y, z = (case.affine @ [*centre, 1])[:3]
step = case.affine @ [1, 0, 0, 0]
print(f"one step along the first axis moves {step[0]:+.1f} mm to the right")
side = "right" if x > 0 else "left"
print(f"the tumour's centre lies {abs(x - case.affine[0] @ [*np.array(case.shape) / 2, 1]):.0f} mm from the middle of "
      f"the volume")

# %% [markdown]
# Array order is a matter of taste, the place in the world is not: turn the array around, correct the affine, and every
# voxel stays where it was. The kit therefore turns every volume to the same order before it draws it.

# %% tags=["check"]
turned = case.label[::-1]
affine = case.affine @ np.array([[-1, 0, 0, case.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
np.testing.assert_allclose((affine @ [*np.argwhere(turned > 0).mean(axis=0), 1])[:3], [x, y, z], atol=1e-6)
assert np.array_equal(to_lps(turned, affine), to_lps(case.label, case.affine)), "drawn alike, whatever the order"
