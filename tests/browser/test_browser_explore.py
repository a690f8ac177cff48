"""`make explore`: the command starts, lets nobody in without the token, runs by itself, and shows views but no code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from driver import Browser, JupyterServer
from lab import LabPage
from tiny import REPOSITORY

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def application(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """The command of the Makefile. (It needs no browser, but without one there is nothing to test.)"""
    recipe = (REPOSITORY / "Makefile").read_text().partition("\nexplore:")[2].splitlines()[1].strip()
    assert recipe == "$(RUN) explore"
    artifacts = {"DMAF_ARTIFACTS": str(tmp_path_factory.mktemp("artifacts"))}  # as in a fresh clone
    with JupyterServer(REPOSITORY, command=[sys.executable, "-m", "dmaf_lite", "explore"], env=artifacts) as server:
        yield server


def test_nobody_gets_in_without_the_token(application: JupyterServer) -> None:
    assert application.get("/api/kernels") == (200, "[]")
    assert len(application.token) >= 40
    for path in ("/api/kernels", "/api/contents", "/api/status", "/lab/api/settings/"):
        assert application.get(path, token=False)[0] == 403, path
    name = json.loads(application.get("/api/contents")[1])["content"][0]["name"]
    assert "nbformat" in application.get(f"/files/{name}")[1]
    assert "nbformat" not in application.get(f"/files/{name}", token=False)[1], "a page that asks for the token"


def test_jupyterlab_looks_for_no_news(application: JupyterServer) -> None:
    plugin = json.loads(application.get("/lab/api/settings/@jupyterlab/apputils-extension:notification")[1])
    defaults = {name: entry["default"] for name, entry in plugin["schema"]["properties"].items()}
    assert defaults["fetchNews"] == "false" and defaults["checkForUpdates"] is False


def test_it_runs_by_itself_and_shows_views_without_code(browser: Browser, application: JupyterServer) -> None:
    page = LabPage(browser, application, application.address)
    page.page.locator(".dmaf-picture img").first.wait_for()
    code = page.page.locator(".jp-CodeCell .jp-Cell-inputWrapper")
    assert code.count() > 3 and not any(code.nth(i).is_visible() for i in range(code.count()))
    for bar in (".jp-SideBar", ".jp-NotebookPanel-toolbar"):
        assert not any(found.is_visible() for found in page.page.locator(bar).all()), bar
    # That the views answer once all cells have run is tested on the lesson itself; a fresh clone trains here first.
    assert any(page.state()["cells"]) and page.state()["raised"] == [] and browser.faults() == []
