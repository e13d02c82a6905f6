"""One reply for one request: whoever asks, at the same time or later."""

from __future__ import annotations

from wordgrad import dispatch
from wordgrad.dispatch import Pending
from wordgrad.engines.key import request_key
from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import EngineError
from wordgrad.types import Completion, Engine, Ledger, Request


class Cached(Wrapper):
    """Inside a run a request key has one reply; identical requests in flight pay once.

    A transport failure is never shared: one that waited makes its own attempts. A flight belongs to no caller, and
    ends with its last one.

    Args:
        inner: Who is asked.
        ledger: The run's; it holds the replies.
    """

    def __init__(self, inner: Engine, ledger: Ledger) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._flights: dict[str, Pending[Completion]] = {}

    async def complete(self, request: Request) -> Completion:
        """The key's reply in this run, else another run's where that is allowed, else the engine's."""
        key = request_key(self.inner, request)
        while True:
            known = self._ledger.reply(key)
            if known is not None:
                return known
            found = self._ledger.shared(key)
            if found is not None:
                await self._ledger.joined(key, found)
                return found
            flight = self._flights.get(key)
            own = flight is None
            if flight is None:
                flight = self._flights[key] = dispatch.start(
                    lambda: self.inner.complete(request), what=f"a call of {self.name}"
                )
            try:
                return await flight.wait()
            except EngineError:
                if own:
                    raise
            finally:
                if flight.done() and self._flights.get(key) is flight:
                    del self._flights[key]
