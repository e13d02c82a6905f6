"""Where reading blocks: on plain threads; elsewhere it says what to await."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import anyio
import pytest

import wordgrad as wg
from engines import Model, prompt, texts

LIMIT_S = 20

BOTH_LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@wg.function
def upper(text: str) -> str:
    """Write it in capitals."""
    return text.upper()


def ready() -> wg.Variable:
    """An output that is there already, and that nobody has read."""
    output = upper("x")
    while "pending" in repr(output):
        threading.Event().wait(0.001)
    return output


# ---- on the library's own loop


def test_a_read_on_the_librarys_loop_is_an_error() -> None:
    """A blocking read in an async function would stop the loop that it runs on: also when the value is there."""

    @wg.function
    async def agent() -> str:
        return ready_before.value  # type: ignore[no-any-return]

    ready_before = ready()

    with pytest.raises(wg.NodeError, match=r"upper .* was read on the library's own loop.*`await`"):
        agent().value  # noqa: B018 - reading is the act


def test_an_awaited_value_can_be_read_on_the_librarys_loop() -> None:
    """After `await v` its value can be read in an async function, so that it can branch."""

    @wg.function
    async def agent() -> str:
        output = await upper("x")
        return "yes" if output.value == "X" else "no"

    assert agent().value == "yes"


def test_async_functions_share_the_librarys_loop() -> None:
    """Async functions run on one thread, which is not the caller's."""

    @wg.function
    async def where() -> int:
        return threading.get_ident()

    threads = {where().value for _ in range(3)}

    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_map_is_refused_on_the_librarys_loop() -> None:
    """`map` blocks, so in an async function it is refused before it starts anything."""
    began: list[str] = []

    @wg.function
    async def agent() -> list[None]:
        return wg.map(began.append, ["a"])

    with pytest.raises(wg.NodeError, match=r"map\(\) was called on the library's own loop"):
        agent().value  # noqa: B018 - reading is the act
    assert began == []


# ---- where another loop is running


@pytest.mark.anyio
@BOTH_LOOPS
async def test_a_ready_value_still_wants_await() -> None:
    """In async code a read of what was not awaited is an error though the value is there: it would fail under load."""
    output = ready()

    with pytest.raises(wg.UsageError, match=r"upper .*while an event loop is running.*await v"):
        output.value  # noqa: B018 - reading is the act


@pytest.mark.anyio
@BOTH_LOOPS
async def test_what_an_awaited_value_was_computed_from_can_be_read() -> None:
    """`await v` allows reading v and everything that it was computed from, failed or not."""
    first = upper("x")
    second = upper(first)
    wrong = upper(1)
    with anyio.fail_after(LIMIT_S):
        await second
        with pytest.raises(wg.NodeError):
            await wg.join([first, wrong])

    assert (first.value, second.value) == ("X", "X")
    with pytest.raises(wg.NodeError):
        wrong.value  # noqa: B018 - reading is the act


@pytest.mark.anyio
@BOTH_LOOPS
async def test_what_was_back_propagated_from_can_be_read() -> None:
    """`abackward()` of a sum of losses waits for all of it, so the sum and its losses can be read."""
    model, system = Model(), prompt()
    losses = [wg.TextLoss("Be right.", model)(wg.llm_call(system, f"{n}", engine=model)) for n in range(2)]
    total = wg.sum(losses)
    with anyio.fail_after(LIMIT_S), wg.backward_engine(model):
        await total.abackward()

    assert [loss.value for loss in losses] == ["It is wrong."] * 2
    assert total.value.count("It is wrong.") == 2
    assert len(texts(system)) == 2


@pytest.mark.anyio
@BOTH_LOOPS
async def test_a_read_beside_somebody_elses_await_is_an_error() -> None:
    """While another task awaits a value, reading it would still block the loop."""
    go = threading.Event()
    output = wg.function(lambda: go.wait(LIMIT_S))()
    errors: list[wg.UsageError] = []

    async def read() -> None:
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(wg.UsageError) as raised:
            output.value  # noqa: B018 - reading is the act
        errors.append(raised.value)
        go.set()

    async def wait() -> None:
        await output

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(read)

    assert len(errors) == 1


BLOCKING: list[Callable[[wg.Variable, Model], object]] = [
    lambda loss, model: wg.map(str, []),
    lambda loss, model: wg.map(lambda text: wg.llm_call(None, text, engine=model).value, ["a"]),
    lambda loss, model: loss.backward(),
    lambda loss, model: wg.TGD([prompt()], model).step(),
]


@pytest.mark.anyio
@BOTH_LOOPS
@pytest.mark.parametrize("block", BLOCKING)
async def test_what_blocks_names_what_to_await(block: Callable[[wg.Variable, Model], object]) -> None:
    """In async code `map`, `backward` and `step` are refused before they pay for anything, and name their async forms."""
    model = Model()
    loss = wg.TextLoss("Be right.", model)(prompt())
    with anyio.fail_after(LIMIT_S):
        await loss
    calls = len(model.history)

    with pytest.raises(wg.UsageError, match=r"abackward\(\).*astep\(\).*wordgrad\.amap\(.*abatch\("):
        block(loss, model)
    assert len(model.history) == calls


# ---- notebooks


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend to be a notebook's cell: IPython is there, and its shell has a kernel."""
    module = ModuleType("IPython")
    module.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)


@pytest.mark.anyio
@pytest.mark.usefixtures("notebook")
async def test_a_notebooks_cell_may_block() -> None:
    """In a notebook plain `.value`, `map`, `backward()` and `step()` work, though the kernel's loop is running."""
    model, system = Model(), prompt()
    loss = wg.TextLoss("Be right.", model)(wg.llm_call(system, "x", engine=model))
    with wg.backward_engine(model):
        loss.backward()
    optimizer = wg.TGD([system], model)

    assert loss.value == "It is wrong."
    assert wg.map(upper.fn, ["a", "b"]) == ["A", "B"]
    assert optimizer.step().applied


@pytest.mark.usefixtures("notebook")
def test_the_librarys_loop_may_not_block_in_a_notebook() -> None:
    """The exception is the kernel's loop, not the library's."""

    @wg.function
    async def agent() -> str:
        return upper("x").value  # type: ignore[no-any-return]

    with pytest.raises(wg.NodeError, match="the library's own loop"):
        agent().value  # noqa: B018 - reading is the act


def test_a_plain_ipython_shell_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython without a kernel has no loop of its own to block: the rule for event loops holds."""
    module = ModuleType("IPython")
    module.get_ipython = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)

    async def main() -> None:
        upper("x").value  # noqa: B018 - reading is the act

    with pytest.raises(wg.UsageError, match="await v"):
        anyio.run(main)


@pytest.mark.parametrize("name", ["trio.lowlevel", "IPython"])
def test_a_library_that_another_thread_imports_is_not_there_yet(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A module has its name before it has anything else: a read at that moment is a read like any other."""
    monkeypatch.setitem(sys.modules, name, ModuleType(name))

    assert upper("x").value == "X"
