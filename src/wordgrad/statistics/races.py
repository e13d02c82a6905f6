"""Made-up races: how long one lasts, and what wins, before there has been one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wordgrad.statistics.racing import Race

_PRIOR = 5
"""Rows that the prior of a share counts as."""
_SHARE = 0.2
"""The share of rows that a rewrite changes before any is seen: as on the landscapes of docs/statistics.md."""


class Effect(NamedTuple):
    """What a rewrite does to some rows."""

    mended: int
    """Failing rows that score higher than under the present text."""
    failing: int
    """Of so many."""
    broken: int
    """Passing rows that score lower."""
    passing: int
    """Of so many."""


class Raced(NamedTuple):
    """How a race ended."""

    scores: int
    """That it took."""
    present: int
    """Rows on which the present text was scored."""
    leader: int
    """Rows on which the text that leads was."""
    won: bool
    """Whether a rewrite leads."""
    wrong: float
    """The share of rows that the leader has wrong, of all that there could be."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewrites like those that were tried: each does what one of these did, more or less."""

    effects: Sequence[Effect]
    mends: float
    """The share of wrong rows that a rewrite mends, on average."""
    breaks: float
    """The share of right rows that it breaks."""

    @classmethod
    def drawn(cls, rng: random.Random, effects: Sequence[Effect]) -> Rewriting:
        """Averages by chance, from all that were tried and a prior."""
        mended, failing, broken, passing = map(sum, zip(Effect(0, 0, 0, 0), *effects, strict=True))
        return cls(effects, _share(rng, mended, failing, _SHARE), _share(rng, broken, passing, _SHARE))

    def raced(self, rng: random.Random, *, rewrites: int, rows: int, wrong: float, margin: float) -> Raced:
        """A race of a text that has such a share wrong, and rewrites of it, on so many rows."""
        text = [rng.random() >= wrong for _ in range(rows)]
        rates = [(0.0, 0.0), *(self._rates(rng) for _ in range(rewrites))]
        texts = [[rng.random() >= breaks if was else rng.random() < mends for was in text] for mends, breaks in rates]
        race = Race(entrants=len(texts), rows=rows, rng=rng, margin=margin)
        while (heat := race.heat()) is not None:
            race.tell([[float(texts[entrant][row]) for row in heat.rows] for entrant in heat.entrants])
        mends, breaks = rates[race.winner]
        seen = [each.rows for each in race.standings]
        left = wrong * (1 - mends) + (1 - wrong) * breaks
        return Raced(race.calls, seen[0], seen[race.winner], race.winner > 0, left)

    def _rates(self, rng: random.Random) -> tuple[float, float]:
        """What one rewrite mends and breaks: by one of those tried, with the averages as a prior."""
        like = rng.choice(self.effects) if self.effects else Effect(0, 0, 0, 0)
        return (
            _share(rng, like.mended, like.failing, self.mends),
            _share(rng, like.broken, like.passing, self.breaks),
        )


def _share(rng: random.Random, seen: int, of: int, prior: float) -> float:
    """A share by chance, where so many were seen, and such a share is expected: a beta draw."""
    least = 1e-9  # a beta draw needs parameters above 0
    return rng.betavariate(_PRIOR * prior + seen + least, _PRIOR * (1 - prior) + of - seen + least)
