"""Making calls, and waiting for what they are made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, TypeVar

import anyio

from wordgrad import context
from wordgrad.dispatch.pending import Pending
from wordgrad.dispatch.place import Label, calling, check_blocking, in_loop, own_loop, soon_here
from wordgrad.dispatch.process import process
from wordgrad.types import Index

R = TypeVar("R")

_POLL_S = 0.0005

_eager: ContextVar[bool] = ContextVar("wordgrad.eager", default=False)


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
    home = process.dispatcher()
    for each in inputs:
        if not each._done and each._home is not home:  # pragma: no cover - in a forked child only; tested there
            each._check_home()
    node: Pending[Any] = Pending(label, index, inputs, home=home)
    node._work = work
    node._thread = thread
    node._context = copy_context()
    ordered = thread or turn
    home.post(lambda: home.add(node, example, exclusive, turn=ordered))
    if _eager.get() and not in_loop():
        node.result()
    return node


def run(work: Callable[[], Awaitable[R]], *, what: str) -> R:
    """Run a coroutine function on the library's loop and block for its result; its errors are raised as they are.

    Raises:
        UsageError: Blocking is not allowed here.
    """
    check_blocking(process.dispatcher(), f"{what} was called")
    return start(work, what=what).result()


async def arun(work: Callable[[], Awaitable[R]]) -> R:
    """Run a coroutine function on the library's loop, from whatever loop is running."""
    if own_loop(process.dispatcher()):
        return await work()
    return await start(work, what="a call").wait()


def start(work: Callable[[], Awaitable[R]], *, what: str) -> Pending[R]:
    """Run a coroutine function on the library's loop; returns at once.

    The work belongs to no caller: it is cancelled when the last one that waits for it is.
    """
    return begun(raw(work, what))


def raw(work: Callable[[], Any], what: str) -> Pending[Any]:
    """A piece of work that is no node: its errors are raised as they are."""
    node: Pending[Any] = Pending(calling() or Label(what), context.body.get().index, (), home=process.dispatcher())
    node._raw = True
    node._awaited = True
    node._work = lambda _: work()
    node._context = copy_context()
    return node


def begun(node: Pending[Any]) -> Pending[Any]:
    """The piece of work, handed to the loop."""
    home = node._home
    home.post(lambda: home.add(node, None, None, turn=False))
    return node


async def arrived(future: Future[R]) -> R:
    """The result of a thread's future, without blocking the loop that is running."""
    home = process.dispatcher()
    inside = own_loop(home)
    # Every commit comes by here, and anyio's own event asks each time which kind of loop is running.
    event = asyncio.Event() if inside else anyio.Event()
    # What a thread finishes together wakes the library's loop once.
    soon = home.post if inside else soon_here()
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
    home = process.dispatcher()
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


def abandon(nodes: Iterable[Pending[Any]]) -> None:
    """Stop the calls that nobody waits for any more, with what they wait for, and take their errors as read.

    For the rest of many, where the reader of one of them was interrupted, or it failed.
    """
    for node in nodes:
        if not node._done or node._failure is not None:
            node._home.post(partial(node._home.abandon, node))


async def together(works: Sequence[Callable[[], Awaitable[R]]]) -> list[R]:
    """The results of all, in order; the first failure cancels the rest and is raised as it is.

    It numbers nothing: each work sets a numbering of its own where it makes calls (`gather` is for users' code).
    """
    found: dict[int, R] = {}

    async def one(place: int) -> None:
        found[place] = await works[place]()

    try:
        async with anyio.create_task_group() as group:
            for place in range(len(works)):
                group.start_soon(one, place)
    except BaseExceptionGroup as failed:
        raise first_error(failed) from None
    return [found[place] for place in range(len(works))]


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a task group: cancelling the rest made no others that matter."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
