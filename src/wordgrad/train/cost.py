"""What calls cost: their number, tokens and money."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from wordgrad.types import Engine

_TOKEN_CHARS = 4


class Spending(Protocol):
    """What the calls of one node for one purpose took."""

    @property
    def purpose(self) -> str:
        """As in a `Request`."""

    @property
    def calls(self) -> int:
        """Attempts."""

    @property
    def input_tokens(self) -> int:
        """Read."""

    @property
    def output_tokens(self) -> int:
        """Written."""

    @property
    def cost_usd(self) -> float | None:
        """None where a price is not known."""


class Looks(NamedTuple):
    """What was taken before a run, by purpose and node."""

    once: Sequence[Spending]
    """By asking each engine once, and holding the metric against known outputs, which the run does as well."""
    again: Sequence[Spending]
    """By the second look at the start."""
    rows: int
    """Rows of this look that ask something else."""
    learning: Sequence[Spending]
    """By the rehearsal's batches, critics and rewrites."""
    learned: int
    """Rows of these batches that ask something else."""
    rehearsal: Sequence[Spending]
    """By these, and by trying the rewrites."""


class Cost(NamedTuple):
    """Calls, tokens read and written, and dollars."""

    calls: float
    tokens: float
    usd: float
    """Not a number where a price is not known."""

    def per(self, count: int) -> Cost:
        """What one of so many took."""
        return Cost(self.calls / count, self.tokens / count, self.usd / count)


def total(costs: Iterable[Cost]) -> Cost:
    """The sum."""
    return Cost(*(sum(each) for each in zip(Cost(0, 0, 0.0), *costs, strict=True)))


def spent(look: Iterable[Spending], *purposes: str) -> Cost:
    """What calls for these purposes took."""
    return total(
        Cost(each.calls, each.input_tokens + each.output_tokens, math.nan if each.cost_usd is None else each.cost_usd)
        for each in look
        if each.purpose in purposes
    )


def paid(calls: float, read: float, wrote: float, engine: Engine) -> Cost:
    """What calls of an engine cost that together read and write so many tokens."""
    price = engine.price
    usd = math.nan if price is None else (read * price.input_usd + wrote * price.output_usd) / 1_000_000
    return Cost(calls, read + wrote, usd)


def tokens(text: str) -> int:
    """About so many, at four characters a token."""
    return -(-len(text) // _TOKEN_CHARS)
