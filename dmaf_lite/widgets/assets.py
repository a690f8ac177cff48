"""The page's own code, as text: one scope for the explorer, whatever it is shown in.

anywidget is given text and not paths: it would watch a path, and what watches keeps every explorer alive.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

HERE = Path(__file__).parent / "page"
# In this order: each uses what stands before it.
PARTS = ("volume", "dom", "paint", "plane", "panel", "tiles", "bad", "solid", "views", "tools", "guess",
         "keys", "explorer")


@cache
def script(*more: str) -> str:
    """The explorer's code, and that of where it is shown: ``widget``, ``page`` or ``app``."""
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in (*PARTS, *more))


@cache
def styles() -> str:
    """Its looks."""
    return (HERE / "style.css").read_text(encoding="utf-8")


def page(title: str, code: str, body: str = "", *, nonce: str = "") -> str:
    """A whole HTML page that asks nobody for anything.

    Args:
        title: In plain text.
        code: JavaScript.
        body: HTML before the code.
        nonce: Of a server that lets only this code run.
    """
    from html import escape

    mark = f' nonce="{nonce}"' if nonce else ""
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">\n'
            f"<style{mark}>\n{styles()}</style></head>\n<body><main id=\"dmaf-x\">{body}</main>\n"
            f"<script{mark}>\n(() => {{ \"use strict\";\n{code}\n}})();\n</script></body></html>\n")
