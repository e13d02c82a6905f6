"""What stands around an engine: retries, limits, budgets, a breaker, and the key that makes two requests the same."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import numpy as np
import pytest

import wordgrad as wg
from wordgrad.engines.breaker import Breaker
from wordgrad.engines.budgeted import Budgeted, Meter
from wordgrad.engines.key import request_key
from wordgrad.engines.limited import Limited
from wordgrad.engines.preflight import preflight
from wordgrad.engines.prices import price_of
from wordgrad.engines.retried import Retried
from wordgrad.testing import RuleEngine, VirtualClock
from wordgrad.types import Completion, Engine, ImageData, Message, Price, Request, Sampling, Usage

LIMIT_S = 30

HELLO = Request(messages=(Message("user", ("hello",)),), sampling=Sampling(max_tokens=10))


class Plain:
    """An engine that answers by a coroutine function, on whatever loop it is asked."""

    name = "plain"
    endpoint = "test"
    model = "plain"
    capabilities = wg.Capabilities()
    price = None

    def __init__(self, answer: Callable[[int], Awaitable[Completion]], *, max_in_flight: int = 100) -> None:
        self.answer = answer
        self.max_in_flight = max_in_flight
        self.asked = 0

    async def complete(self, request: Request) -> Completion:
        """The answer to the call of this number."""
        self.asked += 1
        return await self.answer(self.asked - 1)

    def count_tokens(self, text: str) -> int:
        """A character each."""
        return len(text)


def failing(*errors: wg.EngineError) -> Plain:
    """An engine that fails so often, then answers."""

    async def answer(number: int) -> Completion:
        if number < len(errors):
            raise errors[number]
        return Completion(text="well")

    return Plain(answer)


def status(code: int | None, *, retry_after_s: float | None = 0.0, retryable: bool = True) -> wg.EngineError:
    """What an engine says of an HTTP status."""
    return wg.EngineError(f"status {code}", retryable=retryable, status=code, retry_after_s=retry_after_s)


# ---- retries


@pytest.mark.anyio
@pytest.mark.parametrize("code", [429, 500, 502, 503, None])
async def test_what_can_succeed_later_is_tried_again(code: int | None) -> None:
    """429, 5xx and failed connections get another attempt."""
    engine = failing(status(code), status(code))

    with anyio.fail_after(LIMIT_S):
        completion = await Retried(engine, pause_s=0.001).complete(HELLO)

    assert (completion.text, engine.asked) == ("well", 3)


@pytest.mark.anyio
@pytest.mark.parametrize("code", [400, 401, 403, 404])
async def test_what_cannot_succeed_is_not_tried_again(code: int) -> None:
    """A wrong key, name or request fails at once."""
    engine = failing(status(code, retryable=False))

    with anyio.fail_after(LIMIT_S), pytest.raises(wg.EngineError, match=f"status {code}"):
        await Retried(engine).complete(HELLO)

    assert engine.asked == 1


@pytest.mark.anyio
async def test_the_last_error_is_raised_when_attempts_end() -> None:
    """After the given number of attempts the last one's error is raised as it is."""
    errors = [status(500 + number) for number in range(9)]
    engine = failing(*errors)

    with anyio.fail_after(LIMIT_S), pytest.raises(wg.EngineError) as caught:
        await Retried(engine, attempts=4, pause_s=0.001).complete(HELLO)

    assert (caught.value, engine.asked) == (errors[3], 4)


@pytest.mark.anyio
async def test_the_servers_pause_goes_first() -> None:
    """Retry-After is obeyed: not the pause of our own, which here would outlast the test."""
    engine = failing(status(429, retry_after_s=0.01))

    with anyio.fail_after(LIMIT_S):
        completion = await Retried(engine, pause_s=3600).complete(HELLO)

    assert (completion.text, engine.asked) == ("well", 2)


@pytest.mark.anyio
async def test_a_very_long_pause_is_a_failure() -> None:
    """A server that asks for a pause of an hour is down: the call fails now, and the run can be resumed."""
    engine = failing(status(503, retry_after_s=3600))

    with anyio.fail_after(LIMIT_S), pytest.raises(wg.EngineError, match="status 503"):
        await Retried(engine).complete(HELLO)

    assert engine.asked == 1


@pytest.mark.anyio
async def test_other_errors_pass_through() -> None:
    """An exception that no engine declared is a fault in the code: it is raised at once."""

    async def broken(_: int) -> Completion:
        raise ZeroDivisionError

    engine = Plain(broken)

    with anyio.fail_after(LIMIT_S), pytest.raises(ZeroDivisionError):
        await Retried(engine).complete(HELLO)

    assert engine.asked == 1


# ---- limits


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """The seconds now."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let all who can run, then move on."""
        await anyio.wait_all_tasks_blocked()
        self.slept.append(seconds)
        self.now += seconds


async def together(engine: Engine, calls: int) -> None:
    """So many calls at once."""
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            for _ in range(calls):
                group.start_soon(engine.complete, HELLO)


class Crowd:
    """Answers, and notes how many were out at once."""

    def __init__(self) -> None:
        self.out = self.peak = 0

    async def __call__(self, _: int) -> Completion:
        """Let others in meanwhile."""
        self.out += 1
        self.peak = max(self.peak, self.out)
        await anyio.lowlevel.checkpoint()
        self.out -= 1
        return Completion(text="ok")


@pytest.mark.anyio
@pytest.mark.parametrize(("given", "expected"), [(None, 5), (3, 3), (8, 8)])
async def test_no_more_calls_than_allowed_are_in_flight(given: int | None, expected: int) -> None:
    """Of 20 calls so many are out at once as the engine can carry, or as the limit says."""
    crowd = Crowd()
    engine = Plain(crowd, max_in_flight=5)
    await together(Limited(engine, in_flight=given), 20)

    assert (crowd.peak, engine.asked) == (expected, 20)


@dataclass
class Simple(Plain):
    """An engine that has no hash."""

    answer: Callable[[int], Awaitable[Completion]]
    max_in_flight: int = 2
    asked: int = 0


@dataclass(slots=True)
class Slotted:
    """An engine that has no hash, and that no weak reference can point to."""

    name: str = "slotted"
    endpoint: str = "test"
    model: str = "slotted"
    capabilities: wg.Capabilities = field(default_factory=wg.Capabilities)
    price: Price | None = None
    max_in_flight: int = 2

    async def complete(self, request: Request) -> Completion:
        """Say hello."""
        return Completion(text="hello")

    def count_tokens(self, text: str) -> int:
        """A character each."""
        return len(text)


@pytest.mark.parametrize("in_run", [False, True])
def test_an_engine_needs_no_hash(in_run: bool) -> None:
    """A plain dataclass with one method is an engine, in a run and outside one, in the preflight and in calls."""
    with wg.Run() if in_run else nullcontext():
        preflight([Slotted()])
        reply = wg.llm_call("Greet.", "me", engine=Slotted())

        assert reply.value == "hello"


def test_calls_of_an_engine_share_its_places() -> None:
    """Outside a run too no more calls are out than an engine can carry, hash or no hash."""
    crowd = Crowd()
    engine = Simple(crowd)
    replies = [wg.llm_call("Greet.", str(number), engine=engine) for number in range(9)]

    assert [each.value for each in replies] == ["ok"] * 9
    assert crowd.peak == 2


@pytest.mark.anyio
async def test_requests_a_minute_hold_from_the_first_call() -> None:
    """Seven calls at once with three a minute go out in three minutes, though none has ended before."""
    time = Time()
    sent: list[float] = []

    async def answer(_: int) -> Completion:
        sent.append(time.now)
        await anyio.lowlevel.checkpoint()
        return Completion(text="")

    await together(Limited(Plain(answer), requests_per_minute=3, clock=time, sleep=time.sleep), 7)

    assert sent == [1000.0] * 3 + [1060.0] * 3 + [1120.0]


@pytest.mark.anyio
async def test_failed_requests_count_in_their_minute() -> None:
    """A server counts what it refused, too."""
    time = Time()
    limited = Limited(failing(status(500)), requests_per_minute=1, clock=time, sleep=time.sleep)
    with pytest.raises(wg.EngineError):
        await limited.complete(HELLO)

    await limited.complete(HELLO)

    assert time.slept == [60.0]


@pytest.mark.anyio
async def test_tokens_a_minute_are_those_of_the_replies() -> None:
    """Once the replies of the last minute used the limit, the next call waits until the oldest is a minute old."""
    time = Time()

    async def answer(_: int) -> Completion:
        time.now += 10
        return Completion(text="", usage=Usage(input_tokens=30, output_tokens=20))

    limited = Limited(Plain(answer), tokens_per_minute=100, clock=time, sleep=time.sleep)
    for _ in range(3):
        await limited.complete(HELLO)

    assert time.slept == [40.0]


@pytest.mark.anyio
async def test_a_failed_call_gives_its_place_back() -> None:
    """A limit of one is free again after an error."""
    engine = failing(status(500))
    limited = Limited(engine, in_flight=1)
    with pytest.raises(wg.EngineError):
        await limited.complete(HELLO)

    with anyio.fail_after(LIMIT_S):
        completion = await limited.complete(HELLO)

    assert completion.text == "well"


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_in_the_queue_leaves_it() -> None:
    """Of three calls with one place the second is cancelled while it waits; the third has its turn after the first."""
    answered: list[str] = []
    go = anyio.Event()

    class Held(RuleEngine):
        async def complete(self, request: Request) -> Completion:
            await go.wait()
            answered.append(request.messages[-1].text)
            return await super().complete(request)

    limited = Limited(Held(lambda _: "yes"), in_flight=1)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as calls:
            calls.start_soon(limited.complete, asking("first"))
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as second:
                second.start_soon(limited.complete, asking("second"))
                await anyio.wait_all_tasks_blocked()
                second.cancel_scope.cancel()
            calls.start_soon(limited.complete, asking("third"))
            await anyio.wait_all_tasks_blocked()
            go.set()

    assert answered == ["first", "third"]


def asking(text: str) -> Request:
    """A request with this question."""
    return Request(messages=(Message("user", (text,)),), sampling=Sampling(max_tokens=10))


# ---- budgets

ESTIMATE = 1 + 16 + 10
"""Tokens that a call of `spend` reserves: its question, what marks a message, the output limit."""


def spend(engine: RuleEngine, calls: int) -> list[BaseException | None]:
    """So many calls at once; what became of each."""
    pending = [
        wg.llm_call(None, f"q{number}", engine=engine, options=Sampling(max_tokens=10)) for number in range(calls)
    ]
    return [_cause(each) for each in pending]


def _cause(variable: wg.Variable) -> BaseException | None:
    try:
        _ = variable.value
    except wg.NodeError as error:
        return error.__cause__
    return None


def counting(tokens: int) -> RuleEngine:
    """An engine whose server counts so many tokens a call, at a dollar each; calls take a round."""
    usage = Usage(input_tokens=tokens - 10, output_tokens=10)
    price = Price(input_usd=1_000_000, output_usd=1_000_000)
    return RuleEngine(lambda _: Completion(text="", usage=usage), clock=VirtualClock(), price=price)


@pytest.mark.parametrize(
    "budget", [wg.Budget(tokens=50 * ESTIMATE), wg.Budget(usd=50 * ESTIMATE)], ids=["tokens", "usd"]
)
def test_an_estimate_is_overshot_by_the_calls_in_flight_only(budget: wg.Budget) -> None:
    """Where a server counts 10 tokens more than was estimated, 50 calls in flight spend 500 too much, and no more."""
    engine = counting(ESTIMATE + 10)
    with wg.Run(budget=budget) as run:
        outcomes = spend(engine, 60)

    used = run.usage
    assert [type(each) for each in outcomes].count(wg.BudgetExceeded) == 10
    assert (used.calls, used.input_tokens + used.output_tokens) == (50, 50 * ESTIMATE + 500)


@pytest.mark.parametrize(
    "budget", [wg.Budget(tokens=50 * ESTIMATE), wg.Budget(usd=50 * ESTIMATE)], ids=["tokens", "usd"]
)
def test_a_call_that_only_reservations_block_waits(budget: wg.Budget) -> None:
    """Calls that use less than they reserved make room for those that had none: in the end all are answered."""
    engine = counting(12)
    with wg.Run(budget=budget):
        outcomes = spend(engine, 60)

    assert engine.clock is not None
    assert (outcomes, engine.clock.rounds) == ([None] * 60, 2)


def test_a_call_that_spending_blocks_is_refused() -> None:
    """What is left of the budget is less than the next call may need: it is refused, with the figures."""
    engine = counting(ESTIMATE)
    with wg.Run(budget=wg.Budget(tokens=ESTIMATE + 1)):
        outcomes = [spend(engine, 1)[0], spend(engine, 2)[1]]

    assert outcomes[0] is None
    assert str(outcomes[1]) == "the budget of 28 tokens is spent: 27 used, and the next call may need 27 more"


def test_large_limits_are_told_in_full() -> None:
    """A budget of millions is not rounded in the message: the last digits decide."""
    with wg.Run(budget=wg.Budget(tokens=1_234_567)):
        (error,) = [
            _cause(wg.llm_call(None, "x" * 4_938_400, engine=RuleEngine(lambda _: "well"), options=HELLO.sampling))
        ]

    assert str(error) == ("the budget of 1234567 tokens is spent: 0 used, and the next call may need 1234626 more")


def test_a_failed_attempt_gives_its_reservation_back() -> None:
    """A budget with room for one call at a time has room for the second attempt."""
    replies = iter([status(503), status(503), "well"])
    engine = RuleEngine(lambda _: next(replies))
    with wg.Run(budget=wg.Budget(tokens=ESTIMATE)):
        outcomes = spend(engine, 1)

    assert (outcomes, len(engine.history)) == ([None], 3)


def test_time_is_asked_when_a_calls_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for a place when time is over are not sent, and are not counted against a later limit."""
    now = 0.0

    def slow(_: Request) -> str:
        nonlocal now
        now += 1.0
        return "well"

    monkeypatch.setattr("wordgrad.store.ledger.time", SimpleNamespace(time=time.time, monotonic=lambda: now))
    engine = RuleEngine(slow, max_in_flight=1)
    with wg.Run(budget=wg.Budget(seconds=3)) as run:
        outcomes = spend(engine, 8)
        sent = len(engine.history)
        run.limit(wg.Budget(calls=4))
        _ = spend(engine, 8)

    assert [str(each) for each in outcomes if each] == ["the budget of 3 seconds is spent: 3 used"] * 5
    assert (sent, len(engine.history), run.usage.calls) == (3, 4, 4)


def test_calls_are_never_overshot_by_retries() -> None:
    """50 calls in flight that all fail once share 70 attempts: not one more goes out."""
    failed: set[str] = set()

    def once(request: Request) -> str | wg.EngineError:
        question = request.messages[-1].text
        if question in failed:
            return "well"
        failed.add(question)
        return status(503)

    engine = RuleEngine(once)
    with wg.Run(budget=wg.Budget(calls=70)) as run:
        outcomes = spend(engine, 50)

    assert (len(engine.history), run.usage.calls) == (70, 70)
    assert [each is None for each in outcomes].count(True) == 20


@pytest.mark.anyio
@pytest.mark.parametrize(
    "request_",
    [
        replace(HELLO, messages=(Message("user", ("hello", ImageData("image/png", b"one"))),)),
        replace(HELLO, schema={"description": "x" * 200}),
        replace(HELLO, messages=HELLO.messages * 8),
    ],
    ids=["image", "schema", "many messages"],
)
async def test_the_estimate_counts_all_that_is_sent(request_: Request) -> None:
    """Images, the schema and the frame of each message are part of what a call may need."""
    meter = Meter(wg.Budget(tokens=60), clock=lambda: 0.0)
    engine = failing()
    budgeted = Budgeted(engine, meter)

    with anyio.fail_after(LIMIT_S), pytest.raises(wg.BudgetExceeded):
        await budgeted.complete(request_)

    assert (await budgeted.complete(HELLO)).text == "well"


@pytest.mark.parametrize("kind", ["calls", "tokens"])
@pytest.mark.parametrize("limit", ["5", 1.5, float("nan"), True, -1])
def test_a_limit_that_is_no_count_is_refused(kind: str, limit: Any) -> None:
    """A call is never compared with what is no whole number: NaN would be no limit at all."""
    with pytest.raises(wg.UsageError, match=f"^{kind}={limit!r}: a budget needs a whole number, as in {kind}=500, 0"):
        wg.Budget(**{kind: limit})


@pytest.mark.parametrize("kind", ["usd", "seconds"])
@pytest.mark.parametrize("limit", ["5", float("nan"), float("inf"), True, -0.5])
def test_a_limit_that_is_no_amount_is_refused(kind: str, limit: Any) -> None:
    """Money and time may have fractions; no limit is said by None alone."""
    with pytest.raises(wg.UsageError, match=f"^{kind}={limit!r}: a budget needs a number, as in {kind}=2.5, 0"):
        wg.Budget(**{kind: limit})


def test_limits_of_a_sweep_are_plain_numbers() -> None:
    """They are numpy's, and are kept as Python's, which a store can write."""
    budget = wg.Budget(calls=np.int64(5), tokens=np.int32(7), usd=np.float32(0.5), seconds=np.int64(9))

    assert json.dumps(asdict(budget)) == '{"calls": 5, "tokens": 7, "usd": 0.5, "seconds": 9.0}'


@pytest.mark.parametrize(("calls", "expected"), [(9, True), (10, False)])
def test_time_must_be_left_at_the_pace_so_far(calls: int, expected: bool) -> None:
    """After 10 calls in 50 of 100 seconds, 9 more would end in time, and 10 would not."""
    meter = Meter(wg.Budget(seconds=100), clock=lambda: 50.0, calls=10)

    assert meter.affords(calls) is expected


@pytest.mark.parametrize(("calls", "expected"), [(2, True), (3, False)])
def test_calls_are_afforded_to_the_last(calls: int, expected: bool) -> None:
    """After 3 of 5 calls, 2 more are left; no call yet has no pace, and any number of them has time."""
    assert Meter(wg.Budget(calls=5), clock=lambda: 0.0, calls=3).affords(calls) is expected
    assert Meter(wg.Budget(calls=5, seconds=1), clock=lambda: 0.5).affords(5)


@pytest.mark.anyio
async def test_a_new_meter_has_spent_nothing() -> None:
    """All of each limit is there at first, and what was spent and is missing is in the error."""
    meter = Meter(wg.Budget(calls=1, tokens=60, usd=0.5), clock=lambda: 0.0)
    await meter.reserve({"tokens": 60.0, "usd": 0.5})
    meter.settle({"tokens": 60.0, "usd": 0.5}, {"tokens": 59.0, "usd": 0.25})

    with pytest.raises(wg.BudgetExceeded, match="the budget of 1 calls is spent: 1 used") as caught:
        await meter.reserve({})
    assert (caught.value.kind, caught.value.spent, caught.value.limit) == ("calls", 1, 1)
    meter.budget = wg.Budget(tokens=60)
    with pytest.raises(wg.BudgetExceeded, match="60 tokens is spent: 59 used, and the next call may need 2 more"):
        await meter.reserve({"tokens": 2.0, "usd": 0.0})


@pytest.mark.anyio
async def test_seconds_are_told_to_a_tenth() -> None:
    """The error says when it was asked, and the limit."""
    meter = Meter(wg.Budget(seconds=1.5), clock=lambda: 2.345)

    with pytest.raises(wg.BudgetExceeded, match=r"the budget of 1\.5 seconds is spent: 2\.3 used"):
        await meter.reserve({})


def test_limits_can_be_changed_on_the_way() -> None:
    """`limit` holds from then on, and counts what was spent before."""
    engine = RuleEngine(lambda _: "")
    with wg.Run(budget=wg.Budget(calls=1)) as run:
        before = spend(engine, 2)
        run.limit(wg.Budget(calls=2))
        after = [_cause(wg.llm_call(None, each, engine=engine)) for each in ("other", "third")]

    assert [type(each) for each in (*before, *after)] == [type(None), wg.BudgetExceeded] * 2


def test_prices_are_looked_up_without_a_network() -> None:
    """A known model has its list price, an unknown one none: a guess would let a limit on money fail."""
    known = price_of("gpt-4o")

    assert known is not None
    assert 0 < known.input_usd < known.output_usd
    assert price_of("nobody's model") is None


# ---- the breaker and the preflight


@pytest.mark.anyio
async def test_a_server_that_refuses_everything_is_asked_no_more() -> None:
    """After three permanent errors in a row calls fail at once, with the server's last words."""
    engine = failing(*[status(401 + number, retryable=False) for number in range(9)])
    breaker = Breaker(engine, errors=3)
    for _ in range(3):
        with pytest.raises(wg.EngineError):
            await breaker.complete(HELLO)

    with pytest.raises(wg.EngineError, match=r"refused 3 calls in a row.*status 403"):
        await breaker.complete(HELLO)

    assert engine.asked == 3


@pytest.mark.anyio
async def test_a_reply_closes_the_breaker() -> None:
    """Errors count in a row only, and those that can pass do not count."""
    bad, busy = status(400, retryable=False), status(503)
    answers: list[wg.EngineError | None] = [bad, busy, bad, None, bad, bad]

    async def answer(number: int) -> Completion:
        error = answers[number] if number < len(answers) else None
        if error is not None:
            raise error
        return Completion(text="well")

    breaker = Breaker(Plain(answer), errors=3)
    said = []
    for _ in range(7):
        try:
            said.append((await breaker.complete(HELLO)).text)
        except wg.EngineError as error:
            said.append(str(error.status))

    assert said == ["400", "503", "400", "well", "400", "400", "well"]


def test_the_preflight_asks_each_engine_once() -> None:
    """Before a run each engine is asked one small thing, in order; the same one in two roles is one."""
    asked: list[str] = []

    def named(name: str) -> RuleEngine:
        return RuleEngine(lambda request: asked.append(f"{name} {request.purpose}") or "ready", name=name)  # type: ignore[func-returns-value]

    first, second = named("first"), named("second")
    with wg.Run() as run:
        preflight([first, second, first])

    assert (asked, run.usage.calls) == (["first preflight", "second preflight"], 2)


def test_the_preflight_says_what_is_wrong() -> None:
    """The first engine that does not answer ends it, with its own words."""
    down = RuleEngine(lambda _: status(401, retryable=False))

    with wg.Run(), pytest.raises(wg.EngineError, match="status 401"):
        preflight([down])

    assert len(down.history) == 1


# ---- the key

ENGINE = RuleEngine(lambda _: "")
IMAGE = ImageData("image/png", b"one")

OTHERS: dict[str, Request] = {
    "text": replace(HELLO, messages=(Message("user", ("hullo",)),)),
    "role": replace(HELLO, messages=(Message("assistant", ("hello",)),)),
    "another message": replace(HELLO, messages=(*HELLO.messages, *HELLO.messages)),
    "two parts for one": replace(HELLO, messages=(Message("user", ("hel", "lo")),)),
    "an image": replace(HELLO, messages=(Message("user", ("hello", IMAGE)),)),
    "another image": replace(HELLO, messages=(Message("user", ("hello", ImageData("image/png", b"two"))),)),
    "another kind of image": replace(HELLO, messages=(Message("user", ("hello", ImageData("image/gif", b"one"))),)),
    "output limit": replace(HELLO, sampling=Sampling(max_tokens=11)),
    "temperature": replace(HELLO, sampling=Sampling(max_tokens=10, temperature=0.0)),
    "top_p": replace(HELLO, sampling=Sampling(max_tokens=10, top_p=1.0)),
    "stop": replace(HELLO, sampling=Sampling(max_tokens=10, stop=(".",))),
    "schema": replace(HELLO, schema={}),
    "sample": replace(HELLO, sample=(1,)),
    "longer sample": replace(HELLO, sample=(0, 0)),
    "a lone surrogate": replace(HELLO, messages=(Message("user", ("\ud83d",)),)),
    "its escape": replace(HELLO, messages=(Message("user", ("\\ud83d",)),)),
}


def test_every_part_of_a_request_is_in_its_key() -> None:
    """No two requests that could get different replies share a key."""
    keys = {name: request_key(ENGINE, each) for name, each in {"": HELLO, **OTHERS}.items()}

    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize(
    "same",
    [
        replace(HELLO, sampling=Sampling(max_tokens=10, timeout_s=1.0)),
        replace(HELLO, purpose="judge"),
        replace(HELLO, template="abc"),
    ],
    ids=["time limit", "purpose", "template"],
)
def test_what_changes_no_reply_is_not_in_the_key(same: Request) -> None:
    """The time limit, the purpose and the template's hash leave the key as it is."""
    assert request_key(ENGINE, same) == request_key(ENGINE, HELLO)


def test_the_order_of_a_schemas_keys_is_not_in_the_key() -> None:
    """Two spellings of one schema are one request."""
    one = replace(HELLO, schema={"type": "object", "title": "x"})
    other = replace(HELLO, schema={"title": "x", "type": "object"})

    assert request_key(ENGINE, one) == request_key(ENGINE, other)


@pytest.mark.parametrize("attribute", ["name", "endpoint", "model"])
def test_the_engine_is_in_the_key(attribute: str) -> None:
    """Another engine, address or model is another request."""
    other = RuleEngine(lambda _: "")
    setattr(other, attribute, "else")

    assert request_key(other, HELLO) != request_key(ENGINE, HELLO)


def test_the_key_is_the_same_everywhere() -> None:
    """The key depends on nothing of the process: this value was computed in another one."""
    assert request_key(ENGINE, HELLO) == "d111f373370931525aea11f570648e13ba36e95882cf8d5a305e77f96977056c"


def test_calls_that_wait_go_in_creation_order() -> None:
    """Of calls that wait for a place the first created goes next, whichever thread was faster: results are read so."""
    sent: list[str] = []

    class Narrow(RuleEngine):
        async def complete(self, request: Request) -> Completion:
            sent.append(request.messages[-1].text)
            return await super().complete(request)

    engine = Narrow(lambda _: "yes", max_in_flight=2, clock=VirtualClock())
    for answer in wg.map(lambda number: wg.llm_call(None, f"{number:02}", engine=engine), range(60)):
        assert answer.value == "yes"

    # The first two meet no queue; no time passes before all others stand in it.
    assert sent[2:] == sorted(sent[2:])
    assert sorted(sent) == [f"{number:02}" for number in range(60)]


def test_a_users_limits_are_waited_for_before_a_call_is_journalled() -> None:
    """In a run a call that waits for its minute is not sent yet: the ledger has it when it goes out."""
    now, journalled = [0.0], list[int]()

    async def sleep(seconds: float) -> None:
        with anyio.fail_after(LIMIT_S):
            while len(answers.history) < 2 * (len(journalled) + 1):  # what went out before is answered
                await anyio.lowlevel.checkpoint()
        journalled.append(run.usage.calls)
        now[0] += seconds

    answers = RuleEngine(lambda _: "yes", max_in_flight=8)
    engine = Limited(answers, requests_per_minute=2, clock=lambda: now[0], sleep=sleep)
    with wg.Run() as run:
        for each in [wg.llm_call(None, str(number), engine=engine) for number in range(5)]:
            assert each.value == "yes"

    assert (now, journalled) == ([120.0], [2, 4])
    assert len(answers.history) == 5
