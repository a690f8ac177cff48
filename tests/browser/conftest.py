"""Fixtures of the tests in a real browser; they skip, with a word, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from driver import Browser, JupyterServer, chromium
from lab import LabPage


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless, offline Chromium."""
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed; `make test-browser` installs it")
    if chromium() is None:
        pytest.skip("no Chromium: install it (apt-get install chromium) or name it in the variable CHROMIUM")
    with Browser() as window:
        yield window


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the server shows; tests put their notebooks into it."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def server(browser: Browser, served: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """JupyterLab on that folder. (It needs no browser, but without one there is nothing to test.)"""
    artifacts = tmp_path_factory.mktemp("artifacts")
    with JupyterServer(served, env={"DMAF_ARTIFACTS": str(artifacts), "TQDM_DISABLE": "1"}) as running:
        yield running


@pytest.fixture(scope="module")
def lab(browser: Browser, server: JupyterServer) -> LabPage:
    """JupyterLab in a tab of its own for each file of tests."""
    return LabPage(browser, server)
