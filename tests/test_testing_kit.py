"""The testing kit: scripts, rules, and exact rounds on a virtual clock."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

import wordgrad as wg
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.testing import Answer, EngineContract, FakeServer, RuleEngine, ScriptedEngine, VirtualClock
from wordgrad.types import Capabilities, Message, Request


def asked(text: str) -> Request:
    """A request of one user message."""
    return Request(messages=(Message("user", (text,)),))


def echo(request: Request) -> str:
    """The rule of an engine that says what it is told."""
    return request.messages[-1].text


def test_queue_answers_one_call_after_the_other() -> None:
    """Queued replies go to calls that are read one by one, in order."""
    engine = ScriptedEngine("first", "second")
    model = wg.BlackboxLLM(engine)

    assert [model("a").value, model("b").value] == ["first", "second"]


def test_queue_refuses_concurrent_calls() -> None:
    """Two calls that are out at once have no order, so the queue answers one and refuses the other, and says how."""
    engine = ScriptedEngine("first", "second")
    model = wg.BlackboxLLM(engine)
    outputs = [model("a"), model("b")]

    with pytest.raises(wg.WordgradError, match=r"wait for the queue of 'scripted' at once.*script\("):
        [output.value for output in outputs]


def test_empty_queue_names_the_call() -> None:
    """A call that nobody wrote a reply for fails with its role, its purpose and the end of its prompt."""
    model = wg.BlackboxLLM(ScriptedEngine())

    with pytest.raises(wg.WordgradError, match=r"no reply for llm \('the answer'\).*\(forward\).*'how\?'"):
        model("how?", role_description="the answer").value  # noqa: B018 - reading is the act


def test_script_matches_role_example_and_index() -> None:
    """Concurrent calls get the replies written for their node, whatever their order of arrival."""
    engine = ScriptedEngine()
    engine.script("by role", role="summary")
    engine.script("by example", example="7")
    engine.script("by index", index=(2,))
    engine.script("by prompt", when=lambda call: call.prompt == "d")
    model = wg.BlackboxLLM(engine)
    with wg.Run():
        outputs = [model("a", role_description="summary"), model("b", example=7), model("c"), model("d")]

        values = [output.value for output in outputs]

    assert values == ["by role", "by example", "by index", "by prompt"]


def test_script_sequence_belongs_to_each_index() -> None:
    """Several replies of one line are given in turn to the calls of each node: here an outage, then its retry."""
    engine = ScriptedEngine()
    engine.script(wg.EngineError("busy", retryable=True, retry_after_s=0.0), "at last", function="llm")
    model = wg.BlackboxLLM(engine)
    outputs = [model("a"), model("b")]

    assert [output.value for output in outputs] == ["at last", "at last"]


def test_history_is_in_creation_order() -> None:
    """The history is sorted by what made the calls, although the first call ends last."""
    clock = VirtualClock()
    slow, fast = (RuleEngine(echo, clock=clock, latency_s=seconds) for seconds in (5.0, 1.0))
    with wg.Run():
        joined = wg.join([wg.llm_call(None, "a", engine=slow), wg.llm_call(None, "b", engine=fast)], " ")
        text = wg.llm_call("Be brief.", joined, engine=fast).value

    assert text == "a b"
    assert [(call.index, call.system, call.prompt) for call in fast.history] == [
        ((1,), "", "b"),
        ((3,), "Be brief.", "a b"),
    ]


def test_rule_replies_of_every_kind() -> None:
    """A rule may give a text, the JSON of a structured reply, a whole completion, or an error."""
    replies = {"text": "é", "json": {"é": 1}, "cut": wg.Completion(text="x", finish="length")}
    engine = RuleEngine(lambda request: replies.get(echo(request), wg.EngineError("no such model", retryable=False)))
    outputs = [wg.llm_call(None, kind, engine=engine) for kind in ("text", "json", "cut", "other")]

    assert [output.value for output in outputs[:3]] == ["é", '{"é": 1}', "x"]
    with pytest.raises(wg.NodeError, match="no such model"):
        outputs[3].value  # noqa: B018 - reading is the act


def test_concurrent_calls_are_one_round() -> None:
    """Calls that a loop makes without reading are out together, and take the time of one."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock, latency_s=2.0))
    outputs = [model(f"{n}") for n in range(64)]

    assert [output.value for output in outputs] == [f"{n}" for n in range(64)]
    assert (clock.rounds, clock.now_s) == (1, 2.0)


def test_a_chain_is_as_many_rounds_as_calls() -> None:
    """A batch of chains takes the rounds of one chain."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock))
    outputs = [model(model(model(f"{n}"))) for n in range(8)]

    assert [output.value for output in outputs] == [f"{n}" for n in range(8)]
    assert clock.rounds == 3


def test_reading_in_a_loop_is_serial() -> None:
    """Code that reads each value before the next call pays a round for each."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock))

    assert [model(f"{n}").value for n in range(5)] == [f"{n}" for n in range(5)]
    assert clock.rounds == 5


def test_map_runs_branching_code_in_parallel_rounds() -> None:
    """Agents that branch on their values take the rounds of one agent under `wg.map`."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock))

    def agent(task: str) -> str:
        for _ in range(3):
            task = model(task).value + "."
        return task

    assert wg.map(agent, [f"{n}" for n in range(24)]) == [f"{n}..." for n in range(24)]
    assert clock.rounds == 3


def test_unequal_latencies_follow_the_critical_path() -> None:
    """The simulated duration is that of the longest path, with each call's own latency."""
    clock = VirtualClock()
    short, long = (RuleEngine(echo, clock=clock, latency_s=seconds) for seconds in (1.0, 2.5))
    first = wg.llm_call(None, wg.llm_call(None, "a", engine=short), engine=short)
    second = wg.llm_call(None, "b", engine=long)

    assert wg.join([first, second], "").value == "ab"
    assert (clock.rounds, clock.now_s) == (3, 2.5)


def test_the_engines_limit_costs_rounds() -> None:
    """An engine that carries two calls at once answers six in three rounds."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock, max_in_flight=2))
    outputs = [model(f"{n}") for n in range(6)]

    assert [output.value for output in outputs] == [f"{n}" for n in range(6)]
    assert clock.rounds == 3


def test_rounds_are_exact_inside_a_run() -> None:
    """Writing the ledger takes no simulated time."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(lambda request: echo(request) + ".", clock=clock))
    with wg.Run():
        values = [output.value for output in [model(model(f"{n}")) for n in range(8)]]

    assert values == [f"{n}.." for n in range(8)]
    assert clock.rounds == 2


def test_python_nodes_take_no_simulated_time() -> None:
    """The clock waits for Python code between two calls."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock))

    @wg.function
    def shout(text: str) -> str:
        """Write a text in capitals."""
        return str(sum(range(200_000))) and text.upper()

    outputs = [model(shout(model(f"x{n}"))) for n in range(8)]

    assert [output.value for output in outputs] == [f"X{n}" for n in range(8)]
    assert clock.rounds == 2


@pytest.mark.anyio
async def test_rounds_are_exact_for_awaiting_code() -> None:
    """Coroutines on the user's own loop that await their values take the rounds of one."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock))

    async def agent(task: str) -> str:
        for _ in range(3):
            task = (await model(task)).value
        return task

    with anyio.fail_after(20):
        values = await wg.gather(*(agent(f"{n}") for n in range(8)))

    assert values == [f"{n}" for n in range(8)]
    assert clock.rounds == 3


@pytest.mark.anyio
async def test_an_engine_can_be_asked_directly() -> None:
    """`complete` may be awaited on any loop."""
    engine = ScriptedEngine("hello")

    with anyio.fail_after(20):
        completion = await engine.complete(asked("hi there"))

    assert (completion.text, completion.usage.input_tokens, completion.usage.output_tokens) == ("hello", 2, 2)


def test_a_busy_lock_cannot_stop_the_clock() -> None:
    """Code that waits for a lock held over a read is not waited for longer than the clock's patience."""
    clock = VirtualClock()
    model = wg.BlackboxLLM(RuleEngine(echo, clock=clock))
    lock = threading.Lock()

    def locked(task: str) -> str:
        with lock:
            return model(task).value

    assert wg.map(locked, ["a", "b"]) == ["a", "b"]
    assert clock.rounds == 2


@pytest.mark.anyio
async def test_a_cancelled_call_leaves_its_reply_and_the_clock() -> None:
    """A call that nobody waits for any more takes no reply from the queue and no time on the clock."""
    clock = VirtualClock()
    patient = RuleEngine(echo, clock=clock, latency_s=1.0)
    engine = ScriptedEngine("hello", clock=clock, latency_s=60.0)

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(engine.complete, asked("hi"))
                await patient.complete(asked("wait"))
                scope.cancel()

    with anyio.fail_after(20):
        await cancelled()
        completion = await engine.complete(asked("hi again"))

    assert completion.text == "hello"
    assert (clock.rounds, clock.now_s) == (2, 61.0)


class Miscounting(RuleEngine):
    """Counts fewer tokens in more text."""

    def count_tokens(self, text: str) -> int:
        """The wrong way round."""
        return 10_000 - len(text)


GONE = wg.EngineError("gone", retryable=False)
BROKEN = [
    ("test_declares_what_it_is", RuleEngine(echo, name="")),
    ("test_answers", RuleEngine(lambda _: "")),
    ("test_answers_conversations_in_any_script", RuleEngine(lambda request: GONE if request.messages[1:] else "hi")),
    ("test_answers_several_at_once", RuleEngine(lambda _: GONE)),
    ("test_writes_to_a_schema_that_it_declares", RuleEngine(lambda _: "no JSON")),
    ("test_can_be_cancelled", RuleEngine(lambda request: GONE if "again" in echo(request) else "hi")),
    ("test_counts_tokens", Miscounting(echo)),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "engine"), BROKEN, ids=[name for name, _ in BROKEN])
async def test_the_contract_finds_what_is_broken(name: str, engine: RuleEngine) -> None:
    """Each of its tests fails for an engine that does not do what it asks."""
    with pytest.raises((AssertionError, ValueError, ExceptionGroup, wg.EngineError)):
        await getattr(EngineContract(), name)(engine)


@pytest.mark.anyio
async def test_the_contract_asks_no_schema_of_an_engine_without_one() -> None:
    """What an engine does not declare it need not do."""
    engine = RuleEngine(lambda _: "no JSON", capabilities=Capabilities(schema=False))

    await EngineContract().test_writes_to_a_schema_that_it_declares(engine)

    assert engine.history == ()


def test_a_servers_latency_ends_with_it() -> None:
    """A server that is left does not keep a test waiting for an answer that nobody needs."""
    arrived = threading.Event()
    with FakeServer(lambda _: arrived.set() or Answer(latency_s=1_000.0)) as server:
        engine = OpenAIEngine("slow", "m", base_url=f"{server.address}/v1")

        async def main() -> None:
            with anyio.fail_after(60):
                async with anyio.create_task_group() as group:
                    group.start_soon(engine.complete, asked("hi"))
                    await anyio.to_thread.run_sync(arrived.wait, 60)
                    group.cancel_scope.cancel()
                await engine.aclose()

        anyio.run(main)

    assert len(server.requests) == 1


def test_a_script_line_needs_a_reply() -> None:
    """A line without replies is a mistake, said at once."""
    with pytest.raises(wg.UsageError, match="at least one reply"):
        ScriptedEngine().script(role="answer")
