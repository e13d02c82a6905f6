"""A race: many candidates, shared rows in blocks, losers leave early, one is left."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wordgrad.errors import UsageError
from wordgrad.statistics.pairs import check_bounds, check_score

_LEAST_BLOCK = 8
_LEAST_LEFT = 2
_WIDTH = 1.5
"""Over k: the share of the entrants that run in the k-th block at most; of ten blocks' scores two fifths or so."""


def block_of(rows: int) -> int:
    """The rows between two decisions of a race on so many: a tenth of them, but at least 8, or all."""
    return min(max(rows // 10, _LEAST_BLOCK), rows)


def most_scores(entrants: int, rows: int) -> int:
    """What a race of so many takes at most, in usual blocks."""
    size = block_of(rows)
    heats = enumerate(range(0, rows, size), start=1)
    return sum(_most_in(block, entrants) * min(size, rows - done) for block, done in heats)


def _most_in(block: int, entrants: int) -> int:
    """How many run in a block at most; blocks count from 1."""
    return min(entrants, max(math.ceil(_WIDTH * entrants / block), _LEAST_LEFT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """What has to be scored next: each of `entrants` on each of `rows`."""

    entrants: tuple[int, ...]
    """Places among the candidates."""
    rows: tuple[int, ...]
    """Places among the selection rows; each comes up once in a race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far one entrant came."""

    mean: float | None
    """Over the rows that it was judged on, as a share of the bounds' width; None where there was none.

    The winner's looks better than the winner is: it was chosen for it. A claim on sealed rows measures it.
    """
    rows: int
    """Rows that it was scored on."""
    excluded: int
    """Of them, rows that it could not be judged on."""


@dataclass(slots=True)
class Race:
    """A race among `entrants` candidates on `rows` shared rows. It asks and is told; the caller does the scoring.

    ```python
    race = Race(entrants=len(texts), rows=len(selection), rng=rng)
    while (heat := race.heat()) is not None:
        race.tell([score_all(texts[place], heat.rows) for place in heat.entrants])
    winner = texts[race.winner]
    ```

    After each block an entrant leaves when it is unlikely to be more than `margin` better than the leader. So the race
    ends early both where one is far ahead and where all score the same. Where they are only as good as each other, the
    last of them leave as well: at most 1.5 / k of the entrants, and two at least, run on the k-th tenth of the rows
    (`block_of`), so what a race may take is bounded. With ties the earlier entrant leads: give the start first, and it
    stays where nothing is better.

    A row's mean among those in the race is taken off its scores first: who could not be judged on a hard row must not
    gain by it. Who was judged on less than half as many rows as another does not lead, unless it is the incumbent.

    Args:
        entrants: How many candidates; at least 1.
        rows: How many shared rows; at least 1.
        rng: Draws the order of the rows.
        bounds: The worst and the best score.
        block: Rows between two decisions; a tenth of the rows, but at least 8, where None.
        margin: The gain that is not worth more scoring, as a share of the bounds' width.
        doubt: Standard errors by which a loser must be behind: smaller is cheaper, and more often wrong.
        incumbent: The place of the text that is in use.

    Source:
        Birattari et al., "A racing algorithm for configuring metaheuristics", 2002. Differs: paired differences to the
        leader, not ranks, and a margin. The bound: Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed
        bandits", 2013. Differs: a few leave after each block, not half of them after ever longer ones.
    """

    entrants: int
    rows: int
    rng: random.Random
    bounds: tuple[float, float] = (0.0, 1.0)
    block: int | None = None
    margin: float = 0.02
    doubt: float = 2.5
    incumbent: int = 0
    _order: list[int] = field(init=False)
    _in_race: list[int] = field(init=False)
    _scores: list[list[float | None]] = field(init=False)
    _asked: Heat | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.entrants < 1 or self.rows < 1 or (self.block is not None and self.block < 1):
            raise UsageError(f"a race of {self.entrants} on {self.rows} rows in blocks of {self.block}: give 1 or more")
        if not 0 <= self.incumbent < self.entrants:
            raise UsageError(f"incumbent={self.incumbent!r} is no place among {self.entrants} entrants")
        check_bounds(self.bounds)
        self._order = list(range(self.rows))
        self.rng.shuffle(self._order)
        self._in_race = list(range(self.entrants))
        self._scores = [[] for _ in range(self.entrants)]

    def heat(self) -> Heat | None:
        """What to score next; the same until `tell()`. None when the race is over."""
        done = len(self._scores[self._in_race[0]])
        if self._asked is None and len(self._in_race) > 1 and done < self.rows:
            size = block_of(self.rows) if self.block is None else self.block
            self._asked = Heat(entrants=tuple(self._in_race), rows=tuple(self._order[done : done + size]))
        return self._asked

    def tell(self, scores: Sequence[Sequence[float | None]]) -> None:
        """Give the scores of the last heat: for each of its entrants, in order, one score a row; None for an error.

        Raises:
            UsageError: No heat is open, or the scores are not its scores; nothing was taken then.
        """
        heat = self.heat()
        if heat is None:
            raise UsageError("the race is over: start another one")
        low, high = self.bounds
        if [len(each) for each in scores] != [len(heat.rows)] * len(heat.entrants):
            raise UsageError(
                f"scores for {[len(each) for each in scores]} rows: the heat has {len(heat.entrants)} entrants on "
                f"{len(heat.rows)} rows each"
            )
        for entrant, row in zip(heat.entrants, scores, strict=True):
            for score in row:
                check_score(f"entrant {entrant}: the", score, self.bounds)
        for entrant, row in zip(heat.entrants, scores, strict=True):
            self._scores[entrant] += [None if each is None else (each - low) / (high - low) for each in row]
        self._asked = None
        self._drop()

    @property
    def winner(self) -> int:
        """The leader among those still in the race; the incumbent before any score."""
        return self._leader(self._centred())

    @property
    def calls(self) -> int:
        """Scores that were asked for so far."""
        return sum(map(len, self._scores))

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How far each entrant came, in their order."""
        found = []
        for scores in self._scores:
            known = [each for each in scores if each is not None]
            mean = math.fsum(known) / len(known) if known else None
            found.append(Standing(mean=mean, rows=len(scores), excluded=len(scores) - len(known)))
        return tuple(found)

    def _centred(self) -> dict[int, list[float | None]]:
        """The scores of those in the race, each less its row's mean."""
        rows = zip(*(self._scores[each] for each in self._in_race), strict=True)
        centred = []
        for row in rows:
            known = [each for each in row if each is not None]
            mean = math.fsum(known) / len(known) if known else 0.0
            centred.append([None if each is None else each - mean for each in row])
        return {entrant: [row[place] for row in centred] for place, entrant in enumerate(self._in_race)}

    def _leader(self, centred: Mapping[int, Sequence[float | None]]) -> int:
        judged = {each: len(scores) - scores.count(None) for each, scores in centred.items()}
        most = max(judged.values())
        if not most and self.incumbent in judged:
            return self.incumbent
        leading = [each for each, rows in judged.items() if rows and (2 * rows >= most or each == self.incumbent)]
        return max(leading or self._in_race, key=lambda entrant: (_mean(centred[entrant]), -entrant))

    def _drop(self) -> None:
        centred = self._centred()
        leader = self._leader(centred)
        left = [each for each in self._in_race if each != leader and self._may_win(centred[each], centred[leader])]
        left.sort(key=lambda entrant: (-_mean(centred[entrant]), entrant))
        following = len(centred[leader]) // block_of(self.rows) + 1
        self._in_race = sorted([leader, *left][: _most_in(following, self.entrants)])

    def _may_win(self, entrant: Sequence[float | None], leader: Sequence[float | None]) -> bool:
        """Whether the entrant may be more than the margin better than the leader."""
        both = zip(entrant, leader, strict=True)
        gains = [mine - best for mine, best in both if mine is not None and best is not None]
        # Two made-up rows, one for each side: eight rows alike do not mean that all rows are. Without any row that both
        # were judged on, these alone speak for an entrant: an outage says nothing against it.
        n = len(gains) + 2
        mean = math.fsum(gains) / n
        variance = (math.fsum(each * each for each in gains) + 1) / n - mean * mean
        # What was seen of the rows is certain: only the rest of them can still turn the order.
        error = math.sqrt(variance / n * (1 - len(entrant) / self.rows))
        return mean + self.doubt * error > self.margin


def _mean(centred: Sequence[float | None]) -> float:
    """What an entrant is above the others; 0 where it could not be judged, which is not its fault."""
    known = [each for each in centred if each is not None]
    return round(math.fsum(known) / len(known), 9) if known else 0.0  # equal sums in another order are still equal
