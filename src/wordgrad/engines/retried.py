"""Another attempt, where one can succeed."""

from __future__ import annotations

import stamina

from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import EngineError
from wordgrad.types import Completion, Engine, Request

_LONGEST_S = 120.0
"""A server that asks for a longer pause is down: the call fails, and the run can be resumed."""


class Retried(Wrapper):
    """Retries what the engine calls retryable: 429, 5xx, timeouts, connections. A bad key fails at once.

    Args:
        inner: Who is asked.
        attempts: In all, the first included.
        pause_s: The first pause, doubled each time, with jitter; a server's Retry-After goes first.
    """

    def __init__(self, inner: Engine, *, attempts: int = 5, pause_s: float = 0.5) -> None:
        super().__init__(inner)
        self._attempts = attempts
        self._pause_s = pause_s

    async def complete(self, request: Request) -> Completion:
        """The first attempt that succeeds.

        Raises:
            EngineError: The last one's.
        """
        async for attempt in stamina.retry_context(
            on=_pause, attempts=self._attempts, timeout=None, wait_initial=self._pause_s, wait_max=30.0
        ):
            with attempt:
                return await self.inner.complete(request)
        raise AssertionError("stamina raises the last error")


def _pause(error: Exception) -> bool | float:
    if not isinstance(error, EngineError) or not error.retryable:
        return False
    if error.retry_after_s is None:
        return True
    return error.retry_after_s if error.retry_after_s <= _LONGEST_S else False
