"""What changed between two texts, in pieces that people can read, and what asked for it."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

# Words, runs of spaces, and single signs; a script without spaces goes sign by sign, else a whole line is one change.
_PIECES = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|\w+?(?=[\u3040-\u30ff\u3400-\u9fff])|\w+|\s+|.",
    re.DOTALL,
)

# Before a line, and after a sentence; the "1." of a list ends none.
_SENTENCES = re.compile(r"(?<=\S)(?=\n)|(?<=[^\s\d][.!?])(?=[^\S\n])|(?<=[\u3002\uff01\uff1f])(?=[^\n])")

Kind: TypeAlias = Literal["same", "removed", "added"]

_MARKS: dict[Kind, tuple[str, str]] = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}


class Hunk(NamedTuple):
    """What both texts have next, then what only one of them has there; the last one may change nothing."""

    same: str = ""
    removed: str = ""
    added: str = ""

    @property
    def parts(self) -> list[tuple[Kind, str]]:
        """Its texts in order, without empty ones."""
        parts: list[tuple[Kind, str]] = [("same", self.same), ("removed", self.removed), ("added", self.added)]
        return [(kind, text) for kind, text in parts if text]

    @property
    def marked(self) -> str:
        """For where there are no colours: `{+new+}` and `[-gone-]`."""
        return "".join(text.join(_MARKS[kind]) for kind, text in self.parts)

    @property
    def change(self) -> int:
        """How much differs, in characters."""
        return max(len(self.removed), len(self.added))


def pieces(text: str) -> list[str]:
    """The text cut into words, spaces and signs; joined they give the text again."""
    return _PIECES.findall(text)


def diff(before: str, after: str) -> list[Hunk]:
    """Both texts in order; without what was added the hunks give `before`, without what was removed `after`.

    What is the same between two changes, and no longer than either, counts as changed: two sentences that share a few
    short words are one sentence gone and one new, not a mixture of both.
    """
    hunks: list[Hunk] = []
    for hunk in _hunks(pieces(before), pieces(after)):
        joined = hunk
        while hunks and len(joined.same) <= min(hunks[-1].change, joined.change):
            same, removed, added = hunks.pop()
            joined = Hunk(same, removed + joined.same + joined.removed, added + joined.same + joined.added)
        hunks.append(joined)
    return hunks


def _hunks(old: list[str], new: list[str]) -> Iterator[Hunk]:
    same = ""
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            same = "".join(old[i:j])
        else:
            yield Hunk(same, "".join(old[i:j]), "".join(new[k:m]))
            same = ""
    if same:
        yield Hunk(same)


def by_sentence(hunks: Sequence[Hunk]) -> list[Hunk]:
    """The same changes, with each sentence and each line that went or came as a hunk of its own."""
    return [part for hunk in hunks for part in _sentences(hunk)]


def _sentences(hunk: Hunk) -> Iterator[Hunk]:
    gone, came = (_SENTENCES.split(text) for text in (hunk.removed, hunk.added))
    # Where some went and others came, the last one that went stands with the first that came.
    changes = [*((text, "") for text in gone[:-1]), (gone[-1], came[0]), *(("", text) for text in came[1:])]
    for place, (removed, added) in enumerate(changes):
        yield Hunk("" if place else hunk.same, removed, added)


def causes(hunks: Sequence[Hunk], feedback: Sequence[str]) -> list[list[str]]:
    """For each hunk the feedback that asks for it, as far as shared words tell; what shares none is in no list.

    A rewriter reads all feedback at once, and does not say which of it led to what. So each piece goes to the hunk that
    has most of its words, the first of equals. Only words that a hunk brought or took away tell something, and one that
    n pieces use counts 1 / n.

    Args:
        hunks: As `diff()` gives them.
        feedback: Each piece once.
    """
    kept = set[str]().union(*(_words(each.same) for each in hunks))
    changed = [(_words(each.removed) ^ _words(each.added)) - kept for each in hunks]
    asked = [_words(each) for each in feedback]
    uses = Counter(word for words in asked for word in words)
    found: list[list[str]] = [[] for _ in hunks]
    for text, words in zip(feedback, asked, strict=True):
        shared = [sum(1 / uses[word] for word in sorted(words & each)) for each in changed]
        if any(shared):
            found[shared.index(max(shared))].append(text)
    return found


def _words(text: str) -> set[str]:
    return {each.casefold() for each in pieces(text) if each[0].isalnum()}
