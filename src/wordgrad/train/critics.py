"""Critics in a training: a row of which a server refuses one teaches nothing, and the others do."""

from __future__ import annotations

from dataclasses import dataclass, field

from wordgrad.core.walk import Strategy, Trace
from wordgrad.errors import EngineError


@dataclass(slots=True)
class Answered:
    """A strategy, for the rows whose critics are answered.

    Of others not even the judge's words are kept: they would bring what the row says into the rewriter's request, where
    a server refuses it for all rows.
    """

    strategy: Strategy
    outcomes: dict[str, EngineError | None] = field(default_factory=dict)
    """By row that was criticised, in the order of the rows: what a server said that refused one of its critics."""

    async def propagate(self, trace: Trace) -> None:
        """Deposit what the strategy does, or nothing."""
        self.outcomes.setdefault(trace.example, None)
        await self.strategy.propagate(trace)
        if trace.refusals:
            self.outcomes[trace.example] = trace.refusals[min(trace.refusals)]
            trace.clear()
