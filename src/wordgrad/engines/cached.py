"""One reply for one request: whoever asks, at the same time or later."""

from __future__ import annotations

from dataclasses import dataclass

from wordgrad import dispatch
from wordgrad.dispatch import Pending
from wordgrad.engines.key import request_key
from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import EngineError
from wordgrad.types import Completion, Engine, Ledger, Request


@dataclass(slots=True)
class Flight:
    """A request that is out, and how many wait for it."""

    landing: Pending[Completion]
    callers: int = 0


class Cached(Wrapper):
    """Inside a run a request key has one reply; identical requests in flight pay once.

    A transport failure is never shared: one that waited makes its own attempts. A flight belongs to no caller, and
    ends with its last one.

    Args:
        inner: Who is asked.
        ledger: The run's; it holds the replies.
        flights: The run's, by request key: two Engine objects for one model ask the same thing.
    """

    def __init__(self, inner: Engine, ledger: Ledger, flights: dict[str, Flight]) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._flights = flights

    async def complete(self, request: Request) -> Completion:
        """The key's reply in this run, else another run's where that is allowed, else the engine's."""
        key = request_key(self.inner, request)
        while True:
            known = self._ledger.reply(key)
            if known is not None:
                return known
            own = key not in self._flights
            if own:
                landing = dispatch.start(lambda: self._fetched(key, request), what=f"a call of {self.name}")
                self._flights[key] = Flight(landing)
            flight = self._flights[key]
            flight.callers += 1
            try:
                await flight.landing.wait()
            except EngineError:
                if own:
                    raise
            finally:
                flight.callers -= 1
                # One that its last caller left is being cancelled: nobody may join it any more.
                if (flight.landing.done() or not flight.callers) and self._flights.get(key) is flight:
                    del self._flights[key]

    async def _fetched(self, key: str, request: Request) -> Completion:
        return await self._ledger.shared(key, request) or await self.inner.complete(request)
