"""A server that refuses everything is asked no more."""

from __future__ import annotations

from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import EngineError
from wordgrad.types import Completion, Engine, Request


class Breaker(Wrapper):
    """After several permanent errors in a row every call fails at once, with the server's last words.

    A wrong key or model name then costs a few calls, not a run's worth of them. Any reply closes the circuit again.

    Args:
        inner: Who is asked.
        errors: How many in a row open it.
    """

    def __init__(self, inner: Engine, *, errors: int = 5) -> None:
        super().__init__(inner)
        self._limit = errors
        self._in_a_row = 0
        self._last = ""

    async def complete(self, request: Request) -> Completion:
        """Ask, while there is hope.

        Raises:
            EngineError: The engine's, or the circuit is open.
        """
        if self._in_a_row >= self._limit:
            raise EngineError(
                f"{self.name} refused {self._in_a_row} calls in a row and is asked no more. Its last words: "
                f"{self._last}",
                retryable=False,
            )
        try:
            completion = await self.inner.complete(request)
        except EngineError as error:
            if not error.retryable and not error.refused:
                self._in_a_row += 1
                self._last = str(error)
            raise
        self._in_a_row = 0
        return completion
