"""A function whose calls a test holds back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import wordgrad as wg

LIMIT_S = 20


class Gate:
    """Its calls wait until the test lets them through."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()
        self.call = wg.function(pure=True)(self._wait)

    def _wait(self, text: str = "done") -> str:
        self.entered.set()
        assert self._open.wait(LIMIT_S)
        return text

    def open(self) -> None:
        """Let all through, now and later."""
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate of the test's own; open at its end, so that no thread stays behind."""
    made = Gate()
    yield made
    made.open()
