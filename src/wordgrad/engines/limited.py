"""Limits that a server or a machine sets: calls in flight, requests and tokens a minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from wordgrad.engines.wrapper import Wrapper
from wordgrad.types import Completion, Engine, Request

_MINUTE_S = 60.0


@dataclass(slots=True)
class _Sent:
    """A call of the last minute."""

    at: float
    tokens: int = 0
    """0 until its reply is there."""


class Limited(Wrapper):
    """Lets calls through in the order in which they came, no more than the limits allow.

    Args:
        inner: Who is asked.
        in_flight: Calls at once, or the places that this engine's calls share; what it says it can carry where None.
        requests_per_minute: In any 60 seconds.
        tokens_per_minute: In any 60 seconds, by what the replies' usage says.
        clock: Seconds; only differences count.
        sleep: Waits seconds.
    """

    def __init__(
        self,
        inner: Engine,
        *,
        in_flight: int | anyio.CapacityLimiter | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        super().__init__(inner)
        if not isinstance(in_flight, anyio.CapacityLimiter):
            in_flight = anyio.CapacityLimiter(in_flight or inner.max_in_flight)
        self._places = in_flight
        self._limits = (requests_per_minute, tokens_per_minute)
        self._clock = clock
        self._sleep = sleep
        self._turn = anyio.Lock()
        self._recent: deque[_Sent] = deque()

    async def complete(self, request: Request) -> Completion:
        """Wait for a place, then ask."""
        async with self._places:
            sent = await self._sent()
            completion = await self.inner.complete(request)
            usage = completion.usage
            sent.tokens = usage.input_tokens + usage.output_tokens
            return completion

    async def _sent(self) -> _Sent:
        """Count a call, once the last minute has room for it."""
        requests, tokens = self._limits
        if requests is None and tokens is None:
            return _Sent(0.0)
        async with self._turn:
            while True:
                now = self._clock()
                while self._recent and now - self._recent[0].at >= _MINUTE_S:
                    self._recent.popleft()
                full = requests is not None and len(self._recent) >= requests
                spent = tokens is not None and sum(each.tokens for each in self._recent) >= tokens
                if not (full or spent):
                    self._recent.append(_Sent(now))
                    return self._recent[-1]
                await self._sleep(_MINUTE_S - (now - self._recent[0].at))
