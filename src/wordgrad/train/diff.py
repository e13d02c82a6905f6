"""What changed between two texts, in pieces that people can read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

# Words, runs of spaces, and single signs; a script without spaces goes sign by sign, else a whole line is one change.
_PIECES = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|\w+?(?=[\u3040-\u30ff\u3400-\u9fff])|\w+|\s+|.",
    re.DOTALL,
)


Kind: TypeAlias = Literal["same", "removed", "added"]

_KINDS: tuple[Kind, ...] = ("same", "removed", "added")
_MARKS: dict[Kind, tuple[str, str]] = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}


@dataclass(frozen=True, slots=True)
class Hunk:
    """A piece of text that is in both, or in one of them only."""

    kind: Kind
    text: str

    @property
    def marked(self) -> str:
        """For where there are no colours: `{+new+}` and `[-gone-]`."""
        return self.text.join(_MARKS[self.kind])


def pieces(text: str) -> list[str]:
    """The text cut into words, spaces and signs; joined they give the text again."""
    return _PIECES.findall(text)


class _Span(NamedTuple):
    """What both texts have next, then where they differ."""

    same: str
    removed: str
    added: str

    @property
    def change(self) -> int:
        """How much differs, in characters."""
        return max(len(self.removed), len(self.added))


def diff(before: str, after: str) -> list[Hunk]:
    """The pieces of both texts in order; without the added ones they give `before`, without the removed `after`.

    What is the same between two changes, and no longer than either, counts as changed: two sentences that share a few
    short words are one sentence gone and one new, not a mixture of both.
    """
    spans: list[_Span] = []
    for span in _spans(pieces(before), pieces(after)):
        joined = span
        while spans and len(joined.same) <= min(spans[-1].change, joined.change):
            same, removed, added = spans.pop()
            joined = _Span(same, removed + joined.same + joined.removed, added + joined.same + joined.added)
        spans.append(joined)
    hunks = [Hunk(kind, text) for span in spans for kind, text in zip(_KINDS, span, strict=True)]
    return [each for each in hunks if each.text]


def _spans(old: list[str], new: list[str]) -> Iterator[_Span]:
    same = ""
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            same = "".join(old[i:j])
        else:
            yield _Span(same, "".join(old[i:j]), "".join(new[k:m]))
            same = ""
    yield _Span(same, "", "")
