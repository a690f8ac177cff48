"""Fixtures: tiny cohorts in every layout's file names, and the data that lies beside the repository."""

from __future__ import annotations

from jaxtyping import install_import_hook

# Shapes in the annotations of these modules are checked in every test; before anything imports them.
install_import_hook(["dmaf_lite.nn.contract", "dmaf_lite.nn.fusion"], "beartype.beartype")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tiny import REPOSITORY, write_clinical_case, write_tiny_case

# The same examples every time, and no limit on seconds: on a busy machine any example may take long.
settings.register_profile("kit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kit")

REAL = REPOSITORY.parent / "shared" / "data" / "real_case"
PATIENTS = ["built", *(["real"] if any(REAL.glob("*/*.nii.gz")) else [])]  # the real one must not be published


@pytest.fixture(scope="session", params=PATIENTS)
def patient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one study as a clinic's pre-processing leaves it, in the BraTS2020 layout.

    Built: a synthetic head, smaller than its volume, with negative intensities; and beside this checkout a real one.
    """
    if request.param == "real":
        return next(folder for folder in sorted(REAL.iterdir()) if folder.is_dir())
    return write_clinical_case(tmp_path_factory.mktemp("patient"), "synthetic")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only cohort of four tiny cases in the BraTS2020 layout; the last one lacks T1 and T2."""
    folder = tmp_path_factory.mktemp("tiny")
    for i in range(1, 5):
        modalities = ("FLAIR", "T1ce", "T1", "T2") if i < 4 else ("FLAIR", "T1ce")
        write_tiny_case(folder, f"BraTS20_Training_{i:03d}", seed=i, modalities=modalities)
    return folder


@pytest.fixture(scope="session")
def tiny_cohort(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """The same four cases prepared, as an open `Cohort`."""
    from dmaf_lite.data.cohort import Cohort, prepare_cohort

    out = tmp_path_factory.mktemp("prepared") / "store"
    report = prepare_cohort(tiny_folder, out, layout="brats2020", minimum=16, workers=0)
    assert not report.failed
    return Cohort(out)
