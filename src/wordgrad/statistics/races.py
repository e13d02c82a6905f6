"""Made-up races: how long one lasts, and what wins, before there has been one."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wordgrad.statistics.racing import Race

_MEANS = tuple((place + 0.5) / 40 for place in range(40))
_ALIKE = (1, 2, 4, 8, 16)
_FALL = 3
"""A mean m is (1 - m) ** 3 as likely as 0 before any is seen: 0.2 on average, as on docs/statistics.md's landscapes."""


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


class Shares(NamedTuple):
    """How the shares of several rewrites are spread: a beta distribution."""

    mean: float
    alike: float
    """Of how many rows with the mean the share of one is worth: where rewrites differ much, of few."""

    def one(self, rng: random.Random, seen: int, of: int) -> float:
        """A share by chance, of a rewrite of which so many rows were seen."""
        least = 1e-9  # a beta draw needs parameters above 0
        return rng.betavariate(self.alike * self.mean + seen + least, self.alike * (1 - self.mean) + of - seen + least)

    def chance(self, seen: int, of: int) -> float:
        """How likely these rows of one rewrite are, as a logarithm; their order counts."""
        a, b = self.alike * self.mean, self.alike * (1 - self.mean)
        return _log_beta(a + seen, b + of - seen) - _log_beta(a, b)


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewrites like those that were tried: each does what one of these did, more or less."""

    effects: Sequence[Effect]
    mends: Shares
    """The shares of wrong rows that rewrites mend."""
    breaks: Shares
    """The shares of right rows that they break."""

    @classmethod
    def drawn(cls, rng: random.Random, effects: Sequence[Effect]) -> Rewriting:
        """Spreads by chance, given all that were tried: how much these differ says how much others do."""
        mends = _spread(tuple((each.mended, each.failing) for each in effects))
        breaks = _spread(tuple((each.broken, each.passing) for each in effects))
        return cls(effects, *(rng.choices(_SPREADS, each)[0] for each in (mends, breaks)))

    def raced(
        self, rng: random.Random, *, rewrites: int, rows: int, wrong: float, margin: float, last: bool = False
    ) -> Raced:
        """A race of a text that has such a share wrong, and rewrites of it, on so many rows.

        With ties the text leads, or, where it comes last, a rewrite.
        """
        text = [rng.random() >= wrong for _ in range(rows)]
        rates, present = [self._rates(rng) for _ in range(rewrites)], rewrites if last else 0
        rates.insert(present, (0.0, 0.0))
        texts = [[rng.random() >= breaks if was else rng.random() < mends for was in text] for mends, breaks in rates]
        race = Race(entrants=len(texts), rows=rows, rng=rng, margin=margin, incumbent=present)
        while (heat := race.heat()) is not None:
            race.tell([[float(texts[entrant][row]) for row in heat.rows] for entrant in heat.entrants])
        mends, breaks = rates[race.winner]
        seen = [each.rows for each in race.standings]
        left = wrong * (1 - mends) + (1 - wrong) * breaks
        return Raced(race.calls, seen[present], seen[race.winner], race.winner != present, left)

    def _rates(self, rng: random.Random) -> tuple[float, float]:
        """What one rewrite mends and breaks: by one of those tried, with their spreads as a prior."""
        like = rng.choice(self.effects) if self.effects else Effect(0, 0, 0, 0)
        return self.mends.one(rng, like.mended, like.failing), self.breaks.one(rng, like.broken, like.passing)


_SPREADS = tuple(itertools.starmap(Shares, itertools.product(_MEANS, _ALIKE)))


@functools.lru_cache(maxsize=8)  # the made-up runs of one prediction ask for the same two
def _spread(tried: Sequence[tuple[int, int]]) -> Sequence[float]:
    """How likely each of `_SPREADS` is, up to a factor, where so many rows of so many were seen of each rewrite."""
    chances = [_FALL * math.log1p(-each.mean) + sum(each.chance(seen, of) for seen, of in tried) for each in _SPREADS]
    most = max(chances)
    return [math.exp(each - most) for each in chances]


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
