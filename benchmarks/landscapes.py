"""Made-up searches whose truth is known: proposals, rows, and the rules by which tools keep one of them.

A text is right or wrong on each row. A proposal changes some of its parent's rows, for better or worse; what it is
worth on all rows that there could be is its true value.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wordgrad.data.split import divide
from wordgrad.statistics.claim import Claim, claim, likely_gain
from wordgrad.statistics.pairs import Pairs, paired
from wordgrad.statistics.racing import Race

BASE = 0.6
"""The start's true value."""
DIFFER = 0.2
"""The share of rows that a proposal changes; more where its gain is larger."""
TRAIN = 60
PROPOSALS, STEPS = 40, 5


@dataclass(frozen=True, slots=True)
class Text:
    """A text, by what it does."""

    true: float
    right: tuple[bool, ...]
    """On the rows of this search."""

    def mean(self, rows: Sequence[int]) -> float:
        """Its score on some of them."""
        return sum(self.right[row] for row in rows) / len(rows)


Gain = Callable[[random.Random, int], float]
"""What proposal number n of a search is truly worth more than the start, whatever its parent."""

LANDSCAPES: dict[str, Gain] = {
    "none better": lambda rng, n: 0.0,
    "one of +10 points": lambda rng, n: 0.1 if n == 7 else 0.0,
    "spread of 5 points": lambda rng, n: rng.gauss(0, 0.05),
    "most are worse": lambda rng, n: rng.gauss(-0.05, 0.07),
    "spread of 10 points": lambda rng, n: rng.gauss(0, 0.1),
}


def start_text(rng: random.Random, rows: int) -> Text:
    """What is in use."""
    return Text(BASE, tuple(rng.random() < BASE for _ in range(rows)))


def child(rng: random.Random, parent: Text, gain: float, differ: float = DIFFER) -> Text:
    """A proposal from a parent."""
    gain = min(max(gain, 0.05 - parent.true), 0.95 - parent.true)
    # Not more rows can be mended than are wrong, nor more broken than are right.
    share = min(max(differ, abs(gain)), 2 * (1 - parent.true) - gain, 2 * parent.true + gain)
    mended = (share + gain) / 2 / (1 - parent.true)
    broken = (share - gain) / 2 / parent.true
    right = tuple(rng.random() >= broken if old else rng.random() < mended for old in parent.right)
    return Text(parent.true + gain, right)


def memoriser(rng: random.Random, start: Text, seen: Sequence[int]) -> Text:
    """No better than the start, but right on every row that it has seen."""
    equal = child(rng, start, 0.0)
    known = set(seen)
    return Text(equal.true, tuple(row in known or right for row, right in enumerate(equal.right)))


@dataclass(frozen=True, slots=True)
class Ended:
    """What a search ended with."""

    kept: bool
    """Whether another text than the start."""
    true: float
    """The true gain over the start."""
    reported: float
    """The gain that a user is shown."""
    best: float
    """The largest true gain among all texts that there were."""


class Search:
    """One made-up search: where proposals come from."""

    def __init__(self, rng: random.Random, gain: Gain, rows: int, *, memorises: bool) -> None:
        self.rng = rng
        self.start = start_text(rng, rows)
        self.gains = [gain(rng, number) for number in range(PROPOSALS)]
        self._memorises = rng.randrange(PROPOSALS) if memorises else -1

    def proposal(self, number: int, parent: Text, seen: Sequence[int]) -> Text:
        """Number `number`, from 0; `seen` are the rows that the rule shows the search."""
        if number == self._memorises:
            return memoriser(self.rng, self.start, seen)
        return child(self.rng, parent, self.start.true + self.gains[number] - parent.true)

    def ended(self, text: Text, reported: float) -> Ended:
        """With `text` in use."""
        best = max(0.0, *self.gains)
        return Ended(text is not self.start, round(text.true - self.start.true, 9), reported, best)


Rule = Callable[[random.Random, Gain, int, bool], Ended]


Choice = Callable[[random.Random, Sequence[Text], Sequence[int]], Text]
"""Which of several texts a search goes on with, from some rows; with ties the first."""


def raced_to(rng: random.Random, entrants: Sequence[Text], rows: Sequence[int]) -> Text:
    """The winner of a race."""
    return entrants[raced(rng, entrants, rows)[0]]


def scored_on_all(_: random.Random, entrants: Sequence[Text], rows: Sequence[int]) -> Text:
    """The larger mean: what a race saves the calls of."""
    return max(entrants, key=lambda each: each.mean(rows))


def ours(
    rng: random.Random,
    gain: Gain,
    validation: int,
    memorises: bool,  # noqa: FBT001
    share: float = 0.5,
    choose: Choice = raced_to,
) -> Ended:
    """Races on selection rows; then one claim on confirmation rows."""
    division = divide(range(validation), seed=rng.getrandbits(32), share=share)
    search = Search(rng, gain, validation, memorises=memorises)
    best = search.start
    for numbers in steps():
        entrants = [best, *(search.proposal(number, best, division.selection) for number in numbers)]
        best = choose(rng, entrants, division.selection)
    if best is search.start:
        return search.ended(best, 0.0)
    pairs = compared(search.start, best, division.confirmation)
    found = claim(pairs, rng=rng)
    return search.ended(best, likely_gain(pairs, found)) if found.proved else search.ended(search.start, 0.0)


def oracle(rng: random.Random, gain: Gain, validation: int, memorises: bool) -> Ended:  # noqa: FBT001
    """Knows which proposal is the best; then one claim on confirmation rows, as ours."""
    division = divide(range(validation), seed=rng.getrandbits(32))
    search = Search(rng, gain, validation, memorises=memorises)
    number = max(range(PROPOSALS), key=lambda each: search.gains[each])
    if search.gains[number] <= 0:
        return search.ended(search.start, 0.0)
    best = search.proposal(number, search.start, division.selection)
    found = claimed(rng, search.start, best, division.confirmation)
    return search.ended(best, found.difference) if found.proved else search.ended(search.start, 0.0)


def larger_mean(rng: random.Random, gain: Gain, validation: int, memorises: bool) -> Ended:  # noqa: FBT001
    """A proposal replaces the text in use when its mean on the validation rows is larger."""
    rows = range(validation)
    search = Search(rng, gain, validation, memorises=memorises)
    best = search.start
    for number in range(PROPOSALS):
        new = search.proposal(number, best, rows)
        if new.mean(rows) > best.mean(rows):
            best = new
    return search.ended(best, best.mean(rows) - search.start.mean(rows))


def gepa(rng: random.Random, gain: Gain, validation: int, memorises: bool) -> Ended:  # noqa: FBT001
    """A child enters the pool when its sum on three training rows is larger than its parent's.

    A parent is drawn by the number of validation rows that it is among the best on. The text with the largest mean on
    the validation rows is the result.
    """
    rows = range(TRAIN, TRAIN + validation)
    search = Search(rng, gain, TRAIN + validation, memorises=memorises)
    pool = [search.start]
    for number in range(PROPOSALS):
        best_on = [any(each.right[row] for each in pool) for row in rows]
        wins = [sum(each.right[row] or not best for row, best in zip(rows, best_on, strict=True)) for each in pool]
        (parent,) = rng.choices(pool, weights=wins)
        new = search.proposal(number, parent, range(TRAIN + validation))
        batch = rng.sample(range(TRAIN), 3)
        if new.mean(batch) > parent.mean(batch):
            pool.append(new)
    best = max(pool, key=lambda each: each.mean(rows))
    return search.ended(best, best.mean(rows) - search.start.mean(rows))


def holdout(rng: random.Random, gain: Gain, validation: int, memorises: bool) -> Ended:  # noqa: FBT001
    """Rounds of proposals from the best text so far; the larger score on the holdout picks, and is reported.

    The holdout are the last rows, half of them. What has memorised other rows gains nothing on it.
    """
    others, held_out = range(validation // 2), range(validation // 2, validation)
    search = Search(rng, gain, validation, memorises=memorises)
    best = search.start
    for numbers in steps():
        entrants = [best, *(search.proposal(number, best, others) for number in numbers)]
        best = max(entrants, key=lambda each: each.mean(held_out))
    return search.ended(best, best.mean(held_out) - search.start.mean(held_out))


def steps() -> Iterator[range]:
    """The numbers of the proposals of each step."""
    size = PROPOSALS // STEPS
    yield from (range(first, first + size) for first in range(0, PROPOSALS, size))


def raced(rng: random.Random, entrants: Sequence[Text], rows: Sequence[int]) -> tuple[int, int]:
    """The winner of a race on some rows, and the scores that it took."""
    race = Race(entrants=len(entrants), rows=len(rows), rng=rng)
    while (heat := race.heat()) is not None:
        race.tell([[float(entrants[each].right[rows[row]]) for row in heat.rows] for each in heat.entrants])
    return race.winner, race.calls


def claimed(rng: random.Random, start: Text, best: Text, rows: Sequence[int]) -> Claim:
    """The claim on some rows."""
    return claim(compared(start, best, rows), rng=rng)


def compared(start: Text, best: Text, rows: Sequence[int]) -> Pairs:
    """Both texts' scores on some rows."""
    return paired([start.right[row] for row in rows], [best.right[row] for row in rows])
