"""What changed between two texts, in pieces that people can read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Words, runs of spaces, and single signs; a script without spaces goes sign by sign, else a whole line is one change.
_PIECES = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|\w+?(?=[\u3040-\u30ff\u3400-\u9fff])|\w+|\s+|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Hunk:
    """A piece of text that is in both, or in one of them only."""

    kind: Literal["same", "added", "removed"]
    text: str


def pieces(text: str) -> list[str]:
    """The text cut into words, spaces and signs; joined they give the text again."""
    return _PIECES.findall(text)


def diff(before: str, after: str) -> list[Hunk]:
    """The pieces of both texts in order; without the added ones they give `before`, without the removed `after`."""
    old, new = pieces(before), pieces(after)
    hunks: list[Hunk] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            _add(hunks, "same", old[i:j])
            continue
        _add(hunks, "removed", old[i:j])
        _add(hunks, "added", new[k:m])
    return hunks


def _add(hunks: list[Hunk], kind: Literal["same", "added", "removed"], found: Sequence[str]) -> None:
    if found:
        hunks.append(Hunk(kind, "".join(found)))
