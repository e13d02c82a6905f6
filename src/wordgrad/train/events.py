"""What a job says of what it does, as it does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wordgrad.core.gradient import Gradient
from wordgrad.train.accept import Decision
from wordgrad.train.review import Disagreement


@dataclass(frozen=True, slots=True)
class Phase:
    """A new piece of work starts."""

    name: str
    total: int
    """Rows that it has."""


@dataclass(frozen=True, slots=True)
class Advance:
    """So many rows of the present phase are there."""

    done: int


@dataclass(frozen=True, slots=True)
class Refused:
    """An engine refused a row's request: the row counts as one that could not be judged, or teaches nothing."""

    place: str
    """The row's."""
    reason: str
    """The server's."""
    critic: bool = False
    """Whether it was a critic's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """How far the best candidate and the present text came in a race, in the metric's unit.

    The winner looks better here than it is: it was chosen for it.
    """

    start: float | None
    """The present text's mean; None where no row could be judged."""
    start_rows: int
    """Rows that it was judged on: who falls behind leaves early."""
    candidate: float | None
    candidate_rows: int
    low: float
    """The candidate's mean over all such rows lies between this and `high`, with 95 % confidence."""
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step has ended: what it did, and why."""

    number: int
    """From 1."""
    accepted: bool
    """Whether the search goes on from `after`."""
    reason: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    """The best candidate's values, also where it was not accepted; `before` where there was none."""
    feedback: Mapping[str, tuple[Gradient, ...]]
    """The gradients on each variable."""
    compression: bool = False
    """Whether shorter texts were asked for, and no row taught anything."""
    lead: Lead | None = None
    """Of the race; None where there was no candidate to race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The search has ended, and what it found meets the sealed rows next."""

    steps: int
    found: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The sealed rows have spoken."""

    decision: Decision
    disagreements: Sequence[Disagreement]
    """The rows on which the two texts led to different answers."""


Event: TypeAlias = Phase | Advance | Refused | Step | Ending | Decided
Observer: TypeAlias = Callable[[Event], None]
"""Told each event as it happens, in the thread in which it does."""


def unwatched(_: Event) -> None:
    """An `Observer` that does nothing."""
