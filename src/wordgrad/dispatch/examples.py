"""Running the same code on many examples at once, with calls numbered by position."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar, overload

import anyio

from wordgrad import context
from wordgrad.dispatch.calls import abandon, begun, raw
from wordgrad.dispatch.pending import Pending
from wordgrad.dispatch.place import Scope, check_blocking, here, next_index, own_loop, scope_here
from wordgrad.dispatch.process import process
from wordgrad.errors import UsageError
from wordgrad.types import Index

E = TypeVar("E")
R = TypeVar("R")


@overload
def map(fn: Callable[[E], Coroutine[Any, Any, R]], examples: Iterable[E], *, max_examples: int = ...) -> list[R]: ...
@overload
def map(fn: Callable[[E], R], examples: Iterable[E], *, max_examples: int = ...) -> list[R]: ...
def map(fn: Callable[[E], R | Coroutine[Any, Any, R]], examples: Iterable[E], *, max_examples: int = 256) -> list[R]:
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
    check_blocking(process.dispatcher(), "map() was called")
    nodes: list[Pending[Any]] = []
    whole = next_index()
    try:
        for place, example in enumerate(examples):
            if place >= max_examples:
                nodes[place - max_examples].result()
            nodes.append(_item(fn, example, (*whole, place)))
        return [node.result() for node in nodes]
    finally:
        abandon(nodes)


@overload
async def amap(
    fn: Callable[[E], Coroutine[Any, Any, R]], examples: Iterable[E], *, max_examples: int = ...
) -> list[R]: ...
@overload
async def amap(fn: Callable[[E], R], examples: Iterable[E], *, max_examples: int = ...) -> list[R]: ...
async def amap(
    fn: Callable[[E], R | Coroutine[Any, Any, R]], examples: Iterable[E], *, max_examples: int = 256
) -> list[R]:
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
        abandon(nodes)


def _item(fn: Callable[[E], Any], example: E, index: Index) -> Pending[Any]:
    node = raw(lambda: fn(example), "map()")
    if not is_async(fn):
        node._thread = True
        node._work = lambda _: _plain(fn(example))
    node._item = True
    node.index = index
    return begun(node)


def is_async(fn: object) -> bool:
    """Whether a call gives a coroutine: of an `async def`, of an object with such a `__call__`, or of such a Module."""
    return any(inspect.iscoroutinefunction(each) for each in (fn, type(fn).__call__, getattr(fn, "forward", None)))


def _plain(result: R) -> R:
    if inspect.iscoroutine(result):
        result.close()
        raise UsageError("map() was given a function that returns a coroutine: pass the `async def` function itself")
    return result


async def gather(*awaitables: Awaitable[Any]) -> list[Any]:
    """Run awaitables that make calls concurrently, on the loop that is running; results in order.

    Plain `asyncio.gather` would number their calls by who came first; this numbers them by position. Each is an example
    as in `map`: Python calls inside one run one at a time in program order. The first error in the order of the
    awaitables is raised, and cancels the rest.
    """
    try:
        if own_loop(process.dispatcher()):
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
    owner = scope_here.get().owner
    results: list[Any] = [None] * len(awaitables)
    errors: dict[int, BaseException] = {}
    ended = [anyio.Event() for _ in awaitables]

    async def one(place: int) -> None:
        context.body.set(context.Body(index=(*whole, place), owner=here()))
        scope_here.set(Scope(owner, deque()))
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
