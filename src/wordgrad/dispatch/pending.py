"""A value that is being computed, why it failed, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from wordgrad.dispatch.place import Label, Queue, Soon, check_blocking, own_body
from wordgrad.errors import GraphError, NodeError
from wordgrad.types import Index

if TYPE_CHECKING:
    from wordgrad.dispatch.loop import Dispatcher

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Failure:
    """Why a call failed; all that depends on it share this one object."""

    __slots__ = ("__weakref__", "cause", "label", "seen")

    def __init__(self, label: Label, cause: BaseException) -> None:
        self.label = label
        self.cause = cause
        self.seen = False

    @classmethod
    def of(cls, node: Pending[Any], error: BaseException) -> Failure:
        """What `error`, raised by the body of `node`, means; another node's error that came through stays that one's.

        Wrapped at each call that reads another one, the errors of a long chain would print megabytes.
        """
        if isinstance(error, NodeError) and not node._raw:
            return cls(Label(error.function, error.role, error.example), error.__cause__ or error)
        return cls(node.label, error)

    def error(self) -> NodeError:
        """A fresh exception: each reader's traceback is its own."""
        self.seen = True
        label = self.label
        return NodeError(
            f"{label} failed: {_printed(self.cause)}", function=label.function, role=label.role, example=label.example
        )

    def report(self) -> None:
        """Log it, unless somebody has read it."""
        if not self.seen and not sys.is_finalizing():
            self.seen = True
            _log.error("an error that nobody read: %s failed: %s", self.label, _printed(self.cause))

    def __del__(self) -> None:
        self.report()


class Pending(Generic[T]):
    """A value that is being computed. Made by `submit`."""

    __slots__ = (
        "__weakref__",
        "_awaited",
        "_context",
        "_dependents",
        "_done",
        "_failure",
        "_home",
        "_inputs",
        "_item",
        "_missing",
        "_open",
        "_over",
        "_parent",
        "_queues",
        "_raw",
        "_runner",
        "_task",
        "_thread",
        "_value",
        "_waiters",
        "_work",
        "index",
        "label",
    )

    def __init__(self, label: Label, index: Index, inputs: Sequence[Pending[Any]], *, home: Dispatcher) -> None:
        self.label = label
        self.index = index
        self._home = home
        self._inputs = tuple(inputs)
        self._missing = 0
        self._dependents: list[Pending[Any]] = []
        self._waiters: list[Waiter] = []
        self._queues: tuple[Queue, ...] = ()
        self._parent: Pending[Any] | None = None
        self._open = 1
        """Its own body, and the calls in turn that were made in it and have not ended."""
        self._over = False
        self._done = False
        self._awaited = False
        self._raw = False
        """Its errors are raised as they are: it is no node, but a piece of the library's or a user's own code."""
        self._item = False
        """It is one example of a `map`: its calls are numbered and queue up apart."""
        self._thread = False
        self._runner: object = None
        """The thread or task that runs its body."""
        self._value: T | None = None
        self._failure: Failure | None = None
        self._task: asyncio.Task[None] | None = None
        self._context: Context | None = None
        self._work: Callable[[list[Any]], Any] | None = None

    def done(self) -> bool:
        """Whether the call has ended, well or not."""
        return self._done

    def peek(self) -> T | None:
        """The value if it is there; None otherwise. Never blocks."""
        return self._value

    def result(self) -> T:
        """The value; blocks until it is there.

        Raises:
            NodeError: The call, or one that it depends on, failed.
            UsageError: Blocking is not allowed here; await instead.
        """
        if not self._awaited:
            check_blocking(self._home, f"{self.label} was read")
        if not self._done:
            self._block()
        return self._read()

    async def wait(self) -> T:
        """The value, without blocking; from any running loop."""
        if not self._done:
            self._check_home()
            await self._home.waited(self)
        self._mark_awaited()
        return self._read()

    def _read(self) -> T:
        if self._failure is None:
            return cast("T", self._value)
        if self._raw:
            self._failure.seen = True
            raise self._failure.cause
        raise self._failure.error() from self._failure.cause

    def _block(self) -> None:
        self._check_home()
        waiter = Waiter(own_body())
        event = threading.Event()
        waiter.wake = event.set
        if waiter.reader is not None:
            self._home.workers.leave()
        try:
            self._home.post(lambda: self._home.attach(waiter, self))
            event.wait()
        except BaseException:
            self._home.post(lambda: self._home.cancel(self))
            raise
        finally:
            if waiter.reader is not None:
                self._home.workers.enter()
        if waiter.error is not None:
            raise waiter.error

    def _check_home(self) -> None:
        if self._home.pid != os.getpid():  # pragma: no cover - in a forked child only; tested there
            raise GraphError(
                f"{self.label} was pending when this process was forked: only the parent can read it. Read it before "
                "the fork, or make the call in the child"
            )

    def _mark_awaited(self) -> None:
        stack: list[Pending[Any]] = [self]
        while stack:
            node = stack.pop()
            if not node._awaited:
                node._awaited = True
                stack.extend(node._inputs)


class Waiter:
    """Someone who reads a pending value."""

    __slots__ = ("error", "reader", "soon", "wake")

    def __init__(self, reader: Pending[Any] | None) -> None:
        self.reader = reader
        """The call whose own body reads, if it is one of ours: the stall check counts these."""
        self.soon: Soon | None = None
        """Runs a callback on the reader's loop, where that is not the library's."""
        self.error: GraphError | None = None
        self.wake: Callable[[], None] = lambda: None


def _printed(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an exception that cannot be printed still has a name
        return type(error).__name__
