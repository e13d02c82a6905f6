"""Resuming a run: what was done is read, what failed is counted, and only what is new is paid."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

import wordgrad as wg
from stored import rows
from wordgrad.store.database import Database
from wordgrad.testing import RuleEngine
from wordgrad.testing.server import Answer, Body, FakeServer
from wordgrad.types import Completion, Request, Sampling

LIMIT_S = 60
SMALL = Sampling(max_tokens=10)
BUSY = wg.EngineError("busy", retryable=True, status=503, retry_after_s=0.0)
REFUSED = wg.EngineError("no such key", retryable=False, status=401)


def echo(request: Request) -> str:
    """The question again."""
    return f"{request.messages[-1].text}!"


def ask(engine: RuleEngine | str, question: str, **options: Any) -> wg.Variable:
    """One call, of few tokens."""
    return wg.llm_call(None, question, engine=engine, options=SMALL, **options)


def value_or_error(variable: wg.Variable) -> str:
    """The value, or the first words of what went wrong."""
    try:
        return str(variable.value)
    except wg.NodeError as error:
        return f"{error.__cause__}"


def change(store: Path, sql: str) -> None:
    """Do to the file what a kill at the worst moment would have left."""
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(sql)


def sequence(*replies: str | Exception) -> RuleEngine:
    """An engine that gives these replies in turn."""
    given = iter(replies)
    return RuleEngine(lambda _: next(given))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The file of a store that is not there yet."""
    return tmp_path / "runs.db"


# ---- places and their attempts


def test_a_place_names_its_last_attempt(store: Path) -> None:
    """Each engine call's row holds its request and the last attempt that it used: its own, joined or found."""
    engine = sequence(BUSY, "one", REFUSED)
    with wg.Run(store):
        first, joined = ask(engine, "same"), ask(engine, "same")
        values = [first.value, joined.value, ask(engine, "same").value, value_or_error(ask(engine, "other"))]

    found = rows(store, "SELECT place, call, attempt, error IS NULL FROM places ORDER BY place")
    assert values == ["one", "one", "one", "no such key"]
    assert found == [("0", 0, 2, 1), ("1", 0, 2, 1), ("2", 0, 2, 1), ("3", 0, 3, 0)]


def test_failures_without_a_place_count_as_made(store: Path) -> None:
    """A permanent failure that was settled before a kill, its place not, is not sent again."""
    with wg.Run(store) as run:
        value_or_error(ask(sequence(REFUSED), "one"))
    change(store, "DELETE FROM places")
    engine = sequence("asked again")

    with wg.Run(store, resume=run.id):
        value = value_or_error(ask(engine, "one"))

    assert (value, engine.history) == ("no such key", ())
    assert rows(store, "SELECT attempt FROM places") == [(1,)]


def test_a_retry_goes_on_with_its_next_attempt(store: Path) -> None:
    """Of five attempts three had failed before a kill: two are left."""
    engine = sequence(*[BUSY] * 5)
    with wg.Run(store) as run:
        value_or_error(ask(engine, "one"))
    change(store, "DELETE FROM places")
    change(store, "DELETE FROM attempts WHERE id > 3")
    engine = sequence(BUSY, BUSY, "never asked")

    with wg.Run(store, resume=run.id):
        value = value_or_error(ask(engine, "one"))

    assert (value, len(engine.history)) == ("busy", 2)


def test_attempts_that_a_place_used_are_not_used_again(store: Path) -> None:
    """A failure belongs to one place: another one with the same request makes its own attempts."""
    with wg.Run(store) as run:
        value_or_error(ask(sequence(REFUSED), "one"))
    engine = sequence("well")

    with wg.Run(store, resume=run.id):
        values = [value_or_error(ask(engine, "one")) for _ in range(2)]

    assert (values, len(engine.history)) == (["no such key", "well"], 1)


def test_unused_failures_go_to_their_places_in_order(store: Path) -> None:
    """Two places had the same request: the first one's five failures, then the second one's."""
    engine = sequence(*[BUSY] * 5, REFUSED)
    with wg.Run(store) as run:
        before = [value_or_error(ask(engine, "one")) for _ in range(2)]
    change(store, "DELETE FROM places")
    silent = sequence()

    with wg.Run(store, resume=run.id):
        after = [value_or_error(ask(silent, "one")) for _ in range(2)]

    assert (after, before) == (["busy", "no such key"],) * 2
    assert rows(store, "SELECT place, attempt FROM places") == [("0", 5), ("1", 6)]


_RETRYING = """
import sys
import stamina.instrumentation
import wordgrad as wg
from wordgrad.types import Sampling

stamina.instrumentation.set_on_retry_hooks([lambda _: print("pause", flush=True)])
with wg.Run(sys.argv[1]) as run:
    print(run.id, flush=True)
    wg.llm_call(None, "one", engine=sys.argv[2], options=Sampling(max_tokens=10)).value
"""


def test_a_kill_between_two_attempts_repeats_none(store: Path) -> None:
    """Killed in the pause after the third of five attempts, a run sends the fourth when resumed, and does not wait."""
    answers = [Answer(status=503, headers={"retry-after": "0"})] * 2 + [
        Answer(status=503, headers={"retry-after": "100"}),
        Answer(text="well"),
    ]
    given = iter(answers)
    with FakeServer(lambda _: next(given)) as server:
        spec = f"openai:m@{server.address}/v1"
        with spawned(_RETRYING, store, spec) as child:
            lines = [line(child) for _ in range(4)]
            child.send_signal(signal.SIGKILL)

        with wg.Run(store, resume=lines[0]) as run:
            value = ask(spec, "one").value
            used = run.usage
        asked = len(server.requests)

    assert (value, lines[1:], asked, used.calls) == ("well", ["pause"] * 3, 4, 4)
    assert used.seconds < LIMIT_S
    assert rows(store, "SELECT state FROM attempts ORDER BY id") == [("failed",)] * 3 + [("done",)]
    pauses = rows(store, "SELECT body FROM events WHERE kind = 'pause'")
    assert [json.loads(each)["attempt"] for (each,) in pauses] == [1, 2, 3]


# ---- runs that ended with an error


def test_what_ended_a_run_is_asked_again(store: Path) -> None:
    """After an outage all calls that failed in it are asked again, by one resumption; answered ones are not."""
    down = RuleEngine(lambda request: REFUSED if request.messages[-1].text > "q3" else echo(request))
    questions = [f"q{number}" for number in range(8)]

    def failing() -> None:
        with wg.Run(store) as run:
            ids.append(run.id)
            wg.map(lambda question: ask(down, question).value, questions)

    ids: list[str] = []
    with pytest.raises(wg.NodeError):
        failing()
    up = RuleEngine(echo)

    with wg.Run(store, resume=ids[0]):
        values = wg.map(lambda question: ask(up, question).value, questions)

    assert values == [f"{each}!" for each in questions]
    assert sorted(each.prompt for each in up.history) == questions[4:]


def test_errors_that_the_program_survived_are_replayed(store: Path) -> None:
    """What a program did without an answer stays so, though a later outage ended it."""
    engine = sequence(REFUSED, "two", BUSY, BUSY, BUSY, BUSY, BUSY)

    def program(engine: RuleEngine) -> list[str]:
        return [value_or_error(ask(engine, "one")), ask(engine, "two").value, ask(engine, "three").value]

    ids: list[str] = []
    with pytest.raises(wg.NodeError):  # noqa: PT012, SIM117 - the run ends inside
        with wg.Run(store) as run:
            ids.append(run.id)
            program(engine)
    engine = sequence("three")

    with wg.Run(store, resume=ids[0]):
        values = program(engine)

    assert (values, len(engine.history)) == (["no such key", "two", "three"], 1)


def test_after_an_outage_another_path_may_be_taken(store: Path) -> None:
    """In a failing call's company another one was survived: both are asked again, and what follows may be new."""

    def program(first: RuleEngine, second: RuleEngine) -> list[str]:
        def one(question: str) -> str:
            found = value_or_error(ask(first, question))
            if found == "no such key":
                found = str(ask(second, question).value)
            return str(ask(second, f"{question} {found}").value)

        return wg.map(one, ["a", "b"])

    down = RuleEngine(lambda _: REFUSED, name="first")
    half = RuleEngine(lambda request: REFUSED if request.messages[-1].text == "b" else echo(request), name="second")
    ids: list[str] = []
    with pytest.raises(wg.NodeError):  # noqa: PT012, SIM117 - the run ends inside
        with wg.Run(store) as run:
            ids.append(run.id)
            program(down, half)
    up, second = RuleEngine(echo, name="first"), RuleEngine(echo, name="second")

    with wg.Run(store, resume=ids[0]):
        values = program(up, second)

    assert values == ["a a!!", "b b!!"]


def test_what_is_still_out_when_a_run_fails_is_asked_again(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What such a call writes while the run ends does not follow the change that lets the run be resumed."""
    ends, close = threading.Event(), Database.close

    class Slow(RuleEngine):
        """Answers to "slow" when the run ends."""

        async def complete(self, request: Request) -> Completion:
            if request.messages[-1].text == "slow":
                await anyio.to_thread.run_sync(ends.wait, LIMIT_S)
            return await super().complete(request)

    def closed_late(self: Database, last: Any = None) -> None:
        ends.set()
        latest = time.monotonic() + LIMIT_S
        while rows(store, "SELECT count(*) FROM places") != [(2,)] and time.monotonic() < latest:
            time.sleep(0.001)
        close(self, last)

    def asked(engine: RuleEngine) -> list[wg.Variable]:
        return [ask(engine, "quick"), ask(engine, "slow")]

    with monkeypatch.context() as patched, pytest.raises(wg.NodeError):  # noqa: PT012 - the run ends inside
        patched.setattr(Database, "close", closed_late)
        with wg.Run(store) as run:
            quick, slow = asked(Slow(lambda _: REFUSED))
            _ = quick.value
    up = RuleEngine(echo)

    with wg.Run(store, resume=run.id):
        values = [each.value for each in asked(up)]

    assert (value_or_error(slow), values, len(up.history)) == ("no such key", ["quick!", "slow!"], 2)


NOTHING = pytest.mark.parametrize("budget", [wg.Budget(seconds=0), wg.Budget(calls=0)], ids=["seconds", "calls"])


@NOTHING
def test_a_run_that_its_budget_ended_goes_on_with_a_larger_one(store: Path, budget: wg.Budget) -> None:
    """What was refused at the end is asked when the run is resumed with more."""
    engine = RuleEngine(echo)
    ids: list[str] = []
    with pytest.raises(wg.NodeError, match="is spent"):  # noqa: PT012, SIM117 - the run ends inside
        with wg.Run(store, budget=budget) as run:
            ids.append(run.id)
            _ = ask(engine, "one").value

    with wg.Run(store, resume=ids[0]):
        value = ask(engine, "one").value

    assert value == "one!"


# ---- decisions of the clock and the budget


@NOTHING
def test_what_a_budget_refused_stays_refused(store: Path, budget: wg.Budget) -> None:
    """A program that went on without an answer takes the same way when it is resumed, with whatever limits."""
    engine = RuleEngine(echo)
    with wg.Run(store, budget=budget) as run:
        before = value_or_error(ask(engine, "one"))

    with wg.Run(store, resume=run.id):
        after = value_or_error(ask(engine, "one"))

    assert (after, engine.history) == (before, ())
    assert before.startswith("the budget of 0 ")


def test_seconds_before_an_interruption_are_spent(store: Path) -> None:
    """A run that had taken 100 seconds has none left of 50."""
    engine = RuleEngine(echo)
    with wg.Run(store) as run:
        _ = ask(engine, "one").value
    change(store, "UPDATE attempts SET run_s = 100")

    with wg.Run(store, resume=run.id, budget=wg.Budget(seconds=50)) as resumed:
        values = [value_or_error(ask(engine, each)) for each in ("one", "two")]
        seconds = resumed.usage.seconds

    assert values[0] == "one!"
    assert values[1].startswith("the budget of 50 seconds is spent: 100")
    assert 100 <= seconds < 100 + LIMIT_S


def test_a_resumed_run_repeats_what_its_budget_said(store: Path) -> None:
    """`affords` answers as it did, though by now more is spent; then it asks the budget again."""
    engine = RuleEngine(echo)

    def program(run: wg.Run, questions: str) -> list[bool]:
        said = []
        for each in questions:
            said.append(run.affords(2))
            _ = ask(engine, each).value
        return said

    budget = wg.Budget(calls=4)
    with wg.Run(store, budget=budget) as run:
        first = program(run, "abc")
    with wg.Run(store, budget=budget, resume=run.id) as run:
        again = program(run, "abcd")

    assert (first, again) == ([True, True, True], [True, True, True, False])


def test_a_search_that_time_ended_stays_ended(store: Path) -> None:
    """A step that the clock refused is refused again by a resumed run, however much time it is given."""
    with wg.Run(store, budget=wg.Budget(seconds=0)) as run:
        before = run.affords(1)

    with wg.Run(store, budget=wg.Budget(seconds=LIMIT_S), resume=run.id) as resumed:
        after = [resumed.affords(1), resumed.affords(1)]

    assert (before, after) == (False, [False, True])


def test_money_cannot_be_limited_after_the_fact(store: Path) -> None:
    """A run that asked a model without a price cannot go on under a limit in dollars: what it spent is not known."""
    with wg.Run(store) as run:
        _ = ask(RuleEngine(echo), "one").value

    with pytest.raises(wg.UsageError, match="price is not known"):
        wg.Run(store, resume=run.id, budget=wg.Budget(usd=1))


# ---- kills


def line(child: subprocess.Popen[str]) -> str:
    """What the child says next."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


class spawned:  # noqa: N801 - reads as a function
    """A Python child; killed at the end of the `with`, should it still run."""

    def __init__(self, program: str, *arguments: object) -> None:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))

    def __enter__(self) -> subprocess.Popen[str]:
        return self.child

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait(timeout=LIMIT_S)
        assert self.child.stdout is not None
        self.child.stdout.close()


_PIPELINE = """
import sys
import wordgrad as wg
from wordgrad.types import Sampling

def ask(text):
    try:
        return str(wg.llm_call(None, text, engine=sys.argv[2], options=Sampling(max_tokens=10)).value)
    except wg.NodeError as error:
        return f"refused: {error.__cause__.status}"

@wg.function
def shorter(text: str) -> str:
    return text[-12:]

def one(number):
    first = ask(f"question {number % 5}")
    second = ask(shorter(first).value)
    return ask(f"{second} {number}")

resume = sys.argv[3] if len(sys.argv) > 3 else None
with wg.Run(sys.argv[1], resume=resume) as run:
    print(run.id, flush=True)
    print(wg.map(one, range(8)), flush=True)
"""


class Moody:
    """Answers by the question alone; some questions are refused for good, some only at their first asking.

    Args:
        kills: After so many requests, and again after so many more, `reached` is set and nothing is answered until
            `open` is.
    """

    def __init__(self, kills: Iterator[int]) -> None:
        self.kills = kills
        self.reached = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self.asked: Counter[str] = Counter()
        self.left = next(kills)
        self._lock = threading.Lock()

    def __call__(self, body: Body) -> Answer:
        """One request's answer."""
        question = body["messages"][-1]["content"]
        with self._lock:
            self.asked[question] += 1
            self.left -= self.open.is_set()
            if self.left == 0:
                self.left = next(self.kills)
                self.open.clear()
                self.reached.set()
            first = self.asked[question] == 1
        assert self.open.wait(LIMIT_S)
        mood = sum(question.encode()) % 4
        if mood == 0 and first:
            return Answer(status=503, headers={"retry-after": "0"})
        if mood == 1:
            return Answer(status=400, text=f"no: {question}")
        return Answer(text=f"yes: {question}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the pipeline ends with when nothing kills it."""
    with FakeServer(Moody(iter([1_000]))) as server:
        return _lived(tmp_path_factory.mktemp("whole") / "runs.db", f"openai:m@{server.address}/v1")


@pytest.mark.parametrize("seed", range(3))
def test_kills_change_nothing(tmp_path: Path, whole: str, seed: int) -> None:
    """However often a run is killed, its end is that of one that never was, and the server saw what was journalled."""
    rng = random.Random(seed)
    moody = Moody(iter([rng.randint(1, 8), rng.randint(1, 8), 1_000]))
    store = tmp_path / "killed.db"
    with FakeServer(moody) as server:
        spec = f"openai:m@{server.address}/v1"
        run: list[str] = []
        for _ in range(2):
            with spawned(_PIPELINE, store, spec, *run) as child:
                run = [line(child)]
                assert moody.reached.wait(LIMIT_S)
                child.send_signal(signal.SIGKILL)
                child.wait(timeout=LIMIT_S)
            moody.reached.clear()
            moody.open.set()
        ended = _lived(store, spec, *run)

    journalled = rows(store, "SELECT count(*) FROM attempts")[0][0]
    twice = rows(store, "SELECT key FROM attempts WHERE state = 'done' GROUP BY key HAVING count(*) > 1")
    assert (ended, twice) == (whole, [])
    assert moody.asked.total() <= journalled


def _lived(store: Path, *arguments: str) -> str:
    """What the pipeline ends with in a child that is not killed."""
    with spawned(_PIPELINE, store, *arguments) as child:
        said, _ = child.communicate(timeout=LIMIT_S)
        return said.splitlines()[1]
