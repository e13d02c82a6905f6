"""Texts that are compared whole with a file."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Assert that `text` is what the golden file holds; with WORDGRAD_GOLDEN=write, write the file anew first."""
    path = _FOLDER / name
    if os.environ.get("WORDGRAD_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    assert path.read_text("utf-8") == text
