"""Time that passes only when nobody has anything left to do."""

from __future__ import annotations

import heapq
from itertools import count

import anyio

from wordgrad import dispatch


class VirtualClock:
    """Simulated seconds, shared by the engines that are given it.

    A call that takes 3 seconds takes none: when every task waits, no Python node runs and the reader is blocked, the
    clock jumps to the end of the calls that end first. So the rounds and the duration of a program are exact, and the
    same on every machine.

    Example:
        ```
        clock = VirtualClock()
        engine = RuleEngine(lambda request: "yes", clock=clock, latency_s=2.0)
        …
        assert (clock.rounds, clock.now_s) == (3, 6.0)
        ```
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        """Simulated seconds since the clock was made."""
        self.rounds = 0
        """How often time went on: with one latency for all calls, the length of the longest chain of calls."""
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = count()
        self._driven = False

    async def sleep(self, seconds: float) -> None:
        """Wait until `seconds` have passed on this clock. Only on the library's loop, where engines run."""
        event = anyio.Event()
        sleeper = (self.now_s + seconds, next(self._order), event)
        heapq.heappush(self._sleepers, sleeper)
        if not self._driven:
            self._driven = True
            dispatch.start(self._drive, what="a virtual clock")
        try:
            await event.wait()
        except BaseException:
            self._sleepers = [each for each in self._sleepers if each is not sleeper]
            heapq.heapify(self._sleepers)
            raise

    async def _drive(self) -> None:
        try:
            while self._sleepers:
                await dispatch.quiet()
                self._advance()
        finally:
            self._driven = False

    def _advance(self) -> None:
        """Go to the next moment at which somebody wakes, and wake all who wake then."""
        if not self._sleepers:
            return
        self.now_s = self._sleepers[0][0]
        self.rounds += 1
        while self._sleepers and self._sleepers[0][0] <= self.now_s:
            heapq.heappop(self._sleepers)[2].set()
