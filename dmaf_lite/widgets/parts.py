"""Words in the font of the controls."""

from __future__ import annotations

FONT = "font:13px/1.5 var(--jp-ui-font-family, sans-serif); color:var(--jp-ui-font-color1, #222)"


def text(words: str, *, css: str = "") -> str:
    """HTML in the font of the controls."""
    return f'<div class="{css}" style="{FONT}">{words}</div>'
