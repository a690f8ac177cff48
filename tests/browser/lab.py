"""One notebook in JupyterLab, driven as a person would; `window.jupyterapp` opens it and runs its cells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from driver import Browser, JupyterServer, is_blank

PICTURES = ".jp-OutputArea-output canvas, .jp-OutputArea-output img"
# The pixels of every visible picture, as a number each; null for a canvas, as WebGL keeps no pixels to read.
PIXELS = """selector => [...document.querySelectorAll(selector)].map(e => {
  if (!e.checkVisibility()) return 'hidden'
  if (e.tagName !== 'IMG') return null
  if (!e.complete || !e.naturalWidth) return 'loading'
  const c = document.createElement('canvas')
  c.width = e.naturalWidth; c.height = e.naturalHeight
  const g = c.getContext('2d')
  g.drawImage(e, 0, 0)
  try {
    const values = new Uint32Array(g.getImageData(0, 0, c.width, c.height).data.buffer)
    return values.reduce((sum, v) => (Math.imul(sum, 31) + v) | 0, values.length)
  } catch { return 'elsewhere' }  // a picture of another site, which is a fault of its own
})"""
NOTEBOOK = """() => {
  const w = window.jupyterapp.shell.currentWidget, k = w?.context?.sessionContext?.session?.kernel
  return {status: k ? k.status : 'none', path: w?.context?.path ?? '', cells: (w?.content?.widgets ?? [])
    .filter(x => x.model.type === 'code' && x.model.sharedModel.source.trim())
    .map(x => x.prompt === '*' ? null : x.model.executionCount),
    raised: (w?.content?.widgets ?? []).filter(x => x.model.type === 'code').flatMap(x => x.model.sharedModel.outputs)
      .filter(o => o.output_type === 'error').map(o => `${o.ename}: ${o.evalue}`)}
}"""
# An error in a widget's callback is shown in no cell; the kernel tells it, and JupyterLab hides it in its log.
LISTEN = """() => {
  window.inCallbacks = []
  window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.iopubMessage.connect((_, m) => {
    if (m.parent_header.msg_type === 'execute_request') return
    const {ename, evalue, name, text} = m.content
    if (m.header.msg_type === 'error') window.inCallbacks.push(`${ename}: ${evalue}`)
    if (m.header.msg_type === 'stream' && name === 'stderr') window.inCallbacks.push(text.slice(-300))
  }) }"""
WIDGETS = """() => [...document.querySelectorAll('.jp-Notebook .jp-OutputArea-output')].map(e => e.innerText)
  .filter(t => /Error displaying widget|model not found|Failed to load model class|Loading widget/i.test(t))
  .map(t => t.slice(0, 200))"""


class LabPage:
    """JupyterLab in one window. `open` shows a notebook on a new kernel, `run` executes all of it.

    Args:
        browser: The window; it collects what goes wrong.
        server: A running server with ``--LabApp.expose_app_in_browser``.
        address: What to visit; default an empty JupyterLab.
        timeout: Seconds before anything is given up.
    """

    def __init__(self, browser: Browser, server: JupyterServer, address: str = "", timeout: float = 120):
        browser.renew()
        self.browser, self.page, self.timeout = browser, browser.page, timeout
        self.page.set_default_timeout(timeout * 1000)
        self.page.goto(address or f"{server.url}/lab?reset&token={server.token}", wait_until="domcontentloaded")
        self.page.wait_for_function("() => window.jupyterapp")
        self.page.evaluate("() => window.jupyterapp.restored.then(() => true)")

    def command(self, name: str, wait: bool = True, **arguments: object) -> None:
        """Execute one of JupyterLab's commands."""
        call = "window.jupyterapp.commands.execute(n, a).then(() => true)"
        self.page.evaluate(f"([n, a]) => {call}" if wait else f"([n, a]) => {{ {call} }}", [name, arguments])

    def open(self, path: str) -> LabPage:
        """Show a notebook, close the one before, and wait until its kernel is idle; forget earlier faults."""
        self.browser.forget()
        self.page.evaluate("""() => { for (const w of [...window.jupyterapp.shell.widgets('main')]) {
            w.context?.sessionContext?.shutdown(); w.dispose() } }""")
        self.command("docmanager:open", path=path, wait=False)
        self.until(lambda: (now := self.state())["path"] == path and now["status"] == "idle")
        self.page.evaluate(LISTEN)
        return self

    def run(self) -> float:
        """Run all cells; seconds until `finished`."""
        start = time.monotonic()
        self.command("notebook:run-all-cells", wait=False)
        self.page.wait_for_timeout(300)
        self.until(self.finished)
        return time.monotonic() - start

    def run_cell(self, index: int) -> None:
        """Run one cell, counted among all, and wait until the kernel is idle."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i }", index)
        self.command("notebook:run-cell")
        self.until(lambda: self.state()["status"] == "idle")

    def state(self) -> dict:
        """Path, kernel's status, execution count of each code cell, errors of cells."""
        return self.page.evaluate(NOTEBOOK)

    def finished(self) -> bool:
        """Whether every code cell has run, or one has raised."""
        now = self.state()
        return bool(now["cells"]) and now["status"] == "idle" and (None not in now["cells"] or bool(now["raised"]))

    def until(self, holds: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until `holds()`; False after the time-out, where `faults` tells more than an exception could."""
        end = time.monotonic() + (seconds or self.timeout)
        while time.monotonic() < end:
            if holds():
                return True
            self.page.wait_for_timeout(100)
        return False

    def wait_text(self, words: str) -> None:
        """Wait until the page shows these words."""
        self.page.get_by_text(words).first.wait_for()

    def faults(self, *, pictures: bool = True) -> list[str]:
        """Everything that a person would call broken, one sentence each; empty if nothing is."""
        self.page.wait_for_timeout(300)  # what the last output asks for comes after it
        now = self.state()
        not_run = [index for index, count in enumerate(now["cells"]) if not count]
        return [*(f"a cell raised: {text}" for text in now["raised"]),
                *(f"a callback raised: {text}" for text in self.page.evaluate("() => window.inCallbacks ?? []")),
                *(f"code cell {index} did not run" for index in not_run),
                *(f"a widget does not show: {text}" for text in self.page.evaluate(WIDGETS)),
                *(f"picture {index} is blank" for index in (self.blank() if pictures else ())),
                *self.browser.faults()]

    def blank(self, selector: str = PICTURES) -> list[int]:
        """Visible pictures and canvases that have one colour only, by their number on the page."""
        found = self.page.locator(selector)
        return [i for i in range(found.count())
                if found.nth(i).is_visible() and is_blank(found.nth(i).screenshot(timeout=30_000))]

    def pixels(self, selector: str = PICTURES) -> dict[int, int | bytes]:
        """What every visible picture and canvas shows now. A slider's handle is none of them."""
        found, seen = self.page.locator(selector), {}
        for i, value in enumerate(self.page.evaluate(PIXELS, selector)):
            if value is None:
                with contextlib.suppress(Exception):  # it has just gone
                    seen[i] = found.nth(i).screenshot(timeout=20_000)
            elif not isinstance(value, str):
                seen[i] = value
        return seen

    def changes(self, act: Callable[[], object], selector: str = PICTURES, seconds: float = 15) -> list[int]:
        """Which pictures change after `act()`; those that move by themselves do not count.

        This is the proof of a whole round trip: the browser's event, the kernel's answer, new pixels.
        """
        for _ in range(12):  # what was done before may still be arriving
            before = self.pixels(selector)
            self.page.wait_for_timeout(250)
            now = self.pixels(selector)
            if now == before:
                break
        still = {i for i, shown in now.items() if before.get(i) == shown}
        act()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = self.pixels(selector)
            if hit := [i for i in still if i in now and now[i] != before[i]]:
                return hit
            self.page.wait_for_timeout(60)
        return []

    def sliders(self) -> list:
        """Handles of all visible sliders."""
        found = self.page.locator(".jp-Notebook .noUi-handle")
        return [found.nth(i) for i in range(found.count()) if found.nth(i).is_visible()]

    def dead_sliders(self, seconds: float = 15) -> list[int]:
        """Sliders after whose move, by arrow keys, no picture changes; each is moved back."""
        dead = []
        for i, handle in enumerate(self.sliders()):
            forth, back = ("ArrowRight", "ArrowLeft") if not at_end(handle) else ("ArrowLeft", "ArrowRight")
            if not self.changes(lambda h=handle, key=forth: self.nudge(h, key), seconds=seconds):
                dead.append(i)
            self.nudge(handle, back)
        return dead

    def nudge(self, handle, key: str = "ArrowRight", times: int = 4) -> None:
        """Focus a slider's handle and press a key."""
        handle.scroll_into_view_if_needed()
        handle.focus()
        for _ in range(times):
            self.page.keyboard.press(key)

    def kernel(self, code: str) -> str:
        """Run code in the notebook's kernel, not as a cell, and return what it printed."""
        return self.page.evaluate(
            """async code => {
              const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel
              const run = kernel.requestExecute({code, store_history: false})
              let text = ''
              run.onIOPub = ({header, content}) => {
                if (header.msg_type === 'stream') text += content.text
                if (header.msg_type === 'error') text += `${content.ename}: ${content.evalue}` }
              await run.done
              return text }""", code)


def at_end(handle) -> bool:
    """Whether a slider's handle can go no further up."""
    value, most = (float(handle.get_attribute(f"aria-value{name}")) for name in ("now", "max"))
    return value >= most - 1e-9
