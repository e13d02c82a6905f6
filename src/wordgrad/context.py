"""What flows into every call: the run it belongs to and its place in that run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count

from wordgrad.types import Index, RunContext


@dataclass(slots=True)
class Body:
    """One numbering of calls: the start of a run, or the body of one call."""

    index: Index = ()
    owner: object = None
    """The thread or task that may make calls here; None where anyone may."""
    # Counters, not integers: outside a run many threads share one numbering, and `next()` of a count is atomic.
    _made: Iterator[int] = field(default_factory=count)
    _asked: Iterator[int] = field(default_factory=count)

    def next_index(self) -> Index:
        """The creation index of the next call, backward pass or proposal made here."""
        return (*self.index, next(self._made))

    def next_call(self) -> int:
        """The number of the next engine call made here, from 0."""
        return next(self._asked)


_process_secret = secrets.token_bytes(16)

run: ContextVar[RunContext | None] = ContextVar("wordgrad.run", default=None)
"""The run that calls belong to; None outside one."""

body: ContextVar[Body] = ContextVar("wordgrad.body", default=Body())  # noqa: B039 - one numbering for all is meant
"""Where the next call gets its number; outside a run and outside every call, the process's own."""


def secret() -> bytes:
    """The key that fences are derived from: the run's, outside a run the process's."""
    current = run.get()
    return _process_secret if current is None else current.secret
