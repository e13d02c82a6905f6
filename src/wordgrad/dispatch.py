"""The one background loop: calls return at once, and run when their inputs are there.

A call that waits is a counter, not a task. All state of calls belongs to the loop's thread; other threads send it
messages, in batches.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio

from wordgrad import context
from wordgrad.errors import GraphError, NodeError, UsageError
from wordgrad.types import Index
from wordgrad.workers import Job, Workers

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

_log = logging.getLogger(__name__)

_POLL_S = 0.0005
_EXIT_S = 2.0
"""What tasks that are cancelled at exit get to clean up."""
_TURNS = 8
"""Turns of another loop after which all that was ready there has run."""


@dataclass(frozen=True, slots=True)
class Label:
    """What messages call a call."""

    function: str
    role: str = ""
    example: str | None = None

    def __str__(self) -> str:
        of = f" of example {self.example!r}" if self.example is not None else ""
        return f"{self.function} ({self.role!r}{of})" if self.role else f"{self.function}{of}"


class _Failure:
    """Why a call failed; all that depends on it share this one object."""

    __slots__ = ("__weakref__", "cause", "label", "seen")

    def __init__(self, label: Label, cause: BaseException) -> None:
        self.label = label
        self.cause = cause
        self.seen = False

    @classmethod
    def of(cls, node: Pending[Any], error: BaseException) -> _Failure:
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


_Queue: TypeAlias = "deque[Pending[Any]]"
"""Calls that take turns, in program order."""


class _Scope:
    """Where Python calls made in one body queue up."""

    __slots__ = ("examples", "owner", "queue")

    def __init__(self, owner: Pending[Any] | None, queue: _Queue | None) -> None:
        self.owner = owner
        self.queue = queue
        self.examples: WeakValueDictionary[str, _Queue] = WeakValueDictionary()

    def queue_of(self, example: str | None) -> _Queue | None:
        """The queue of an example, or that of the body itself."""
        if example is None:
            return self.queue
        found = self.examples.get(example)
        if found is None:
            found = self.examples[example] = deque()
        return found


_scope: ContextVar[_Scope] = ContextVar("wordgrad.scope", default=_Scope(None, None))  # noqa: B039 - the scope of all that is in no body
_current: ContextVar[Pending[Any] | None] = ContextVar("wordgrad.current", default=None)
_label: ContextVar[Label | None] = ContextVar("wordgrad.label", default=None)
_eager: ContextVar[bool] = ContextVar("wordgrad.eager", default=False)


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

    def __init__(self, label: Label, index: Index, inputs: Sequence[Pending[Any]], *, home: _Dispatcher) -> None:
        self.label = label
        self.index = index
        self._home = home
        self._inputs = tuple(inputs)
        self._missing = 0
        self._dependents: list[Pending[Any]] = []
        self._waiters: list[_Waiter] = []
        self._queues: tuple[_Queue, ...] = ()
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
        self._failure: _Failure | None = None
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
            _check_blocking(self._home, f"{self.label} was read")
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
        waiter = _Waiter(_own_body())
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


_Soon: TypeAlias = Callable[[Callable[[], object]], None]


class _Waiter:
    """Someone who reads a pending value."""

    __slots__ = ("error", "reader", "soon", "wake")

    def __init__(self, reader: Pending[Any] | None) -> None:
        self.reader = reader
        """The call whose own body reads, if it is one of ours: the stall check counts these."""
        self.soon: _Soon | None = None
        """Runs a callback on the reader's loop, where that is not the library's."""
        self.error: GraphError | None = None
        self.wake: Callable[[], None] = lambda: None


class _Dispatcher:
    """The loop, its thread, and the calls that it knows. Methods without a word on threads belong to the loop's."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.workers = Workers()
        self._inbox: deque[Callable[[], None]] = deque()
        self._rung = False
        self._unsettled: dict[Pending[Any], None] = {}
        self._blocked: dict[Pending[Any], tuple[_Waiter, Pending[Any]]] = {}
        """Bodies that wait in a read of their own, and what they read."""
        self._unread: WeakKeyDictionary[_Failure, None] = WeakKeyDictionary()
        self._outside: dict[_Waiter, None] = {}
        """Blocked readers that are no call's own body: a user's thread, another loop."""
        self._active = 0
        self._in_threads = 0
        """Bodies in worker threads that do not block in a read, and futures of threads that tasks wait for."""
        self._exclusive: WeakValueDictionary[Hashable, _Queue] = WeakValueDictionary()
        self._broken: BaseException | None = None
        self._started = threading.Event()
        self.thread = threading.Thread(target=self._main, name="wordgrad", daemon=True)
        self.thread.start()
        self._started.wait()

    # ---- messages, from any thread

    def post(self, message: Callable[[], None]) -> None:
        """Have `message` run on the loop; one wake-up carries all messages that came before it is heard."""
        self._inbox.append(message)
        if not self._rung:
            self._rung = True
            if _own_loop(self):
                self._bell.set()
                return
            try:
                self.loop.call_soon_threadsafe(self._bell.set)
            except RuntimeError:  # pragma: no cover - at the end of a process; tested in one of its own
                # The loop is closed, for the interpreter is going down; who reads now must be told, not hang.
                self._hear()

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            anyio.run(self._pump)

    async def _pump(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._bell = asyncio.Event()
        self._self = asyncio.current_task()
        self._started.set()
        while True:
            await self._bell.wait()
            self._bell.clear()
            self._hear()

    def _hear(self) -> None:
        self._rung = False
        while self._inbox:
            self._do(self._inbox.popleft())
        self._do(self._check_stall)

    def _do(self, message: Callable[[], None]) -> None:
        try:
            message()
        except Exception as error:  # noqa: BLE001  # pragma: no cover - it ends a process's calls; tested in one
            # A fault of ours must fail the calls, not hang them.
            _log.critical("the dispatcher failed; every pending call fails with it", exc_info=error)
            self._refuse(error)

    # ---- calls

    def add(self, node: Pending[Any], example: str | None, exclusive: Hashable | None, *, turn: bool) -> None:
        """Take a new call in; it starts when its inputs and its turn are there."""
        if self._broken is not None:  # pragma: no cover - after a fault or the end; tested in processes of their own
            self._settle(node, failure=self._failure(node, self._broken))
            return
        self._unsettled[node] = None
        if turn:
            assert node._context is not None
            scope = node._context[_scope] if _scope in node._context else _scope.get()
            queues = [scope.queue_of(example)]
            if exclusive is not None:
                found = self._exclusive.get(exclusive)
                if found is None:
                    found = self._exclusive[exclusive] = deque()
                queues.append(found)
            node._queues = tuple(queue for queue in queues if queue is not None)
            for queue in node._queues:
                queue.append(node)
            if scope.owner is not None and not scope.owner._over:
                node._parent = scope.owner
                scope.owner._open += 1
        for each in node._inputs:
            if not each._done:
                each._dependents.append(node)
                node._missing += 1
        self._start_if_ready(node)

    def _start_if_ready(self, node: Pending[Any]) -> None:
        if node._done or node._work is None or node._missing or any(queue[0] is not node for queue in node._queues):
            if not node._done and not node._missing:
                self._fail_if_inputs_did(node)
            return
        if self._fail_if_inputs_did(node):
            return
        work, node._work = node._work, None
        context, node._context = node._context, None
        values = [each._value for each in node._inputs]
        assert context is not None, "it has not started before"
        self._active += 1
        if node._thread:
            self._in_threads += 1
            self.workers.start(
                Job(
                    run=lambda: context.run(self._in_thread, node, work, values),
                    refuse=lambda: self.post(lambda: self._ended(node, None, _too_many_threads(self.workers))),
                    nested=context.get(_current) is not None,
                )
            )
        else:
            node._task = self.loop.create_task(self._in_task(node, work, values), context=context)

    def _fail_if_inputs_did(self, node: Pending[Any]) -> bool:
        # In input order, never in order of time: what is reported must not depend on which call was faster.
        failure = next((each._failure for each in node._inputs if each._failure is not None), None)
        if failure is None:
            return False
        self._close(node)
        self._settle(node, failure=failure)
        return True

    # A call may be cancelled between its start here and the first step of its thread or task: then its body never runs.

    def _in_thread(self, node: Pending[Any], work: Callable[[list[Any]], Any], values: list[Any]) -> None:
        _enter(node)
        value, error = None, None
        try:
            value = None if node._done else work(values)
        except BaseException as raised:  # noqa: BLE001 - whatever a body raises is its node's failure
            error = raised
        self.post(lambda: self._ended(node, value, error))

    async def _in_task(self, node: Pending[Any], work: Callable[[list[Any]], Any], values: list[Any]) -> None:
        _enter(node)
        value, error = None, None
        try:
            value = None if node._done else await work(values)
        except BaseException as raised:  # noqa: BLE001 - cancellation too: the node must settle
            error = raised
        self.post(lambda: self._ended(node, value, error))

    def _ended(self, node: Pending[Any], value: object, error: BaseException | None) -> None:
        self._active -= 1
        self._in_threads -= node._thread
        self._settle(node, value=value, failure=None if error is None else self._failure(node, error))
        self._close(node)

    def _failure(self, node: Pending[Any], error: BaseException) -> _Failure:
        failure = _Failure.of(node, error)
        self._unread[failure] = None
        return failure

    def _settle(self, node: Pending[Any], *, value: object = None, failure: _Failure | None = None) -> None:
        """Give `node` its outcome, once, and pass it on; no recursion, however long the chain."""
        if node._done:
            if failure is not None:
                failure.seen = True
            return
        node._value = value
        node._failure = failure
        settled = deque([node])
        node._done = True
        while settled:
            each = settled.popleft()
            self._unsettled.pop(each, None)
            for waiter in each._waiters:
                self._wake(waiter)
            each._waiters = []
            dependents, each._dependents = each._dependents, []
            for dependent in dependents:
                dependent._missing -= 1
                if dependent._missing or dependent._done:
                    continue
                failed = next((one._failure for one in dependent._inputs if one._failure is not None), None)
                if failed is None:
                    self._start_if_ready(dependent)
                    continue
                dependent._failure = failed
                dependent._done = True
                dependent._work = dependent._context = None
                self._close(dependent)
                settled.append(dependent)

    def _close(self, node: Pending[Any]) -> None:
        """One thing less keeps `node`'s turn: its body, or a call made in it. Then the next ones may start."""
        ending: Pending[Any] | None = node
        while ending is not None:
            ending._open -= 1
            if ending._open > 0 or ending._over:
                return
            ending._over = True
            for queue in ending._queues:
                while queue and queue[0]._over:
                    queue.popleft()
                if queue:
                    self._start_if_ready(queue[0])
            ending = ending._parent

    # ---- readers

    def attach(self, waiter: _Waiter, target: Pending[Any]) -> None:
        """Wake `waiter` once `target` has ended."""
        reader = waiter.reader
        if target._done:
            waiter.wake()
        elif reader is not None and reader._done:
            # A cancelled body that is still running must not wait for calls, and pay for them, that nobody wants.
            waiter.error = _misread(reader, target, _CANCELLED)
            waiter.wake()
            self.abandon(target)
        else:
            target._waiters.append(waiter)
            if reader is None:
                self._outside[waiter] = None
            else:
                self._blocked[reader] = (waiter, target)
                self._active -= 1
                self._in_threads -= reader._thread

    def _wake(self, waiter: _Waiter) -> None:
        self._detach(waiter)
        waiter.wake()

    def _detach(self, waiter: _Waiter) -> None:
        self._outside.pop(waiter, None)
        if waiter.reader is not None and self._blocked.pop(waiter.reader, None) is not None:
            self._active += 1
            self._in_threads += waiter.reader._thread

    def _turn_away(self, reader: Pending[Any], why: str) -> Pending[Any]:
        """End the read that `reader` waits in with an error; return what it read."""
        waiter, target = self._blocked[reader]
        target._waiters.remove(waiter)
        waiter.error = _misread(reader, target, why)
        self._wake(waiter)
        return target

    async def waited(self, target: Pending[Any]) -> None:
        """Wait for `target` on whatever loop is running; a cancelled wait cancels a call that nobody else wants."""
        event = anyio.Event()
        here = _own_loop(self)
        waiter = _Waiter(_own_body() if here else None)
        if here:
            waiter.wake = event.set
        else:
            soon = waiter.soon = _soon()
            waiter.wake = lambda: soon(event.set)
        self.post(lambda: self.attach(waiter, target))
        try:
            await event.wait()
        except BaseException:
            self.post(lambda: self._lose(waiter, target))
            raise
        if waiter.error is not None:
            raise waiter.error

    def _lose(self, waiter: _Waiter, target: Pending[Any]) -> None:
        with contextlib.suppress(ValueError):  # it may have ended in the meantime
            target._waiters.remove(waiter)
        self._detach(waiter)
        self.abandon(target)

    def abandon(self, target: Pending[Any]) -> None:
        """Stop `target`, and what it waits for, where nobody else waits for it."""
        stack = [target]
        while stack:
            node = stack.pop()
            if not node._done and not node._waiters and all(each._done for each in node._dependents):
                stack.extend(self._stop(node))

    def cancel(self, target: Pending[Any]) -> None:
        """Stop `target` and all that it waits for."""
        stack = [target]
        while stack:
            node = stack.pop()
            if not node._done:
                stack.extend(self._stop(node))

    def _stop(self, node: Pending[Any]) -> list[Pending[Any]]:
        """Settle `node` as cancelled, and return what it waited for.

        Its task is cancelled. A running thread is abandoned: its result is dropped, and it can read nothing more.
        """
        started = node._work is None
        node._work = node._context = None
        failure = _Failure(node.label, GraphError("cancelled: its reader was interrupted"))
        failure.seen = True
        self._settle(node, failure=failure)
        if node._task is not None:
            # Not at once: a task that is cancelled before its first step would never end its turn.
            self.loop.call_soon(node._task.cancel)
        elif not started:
            self._close(node)
        elif node in self._blocked:
            return [self._turn_away(node, _CANCELLED)]
        return [*node._inputs]

    # ---- rest, for virtual clocks

    def rests(self) -> bool:
        """Whether no message waits, no Python node runs, and somebody outside is blocked in a read."""
        return not self._inbox and not self._in_threads and bool(self._outside)

    async def stirred(self) -> bool:
        """Let the loops of outside readers run what is ready there; say whether anything came of it."""
        before = dict(self._outside)
        for soon in [waiter.soon for waiter in before if waiter.soon is not None]:
            for _ in range(_TURNS):
                event = asyncio.Event()
                soon(partial(self.loop.call_soon_threadsafe, event.set))
                await event.wait()
        return not self.rests() or self._outside != before

    # ---- faults

    def _check_stall(self) -> None:
        """Bodies that read across each other would wait for ever: the first in order is told so."""
        if self._active or self._inbox or not self._blocked:
            return
        # A body may wait for pieces of its own, as `gather` does: then one of those is what reads a call.
        readers = [reader for reader, (_, target) in self._blocked.items() if not target._raw]
        reader = min(readers, key=lambda each: each.index)
        self._turn_away(
            reader,
            f"which cannot run before {reader.label} has ended: pass the value as an input, or make the calls in the "
            "other order",
        )

    def _refuse(self, error: BaseException) -> None:  # pragma: no cover - tested in processes that fail, or end
        """Fail every pending call, and every later one, with `error`, which has been logged."""
        self._broken = error
        for node in list(self._unsettled):
            node._work = node._context = None
            failure = _Failure(node.label, error)
            failure.seen = True
            self._settle(node, failure=failure)

    # ---- the end

    def close(self) -> None:  # pragma: no cover - tested in processes that end
        """Cancel everything that is pending, and end; from another thread, at exit."""
        self.post(self._end)
        self.thread.join(timeout=_EXIT_S)
        self._hear()

    def _end(self) -> None:  # pragma: no cover - tested in processes that end
        for failure in list(self._unread):
            failure.report()
        pending = sum(not node._raw for node in self._unsettled)
        if pending:
            _log.warning("%d pending calls were cancelled at exit", pending)
        self._refuse(GraphError("cancelled: the interpreter is exiting"))
        assert self._self is not None
        self._self.cancel()


class _Process:
    """This process's dispatcher, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dispatcher: _Dispatcher | None = None

    def dispatcher(self) -> _Dispatcher:
        found = self._dispatcher
        if found is None:
            with self._lock:
                found = self._dispatcher = self._dispatcher or _Dispatcher()
        return found

    def forked(self) -> None:  # pragma: no cover - tested in a forked child
        """A child has no loop thread: it makes its own. Calls pending in the parent keep the parent's."""
        self._lock = threading.Lock()
        self._dispatcher = None

    def exit(self) -> None:  # pragma: no cover - tested in processes that end
        if self._dispatcher is not None:
            self._dispatcher.close()


_process = _Process()
os.register_at_fork(after_in_child=_process.forked)
atexit.register(_process.exit)


# ---- making calls


def submit(
    work: Callable[[list[Any]], Any],
    inputs: Sequence[Pending[Any]],
    *,
    label: Label,
    index: Index,
    thread: bool = False,
    turn: bool = False,
    example: str | None = None,
    exclusive: Hashable | None = None,
) -> Pending[Any]:
    """Make a call; returns at once.

    Args:
        work: Called with the inputs' values: a coroutine function, or plain code where `thread` says.
        inputs: What it waits for.
        label: What messages call it.
        index: Its creation index, from `next_index`.
        thread: Run it in a worker thread; it then takes its example's turn.
        turn: It takes its example's turn although it is a coroutine.
        example: Calls with the same one take turns in call order; that of the calling body where None.
        exclusive: Calls with the same identity never overlap, and run in call order.

    Raises:
        GraphError: An input was pending when this process was forked.
    """
    home = _process.dispatcher()
    for each in inputs:
        if not each._done and each._home is not home:  # pragma: no cover - in a forked child only; tested there
            each._check_home()
    node: Pending[Any] = Pending(label, index, inputs, home=home)
    node._work = work
    node._thread = thread
    node._context = copy_context()
    ordered = thread or turn
    home.post(lambda: home.add(node, example, exclusive, turn=ordered))
    if _eager.get() and not _in_loop():
        node.result()
    return node


def run(work: Callable[[], Awaitable[R]], *, what: str) -> R:
    """Run a coroutine function on the library's loop and block for its result; its errors are raised as they are.

    Raises:
        UsageError: Blocking is not allowed here.
    """
    _check_blocking(_process.dispatcher(), f"{what} was called")
    return start(work, what=what).result()


async def arun(work: Callable[[], Awaitable[R]]) -> R:
    """Run a coroutine function on the library's loop, from whatever loop is running."""
    if _own_loop(_process.dispatcher()):
        return await work()
    return await start(work, what="a call").wait()


def start(work: Callable[[], Awaitable[R]], *, what: str) -> Pending[R]:
    """Run a coroutine function on the library's loop; returns at once.

    The work belongs to no caller: it is cancelled when the last one that waits for it is.
    """
    return _begun(_raw(work, what))


def _raw(work: Callable[[], Any], what: str) -> Pending[Any]:
    node: Pending[Any] = Pending(calling() or Label(what), context.body.get().index, (), home=_process.dispatcher())
    node._raw = True
    node._awaited = True
    node._work = lambda _: work()
    node._context = copy_context()
    return node


def _begun(node: Pending[Any]) -> Pending[Any]:
    home = node._home
    home.post(lambda: home.add(node, None, None, turn=False))
    return node


def map(fn: Callable[[E], R], examples: Iterable[E], *, max_examples: int = 256) -> list[R]:
    """`fn` of each example, concurrently, each in a worker thread of its own; results in order.

    Python calls inside one example run one at a time in program order. `fn` may be `async def`; it then runs on the
    library's loop. The first error in the order of the examples is raised, and stops the rest.

    Args:
        fn: Called with one example.
        examples: Any number.
        max_examples: How many are started at once.

    Raises:
        UsageError: Blocking is not allowed here: use `amap`.
    """
    _check_blocking(_process.dispatcher(), "map() was called")
    nodes: list[Pending[Any]] = []
    whole = next_index()
    try:
        for place, example in enumerate(examples):
            if place >= max_examples:
                nodes[place - max_examples].result()
            nodes.append(_item(fn, example, (*whole, place)))
        return [node.result() for node in nodes]
    finally:
        _abandon(nodes)


async def amap(fn: Callable[[E], R], examples: Iterable[E], *, max_examples: int = 256) -> list[R]:
    """`map()` for async code."""
    nodes: list[Pending[Any]] = []
    whole = next_index()
    try:
        for place, example in enumerate(examples):
            if place >= max_examples:
                await nodes[place - max_examples].wait()
            nodes.append(_item(fn, example, (*whole, place)))
        return [await node.wait() for node in nodes]
    finally:
        _abandon(nodes)


def _item(fn: Callable[[E], Any], example: E, index: Index) -> Pending[Any]:
    node = _raw(lambda: fn(example), "map()")
    if not any(inspect.iscoroutinefunction(each) for each in (fn, getattr(fn, "forward", None))):
        node._thread = True
        node._work = lambda _: _plain(fn(example))
    node._item = True
    node.index = index
    return _begun(node)


def _plain(result: R) -> R:
    if inspect.iscoroutine(result):
        result.close()
        raise UsageError("map() was given a function that returns a coroutine: pass the `async def` function itself")
    return result


def _abandon(nodes: Sequence[Pending[Any]]) -> None:
    """Stop those that nobody waits for any more: the others' reader was interrupted, or one of them failed."""
    for node in nodes:
        if not node._done:
            node._home.post(partial(node._home.abandon, node))


async def gather(*awaitables: Awaitable[Any]) -> list[Any]:
    """Run awaitables that make calls concurrently, on the loop that is running; results in order.

    Plain `asyncio.gather` would number their calls by who came first; this numbers them by position. Each is an example
    as in `map`: Python calls inside one run one at a time in program order. The first error in the order of the
    awaitables is raised, and cancels the rest.
    """
    try:
        if _own_loop(_process.dispatcher()):
            return await amap(_awaited, awaitables, max_examples=len(awaitables))
        return await _together(awaitables)
    finally:
        for each in awaitables:
            # Python warns of coroutines that never began.
            if inspect.iscoroutine(each) and inspect.getcoroutinestate(each) == inspect.CORO_CREATED:
                each.close()


async def _awaited(awaitable: Awaitable[R]) -> R:
    return await awaitable


async def _together(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    whole = next_index()
    owner = _scope.get().owner
    results: list[Any] = [None] * len(awaitables)
    errors: dict[int, BaseException] = {}
    ended = [anyio.Event() for _ in awaitables]

    async def one(place: int) -> None:
        context.body.set(context.Body(index=(*whole, place), owner=here()))
        _scope.set(_Scope(owner, deque()))
        try:
            results[place] = await awaitables[place]
        except BaseException as error:
            errors[place] = error
            if not isinstance(error, Exception):
                raise
        finally:
            ended[place].set()

    async with anyio.create_task_group() as group:
        for place in range(len(awaitables)):
            group.start_soon(one, place)
        for place, event in enumerate(ended):
            await event.wait()
            if place in errors:
                group.cancel_scope.cancel()
                break
    if errors:
        raise errors[min(errors)]
    return results


async def arrived(future: Future[R]) -> R:
    """The result of a thread's future, without blocking the loop that is running."""
    event = anyio.Event()
    soon = _soon()
    home = _process.dispatcher()
    inside = _own_loop(home)
    home._in_threads += inside
    try:
        future.add_done_callback(lambda _: soon(event.set))
        await event.wait()
    finally:
        home._in_threads -= inside
    return future.result()


async def quiet(*, patience_s: float = 1.0) -> None:
    """Return once nothing goes on by itself: for virtual clocks, on the library's loop.

    Every task on the loop waits, no Python node runs, and whoever reads from outside is blocked in its read, so that
    no more calls can come before one that is out ends.

    Args:
        patience_s: Real seconds; after these, whoever still runs is not waited for.
    """
    home = _process.dispatcher()
    with anyio.move_on_after(patience_s):
        while True:
            await anyio.sleep(_POLL_S)
            await anyio.wait_all_tasks_blocked()
            if home.rests() and not await home.stirred():
                return


@contextlib.contextmanager
def eager() -> Generator[None]:
    """Make each call block until it is done: for debugging."""
    token = _eager.set(True)
    try:
        yield
    finally:
        _eager.reset(token)


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
        return anyio.get_current_task().id if _in_loop() else threading.get_ident()
    except RuntimeError:
        return threading.get_ident()


def calling() -> Label | None:
    """What messages call the node whose body runs here; None outside of any."""
    return _label.get()


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a task group: cancelling the rest made no others that matter."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


# ---- where we are


def _enter(node: Pending[Any]) -> None:
    """The start of a body: its own numbering, and its own queue where it stands in one."""
    sniffio = sys.modules.get("sniffio")
    if sniffio is not None:  # pragma: no branch - it comes with trio, which the tests need
        # The context came from where the call was made, and may say that another kind of loop runs there.
        sniffio.current_async_library_cvar.set(None if node._thread else "asyncio")
    node._runner = here()
    if not node._raw or node._item:
        context.body.set(context.Body(index=node.index, owner=node._runner))
    if node._thread or node._queues or node._item:
        _scope.set(_Scope(node, deque() if node._queues or node._item else None))
    _current.set(node)
    if not node._raw:
        _label.set(node.label)


def _check_blocking(home: _Dispatcher, what: str) -> None:
    """Raise where blocking is not allowed; `what` was done there."""
    if not _in_loop():
        return
    if _own_loop(home):
        raise UsageError(f"{what} on the library's own loop, which would stop it: `await` it there")
    if not _in_notebook():
        raise UsageError(
            f"{what} while an event loop is running on this thread: write `await v` before v.value is read, and "
            "`await loss.abackward()`, `await optimizer.astep()`, `await wordgrad.amap(…)`, `await module.abatch(…)`"
        )


def _in_loop() -> bool:
    if asyncio._get_running_loop() is not None:
        return True
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()


def _in_notebook() -> bool:
    """A notebook's kernel may wait: its loop does nothing else while a cell runs."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def _own_loop(home: _Dispatcher) -> bool:
    return threading.current_thread() is home.thread


def _own_body() -> Pending[Any] | None:
    """The call whose body the running thread or task is; None in any other, one that a body started included."""
    node = _current.get()
    return node if node is not None and node._runner == here() else None


def _soon() -> _Soon:
    """Runs callbacks on the loop that is running now, from any thread."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        token = trio.lowlevel.current_trio_token()
        return lambda callback: _quietly(token.run_sync_soon, callback)
    loop = asyncio.get_running_loop()
    return lambda callback: _quietly(loop.call_soon_threadsafe, callback)


def _quietly(call: Callable[..., Any], *args: Any) -> None:  # noqa: ANN401
    # The waiter's loop may be gone by now: then nobody waits.
    with contextlib.suppress(RuntimeError):
        call(*args)


_CANCELLED = "but was cancelled, and nobody wants its result any more"


def _misread(reader: Pending[Any], target: Pending[Any], why: str) -> GraphError:
    return GraphError(f"{reader.label} reads {target.label}, {why}")


def _too_many_threads(workers: Workers) -> GraphError:
    return GraphError(
        f"no thread is left for it: {workers.threads} calls of Python functions run or wait for each other at once "
        f"(the most is {workers.max_threads}). Pass values as inputs instead of reading them inside the function"
    )


def _printed(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an exception that cannot be printed still has a name
        return type(error).__name__
