"""Limits that a server or a machine sets: calls in flight, requests and tokens a minute."""

from __future__ import annotations

import copy
import heapq
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from wordgrad import context
from wordgrad.engines.wrapper import Wrapper
from wordgrad.types import Completion, Engine, Index, Request

_MINUTE_S = 60.0


@dataclass(slots=True)
class _Sent:
    """A call of the last minute."""

    at: float
    tokens: int = 0
    """0 until its reply is there."""


class Places:
    """How many calls an engine carries at once. Of those that wait, the one that was created first goes next.

    Not the one that came first: which worker thread is faster is chance, and results are read in creation order.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._waiting: list[tuple[Index, int, anyio.Event]] = []
        self._arrivals = itertools.count()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        event = anyio.Event()
        entry = (context.body.get().index, next(self._arrivals), event)
        heapq.heappush(self._waiting, entry)
        try:
            await event.wait()
        except BaseException:
            if event.is_set():
                self._leave()
            else:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        """Hand the place on, or free it."""
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._free += 1


class Limited(Wrapper):
    """Lets calls through, no more at once and in a minute than the limits allow.

    Runs put one around each engine, for what it can carry. Make one of your own to hold an account's limits:
    `Limited(get_engine("gpt-4o"), requests_per_minute=500, tokens_per_minute=30_000)`.

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
        in_flight: int | Places | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        super().__init__(inner)
        self._places = in_flight if isinstance(in_flight, Places) else Places(in_flight or inner.max_in_flight)
        self._limits = (requests_per_minute, tokens_per_minute)
        self._clock = clock
        self._sleep = sleep
        self._turn = anyio.Lock()
        self._recent: deque[_Sent] = deque()

    @property
    def max_in_flight(self) -> int:
        """Its own limit."""
        return self._places.count

    def around(self, inner: Engine) -> Limited:
        """The same limits, shared, around another engine."""
        made = copy.copy(self)
        made.inner = inner
        return made

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
