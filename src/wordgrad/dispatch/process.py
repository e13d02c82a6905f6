"""This process's one dispatcher, across forks and to the end."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from wordgrad.dispatch.loop import Dispatcher


class Process:
    """This process's dispatcher, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dispatcher: Dispatcher | None = None

    def dispatcher(self) -> Dispatcher:
        found = self._dispatcher
        if found is None:
            with self._lock:
                found = self._dispatcher = self._dispatcher or Dispatcher()
        return found

    def forked(self) -> None:  # pragma: no cover - tested in a forked child
        """A child has no loop thread: it makes its own. Calls pending in the parent keep the parent's."""
        self._lock = threading.Lock()
        self._dispatcher = None

    def exit(self) -> None:  # pragma: no cover - tested in processes that end
        if self._dispatcher is not None:
            self._dispatcher.close()


def after_fork(call: Callable[[], object]) -> None:
    """Have `call` made in every child that this process forks; where there is no fork (Windows), never."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


process = Process()
after_fork(process.forked)
atexit.register(process.exit)
