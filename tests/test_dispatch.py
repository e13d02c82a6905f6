"""Calls: they return at once, run side by side, in program order where that has a meaning, and are numbered."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import wordgrad as wg
from engines import Model
from gate import LIMIT_S, Gate, gate
from wordgrad.testing import RuleEngine

__all__ = ["gate"]

flag: ContextVar[str] = ContextVar("flag", default="unset")


@wg.function
def upper(text: str) -> str:
    """Write it in capitals."""
    return text.upper()


# ---- calls return at once


def test_a_call_returns_at_once_and_runs(gate: Gate) -> None:
    """A call gives a pending Variable and runs although nobody reads it."""
    output = gate.call()

    assert "<pending>" in repr(output)
    assert gate.entered.wait(LIMIT_S)
    gate.open()
    assert output.value == "done"


def test_a_waiting_call_keeps_the_values_it_was_made_with(gate: Gate) -> None:
    """Reassigning an input never reaches a call that is out, though it still waits for another input."""
    text = wg.Variable("old")
    output = upper(gate.call()), wg.join([gate.call(), text], " ")
    text.value = "new"
    gate.open()

    assert [each.value for each in output] == ["DONE", "done old"]


def test_waiting_calls_are_counters(gate: Gate) -> None:
    """Calls whose inputs are pending take no thread."""
    first = gate.call("x")
    assert gate.entered.wait(LIMIT_S)
    before = threading.active_count()
    waiting = [upper(first) for _ in range(1000)]

    assert threading.active_count() == before
    gate.open()
    assert {each.value for each in waiting} == {"X"}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keep Python's cycle collector, whose work grows with everything that lives, out of what is timed."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_long_chain_takes_linear_time() -> None:
    """A chain of 100,000 calls runs, and ten times the length does not cost a hundred times the time."""

    def seconds(length: int) -> float:
        gate = Gate()
        text, start = gate.call(), time.process_time()
        for _ in range(length):
            text = text + ""
        gate.open()

        assert text.value == "done"
        return time.process_time() - start

    assert seconds(100_000) < 40 * seconds(10_000)


def test_context_variables_flow_into_calls() -> None:
    """A body sees the context variables of the place where its call was made, in a thread and on the loop."""

    @wg.function
    def in_a_thread() -> str:
        return flag.get()

    @wg.function
    async def on_the_loop() -> str:
        return flag.get()

    token = flag.set("set")
    outputs = [in_a_thread(), on_the_loop()]
    flag.reset(token)

    assert [each.value for each in outputs] == ["set", "set"]


def test_eager_calls_are_done_when_they_return() -> None:
    """Under `eager()` a call blocks until it is done, and raises where it is made."""
    with wg.eager():
        output = upper("x")

        assert "pending" not in repr(output)
        with pytest.raises(wg.NodeError, match="upper"):
            upper(1)


def test_eager_leaves_async_code_alone() -> None:
    """Under `eager()` calls inside an async body still return at once: blocking there would stop the loop."""

    @wg.function
    async def agent(text: str) -> str:
        return (await upper(text)).value  # type: ignore[no-any-return]

    with wg.eager():
        assert agent("x").value == "X"


# ---- Python calls: program order inside an example, side by side across


def test_calls_of_no_example_run_side_by_side() -> None:
    """Outside an example Python calls run as soon as their inputs are there: two that wait for each other both end."""
    meet = threading.Barrier(2)
    wait = wg.function(lambda: meet.wait(LIMIT_S) >= 0)

    assert [call.value for call in (wait(), wait())] == [True, True]


def test_async_calls_of_one_example_keep_their_order() -> None:
    """An async function takes its example's turn too, in program order with the sync ones."""
    log: list[int] = []

    @wg.function
    async def slow(n: int) -> None:
        await anyio.lowlevel.checkpoint()
        log.append(n)

    quick = wg.function(log.append)
    outputs = [(slow if n % 2 else quick)(n, example="one") for n in range(10)]
    for each in outputs:
        each.value  # noqa: B018 - reading is the act

    assert log == list(range(10))


def test_an_example_may_be_any_object() -> None:
    """A row that cannot be hashed names an example as well: equal ones take turns."""
    log: list[int] = []
    note = wg.function(log.append)
    outputs = [note(n, example={"row": [1]}) for n in range(10)]
    for each in outputs:
        each.value  # noqa: B018 - reading is the act

    assert log == list(range(10))


def test_any_callable_may_be_exclusive() -> None:
    """`exclusive=` holds for callables that cannot be hashed."""

    class Tool:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, n: int) -> int:
            return n

    tool = wg.function(exclusive=True)(Tool())

    assert [each.value for each in [tool(n) for n in range(3)]] == [0, 1, 2]


def test_calls_inside_a_body_do_not_wait_for_their_caller() -> None:
    """Python calls made in a body take turns of their own, so a body may read one of the same example."""

    @wg.function
    def outer(text: str) -> str:
        return upper(text, example="one").value + "."  # type: ignore[no-any-return]

    assert outer("x", example="one").value == "X."


def test_a_turn_ends_with_the_calls_made_in_it(gate: Gate) -> None:
    """An example's next call starts when the body before has returned and every Python call made in it has ended."""
    log: list[str] = []

    @wg.function
    def inner() -> None:
        gate.call().value  # noqa: B018 - reading is the act
        log.append("inner")

    @wg.function
    def outer() -> None:
        inner()
        log.append("outer")

    first, second = outer(example="one"), wg.function(log.append)("next", example="one")
    first.value  # noqa: B018 - reading is the act
    gate.open()
    second.value  # noqa: B018 - reading is the act

    assert log == ["outer", "inner", "next"]


def test_a_turn_ends_with_what_a_gather_in_it_made(gate: Gate) -> None:
    """The rule holds for calls that a body makes by `gather` on a loop of its own."""
    log: list[str] = []

    async def made() -> None:
        gate.call()

    @wg.function
    def outer() -> None:
        anyio.run(lambda: wg.gather(made()))
        log.append("outer")

    first, second = outer(example="one"), wg.function(log.append)("next", example="one")
    first.value  # noqa: B018 - reading is the act
    assert gate.entered.wait(LIMIT_S)
    wg.function(lambda: None)().value  # noqa: B018 - what had its turn has begun by now
    seen = list(log)
    gate.open()
    second.value  # noqa: B018 - reading is the act

    assert (seen, log) == (["outer"], ["outer", "next"])


def test_nested_reads_do_not_use_up_the_threads() -> None:
    """Ten times more calls than there are places may each read another call inside, at once."""

    @wg.function
    def outer(n: int) -> int:
        return inner(n).value + 1  # type: ignore[no-any-return]

    inner = wg.function(lambda n: n * 10)
    outputs = [outer(n) for n in range(320)]  # there are at most 32 places

    assert [each.value for each in outputs] == [n * 10 + 1 for n in range(320)]


def test_a_lock_may_be_held_over_a_read() -> None:
    """A user's lock held over a blocking read stops nobody for good, with ten times more calls than places."""
    lock = threading.Lock()

    @wg.function
    def locked(text: str) -> str:
        with lock:
            return upper(text).value  # type: ignore[no-any-return]

    outputs = [locked(f"x{n}") for n in range(320)]

    assert [each.value for each in outputs] == [f"X{n}" for n in range(320)]


def test_a_bodys_own_threads_may_read() -> None:
    """Threads that a body starts in its own context may wait for one value together."""

    @wg.function
    def outer() -> list[str]:
        gate, values = Gate(), []
        pending = gate.call("x")

        def read() -> None:
            values.append(pending.value)

        helpers = [threading.Thread(target=copy_context().run, args=(read,)) for _ in range(2)]
        for each in helpers:
            each.start()
        last = upper("end").value
        gate.open()
        for each in helpers:
            each.join(LIMIT_S)
        return [*values, last]

    assert outer().value == ["x", "x", "END"]


# ---- map, batch, gather


class Agent(wg.Module):
    """A program that branches on what it read."""

    def __init__(self, model: Model) -> None:
        self.model = wg.BlackboxLLM(model)

    def forward(self, task: str) -> str:
        """Ask twice."""
        return self.model(self.model(task).value + "!").value + "!"  # type: ignore[no-any-return]


class AsyncAgent(Agent):
    """The same in async code."""

    async def forward(self, task: str) -> str:  # type: ignore[override]
        """Ask twice."""
        first = await self.model(task)
        return (await self.model(first.value + "!")).value + "!"  # type: ignore[no-any-return]


def repeating() -> Model:
    """An engine that says what it is told."""
    return Model(lambda request: request.messages[-1].text)


async def _gathered(agent: AsyncAgent, tasks: Sequence[str]) -> list[Any]:
    return await wg.gather(*(agent(task) for task in tasks))


Blocking = Callable[[Model, Sequence[str]], list[Any]]
Awaiting = Callable[[Model, Sequence[str]], Awaitable[list[Any]]]


@pytest.mark.parametrize(
    "run",
    [
        lambda model, tasks: wg.map(Agent(model), tasks),
        lambda model, tasks: wg.map(AsyncAgent(model).forward, tasks),
        lambda model, tasks: Agent(model).batch(tasks),
        lambda model, tasks: AsyncAgent(model).batch(tasks),
    ],
)
def test_examples_are_numbered_by_position(run: Blocking) -> None:
    """`map` and `batch` take one number and add each example's position; rounds are those of one example."""
    model = repeating()
    with wg.Run():
        results = run(model, ["a", "b", "c"])
        wg.llm_call(None, "after", engine=model).value  # noqa: B018 - reading is the act

    assert results == ["a!!", "b!!", "c!!"]
    assert model.rounds == 3
    assert [(call.index, call.prompt) for call in model.history] == [
        *[((0, place, n), task + "!" * n) for place, task in enumerate("abc") for n in range(2)],
        ((1,), "after"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    "run",
    [
        lambda model, tasks: wg.amap(Agent(model), tasks),
        lambda model, tasks: wg.amap(AsyncAgent(model).forward, tasks),
        lambda model, tasks: Agent(model).abatch(tasks),
        lambda model, tasks: AsyncAgent(model).abatch(tasks),
        lambda model, tasks: _gathered(AsyncAgent(model), tasks),
    ],
)
async def test_async_examples_are_numbered_by_position(run: Awaiting) -> None:
    """`amap`, `abatch` and `gather` number calls as `map` does, on whatever loop is running."""
    model = repeating()
    with anyio.fail_after(LIMIT_S), wg.Run():
        results = await run(model, ["a", "b", "c"])
        await wg.llm_call(None, "after", engine=model)

    assert results == ["a!!", "b!!", "c!!"]
    assert [(call.index, call.prompt) for call in model.history] == [
        *[((0, place, n), task + "!" * n) for place, task in enumerate("abc") for n in range(2)],
        ((1,), "after"),
    ]


def test_gather_in_a_body_numbers_by_position() -> None:
    """`gather` inside an async function on the library's loop numbers its calls under that function's call."""
    model = repeating()

    @wg.function
    async def agents(tasks: str) -> list[str]:
        return await _gathered(AsyncAgent(model), tasks)

    with wg.Run():
        results = agents("ab").value

    assert results == ["a!!", "b!!"]
    assert [call.index for call in model.history] == [(0, 0, place, n) for place in range(2) for n in range(2)]


def test_numbers_do_not_depend_on_which_thread_came_first() -> None:
    """Examples that run in reverse order have the numbers of their places."""
    model = RuleEngine(lambda request: request.messages[-1].text)
    turns = [threading.Event() for _ in range(5)]

    def agent(n: int) -> str:
        assert n == 3 or turns[n + 1].wait(LIMIT_S)
        value = wg.llm_call(None, f"{n}", engine=model).value
        turns[n].set()
        return value  # type: ignore[no-any-return]

    with wg.Run():
        wg.map(agent, range(4))

    assert [(call.index, call.prompt) for call in model.history] == [((0, n, 0), f"{n}") for n in range(4)]


def test_numbers_start_again_in_each_run() -> None:
    """The first call of a run is number 0, whatever was called before."""
    model = repeating()
    for _ in range(2):
        with wg.Run():
            wg.llm_call(None, "x", engine=model).value  # noqa: B018 - reading is the act

    assert [call.index for call in model.history] == [(0,), (0,)]


@pytest.mark.parametrize("fn", [upper.fn, AsyncAgent(repeating()).forward])
def test_map_starts_no_more_than_it_may(fn: Callable[[str], object]) -> None:
    """`map` takes an example only when all but `max_examples` - 1 of those before it have ended."""
    taken: list[int] = []

    def examples() -> Any:
        for n in range(6):
            taken.append(n)
            yield f"{n}"

    assert len(wg.map(fn, examples(), max_examples=2)) == len(taken) == 6


def test_map_runs_as_many_as_it_may() -> None:
    """With `max_examples=2` two examples run at once, and never a third."""
    meet, running, peaks = threading.Barrier(2), [], []

    def agent(n: int) -> int:
        running.append(n)
        peaks.append(len(running))
        meet.wait(LIMIT_S)
        running.remove(n)
        meet.wait(LIMIT_S)
        return n

    assert wg.map(agent, range(6), max_examples=2) == list(range(6))
    assert max(peaks) == 2


@pytest.mark.anyio
async def test_amap_runs_no_more_than_it_may() -> None:
    """`amap` keeps to `max_examples`: six examples of a second each take three, by two."""
    model = Model("done", latency_s=1.0)

    async def agent(n: int) -> int:
        await wg.llm_call(None, f"{n}", engine=model)
        return n

    with anyio.fail_after(LIMIT_S):
        results = await wg.amap(agent, range(6), max_examples=2)

    assert (results, model.rounds) == (list(range(6)), 3)


@pytest.mark.anyio
async def test_as_many_run_at_once_as_the_documentation_says() -> None:
    """`map` and `amap` start 256 examples at once where nothing else is said, and `gather` all it is given."""
    model = Model("done", latency_s=1.0)

    async def ask(n: int) -> None:
        await wg.llm_call(None, f"{n}", engine=model)

    async def gathered() -> None:
        await wg.gather(*map(ask, range(257)))

    rounds = []
    for run in (lambda: wg.amap(ask, range(257)), wg.function(lambda: wg.map(ask, range(257))), wg.function(gathered)):
        before = model.rounds
        with anyio.fail_after(LIMIT_S):
            await run()
        rounds.append(model.rounds - before)

    assert rounds == [2, 2, 1]


@pytest.mark.parametrize("run", [wg.map, lambda fn, tasks: anyio.run(wg.amap, fn, tasks)])
def test_python_calls_of_an_example_keep_their_order(run: Callable[..., list[Any]]) -> None:
    """Under `map` the Python calls of one example run one at a time in program order, those of others beside them."""
    logs: dict[str, list[int]] = {"a": [], "b": []}
    meet = threading.Barrier(2)

    def agent(task: str) -> None:
        note = wg.function(logs[task].append, pure=True)
        wg.function(lambda: meet.wait(LIMIT_S), pure=True)()
        for n in range(10):
            last = note(n)
        last.value  # noqa: B018 - reading is the act

    run(agent, ["a", "b"])

    assert logs == {"a": list(range(10)), "b": list(range(10))}


@pytest.mark.anyio
async def test_python_calls_of_a_gathered_coroutine_keep_their_order() -> None:
    """Each awaitable of `gather` is an example: its Python calls run in program order, those of others beside them."""
    logs: dict[str, list[int]] = {"a": [], "b": []}
    meet = threading.Barrier(2)

    async def agent(task: str) -> None:
        note = wg.function(logs[task].append)
        wg.function(lambda: meet.wait(LIMIT_S))()
        for n in range(10):
            last = note(n)
        await last

    with anyio.fail_after(LIMIT_S):
        await wg.gather(agent("a"), agent("b"))

    assert logs == {"a": list(range(10)), "b": list(range(10))}


def test_map_wants_the_async_function_itself() -> None:
    """A plain function that returns a coroutine is refused, with what to pass instead."""

    async def agent(task: str) -> str:
        return task

    with pytest.raises(wg.UsageError) as caught:
        wg.map(lambda task: agent(task), ["a"])  # noqa: PLW0108 - that is the mistake

    assert str(caught.value) == (
        "map() was given a function that returns a coroutine: pass the `async def` function itself"
    )


def test_map_raises_the_first_error_in_order(gate: Gate) -> None:
    """The error is that of the first failing example, though a later one failed before it; the rest is stopped."""
    failed, ended, reached = threading.Event(), threading.Event(), []

    def agent(n: int) -> None:
        if n == 1:
            failed.set()
        elif n == 2:
            try:
                reached.append(gate.call().value)
            finally:
                ended.set()
        for event in (failed, gate.entered):
            assert event.wait(LIMIT_S)
        raise ValueError(f"example {n}")

    with pytest.raises(ValueError, match="example 0"):
        wg.map(agent, range(3))

    assert ended.wait(LIMIT_S)
    assert reached == []
    gate.open()


@pytest.mark.anyio
async def test_gather_raises_the_first_error_in_order() -> None:
    """The error is that of the first failing awaitable, though a later one failed before it; the rest is cancelled."""
    failed, cancelled = anyio.Event(), anyio.Event()

    async def agent(n: int) -> None:
        if n == 0:
            await failed.wait()
        elif n == 1:
            failed.set()
        else:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()
        raise ValueError(f"example {n}")

    with anyio.fail_after(LIMIT_S), pytest.raises(ValueError, match="example 0"):
        await wg.gather(*(agent(n) for n in range(3)))

    assert cancelled.is_set()


@pytest.mark.anyio
async def test_gather_passes_on_what_was_cancelled_elsewhere() -> None:
    """An awaitable that was cancelled from outside is no result: its cancellation is raised, and nothing hangs."""
    import asyncio  # noqa: TID251 - a task of the user's own

    task = asyncio.create_task(anyio.sleep_forever())
    task.cancel()

    with anyio.fail_after(LIMIT_S), pytest.raises(asyncio.CancelledError):
        await wg.gather(task)


# ---- calls that nobody could number


def by_a_thread(call: Callable[[], object]) -> None:
    """Make the call in a thread that has this one's context."""
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    thread = threading.Thread(target=copy_context().run, args=(attempt,))
    thread.start()
    thread.join(LIMIT_S)
    if errors:
        raise errors[0]


def by_a_task(call: Callable[[], object]) -> None:
    """Make the call in a task."""

    async def attempt() -> None:
        call()

    anyio.run(attempt)


STRAY = pytest.mark.parametrize("stray", [by_a_thread, by_a_task])


@STRAY
def test_a_stray_call_in_a_run_is_an_error(stray: Callable[[Callable[[], object]], None]) -> None:
    """Inside a run, a call from a thread or task that the run does not know names `map` and `gather`."""
    with wg.Run(), pytest.raises(wg.GraphError, match=r"wordgrad\.map\(.*wordgrad\.gather\("):
        stray(lambda: upper("x"))


@STRAY
def test_a_stray_call_in_a_body_of_a_run_is_an_error(stray: Callable[[Callable[[], object]], None]) -> None:
    """The rule holds for the body of a call as well."""
    outer = wg.function(lambda: stray(lambda: upper("x")))

    with wg.Run(), pytest.raises(wg.GraphError, match=r"wordgrad\.map\("):
        outer().value  # noqa: B018 - reading is the act


@STRAY
def test_outside_a_run_anyone_may_call(stray: Callable[[Callable[[], object]], None]) -> None:
    """Outside a run the order of calls means nothing, so any thread or task may make them, in a body too."""
    made: list[wg.Variable] = []
    wg.function(lambda: stray(lambda: made.append(upper("x"))))().value  # noqa: B018 - reading is the act
    stray(lambda: made.append(upper("y")))

    assert [each.value for each in made] == ["X", "Y"]


def test_a_stray_gather_is_an_error() -> None:
    """`gather` itself is a call: where it may not be made it says so, and leaves no coroutine to warn of."""

    async def agent() -> None:
        """Never run."""

    with wg.Run(), pytest.raises(wg.GraphError) as caught:
        anyio.run(lambda: wg.gather(agent()))

    assert str(caught.value) == (
        "a call was made inside a run from a thread or task that the run does not know, so its order would depend on "
        "timing: use wordgrad.map(fn, examples) for threads, and wordgrad.gather(…) for coroutines"
    )


@pytest.mark.anyio
async def test_a_stray_call_in_a_gathered_coroutine_is_an_error() -> None:
    """A gathered coroutine's calls are numbered for it alone: a thread that it starts is stray."""

    async def agent() -> None:
        by_a_thread(lambda: upper("x"))

    with wg.Run(), pytest.raises(wg.GraphError, match=r"wordgrad\.gather\("):
        await wg.gather(agent())


@pytest.mark.anyio
@pytest.mark.parametrize("in_a_run", [True, False])
async def test_a_loops_callback_is_stray(in_a_run: bool) -> None:
    """A callback of the loop is no task, so in a run that a task opened it is stray; outside of any it may call."""
    import asyncio  # noqa: TID251 - a callback of the user's own

    outcomes: list[object] = []
    called = anyio.Event()

    def callback() -> None:
        try:
            outcomes.append(upper("x"))
        except wg.GraphError:
            outcomes.append("stray")
        called.set()

    with anyio.fail_after(LIMIT_S), wg.Run() if in_a_run else nullcontext():
        asyncio.get_running_loop().call_soon(callback)
        await called.wait()
        values = [each if isinstance(each, str) else (await each).value for each in outcomes]

    assert values == ["stray" if in_a_run else "X"]
