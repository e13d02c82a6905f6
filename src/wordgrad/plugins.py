"""Parts that other packages bring, by entry point; loaded when they are named."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

ENGINES = "wordgrad.engines"
"""Entry points of this group are called with the model's name and return an Engine."""


def find(group: str, name: str) -> Any | None:  # noqa: ANN401 - the group's contract says what it is
    """The object that a package registered; None where there is none."""
    for point in entry_points(group=group, name=name):
        return point.load()
    return None
