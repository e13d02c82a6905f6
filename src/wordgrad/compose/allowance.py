"""What a job may use of its run's budget."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from wordgrad.compose.run import Budget, Run

_LONGER = 1.5
"""Tokens, money and time of the end, for each that as many rows of the start took: better texts are longer."""
_LEAST = 0.2
"""The least share of tokens, money and time that is kept for the end: how much longer its texts are is a guess."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The run's budget, with what the end needs held back while the search runs.

    Of calls that is a count; of tokens, money and time an estimate, and a share at least. So a budget that is spent
    ends the search as planned, and the sealed rows still decide. Only calls that had to be made again, or a text that
    is far longer, can take that away.
    """

    run: Run

    @contextmanager
    def opening(self, rows: int) -> Generator[None]:
        """Note what is used inside as what so many rows take; once, where the run is resumed, or a branch.

        An opening that was interrupted counts from its first start: what was paid then is not paid again. Calls that
        got no reply do not count: an outage is not what a row takes.
        """
        if not self.run.noted("begun"):
            self.run.note("begun", self._used())
        before = self.run.noted("begun")[0]
        yield
        if not self.run.noted("opening"):
            took = {kind: now - before[kind] for kind, now in self._used().items()}
            self.run.note("opening", {"rows": rows, **took, "reserved": self.run.reserved})

    def affords(self, rows: int) -> bool:
        """Whether so many more rows can be paid for beside what is held back."""
        return self.run.affords(math.ceil(rows * self._row("calls")))

    @contextmanager
    def held_back(self, rows: int) -> Generator[None]:
        """Refuse inside what so many rows need afterwards."""
        whole = self.run.budget
        tokens = self._rest("tokens", whole.tokens, rows)
        self.run.limit(
            Budget(
                calls=None if whole.calls is None else max(0, whole.calls - math.ceil(rows * self._row("calls"))),
                tokens=None if tokens is None else math.floor(tokens),
                usd=self._rest("usd", whole.usd, rows),
                seconds=self._rest("seconds", whole.seconds, rows),
            )
        )
        try:
            yield
        finally:
            self.run.limit(whole)

    def _rest(self, kind: str, whole: float | None, rows: int) -> float | None:
        """A limit less what so many rows may take of it, or 0: the last call needs room for its whole reply."""
        if whole is None:
            return None
        last = float(self.run.noted("opening")[0]["reserved"].get(kind, 0.0))
        return max(0.0, whole - max(_LEAST * whole, _LONGER * (rows * self._row(kind) + last)))

    def _row(self, kind: str) -> float:
        """What a row took in the opening."""
        opening = self.run.noted("opening")[0]
        return float(opening[kind] / opening["rows"])

    def _used(self) -> Mapping[str, float]:
        used = self.run.usage
        return {
            "calls": used.answered,
            "tokens": used.input_tokens + used.output_tokens,
            "usd": used.cost_usd or 0.0,
            "seconds": used.seconds,
        }
