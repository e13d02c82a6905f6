"""What fails, is cancelled, stalls, forks or ends: nothing hangs, and nothing is paid for that nobody wants."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

import wordgrad as wg
from gate import LIMIT_S, Gate, gate
from wordgrad import workers
from wordgrad.dispatch.process import process
from wordgrad.testing import VirtualClock

__all__ = ["gate"]

BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@wg.function
def upper(text: str) -> str:
    """Write it in capitals."""
    return text.upper()


@wg.function
def fails(text: str) -> str:
    """Always raise."""
    raise ValueError(text)


class Service:
    """An async function whose calls never answer; it says when one is out, and when one was cancelled."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cancelled = threading.Event()
        self.call = wg.function(self._wait)

    async def _wait(self, *_: object) -> None:
        self.entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()


@pytest.fixture
def service() -> Service:
    """A service of the test's own."""
    return Service()


def error_of(output: wg.Variable) -> wg.NodeError:
    """What reading the output raises."""
    with pytest.raises(wg.NodeError) as raised:
        output.value  # noqa: B018 - reading is the act
    return raised.value


def ran(script: str) -> tuple[str, str]:
    """What a Python process that runs the script writes; it must end well and in time."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import wordgrad as wg\n" + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# ---- failure


def test_a_failure_names_its_call() -> None:
    """The error holds the function, role and example of the call that failed, and the cause's own words."""
    error = error_of(fails("no page", role_description="the page", example=7))

    assert (error.function, error.role, error.example) == ("fails", "the page", "7")
    assert str(error) == "fails ('the page' of example '7') failed: ValueError: no page"


def test_a_failure_reaches_all_descendants_unwrapped() -> None:
    """100,000 calls later it is still the one error of the call that failed."""
    gc.disable()
    gate = Gate()
    text = fails(gate.call())
    for _ in range(100_000):
        text = text + ""
    gate.open()
    gc.enable()

    assert str(error_of(text)) == "fails ('output of fails') failed: ValueError: done"


def test_a_failure_passes_through_reads_unwrapped() -> None:
    """A body that reads a failed call fails with that call's error, as what has it as an input does."""

    @wg.function
    def reads(text: str) -> str:
        return fails(text, example="e").value  # type: ignore[no-any-return]

    @wg.function
    async def awaits(text: str) -> str:
        return (await reads(text)).value  # type: ignore[no-any-return]

    error = error_of(awaits("x"))

    assert str(error) == "fails ('output of fails' of example 'e') failed: ValueError: x"
    assert isinstance(error.__cause__, ValueError)


def test_an_error_that_cannot_be_printed_is_still_reported() -> None:
    """An exception whose own words raise is named by its class."""

    class Broken(Exception):  # noqa: N818 - a user's own
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @wg.function
    def raises() -> None:
        raise Broken

    assert str(error_of(raises())).endswith(" failed: Broken")


def test_even_an_exit_is_a_failure() -> None:
    """A tool that calls `sys.exit()` fails its call, not the program."""
    leave = wg.function(lambda: sys.exit("bye"))

    assert str(error_of(leave())).endswith("failed: SystemExit: bye")


def test_the_first_input_in_order_names_the_failure(gate: Gate) -> None:
    """With two failing inputs the error is the first one's in order, though the second failed before."""
    first, second = fails(gate.call("first")), fails("second")
    both = wg.join([first, second])
    error_of(second)
    gate.open()

    assert str(error_of(both)).endswith("ValueError: first")


def test_a_call_with_a_failed_input_never_runs(gate: Gate) -> None:
    """A call that waits for its turn when its input fails does not run when the turn comes."""
    log: list[str] = []
    note = wg.function(log.append)
    first = gate.call(example="one")
    doomed = note(fails("x"), example="one")
    error_of(doomed)
    last = note("last", example="one")
    gate.open()
    assert (first.value, last.value) == ("done", None)

    assert log == ["last"]


def test_a_call_made_with_a_failed_value_never_runs() -> None:
    """An input that had failed before the call was made is as one that fails after it."""
    failed = fails("x")
    error_of(failed)

    assert str(error_of(upper(failed))) == "fails ('output of fails') failed: ValueError: x"


def test_each_read_raises_a_fresh_error() -> None:
    """Two reads raise two exceptions with one cause, so that no traceback grows."""
    output = fails("x")
    first, second = error_of(output), error_of(output)

    assert first is not second
    assert first.__cause__ is second.__cause__
    assert str(first) == str(second)


def logged(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    """What has been logged, once that is `count` messages and all that is out of reach is gone."""
    for _ in range(1000):
        gc.collect()
        if len(caplog.records) >= count:
            break
        threading.Event().wait(LIMIT_S / 1000)
    gc.collect()
    return [each.getMessage() for each in caplog.records]


def test_an_unread_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody read is logged when the last that depends on it is gone, and only once."""
    outputs = [upper(fails("x")), upper("y")]
    outputs.append(wg.join(outputs))
    with pytest.raises(wg.NodeError):
        wg.map(lambda _: fails("read").value, ["a"])
    assert outputs[1].value == "Y"
    while "pending" in repr(outputs):
        threading.Event().wait(0.001)
    outputs.clear()

    assert logged(caplog, 1) == ["an error that nobody read: fails ('output of fails') failed: ValueError: x"]


def test_a_failed_map_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    """Where many examples fail, the first error in order is raised, and the others' are not logged beside it."""
    with pytest.raises(wg.NodeError, match="failed: ValueError: 0"):
        wg.map(lambda number: fails(str(number)).value, range(8))
    fails("unread")

    (message,) = logged(caplog, 1)
    assert "unread" in message


def test_a_read_error_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An error that was read anywhere is not logged, though it has other descendants."""
    outputs = [upper(fails("x"))]
    outputs.append(upper(outputs[0]))
    error_of(outputs[1])
    outputs.clear()

    assert logged(caplog, 0) == []


def test_a_failing_dispatcher_fails_every_call() -> None:
    """A fault of the library itself fails what is pending and what comes after it: nothing hangs."""
    # No public way leads to a fault, so the script makes one.
    out, err = ran("""
        import threading
        from wordgrad.dispatch.process import process

        go = threading.Event()
        outputs = [wg.function(lambda: go.wait(9))() for _ in range(2)]
        outputs.append(wg.join(outputs))
        process.dispatcher().post(lambda: 1 / 0)
        for make in [*(lambda each=each: each for each in outputs), wg.function(lambda: "new")]:
            try:
                make().value
            except wg.NodeError as error:
                print(str(error).split("failed: ")[1])
        go.set()
    """)

    assert out.splitlines() == ["ZeroDivisionError: division by zero"] * 4
    assert err.count("the dispatcher failed; every pending call fails with it") == 1


# ---- stalls


def test_a_stall_names_both_calls() -> None:
    """A body that reads a later call of its own example would wait for ever: the error names both."""
    made, later = threading.Event(), []

    @wg.function
    def first() -> str:
        assert made.wait(LIMIT_S)
        return later[0].value  # type: ignore[no-any-return]

    output = first(role_description="one", example="e")
    later.append(upper("x", role_description="two", example="e"))
    made.set()

    assert (
        error_of(output)
        .args[0]
        .endswith(
            "first ('one' of example 'e') failed: GraphError: "
            "test_a_stall_names_both_calls.<locals>.first ('one' of example 'e') reads upper ('two' of example 'e'), which "
            "cannot run before test_a_stall_names_both_calls.<locals>.first ('one' of example 'e') has ended: pass the "
            "value as an input, or make the calls in the other order"
        )
    )
    assert later[0].value == "X"


def across(read: Callable[[wg.Variable], str], *, is_async: bool) -> list[str]:
    """Two examples whose first bodies each read the other's second call; what becomes of the four calls."""
    made, later = threading.Event(), {}

    def body(other: str) -> str:
        assert made.wait(LIMIT_S)
        return read(later[other])

    async def abody(other: str) -> str:
        await anyio.to_thread.run_sync(made.wait, LIMIT_S)
        return await read(later[other])  # type: ignore[misc]

    first = wg.function(abody if is_async else body)
    outputs = {name: first(other, example=name) for name, other in (("a", "b"), ("b", "a"))}
    later.update({name: upper(name, example=name) for name in "ab"})
    made.set()
    return [_outcome(each) for each in (*outputs.values(), *later.values())]


def _outcome(output: wg.Variable) -> str:
    try:
        return str(output.value)
    except wg.NodeError as error:
        return type(error.__cause__).__name__


async def _awaited(output: wg.Variable) -> str:
    return str((await output).value)


async def _gathered(output: wg.Variable) -> str:
    return str((await wg.gather(output))[0].value)


@pytest.mark.parametrize(
    ("read", "is_async"), [(str, False), (_awaited, True), (_gathered, True), (lambda v: wg.map(str, [v])[0], False)]
)
def test_the_first_reader_in_order_is_told_of_a_stall(read: Callable[[wg.Variable], Any], is_async: bool) -> None:
    """Where bodies read across each other the first in order fails, and the rest goes on."""
    assert across(read, is_async=is_async) == ["GraphError", "A", "A", "B"]


@pytest.mark.parametrize("crosswise", [False, True])
def test_an_exclusive_call_in_its_own_turn_fails(crosswise: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An exclusive call made where its function has its turn, or by way of another, fails; later calls run."""
    met = threading.Barrier(2)

    @wg.function(exclusive=True)
    def left(inside: bool) -> str:
        if inside:
            met.wait(LIMIT_S)
            (right if crosswise else left)(False)
        return "left"

    @wg.function(exclusive=True)
    def right(inside: bool) -> str:
        if inside:
            met.wait(LIMIT_S)
            (left if crosswise else right)(False)
        return "right"

    outputs = [left(True), right(True), left(False), right(False)]
    outcomes = [_outcome(each) for each in outputs]
    gc.collect()

    assert outcomes == ["left", "right", "left", "right"]
    assert "an exclusive function cannot be called there" in caplog.text


# ---- Ctrl-C


def interrupt() -> None:
    """Do what Ctrl-C does."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_ctrl_c_cancels_what_the_read_depends_on(service: Service) -> None:
    """An interrupted read stops its call and the calls that it waits for, and leaves the library usable."""
    clock = VirtualClock()

    @wg.function
    async def interrupts() -> None:
        await clock.sleep(1)  # until the main thread is blocked in its read
        interrupt()

    interrupts()
    answer = service.call()
    last = wg.join([answer, upper(answer)])

    with pytest.raises(KeyboardInterrupt):
        last.value  # noqa: B018 - reading is the act
    assert service.cancelled.wait(LIMIT_S)
    assert str(error_of(last)).endswith("cancelled: its reader was interrupted")
    assert upper("x").value == "X"


def test_ctrl_c_in_a_map_stops_every_example() -> None:
    """An interrupted `map` stops all of its examples, in threads and on the loop, and the calls that they wait for."""
    clock, services = VirtualClock(), [Service() for _ in range(3)]

    @wg.function
    async def interrupts() -> None:
        await clock.sleep(1)
        interrupt()

    def agent(service: Service) -> None:
        for _ in range(2):
            service.call().value  # noqa: B018 - reading is the act

    interrupts()
    with pytest.raises(KeyboardInterrupt):
        wg.map(agent, services)

    assert all(each.cancelled.wait(LIMIT_S) for each in services)
    assert upper("x").value == "X"


# ---- cancelled awaits


async def cancelled(output: wg.Variable, *, after: threading.Event | None = None) -> None:
    """Await the output in a scope that is cancelled, at once or when the event is set."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                if after is not None:
                    await anyio.to_thread.run_sync(after.wait, LIMIT_S)
                scope.cancel()

            group.start_soon(leave)
            await output


@pytest.mark.anyio
@BOTH_LOOPS
async def test_a_cancelled_await_cancels_its_call(service: Service) -> None:
    """When nobody else waits for it, a call whose reader left is cancelled, with what it waits for."""
    output = upper(service.call())
    with anyio.fail_after(LIMIT_S):
        await cancelled(output, after=service.entered)

        assert await anyio.to_thread.run_sync(service.cancelled.wait, LIMIT_S)
        with pytest.raises(wg.NodeError, match="cancelled: its reader was interrupted"):
            await output


@pytest.mark.anyio
@BOTH_LOOPS
async def test_a_call_that_others_wait_for_goes_on(gate: Gate) -> None:
    """A reader that leaves takes nothing from another reader, or from a call that has the output as its input."""
    output = gate.call()
    after = upper(output)
    values: list[str] = []

    async def other() -> None:
        values.append((await output).value)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await anyio.wait_all_tasks_blocked()
            await cancelled(output, after=gate.entered)
            gate.open()
        await after

    assert [*values, after.value] == ["done", "DONE"]


@pytest.mark.anyio
async def test_a_running_body_is_abandoned(gate: Gate) -> None:
    """A Python body that runs when its reader leaves runs on, its result is dropped, and its turn is kept."""
    log: list[str] = []
    output = gate.call(example="one")
    following = wg.function(log.append)("next", example="one")
    with anyio.fail_after(LIMIT_S):
        await cancelled(output, after=gate.entered)

        with pytest.raises(wg.NodeError, match="cancelled"):
            await output
        assert log == []
        gate.open()
        await following
    assert log == ["next"]


@pytest.mark.anyio
async def test_an_abandoned_body_pays_for_nothing_more(service: Service) -> None:
    """What a body waits for when its reader leaves is cancelled, and so is what it would wait for after that."""
    second, ended = Service(), threading.Event()

    @wg.function
    def stubborn() -> None:
        for each in (service, second):
            try:
                each.call().value  # noqa: B018 - reading is the act
            except wg.GraphError as error:
                errors.append(str(error))
        ended.set()

    errors: list[str] = []
    with anyio.fail_after(LIMIT_S):
        await cancelled(stubborn(), after=service.entered)
        for event in (ended, service.cancelled):
            assert await anyio.to_thread.run_sync(event.wait, LIMIT_S)

    assert len(errors) == 2
    assert all("but was cancelled, and nobody wants its result any more" in each for each in errors)
    assert second.entered.is_set() == second.cancelled.is_set()


@pytest.mark.anyio
async def test_a_call_cancelled_in_line_for_a_thread_never_runs(gate: Gate) -> None:
    """Calls that wait for a thread when their readers leave never run, and hold nobody up."""
    ran_anyway: list[int] = []
    busy = [gate.call() for _ in range(40)]  # there are at most 32 places

    @wg.function
    async def heard() -> None:
        """Comes back when the loop has heard all that was posted before."""

    with anyio.fail_after(LIMIT_S):
        for n in range(3):
            await cancelled(wg.function(ran_anyway.append)(n))
        await heard()
        gate.open()
        for each in busy:
            await each
        await upper("x")

    assert ran_anyway == []


@pytest.mark.anyio
async def test_a_call_cancelled_before_its_first_step_ends_its_turn() -> None:
    """An async call whose reader leaves before it has begun never runs, and the next of its example has its turn."""
    stopped, go, began = threading.Event(), threading.Event(), []

    async def begin(name: str) -> None:
        began.append(name)

    async def stop_the_loop() -> None:
        stopped.set()
        assert go.wait(LIMIT_S)

    call, stopper = wg.function(begin), wg.function(stop_the_loop)()
    assert stopped.wait(LIMIT_S)
    with anyio.fail_after(LIMIT_S):
        first, second = call("first", example="one"), call("second", example="one")
        # The loop hears of the call and of its cancellation at once.
        await cancelled(first)
        go.set()
        await second
        await stopper

    assert began == ["second"]


@pytest.mark.anyio
async def test_a_cancelled_amap_stops_every_example() -> None:
    """Cancelling `amap` stops all of its examples and the calls that they wait for."""
    services = [Service() for _ in range(3)]

    async def agent(service: Service) -> None:
        await service.call()

    with anyio.fail_after(LIMIT_S), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                for each in services:
                    await anyio.to_thread.run_sync(each.entered.wait, LIMIT_S)
                scope.cancel()

            group.start_soon(leave)
            await wg.amap(agent, services)

    assert all(each.cancelled.wait(LIMIT_S) for each in services)


# ---- threads


def nested(depth: int) -> wg.Variable:
    """A call whose body reads a call, and so on."""
    return wg.function(pure=True)(lambda: depth and nested(depth - 1).value)()


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let there be no more worker threads than there are now: a thousand would take seconds."""
    upper("x").value  # noqa: B018 - there is at least one now
    pool = process.dispatcher().workers
    monkeypatch.setattr(pool, "max_threads", pool.threads)
    return pool.threads


def test_too_many_threads_are_an_error(few_threads: int) -> None:
    """Above the cap on threads a call fails with an error that says so, and later calls work."""
    error = error_of(nested(few_threads))

    assert f"no thread is left for it: {few_threads} calls" in str(error)
    assert nested(few_threads - 1).value == 0


def test_a_system_without_threads_is_an_error(few_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads the call fails in the same way, and later calls work."""
    monkeypatch.setattr(process.dispatcher().workers, "max_threads", 10 * few_threads)
    with monkeypatch.context() as patch:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(workers.threading.Thread, "start", refuse)
        error = error_of(nested(few_threads))

    assert f"no thread is left for it: {few_threads} calls" in str(error)
    assert nested(few_threads).value == 0


def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker thread that has nothing to do ends after a while, and calls after that work."""
    # What a worker may idle is not a user's to set.
    monkeypatch.setattr(workers, "_IDLE_S", 0.001)
    where: list[threading.Thread] = []
    for _ in range(50):  # the first may meet threads that still idle by the old limit
        wg.function(lambda: where.append(threading.current_thread()), pure=True)().value  # noqa: B018
    where[-1].join(LIMIT_S)

    assert not where[-1].is_alive()
    assert upper("x").value == "X"


def test_a_body_may_make_thousands_of_calls() -> None:
    """More concurrent calls inside a body than there can be threads wait for one another."""

    @wg.function
    def outer() -> int:
        return sum(each.value for each in [inner(n) for n in range(3000)])

    inner = wg.function(lambda n: n)

    assert outer().value == sum(range(3000))


# ---- exit


def test_pending_calls_at_exit_are_counted_in_one_warning() -> None:
    """A program that ends while calls are out cancels them, says how many, and starts none of them."""
    out, err = ran("""
        import threading, anyio

        started = threading.Event()

        @wg.function
        async def forever():
            started.set()
            try:
                await anyio.sleep_forever()
            finally:
                print("cancelled")

        first = forever(example="one")
        waiting = wg.function(lambda text: print("never"))(first)
        queued = wg.function(lambda: print("never"))(example="one")

        def reads():
            try:
                wg.map(lambda _: first.value, ["a"])
            except wg.GraphError:
                pass

        threading.Thread(target=reads, daemon=True).start()
        started.wait(9)
    """)

    assert (out, err) == ("cancelled\n", "3 pending calls were cancelled at exit\n")


def test_unread_errors_at_exit_are_logged() -> None:
    """An error that a program still holds unread when it ends is logged once; one that was read is not."""
    out, err = ran("""
        unread = wg.function(lambda: 1 / 0)(role_description="unread")
        read = wg.function(lambda: 1 / 0)(role_description="read")
        copies = [unread + "", unread + ""]
        for each in (read, wg.function(lambda: None)(example="one")):
            try:
                each.value
            except wg.NodeError:
                pass
        while "pending" in repr(copies):
            pass
    """)

    assert out == ""
    assert err == "an error that nobody read: <lambda> ('unread') failed: ZeroDivisionError: division by zero\n"


def test_calls_after_the_end_are_told_so() -> None:
    """What an exit handler reads after the library has ended is an error, not a program that never ends."""
    out, _ = ran("""
        import atexit, threading

        @atexit.register
        def late():
            for make in (lambda: pending, wg.function(lambda: "new")):
                try:
                    make().value
                except wg.NodeError as error:
                    print(error.__cause__)

        # Handlers run in reverse order: this one after the library's, which is loaded here.
        pending = wg.function(threading.Event().wait)()
    """)

    assert out == "cancelled: the interpreter is exiting\n" * 2


def test_a_program_that_looked_a_name_up_ends_in_silence() -> None:
    """The event loop's own threads, which resolve names, stand in nobody's way at the end."""
    out, err = ran("""
        import asyncio

        @wg.function
        async def found():
            return len(await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)) > 0

        print(found().value)
    """)

    assert (out, err) == ("True\n", "")


def test_a_program_without_calls_ends_in_silence() -> None:
    """Loading the library and ending is no event."""
    assert ran("wg.Variable, wg.map") == ("", "")


# ---- forks


def test_a_forked_child_makes_its_own_calls() -> None:
    """In a child, what was pending is an error, also as an input; what was done can be read; new calls work."""
    out, _ = ran("""
        import os, sys, threading

        go = threading.Event()
        done = wg.function(lambda: "done")()
        done.value
        pending = wg.function(lambda: go.wait(9) and "late")(role_description="the late one")
        upper = wg.function(lambda text: text.upper())

        def told(act):
            try:
                return act().value
            except wg.GraphError as error:
                return str(error)

        child = os.fork()
        if not child:
            for act in (lambda: done, lambda: pending, lambda: upper(pending), lambda: upper("new"), lambda: upper(done)):
                print(told(act))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        go.set()
        print(pending.value)
    """)

    error = (
        "<lambda> ('the late one') was pending when this process was forked: only the parent can read it. Read it "
        "before the fork, or make the call in the child"
    )
    assert out.splitlines() == ["done", error, error, "NEW", "DONE", "late"]


def test_a_forked_child_ends_on_its_own() -> None:
    """A child that ends by itself says nothing of its parent's calls."""
    out, err = ran("""
        import os, sys, threading

        go = threading.Event()
        pending = wg.function(lambda: go.wait(9) and "late")()
        child = os.fork()
        if not child:
            sys.exit(0)
        os.waitpid(child, 0)
        go.set()
        print(pending.value)
    """)

    assert (out, err) == ("late\n", "")
