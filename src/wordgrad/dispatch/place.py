"""Where a call is made: whose body runs here, what numbers it, where it queues up, and whether it may block."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

import anyio

from wordgrad import context
from wordgrad.errors import GraphError, UsageError
from wordgrad.types import Index

if TYPE_CHECKING:
    from wordgrad.dispatch.loop import Dispatcher
    from wordgrad.dispatch.pending import Pending


@dataclass(frozen=True, slots=True)
class Label:
    """What messages call a call."""

    function: str
    role: str = ""
    example: str | None = None

    def __str__(self) -> str:
        of = f" of example {self.example!r}" if self.example is not None else ""
        return f"{self.function} ({self.role!r}{of})" if self.role else f"{self.function}{of}"


Queue: TypeAlias = "deque[Pending[Any]]"
"""Calls that take turns, in program order."""


class Scope:
    """Where Python calls made in one body queue up."""

    __slots__ = ("examples", "owner", "queue")

    def __init__(self, owner: Pending[Any] | None, queue: Queue | None) -> None:
        self.owner = owner
        self.queue = queue
        self.examples: WeakValueDictionary[str, Queue] = WeakValueDictionary()

    def queue_of(self, example: str | None) -> Queue | None:
        """The queue of an example, or that of the body itself."""
        if example is None:
            return self.queue
        found = self.examples.get(example)
        if found is None:
            found = self.examples[example] = deque()
        return found


scope_here: ContextVar[Scope] = ContextVar("wordgrad.scope", default=Scope(None, None))  # noqa: B039 - the scope of all that is in no body
call_here: ContextVar[Pending[Any] | None] = ContextVar("wordgrad.current", default=None)
label_here: ContextVar[Label | None] = ContextVar("wordgrad.label", default=None)


def next_index() -> Index:
    """The creation index of the next call made here.

    Raises:
        GraphError: Inside a run, on a thread or task that neither opened it nor was started by the library.
    """
    body = context.body.get()
    if context.run.get() is not None and body.owner is not None and body.owner != here():
        raise GraphError(
            "a call was made inside a run from a thread or task that the run does not know, so its order would depend "
            "on timing: use wordgrad.map(fn, examples) for threads, and wordgrad.gather(…) for coroutines"
        )
    return body.next_index()


def here() -> object:
    """The thread or task that is running: what owns a numbering of calls."""
    try:
        return anyio.get_current_task().id if in_loop() else threading.get_ident()
    except RuntimeError:
        return threading.get_ident()


def calling() -> Label | None:
    """What messages call the node whose body runs here; None outside of any."""
    return label_here.get()


def enter(node: Pending[Any]) -> None:
    """The start of a body: its own numbering, and its own queue where it stands in one."""
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:  # pragma: no branch - it comes with trio, which the tests need
        # The context came from where the call was made, and may say that another kind of loop runs there.
        sniffio.current_async_library_cvar.set(None if node._thread else "asyncio")
    node._runner = here()
    if not node._raw or node._item:
        context.body.set(context.Body(index=node.index, owner=node._runner))
    if node._thread or node._queues or node._item:
        scope_here.set(Scope(node, deque() if node._queues or node._item else None))
    call_here.set(node)
    if not node._raw:
        label_here.set(node.label)


def check_blocking(home: Dispatcher, what: str) -> None:
    """Raise where blocking is not allowed; `what` was done there."""
    if not in_loop():
        return
    if own_loop(home):
        raise UsageError(f"{what} on the library's own loop, which would stop it: `await` it there")
    if not _in_notebook():
        raise UsageError(
            f"{what} while an event loop is running on this thread: write `await v` before v.value is read, and "
            "`await loss.abackward()`, `await optimizer.astep()`, `await trainer.afit(…)`, `await wordgrad.amap(…)`, "
            "`await module.abatch(…)`"
        )


def in_loop() -> bool:
    """Whether an event loop, of whatever kind, is running on this thread."""
    if asyncio._get_running_loop() is not None:
        return True
    return _trio_here() is not None


def _trio_here() -> ModuleType | None:
    """`trio.lowlevel`, where a loop of trio's runs on this thread."""
    lowlevel = sys.modules.get("trio.lowlevel")
    # Another thread may be in the middle of importing it, here and below.
    in_trio_run = getattr(lowlevel, "in_trio_run", None)
    return lowlevel if in_trio_run is not None and in_trio_run() else None


def _in_notebook() -> bool:
    """A notebook's kernel may wait: its loop does nothing else while a cell runs."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and getattr(get_ipython(), "kernel", None) is not None


def own_loop(home: Dispatcher) -> bool:
    """Whether this thread is that of the library's loop."""
    return threading.current_thread() is home.thread


def own_body() -> Pending[Any] | None:
    """The call whose body the running thread or task is; None in any other, one that a body started included."""
    node = call_here.get()
    return node if node is not None and node._runner == here() else None


Soon: TypeAlias = Callable[[Callable[[], object]], None]


def soon_here() -> Soon:
    """Runs callbacks on the loop that is running now, from any thread."""
    lowlevel = _trio_here()
    if lowlevel is not None:
        token = lowlevel.current_trio_token()
        return lambda callback: _quietly(token.run_sync_soon, callback)
    loop = asyncio.get_running_loop()
    return lambda callback: _quietly(loop.call_soon_threadsafe, callback)


def _quietly(call: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
    # The waiter's loop may be gone by now: then nobody waits.
    with contextlib.suppress(RuntimeError):
        call(*args)
