"""A small SVG canvas: boxes, arrows and letters with indices, readable on a light and on a dark page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

# Every drawing brings its own paper, so its ink is readable whatever page it lies on.
CSS = """
.paper{fill:#ffffff}.soft{fill:#f1f4f7}.ink{fill:#1b1f24}.quiet{fill:#5b6570}
.edge{stroke:#3a424b;fill:none}.gone{stroke:#9aa4ae;fill:none;stroke-dasharray:5 4}
text{font-family:"DejaVu Sans",Verdana,sans-serif;font-size:15px}
.math{font-family:"DejaVu Serif",Georgia,serif;font-style:italic;font-size:17px}
.small{font-size:13px}.title{font-weight:bold}
@media (prefers-color-scheme: dark){.paper{fill:#12161b}.soft{fill:#222a32}.ink{fill:#e9edf1}.quiet{fill:#a9b4bf}
.edge{stroke:#c3ccd5}.gone{stroke:#6f7a85}}
"""
INDEX = re.compile(r"([_^])(\{[^}]*\}|.)")


class Canvas:
    """Shapes are added one after the other; `svg` is the whole.

    Args:
        width, height: Of the drawing, in pixels.
        title: Read aloud instead of the picture.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []
        self.letters: list[str] = []  # as written: "e^m_l"

    def box(self, x: float, y: float, w: float, h: float, *, colour: str = "", css: str = "edge", fill: str = "",
            radius: float = 6, thick: float = 1.6) -> None:
        """A box; `colour` is of its edge, `fill` of a faint tint inside."""
        if fill:
            self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius:g}" fill="{fill}" '
                              'fill-opacity="0.22"/>')
        stroke = f' style="stroke:{colour}"' if colour else ""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{radius:g}" class="{css}"'
                          f'{stroke} stroke-width="{thick:g}"/>')

    def arrow(self, *points: tuple[float, float], colour: str = "", css: str = "edge", head: bool = True,
              thick: float = 1.6) -> None:
        """A line through points [(x, y), ...] with a head at its end."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        stroke = f' style="stroke:{colour}"' if colour else ""
        self.parts.append(f'<path d="{path}" class="{css}"{stroke} stroke-width="{thick:g}"/>')
        if head:
            (x0, y0), (x, y) = points[-2:]
            length = max(((x - x0) ** 2 + (y - y0) ** 2) ** 0.5, 1e-9)
            u, v = (x - x0) / length, (y - y0) / length
            tip = f"{x:g},{y:g} {x - 9 * u + 4 * v:g},{y - 9 * v - 4 * u:g} {x - 9 * u - 4 * v:g},{y - 9 * v + 4 * u:g}"
            look = f'style="fill:{colour}"' if colour else 'class="quiet"'
            self.parts.append(f'<polygon points="{tip}" {look}/>')

    def text(self, x: float, y: float, words: str, *, css: str = "ink", anchor: str = "middle",
             colour: str = "") -> None:
        """Plain words; `y` is the base line."""
        fill = f' style="fill:{colour}"' if colour else ""
        start = f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{css}"{fill}>'
        self.parts.append(f"{start}{escape(words)}</text>")

    def lines(self, x: float, y: float, words: Sequence[str], *, css: str = "ink small", anchor: str = "middle",
              step: float = 17) -> None:
        """Several lines of words."""
        for number, line in enumerate(words):
            self.text(x, y + number * step, line, css=css, anchor=anchor)

    def math(self, x: float, y: float, letters: str, *, anchor: str = "middle", css: str = "ink") -> None:
        """Letters with indices, such as ``e^m_l`` or ``x_{k}``; written into `letters`."""
        self.letters.append(letters)
        parts, last, risen, before = [], 0, 0.0, 0
        for found in INDEX.finditer(letters):
            plain = letters[last : found.start()]
            parts.append(self._piece(plain, -risen, ""))
            risen = 0.0 if plain else risen
            lift = -7 if found[1] == "^" else 5
            body = found[2].strip("{}")
            # two indices of one letter stand above each other
            back = f' dx="-{0.58 * before:g}em"' if not plain and last else ""
            parts.append(f'<tspan dy="{lift - risen:g}" font-size="12"{back}>{escape(body)}</tspan>')
            risen, last, before = lift, found.end(), len(body)
        parts.append(self._piece(letters[last:], -risen, ""))
        start = f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{css} math">'
        self.parts.append(f"{start}{''.join(parts)}</text>")

    @staticmethod
    def _piece(words: str, lift: float, more: str) -> str:
        if not words:
            return ""
        return f'<tspan dy="{lift:g}"{more}>{escape(words)}</tspan>' if lift else escape(words)

    def svg(self) -> str:
        """The drawing as a file."""
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img">\n<title>{escape(self.title)}</title>\n'
                f"<style>{CSS}</style>\n")
        paper = f'<rect class="paper" width="{self.width}" height="{self.height}" rx="8"/>\n'
        return head + paper + "\n".join(self.parts) + "\n</svg>\n"
