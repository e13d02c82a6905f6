"""The loop, its thread, and the calls that it knows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import anyio

from wordgrad.dispatch.pending import Failure, Pending, Waiter
from wordgrad.dispatch.place import Queue, call_here, enter, own_body, own_loop, scope_here, soon_here
from wordgrad.errors import GraphError
from wordgrad.workers import Job, Workers

_log = logging.getLogger(__name__)

_EXIT_S = 2.0
"""What tasks that are cancelled at exit get to clean up."""
_TURNS = 8
"""Turns of another loop after which all that was ready there has run."""


class Dispatcher:
    """The loop, its thread, and the calls that it knows. Methods without a word on threads belong to the loop's."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.workers = Workers()
        self._inbox: deque[Callable[[], None]] = deque()
        self._rung = False
        self._unsettled: dict[Pending[Any], None] = {}
        self._blocked: dict[Pending[Any], tuple[Waiter, Pending[Any]]] = {}
        """Bodies that wait in a read of their own, and what they read."""
        self._unread: WeakKeyDictionary[Failure, None] = WeakKeyDictionary()
        self._outside: dict[Waiter, None] = {}
        """Blocked readers that are no call's own body: a user's thread, another loop."""
        self._active = 0
        self._in_threads = 0
        """Bodies in worker threads that do not block in a read, and futures of threads that tasks wait for."""
        self._exclusive: WeakValueDictionary[Hashable, Queue] = WeakValueDictionary()
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
            if own_loop(self):
                self._bell.set()
                return
            try:
                self.loop.call_soon_threadsafe(self._bell.set)
            except RuntimeError:  # pragma: no cover - at the end of a process; tested in one of its own
                # The loop is closed, for the interpreter is going down; who reads now must be told, not hang.
                self._hear()

    def _main(self) -> None:
        try:
            anyio.run(self._pump)
        except asyncio.CancelledError:
            pass
        except RuntimeError:  # pragma: no cover - at the end of a process
            # asyncio ends the threads that looked names up by means of another one, which Python 3.12 refuses by then.
            if self._broken is None:
                raise

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
            scope = node._context[scope_here] if scope_here in node._context else scope_here.get()
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
                    nested=context.get(call_here) is not None,
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
        enter(node)
        value, error = None, None
        try:
            value = None if node._done else work(values)
        except BaseException as raised:  # noqa: BLE001 - whatever a body raises is its node's failure
            error = raised
        self.post(lambda: self._ended(node, value, error))

    async def _in_task(self, node: Pending[Any], work: Callable[[list[Any]], Any], values: list[Any]) -> None:
        enter(node)
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

    def _failure(self, node: Pending[Any], error: BaseException) -> Failure:
        failure = Failure.of(node, error)
        self._unread[failure] = None
        return failure

    def _settle(self, node: Pending[Any], *, value: object = None, failure: Failure | None = None) -> None:
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

    def attach(self, waiter: Waiter, target: Pending[Any]) -> None:
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

    def _wake(self, waiter: Waiter) -> None:
        self._detach(waiter)
        waiter.wake()

    def _detach(self, waiter: Waiter) -> None:
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
        here = own_loop(self)
        event = asyncio.Event() if here else anyio.Event()
        waiter = Waiter(own_body() if here else None)
        if here:
            waiter.wake = event.set
        else:
            soon = waiter.soon = soon_here()
            waiter.wake = lambda: soon(event.set)
        self.post(lambda: self.attach(waiter, target))
        try:
            await event.wait()
        except BaseException:
            self.post(lambda: self._lose(waiter, target))
            raise
        if waiter.error is not None:
            raise waiter.error

    def _lose(self, waiter: Waiter, target: Pending[Any]) -> None:
        with contextlib.suppress(ValueError):  # it may have ended in the meantime
            target._waiters.remove(waiter)
        self._detach(waiter)
        self.abandon(target)

    def abandon(self, target: Pending[Any]) -> None:
        """Stop `target`, and what it waits for, where nobody else waits for it; its error counts as read."""
        if target._failure is not None:
            target._failure.seen = True
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
        failure = Failure(node.label, GraphError("cancelled: its reader was interrupted"))
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
        """Calls that wait for each other would wait for ever: the first in order is told so."""
        while not (self._active or self._inbox) and (self._blocked or self._outside):
            # A body has returned, and what keeps its turn is a call made in it that waits for that very turn.
            made_inside = [node for node in self._unsettled if node._parent is not None and not node._missing]
            held = [node for node in made_inside if any(queue[0]._done for queue in node._queues)]
            if not held:
                break
            self._turn_down(min(held, key=lambda each: each.index))
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

    def _turn_down(self, node: Pending[Any]) -> None:
        """Fail a call that can never have its turn."""
        first = next(queue[0] for queue in node._queues if queue[0]._done)
        error = GraphError(
            f"it waits for {first.label} to end, which waits for it, a call made in its body: an exclusive function "
            "cannot be called there"
        )
        node._work = node._context = None
        self._settle(node, failure=self._failure(node, error))
        self._close(node)

    def _refuse(self, error: BaseException) -> None:  # pragma: no cover - tested in processes that fail, or end
        """Fail every pending call, and every later one, with `error`, which has been logged."""
        self._broken = error
        for node in list(self._unsettled):
            node._work = node._context = None
            failure = Failure(node.label, error)
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


_CANCELLED = "but was cancelled, and nobody wants its result any more"


def _misread(reader: Pending[Any], target: Pending[Any], why: str) -> GraphError:
    return GraphError(f"{reader.label} reads {target.label}, {why}")


def _too_many_threads(workers: Workers) -> GraphError:
    return GraphError(
        f"no thread is left for it: {workers.threads} calls of Python functions run or wait for each other at once "
        f"(the most is {workers.max_threads}). Pass values as inputs instead of reading them inside the function"
    )
