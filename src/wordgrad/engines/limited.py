"""Limits that a server or a machine sets: calls in flight, requests and tokens a minute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

import anyio

from wordgrad.engines.wrapper import Wrapper
from wordgrad.types import Completion, Engine, Request

_MINUTE_S = 60.0


class Limited(Wrapper):
    """Lets calls through in the order in which they came, no more than the limits allow.

    Args:
        inner: Who is asked.
        in_flight: Calls at once; what the engine says it can carry where None.
        requests_per_minute: In any 60 seconds.
        tokens_per_minute: In any 60 seconds, by what the replies' usage says.
        clock: Seconds; only differences count.
        sleep: Waits seconds.
    """

    def __init__(
        self,
        inner: Engine,
        *,
        in_flight: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        super().__init__(inner)
        self._limiter = anyio.CapacityLimiter(in_flight or inner.max_in_flight)
        self._limits = (requests_per_minute, tokens_per_minute)
        self._clock = clock
        self._sleep = sleep
        self._recent: deque[tuple[float, int]] = deque()
        """When each recent call went out, and its tokens once they are known."""

    async def complete(self, request: Request) -> Completion:
        """Wait for a place, then ask."""
        async with self._limiter:
            await self._minute()
            completion = await self.inner.complete(request)
            usage = completion.usage
            self._recent.append((self._clock(), usage.input_tokens + usage.output_tokens))
            return completion

    async def _minute(self) -> None:
        requests, tokens = self._limits
        while requests is not None or tokens is not None:
            now = self._clock()
            while self._recent and now - self._recent[0][0] >= _MINUTE_S:
                self._recent.popleft()
            busy = self._limiter.borrowed_tokens - 1
            full = requests is not None and len(self._recent) + busy >= requests
            spent = tokens is not None and sum(each for _, each in self._recent) >= tokens
            if not self._recent or not (full or spent):
                return
            await self._sleep(_MINUTE_S - (now - self._recent[0][0]))
