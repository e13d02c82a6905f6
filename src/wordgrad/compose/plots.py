"""Two small plots as SVG: in the colours of the page they stand in, or as files of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

STYLE = """
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
.dot { fill: #2f6feb; } .open, .line { fill: none; stroke: #2f6feb; } .thick { stroke: #2f6feb; stroke-width: 2; }
.axis { stroke: #888; stroke-opacity: .5; }
"""
"""What a page with plots needs in its own; the colours are seen on light and dark ground."""

# A file may be shown on any ground, whatever the reader's colours are: it brings its own.
_OWN = """
svg { color: #1f2328; } .ground { fill: #ffffff; }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; } .ground { fill: #0d1117; } }
"""

_WIDTH = 640
_LEFT = 60
_TOP = 20
_HIGH = 180
_BAR = 22
_NAMES = 220
_LONGEST = 28
"""Characters of a name beside its bar."""


class Point(NamedTuple):
    """A value with the interval it lies in."""

    x: float
    y: float
    low: float
    high: float
    before: float | None = None
    """What it is compared with; None where that has no value."""


class Drawing(NamedTuple):
    """What is drawn, on a ground of 640 by `height` pixels."""

    height: float
    parts: tuple[str, ...]

    def inline(self) -> str:
        """As a part of a page that has `STYLE`."""
        return f'<svg {self._size} role="img">{"".join(self.parts)}</svg>'

    def alone(self, title: str) -> str:
        """As a file that needs nothing else."""
        ground = '<rect class="ground" width="100%" height="100%"/>'
        inside = f"<title>{escape(title)}</title><style>{STYLE}{_OWN}</style>{ground}{''.join(self.parts)}"
        return f'<svg xmlns="http://www.w3.org/2000/svg" {self._size} role="img">{inside}</svg>\n'

    @property
    def _size(self) -> str:
        return f'viewBox="0 0 {_WIDTH} {self.height:.0f}" width="{_WIDTH}"'


def line(points: Sequence[Point]) -> Drawing:
    """Values over calls with their intervals, and as open circles what each is compared with; at least one point."""
    heights = [height for each in points for height in (each.low, each.high, each.before) if height is not None]
    least, most = min(heights), max(heights)
    last = max(each.x for each in points)

    def across(x: float) -> float:
        return _LEFT + x / last * (_WIDTH - _LEFT - 30) if last else _LEFT

    def down(y: float) -> float:
        return _TOP + (most - y) / (most - least or 1.0) * _HIGH

    base = _TOP + _HIGH
    parts = [
        _stroke(_LEFT, base, _WIDTH - 20, base, "axis"),
        *(_words(_LEFT - 8, down(value) + 4, f"{value:.3g}", "end") for value in (least, most)),
    ]
    for each in points:
        parts.append(_stroke(across(each.x), down(each.low), across(each.x), down(each.high), "thick"))
        parts.append(f'<circle class="dot" cx="{across(each.x):.1f}" cy="{down(each.y):.1f}" r="4"/>')
        if each.before is not None:
            parts.append(f'<circle class="open" cx="{across(each.x):.1f}" cy="{down(each.before):.1f}" r="4"/>')
        parts.append(_words(across(each.x), base + 18, f"{each.x:,.0f} calls", "middle"))
        parts.append(_words(across(each.x) - 8, down(each.y) - 6, f"{each.y:.3g}", "end"))
    path = " ".join(f"{across(each.x):.1f},{down(each.y):.1f}" for each in points)
    parts.append(f'<polyline class="line" points="{path}"/>')
    return Drawing(base + 30, tuple(parts))


def bars(values: Sequence[tuple[str, float]], number: Callable[[float], str]) -> Drawing:
    """A bar for each name, with its number as `number` writes it."""
    most = max((value for _, value in values), default=0)
    parts = []
    for place, (name, value) in enumerate(values):
        top = _TOP / 2 + place * _BAR
        long = value / most * (_WIDTH - _NAMES - 80) if most else 0.0
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        parts.append(_words(_NAMES - 10, top + 14, short, "end"))
        size = f'width="{long:.1f}" height="{_BAR - 8}"'
        parts.append(f'<rect class="dot" x="{_NAMES}" y="{top + 3:.1f}" {size}/>')
        parts.append(_words(_NAMES + long + 6, top + 14, number(value), "start"))
    return Drawing(_TOP + len(values) * _BAR, tuple(parts))


def _stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _words(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
