"""What a job may use of its run's budget."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from wordgrad.compose.run import Budget, Run

_LONGER = 1.5
"""Tokens, money and time of the end, for each that as many rows of the start took: better texts are longer."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """The run's budget, with what the end needs held back while the search runs.

    So a budget that is spent ends the search as planned, and the sealed rows still decide. Only calls that had to be
    made again, or a text that is far longer, can take that away.
    """

    run: Run

    def affords(self, calls: int) -> bool:
        """Whether so many more calls are left beside what is held back, and time is."""
        return self.run.affords(calls)

    @contextmanager
    def held_back(self, times: float) -> Generator[None]:
        """Refuse inside what would use up so many times as much as was used so far."""
        whole, took = self.run.budget, self._took()
        longer = times * _LONGER
        self.run.limit(
            Budget(
                calls=None if whole.calls is None else whole.calls - math.ceil(times * took["calls"]),
                tokens=None if whole.tokens is None else whole.tokens - math.ceil(longer * took["tokens"]),
                usd=None if whole.usd is None else whole.usd - longer * took["usd"],
                seconds=None if whole.seconds is None else whole.seconds - longer * took["seconds"],
            )
        )
        try:
            yield
        finally:
            self.run.limit(whole)

    def _took(self) -> dict[str, float]:
        """What was used until here; as it was noted, where the run is resumed."""
        if not self.run.noted("start scored"):
            used = self.run.usage
            took = {
                "calls": used.calls,
                "tokens": used.input_tokens + used.output_tokens,
                "usd": used.cost_usd or 0.0,
                "seconds": used.seconds,
            }
            self.run.note("start scored", took)
        return self.run.noted("start scored")[0]
