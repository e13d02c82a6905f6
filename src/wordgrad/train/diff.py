"""What changed between two texts, in pieces that people can read, and which feedback has its words."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

_SIGNS = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
"""Of scripts without spaces."""

# Words, runs of spaces, and single signs; a script without spaces goes sign by sign, else a whole line is one change.
_PIECES = re.compile(rf"[{_SIGNS}]|\w+?(?=[{_SIGNS}])|\w+|\s+|.", re.DOTALL)

# Before a line, and after a sentence; neither "e.g. this" nor the "1." of a list ends one.
_SENTENCES = re.compile(
    r"(?<=\S)(?=\n)"
    r"|(?<=[^\s\d][.!?])(?=[^\S\n]+[^\sa-z])"
    r"|(?<=[.!?][\"')\u201d])(?=[^\S\n]+[^\sa-z])"
    r"|(?<=[\u3002\uff01\uff1f])(?=[^\n])"
)

# What tells something: words of more than three letters, an apostrophe inside included; of signs each pair.
_WORDS = re.compile(
    rf"(?:[^\s!-/:-@\[-`{{-~\u00a0-\u00bf\u2000-\u206f\u3000-\u303f{_SIGNS}]|(?<=\w)['\u2019](?=\w)){{4,}}"
)
_PAIRS = re.compile(rf"(?=([{_SIGNS}\uac00-\ud7a3]{{2}}))")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "about above after also been before being could does each every from have into just like make more most must "
        "need only other same should some such than that their them then there these they this those very what when "
        "where which while will with would your",
    )
)
_ENOUGH = 0.25
"""Of a piece of feedback's words, before a hunk has it."""

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


def placed(hunks: Sequence[Hunk], feedback: Sequence[str]) -> list[int | None]:
    """For each piece of feedback the place of the hunk that has its words; None where none has a quarter of them.

    A rewriter reads all feedback at once, and does not say which of it led to what: shared words are all there is.
    Words of up to three letters tell nothing, nor do some fifty of English, nor those that stand in both texts. Of the
    hunks that have enough the one with most has it, the first of equals; a word that n pieces use counts 1 / n.
    """
    before = "".join(each.same + each.removed for each in hunks)
    after = "".join(each.same + each.added for each in hunks)
    both = _words(before) & _words(after)
    changed = [(_words(each.removed) | _words(each.added)) - both for each in hunks]
    asked = [_words(each) for each in feedback]
    uses = Counter(word for words in asked for word in words)

    def place(words: set[str]) -> int | None:
        shared = [words & each for each in changed]
        enough = [each for each in range(len(hunks)) if len(shared[each]) >= max(1, _ENOUGH * len(words))]
        return max(enough, key=lambda each: math.fsum(1 / uses[word] for word in shared[each]), default=None)

    return [place(words) for words in asked]


def _words(text: str) -> set[str]:
    return {each.casefold() for each in (*_WORDS.findall(text), *_PAIRS.findall(text))} - _COMMON
