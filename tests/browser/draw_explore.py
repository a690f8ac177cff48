"""Draw docs/explore.webp, the moving picture of the README, from the page that needs no Python:

    python tests/browser/draw_explore.py
"""

from __future__ import annotations

import io

from driver import Browser
from PIL import Image

from dmaf_lite.lessons.application.library import SHIPPED
from dmaf_lite.lessons.source import Workspace

# What is pressed, and for how many milliseconds the reader sees what came of it.
STEPS = [("", 1500), *[("ArrowUp", 250)] * 4, ("2", 1800), ("3", 1500), ("4", 1800), ("4", 700), ("3", 700),
         ("2", 1500), ("1", 1800), ("1", 1200), *[("ArrowDown", 250)] * 4]
WIDTH, HEIGHT = 1280, 1040


def frames(browser: Browser) -> list[Image.Image]:
    """The page after each step."""
    page = browser.page
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.emulate_media(color_scheme="light")
    page.goto(SHIPPED.as_uri())
    page.locator("html[data-ready=true]").wait_for()
    page.wait_for_timeout(1000)
    seen = []
    for key, _ in STEPS:
        if key:
            page.keyboard.press(key)
        page.wait_for_timeout(400)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        seen.append(shot.resize((WIDTH * 3 // 4, HEIGHT * 3 // 4), Image.Resampling.LANCZOS))
    return seen


def main() -> None:
    """Write the picture and say how large it is."""
    with Browser() as browser:
        first, *others = frames(browser)
    path = Workspace().root / "docs" / "explore.webp"
    first.save(path, save_all=True, append_images=others, duration=[time for _, time in STEPS], loop=0, quality=70,
               method=4)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
