"""A Jupyter server and a real, headless, offline Chromium: every host but this machine cannot be resolved.

What a page wants from elsewhere fails at once and is kept in `Browser.external`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from dmaf_lite.lessons.application import SETTINGS

HERE = ("http://127.0.0.1", "ws://127.0.0.1", "http://localhost", "ws://localhost")
INSIDE = ("data:", "blob:", "file:", "about:", "chrome")
# As `make lab` starts it.
LAB = [sys.executable, "-m", "jupyterlab", f"--LabApp.app_settings_dir={SETTINGS}"]
FLAGS = [
    "--no-sandbox", "--disable-dev-shm-usage",  # both for containers, where tests run as root with a small /dev/shm
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
# WebGL2 in software, by SwiftShader inside Chromium: machines of continuous integration have no GPU.  All else is
# painted by the CPU, as in any Chromium without a GPU: through SwiftShader a slice takes 25 times as long.
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
               "--disable-accelerated-2d-canvas", "--disable-gpu-rasterization", "--disable-gpu-compositing"]


def chromium() -> str | None:
    """Path of Chromium: the environment variable CHROMIUM, or what is on the path; None where there is none."""
    names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


class JupyterServer(contextlib.AbstractContextManager):
    """A Jupyter application on this machine, in a session of its own and ended by its id; it makes its own token.

    Args:
        root: Folder in which it is started.
        command: What to start; default JupyterLab.
        env: More environment variables, for the server and its kernels.

    Raises:
        RuntimeError: If it ends or does not answer within 90 s; with the end of its log.
    """

    def __init__(self, root: Path, *, command: Sequence[str] | None = None, env: Mapping[str, str] | None = None):
        self.home = Path(tempfile.mkdtemp(prefix="dmaf-browser-"))
        self.address = self.token = ""  # what it prints for a person to open
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        # By a file, so that the command under test stays as people type it.
        config = {
            "ServerApp": {"port": port, "port_retries": 0, "open_browser": False, "allow_root": True},
            "LabApp": {"expose_app_in_browser": True},  # window.jupyterapp, by which the tests run cells
        }
        (self.home / "config").mkdir()
        (self.home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
        # A person's own settings, running servers and open tabs stay out of it.
        own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "run", "JUPYTER_DATA_DIR": "data",
               "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "tabs", "IPYTHONDIR": "ipython"}
        surroundings = {**os.environ, **{name: str(self.home / folder) for name, folder in own.items()}, **(env or {})}
        surroundings.pop("JUPYTER_TOKEN", None)
        self._log = (self.home / "server.log").open("wb")
        self._process = subprocess.Popen(command or LAB, cwd=root, env=surroundings,
                                         stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                                         start_new_session=True)
        self._wait(90)

    def get(self, path: str, *, token: bool = True) -> tuple[int, str]:
        """Status and text of one address of the server, with the token or without."""
        request = urllib.request.Request(f"{self.url}{path}")
        if token:
            request.add_header("Authorization", f"token {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def log(self) -> str:
        """What the server has printed so far."""
        return (self.home / "server.log").read_text(errors="replace")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if found := re.search(r"(http://127\.0\.0\.1:\d+/\S*)[?&]token=([0-9a-f]+)", self.log()):
                self.address, self.token = found[0], found[2]
                with contextlib.suppress(OSError):
                    if self.get("/api/status")[0] == 200:
                        return
            time.sleep(0.2)
        self.close()
        raise RuntimeError(f"the Jupyter server does not answer; the end of its log:\n{self.log()[-2000:]}")

    def close(self) -> None:
        """End the server and its kernels."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # its own session, its own kernels
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(5)
        self._log.close()

    def __exit__(self, *exception: object) -> None:
        self.close()
        shutil.rmtree(self.home, ignore_errors=True)


class Browser(contextlib.AbstractContextManager):
    """One window; `external`, `console` and `raised` collect what must stay empty.

    Args:
        webgl: Without it, canvases get no WebGL, as on an old laptop or a remote desktop.
    """

    def __init__(self, *, width: int = 1250, height: int = 1000, webgl: bool = True):
        from playwright.sync_api import sync_playwright

        self._profile = tempfile.mkdtemp(prefix="dmaf-chromium-")
        self._playwright = sync_playwright().start()
        self.context = self._playwright.chromium.launch_persistent_context(
            self._profile, executable_path=chromium(), headless=True, viewport={"width": width, "height": height},
            args=[*FLAGS, *(SOFTWARE_GL if webgl else ["--disable-3d-apis"])])
        self.page = self.context.pages[0]
        self.external: list[str] = []
        self.console: list[str] = []
        self.raised: list[str] = []
        self.context.on("request", lambda request: self._asked(request.url))
        self.context.on("console", self._said)
        self.context.on("weberror", lambda found: self.raised.append(str(found.error)[:400]))

    def _asked(self, url: str) -> None:
        if not url.startswith((*HERE, *INSIDE)):
            self.external.append(url[:200])

    def _said(self, message) -> None:
        if message.type == "error":
            self.console.append(f"{message.text[:300]} ({message.location.get('url', '')[:150]})")

    def renew(self) -> None:
        """A new tab in place of the old one, which may ask not to be left; start collecting anew."""
        old, self.page = self.page, self.context.new_page()
        old.close()
        self.forget()

    def forget(self) -> None:
        """Start collecting anew."""
        for found in (self.external, self.console, self.raised):
            found.clear()

    def faults(self) -> list[str]:
        """What went wrong in the browser since the last `forget`, one sentence each."""
        return [f"{kind}: {text}" for kind, found in (("external request", self.external),
                ("console error", self.console), ("page error", self.raised)) for text in dict.fromkeys(found)]

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(Exception):
            self.context.close()
        self._playwright.stop()
        shutil.rmtree(self._profile, ignore_errors=True)


def is_blank(png: bytes, least: float = 0.002) -> bool:
    """Whether fewer than the share `least` of a picture's pixels differ from its most frequent colour."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    pixels = picture.width * picture.height
    most = max(count for count, _ in picture.getcolors(pixels))
    return (pixels - most) / pixels < least


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
