"""Another attempt, where one can succeed."""

from __future__ import annotations

import stamina

from wordgrad.engines.key import request_key
from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import EngineError
from wordgrad.types import Completion, Engine, Ledger, Request

_LONGEST_S = 120.0
"""A server that asks for a longer pause is down: the call fails, and the run can be resumed."""


class Retried(Wrapper):
    """Retries what the engine calls retryable: 429, 5xx, timeouts, connections. A bad key fails at once.

    Args:
        inner: Who is asked.
        ledger: Inside a run, its record: attempts that failed before a kill count, without a pause.
        attempts: In all, the first included.
        pause_s: The first pause, doubled each time, with jitter; a server's Retry-After goes first.
    """

    def __init__(self, inner: Engine, ledger: Ledger | None = None, *, attempts: int = 5, pause_s: float = 0.5) -> None:
        super().__init__(inner)
        self._ledger = ledger
        self._attempts = attempts
        self._pause_s = pause_s

    async def complete(self, request: Request) -> Completion:
        """The first attempt that succeeds.

        Raises:
            EngineError: The last one's.
        """
        made = 0 if self._ledger is None else self._made_earlier(self._ledger, request)
        try:
            return await self.inner.complete(request)
        except EngineError as error:
            return await self._again(request, error, made)

    async def _again(self, request: Request, failed: EngineError | None, made: int) -> Completion:
        """The attempts after one that failed: only these pay for stamina's machinery, a fifth of a millisecond."""
        async for attempt in stamina.retry_context(
            on=_can_succeed, attempts=self._attempts - made, timeout=None, wait_initial=self._pause_s, wait_max=30.0
        ):
            with attempt:
                if failed is not None:
                    first, failed = failed, None
                    raise first
                return await self.inner.complete(request)
            if self._ledger is not None:
                key = request_key(self.inner, request)
                await self._ledger.event("pause", key=key, attempt=made + attempt.num)
        raise AssertionError("stamina raises the last error")

    def _made_earlier(self, ledger: Ledger, request: Request) -> int:
        """How many attempts a killed run had made of this request; raises the last one's error if no other follows."""
        key = request_key(self.inner, request)
        made = 0
        while (error := ledger.earlier(key)) is not None:
            made += 1
            if made == self._attempts or _can_succeed(error) is False:
                raise error
        return made


def _can_succeed(error: Exception) -> bool | float:
    """Whether another attempt can succeed; a number is the pause that the server asks for, in seconds."""
    if not isinstance(error, EngineError) or not error.retryable:
        return False
    if error.retry_after_s is None:
        return True
    return error.retry_after_s if error.retry_after_s <= _LONGEST_S else False
