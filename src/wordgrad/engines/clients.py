"""The SDK clients of one engine."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import httpx2

_EACH = 4
"""Calls out on one client before another is made."""


class _Client(Protocol):
    async def close(self) -> object: ...


C = TypeVar("C", bound=_Client)


class Clients(Generic[C]):
    """As many clients as the calls in flight need, each with its own pool of connections.

    One pool for hundreds of calls spends its time looking through them for a free connection. Used on the library's
    loop alone.

    Args:
        make: Makes one client.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        self._make = make
        # By process. A forked child may neither use its parent's connections nor let go of them: a client that is freed
        # closes its own.
        self._out: dict[int, dict[C, int]] = {}

    @contextmanager
    def lent(self) -> Generator[C]:
        """The client with the fewest calls out, for one more."""
        out = self._out.setdefault(os.getpid(), {})
        client = min(out, key=out.__getitem__, default=None)
        if client is None or out[client] >= _EACH:
            client = self._make()
            out[client] = 0
        out[client] += 1
        try:
            yield client
        finally:
            out[client] -= 1

    async def aclose(self) -> None:
        """Close all connections; the next call makes a client anew."""
        for client in self._out.pop(os.getpid(), {}):
            await client.close()


@functools.cache
def trusted() -> ssl.SSLContext:
    """Whose certificates count: the SDKs' own default, which each client would read from disk again, in 20 ms."""
    return httpx2.create_ssl_context()
