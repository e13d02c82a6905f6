"""Each attempt is journalled before it is sent, and its outcome when it is there."""

from __future__ import annotations

from wordgrad.engines.key import request_key
from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import EngineError
from wordgrad.types import Completion, Engine, Ledger, Request


class Recorded(Wrapper):
    """Writes the ledger around an engine.

    Args:
        inner: Who answers.
        ledger: The run's.
    """

    def __init__(self, inner: Engine, ledger: Ledger) -> None:
        super().__init__(inner)
        self._ledger = ledger

    async def complete(self, request: Request) -> Completion:
        """The engine's answer. It is committed with its place in the run, or before (see Replayed)."""
        key = request_key(self.inner, request)
        attempt = await self._ledger.sent(self.inner, request, key)
        try:
            completion = await self.inner.complete(request)
        except EngineError as error:
            self._ledger.failed(attempt, key, error)
            raise
        cost = None if self.inner.price is None else self.inner.price.cost_usd(completion.usage)
        self._ledger.done(attempt, key, completion, cost)
        return completion
