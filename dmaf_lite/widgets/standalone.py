"""Pages that need no Python: how data and code are put together, and taken apart again.  Needs no torch itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

from dmaf_lite.base.atomic import atomic_path
from dmaf_lite.widgets.assets import page, script


def standalone(title: str, data: Mapping[str, Any]) -> str:
    """A page that needs no Python: `data` is what `page_data` gives."""
    return page(title, f"{script('page')}\nopenPage({json.dumps(data)});")


def page_data(path: str | Path) -> dict[str, Any]:
    """What an exported page holds: its `source`, and `scene` and `answers`, zipped and in base64.

    Raises:
        ValueError: It is no such page.
    """
    found = re.search(r"^openPage\((\{.*\})\);$", Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path}: found no study in it; expected a page of `explore --export`; export it again")
    return json.loads(found[1])


def renew_page(path: str | Path) -> Path:
    """Give an exported page the code of this version; its study and its answers stay."""
    path = Path(path)
    data = page_data(path)
    title = unescape(re.search("<title>(.*?)</title>", path.read_text(encoding="utf-8"))[1])
    with atomic_path(path) as partial:
        partial.write_text(standalone(title, data), encoding="utf-8")
    return path
