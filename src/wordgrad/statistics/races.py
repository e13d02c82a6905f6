"""Made-up races: how long one lasts, and what wins, before there has been one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from wordgrad.statistics.racing import Race

_SPREAD = 0.5
"""Rewrites differ by up to so much of what they do on average."""


class Raced(NamedTuple):
    """How a race ended."""

    rows: float
    """On which each text was scored, on average."""
    won: bool
    """Whether a rewrite leads."""
    wrong: float
    """The share of rows that the leader has wrong, of all that there could be."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What rewrites do to rows."""

    mends: float
    """The share of wrong rows that one mends, on average."""
    breaks: float
    """The share of right rows that one breaks."""
    spread: float
    """How much rewrites differ in both: one standard deviation."""

    @classmethod
    def drawn(cls, rng: random.Random, *, mended: int, wrong: int, broken: int, right: int) -> Rewriting:
        """By chance, some that mend and break so many of so many rows.

        The prior of each share has its mean at 10 %, and counts as much as five rows.
        """
        mends = rng.betavariate(mended + 0.5, wrong - mended + 4.5)
        breaks = rng.betavariate(broken + 0.5, right - broken + 4.5)
        return cls(mends, breaks, spread=rng.uniform(0, _SPREAD) * (mends + breaks))

    def raced(self, rng: random.Random, *, rewrites: int, rows: int, wrong: float, margin: float) -> Raced:
        """A race of a text that has such a share wrong, and rewrites of it, on so many rows."""
        text = [rng.random() >= wrong for _ in range(rows)]
        rates = [(0.0, 0.0), *(self._rates(rng) for _ in range(rewrites))]
        texts = [[rng.random() >= breaks if was else rng.random() < mends for was in text] for mends, breaks in rates]
        race = Race(entrants=len(texts), rows=rows, rng=rng, margin=margin)
        while (heat := race.heat()) is not None:
            race.tell([[float(texts[entrant][row]) for row in heat.rows] for entrant in heat.entrants])
        mends, breaks = rates[race.winner]
        return Raced(race.calls / len(texts), race.winner > 0, wrong * (1 - mends) + (1 - wrong) * breaks)

    def _rates(self, rng: random.Random) -> tuple[float, float]:
        """Of one rewrite: a better one mends more, and breaks less."""
        luck = rng.gauss(0, self.spread)
        return min(max(self.mends + luck, 0.0), 1.0), min(max(self.breaks - luck, 0.0), 1.0)
