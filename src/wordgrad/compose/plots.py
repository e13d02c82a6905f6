"""Two small plots as SVG, in the colours of the page they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

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


def line(points: Sequence[Point]) -> str:
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
        _stroke(_LEFT, base, _WIDTH - 20, base, "line"),
        *(_words(_LEFT - 8, down(value) + 4, f"{value:.3g}", "end") for value in (least, most)),
    ]
    for each in points:
        parts.append(_stroke(across(each.x), down(each.low), across(each.x), down(each.high), "main", width=2))
        parts.append(f'<circle cx="{across(each.x):.1f}" cy="{down(each.y):.1f}" r="4" fill="var(--main)"/>')
        if each.before is not None:
            circle = f'cx="{across(each.x):.1f}" cy="{down(each.before):.1f}" r="4" fill="none"'
            parts.append(f'<circle {circle} stroke="var(--main)"/>')
        parts.append(_words(across(each.x), base + 18, f"{each.x:,.0f} calls", "middle"))
        parts.append(_words(across(each.x) - 8, down(each.y) - 6, f"{each.y:.3g}", "end"))
    path = " ".join(f"{across(each.x):.1f},{down(each.y):.1f}" for each in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="var(--main)"/>')
    return _svg(base + 30, parts)


def bars(values: Sequence[tuple[str, int]]) -> str:
    """A bar for each name, with its number."""
    most = max((value for _, value in values), default=0)
    parts = []
    for place, (name, value) in enumerate(values):
        top = _TOP / 2 + place * _BAR
        long = value / most * (_WIDTH - _NAMES - 80) if most else 0.0
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        parts.append(_words(_NAMES - 10, top + 14, short, "end"))
        size = f'width="{long:.1f}" height="{_BAR - 8}"'
        parts.append(f'<rect x="{_NAMES}" y="{top + 3:.1f}" {size} fill="var(--main)"/>')
        parts.append(_words(_NAMES + long + 6, top + 14, f"{value:,}", "start"))
    return _svg(_TOP + len(values) * _BAR, parts)


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img">{"".join(parts)}</svg>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: int = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="var(--{colour})" stroke-width="{width}"/>'


def _words(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
