"""Fixtures: tiny cohorts in every layout's file names, and the data that lies beside the repository."""

from __future__ import annotations

from jaxtyping import install_import_hook

# Shapes in the annotations of these modules are checked in every test; before anything imports them.
install_import_hook(["dmaf_lite.nn.contract", "dmaf_lite.nn.fusion"], "beartype.beartype")

from pathlib import Path

import pytest
from tiny import REPOSITORY, write_tiny_case


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of shared data beside the repository; tests that need it are skipped where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the shared data (a real patient, published tables) do not lie beside this checkout")
    return folder


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
