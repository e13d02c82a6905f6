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
_FALL = 3
"""A mean m has the prior weight (1 - m) ** 3: 0.2 on average, as on the landscapes of docs/statistics.md."""
_ALIKE = (1, 2, 4, 8, 16)
"""Each has the same prior weight."""


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


class Spread(NamedTuple):
    """How the shares of rows that rewrites change are spread: a beta distribution."""

    mean: float
    """Of all rewrites."""
    alike: float
    """The sum of the distribution's two parameters: the larger, the more alike rewrites are."""

    def draw(self, rng: random.Random, seen: int, of: int) -> float:
        """The share of a rewrite that changed so many rows of so many."""
        least = 1e-9  # a beta draw needs parameters above 0
        return rng.betavariate(self.alike * self.mean + seen + least, self.alike * (1 - self.mean) + of - seen + least)

    def log_likelihood(self, seen: int, of: int) -> float:
        """Of such a rewrite, without the binomial coefficient; the mean is more than 0 and less than 1."""
        a, b = self.alike * self.mean, self.alike * (1 - self.mean)
        return _log_beta(a + seen, b + of - seen) - _log_beta(a, b)


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewrites like those that were tried: each does what one of these did, more or less.

    Source:
        Gelman et al., "Bayesian Data Analysis", 2013, chapter 5: rates of groups that are more or less alike. Differs:
        a new rewrite is drawn by one of those tried, which keeps what it mends and what it breaks together.
    """

    effects: Sequence[Effect]
    mends: Spread
    """Of wrong rows."""
    breaks: Spread
    """Of right rows."""

    @classmethod
    def drawn(cls, rng: random.Random, effects: Sequence[Effect]) -> Rewriting:
        """Spreads by chance, given all that were tried: how much these differ says how much others do."""
        mended = _weighed(tuple((each.mended, each.failing) for each in effects))
        broken = _weighed(tuple((each.broken, each.passing) for each in effects))
        return cls(effects, mends=rng.choices(_SPREADS, mended)[0], breaks=rng.choices(_SPREADS, broken)[0])

    def raced(
        self, rng: random.Random, *, rewrites: int, rows: int, wrong: float, margin: float, present_last: bool = False
    ) -> Raced:
        """A race of a text that has such a share wrong, and rewrites of it, on so many rows.

        With ties the present text leads; where it comes last, the first rewrite does.
        """
        text = [rng.random() >= wrong for _ in range(rows)]
        rates = [self._rates(rng) for _ in range(rewrites)]
        place = rewrites if present_last else 0
        rates.insert(place, (0.0, 0.0))
        texts = [[rng.random() >= breaks if was else rng.random() < mends for was in text] for mends, breaks in rates]
        race = Race(entrants=len(texts), rows=rows, rng=rng, margin=margin, incumbent=place)
        while (heat := race.heat()) is not None:
            race.tell([[float(texts[entrant][row]) for row in heat.rows] for entrant in heat.entrants])
        mends, breaks = rates[race.winner]
        seen = [each.rows for each in race.standings]
        left = wrong * (1 - mends) + (1 - wrong) * breaks
        return Raced(race.calls, seen[place], seen[race.winner], race.winner != place, left)

    def _rates(self, rng: random.Random) -> tuple[float, float]:
        """What one rewrite mends and breaks, like one of those tried."""
        like = rng.choice(self.effects) if self.effects else Effect(0, 0, 0, 0)
        return self.mends.draw(rng, like.mended, like.failing), self.breaks.draw(rng, like.broken, like.passing)


_SPREADS = tuple(itertools.starmap(Spread, itertools.product(_MEANS, _ALIKE)))


@functools.lru_cache(maxsize=8)  # the made-up runs of one prediction ask for the same two
def _weighed(tried: tuple[tuple[int, int], ...]) -> tuple[float, ...]:
    """How likely each of `_SPREADS` is, up to a factor, given the rows that each rewrite changed, of so many."""
    logs = [
        _FALL * math.log1p(-each.mean) + sum(each.log_likelihood(seen, of) for seen, of in tried) for each in _SPREADS
    ]
    most = max(logs)
    return tuple(math.exp(each - most) for each in logs)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
