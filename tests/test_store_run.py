"""Runs: what is kept, replayed, shared, limited and refused."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import weakref
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

import wordgrad as wg
from stored import rows
from wordgrad.engines import get_engine
from wordgrad.store.database import Database
from wordgrad.store.runs import add_event
from wordgrad.testing import RuleEngine, VirtualClock
from wordgrad.types import Completion, Message, Price, Request, Sampling, Usage

LIMIT_S = 60
SMALL = Sampling(max_tokens=10)


def echo(**options: object) -> RuleEngine:
    """An engine that says its question again, and how often it was asked."""
    return RuleEngine(lambda request: f"{request.messages[-1].text}!", **options)  # type: ignore[arg-type]


def ask(engine: RuleEngine, question: str, **options: object) -> wg.Variable:
    """One call, of few tokens."""
    return wg.llm_call(None, question, engine=engine, options=SMALL, **options)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The file of a store that is not there yet."""
    return tmp_path / "kept" / "runs.db"


# ---- replay


def test_a_resumed_run_replays_without_a_call(store: Path) -> None:
    """What a run had done is read when it is resumed: the same values, and nobody is asked."""
    with wg.Run(store) as run:
        first = [ask(echo(), f"q{number}").value for number in range(5)]
    silent = RuleEngine(lambda _: AssertionError("asked again"))

    with wg.Run(store, resume=run.id):
        again = [ask(silent, f"q{number}").value for number in range(5)]

    assert (again, silent.history) == (first, ())


def test_a_resumed_run_pays_for_what_is_new_only(store: Path) -> None:
    """A run that goes further than it had come asks for the rest, and its usage counts both parts."""
    with wg.Run(store) as run:
        _ = ask(echo(), "one").value
    engine = echo()

    with wg.Run(store, resume=run.id) as resumed:
        values = [ask(engine, "one").value, ask(engine, "two").value]
        calls = resumed.usage.calls

    assert (values, [each.prompt for each in engine.history], calls) == (["one!", "two!"], ["two"], 2)


def test_another_question_at_a_recorded_place_is_refused(store: Path) -> None:
    """A program that was changed since the run is told so; nothing is paid."""
    engine = echo()
    with wg.Run(store) as run:
        _ = ask(engine, "one").value

    with wg.Run(store, resume=run.id), pytest.raises(wg.NodeError, match="the program changed") as caught:
        _ = ask(engine, "two").value

    assert isinstance(caught.value.__cause__, wg.StoreError)
    assert len(engine.history) == 1


def test_a_recorded_failure_is_replayed(store: Path) -> None:
    """A call that failed for good fails again when the run is resumed, with the same facts, and is not sent."""
    refused = wg.EngineError("no such model", retryable=False, status=404, request_id="r1")
    with wg.Run(store) as run, pytest.raises(wg.NodeError):
        _ = ask(RuleEngine(lambda _: refused), "one").value
    engine = RuleEngine(lambda _: "well")

    with wg.Run(store, resume=run.id), pytest.raises(wg.NodeError) as caught:
        _ = ask(engine, "one").value

    cause = caught.value.__cause__
    assert isinstance(cause, wg.EngineError)
    assert (str(cause), cause.status, cause.request_id, engine.history) == ("no such model", 404, "r1", ())


def test_lone_surrogates_survive(store: Path) -> None:
    """Text that has no UTF-8 form is kept and given back as it was."""
    odd = "half of an emoji: \ud83d, 日本語, \u202e, \0"
    with wg.Run(store) as run:
        first = ask(RuleEngine(lambda _: odd), odd).value

    with wg.Run(store, resume=run.id):
        again = ask(RuleEngine(lambda _: AssertionError("asked again")), odd).value

    assert (first, again) == (odd, odd)


def test_results_of_functions_are_replayed(store: Path) -> None:
    """A function that is not declared pure runs once; a resumed run reads its result."""
    ran: list[int] = []

    @wg.function
    def tool(number: int) -> dict[str, int]:
        ran.append(number)
        return {"number": number, "nth": len(ran)}

    with wg.Run(store) as run:
        first = [tool(number).value for number in (3, 4)]
    with wg.Run(store, resume=run.id):
        again = [tool(number).value for number in (3, 4)]

    assert (first, again, ran) == ([{"number": 3, "nth": 1}, {"number": 4, "nth": 2}],) * 2 + ([3, 4],)


def test_objects_among_the_inputs_may_be_made_anew(store: Path) -> None:
    """An object that prints its address is the same input in a resumed run, where it has another address."""

    class Client:
        pass

    @wg.function
    def tool(clients: list[Client], number: int) -> int:
        return number

    made = [Client(), Client()]
    with wg.Run(store) as run:
        first = tool(made[:1], 3).value
    with wg.Run(store, resume=run.id):
        again = tool(made[1:], 3).value

    assert (first, again) == (3, 3)


def test_pure_functions_run_again(store: Path) -> None:
    """A function that is declared pure is not recorded."""
    ran: list[int] = []

    @wg.function(pure=True)
    def double(number: int) -> int:
        ran.append(number)
        return 2 * number

    with wg.Run(store) as run:
        _ = double(2).value
    with wg.Run(store, resume=run.id):
        _ = double(2).value

    assert (ran, rows(store, "SELECT count(*) FROM results")) == ([2, 2], [(0,)])


def test_other_inputs_at_a_recorded_result_are_refused(store: Path) -> None:
    """A function's record belongs to its inputs: with others, the program changed."""

    @wg.function
    def tool(number: int) -> int:
        return number

    with wg.Run(store) as run:
        _ = tool(1).value

    with wg.Run(store, resume=run.id), pytest.raises(wg.NodeError, match="other inputs") as caught:
        _ = tool(2).value

    assert isinstance(caught.value.__cause__, wg.StoreError)


def test_a_result_without_a_json_form_is_refused(store: Path) -> None:
    """Inside a run an impure function's result must be readable later: the error names pure=True."""

    @wg.function
    def tool() -> object:
        return object()

    with wg.Run(store), pytest.raises(wg.WordgradError, match="pure=True"):
        _ = tool().value


# ---- one reply for one request


def test_identical_requests_pay_once() -> None:
    """64 concurrent calls with one request send it once, and all get its reply."""
    engine = echo()
    with wg.Run() as run:
        values = [each.value for each in [ask(engine, "same") for _ in range(64)]]
        calls = run.usage.calls

    assert (values, len(engine.history), calls) == (["same!"] * 64, 1, 1)


def test_two_objects_for_one_model_ask_once() -> None:
    """The request decides, not the Engine object: two that name the same model share a flight and its reply."""
    first, second = echo(), echo()
    with wg.Run():
        values = [each.value for each in [ask(engine, "same") for engine in (first, second) * 4]]

    assert (values, len(first.history) + len(second.history)) == (["same!"] * 8, 1)


def test_threads_that_name_a_spec_get_one_engine() -> None:
    """An engine is made once for each spec, also where many threads ask for it at the same time: it holds limits."""
    made = wg.map(get_engine, ["openai:m@http://127.0.0.1:9/v1"] * 16)

    assert len({id(each) for each in made}) == 1


def test_another_sample_index_is_another_draw() -> None:
    """Whoever wants another reply to the same request gives another sample index."""
    numbers = iter(range(10))
    engine = RuleEngine(lambda _: str(next(numbers)))
    with wg.Run():
        values = [ask(engine, "draw", sample=sample).value for sample in (0, 1, 0)]

    assert values == ["0", "1", "0"]


def test_outside_a_run_nothing_is_shared() -> None:
    """Two calls with the same text are two draws: two users of a server must not get one answer."""
    engine = echo()

    _ = [each.value for each in [ask(engine, "same") for _ in range(3)]]

    assert len(engine.history) == 3


def test_a_failure_is_never_shared() -> None:
    """When a call that others joined fails, one of those makes its own attempt."""
    replies = iter([wg.EngineError("bad luck", retryable=False, status=400), "well", "never"])
    engine = RuleEngine(lambda _: next(replies))
    with wg.Run():
        calls = [ask(engine, "same") for _ in range(3)]
        outcomes = []
        for each in calls:
            try:
                outcomes.append(each.value)
            except wg.NodeError:
                outcomes.append("failed")

    assert (sorted(map(str, outcomes)), len(engine.history)) == (["failed", "well", "well"], 2)


def test_the_cache_gives_replies_of_other_runs(store: Path) -> None:
    """With cache=True a run uses what an earlier one of the same store got, and pays nothing."""
    engine = echo()
    for _ in range(2):
        with wg.Run(store, cache=True) as run:
            value = ask(engine, "same").value
            used = run.usage

    assert (value, len(engine.history), used.calls, used.output_tokens) == ("same!", 1, 0, 0)


def test_without_the_cache_a_run_asks_itself(store: Path) -> None:
    """Replies of other runs are used only where that is asked for."""
    engine = echo()
    for _ in range(2):
        with wg.Run(store):
            _ = ask(engine, "same").value

    assert len(engine.history) == 2


def test_a_shared_reply_is_the_whole_one(store: Path) -> None:
    """Of several runs' replies the first that may be shared is taken, with its finish and its usage; it costs nothing."""
    refused = Completion(text="no", finish="refusal")
    wanted = Completion(text="well", usage=Usage(input_tokens=7, output_tokens=3), model="rule")
    for each in (refused, wanted):
        with wg.Run(store):
            _ = ask(RuleEngine(lambda _, each=each: each), "same").value
    silent = RuleEngine(lambda _: AssertionError("asked"))
    with wg.Run(store, cache=True) as run:
        shared = ask(silent, "same").trace()[0].calls[0].completion

    with wg.Run(store, resume=run.id) as resumed:
        replayed = ask(silent, "same").trace()[0].calls[0].completion

    assert (shared, replayed) == (wanted, wanted)
    assert (resumed.usage.calls, resumed.usage.input_tokens, resumed.usage.cost_usd) == (0, 0, 0)


@pytest.mark.parametrize("purpose", ["judge", "backward", "optimize"])
def test_a_cut_reply_is_shared_as_forward_text_only(store: Path, purpose: str) -> None:
    """Whoever would reject a cut reply is not given another run's."""
    cut = Completion(text="no", finish="length", usage=Usage(input_tokens=1))
    engine = RuleEngine(lambda _: cut)
    request = Request(messages=(Message("user", ("hello",)),), purpose=purpose)  # type: ignore[arg-type]

    for _ in range(2):
        with wg.Run(store, cache=True) as run:
            assert anyio.run(run.wrap(engine).complete, request) == cut

    assert len(engine.history) == 2


@pytest.mark.parametrize(("finish", "asked"), [("refusal", 2), ("length", 1), ("stop", 1)])
def test_the_cache_never_shares_a_refusal(store: Path, finish: str, asked: int) -> None:
    """A refused reply stays in its own run; a cut one of forward text may be shared."""
    engine = RuleEngine(lambda _: Completion(text="no", finish=finish, usage=Usage(input_tokens=1)))  # type: ignore[arg-type]
    for _ in range(2):
        with wg.Run(store, cache=True):
            _ = ask(engine, "same").value

    assert len(engine.history) == asked


def test_a_resumed_run_replays_what_the_cache_gave(store: Path) -> None:
    """A reply of another run is this run's own once it was used: the other may be removed."""
    with wg.Run(store):
        _ = ask(echo(), "same").value
    with wg.Run(store, cache=True) as second:
        _ = ask(echo(), "same").value

    with wg.Run(store, resume=second.id):
        value = ask(RuleEngine(lambda _: AssertionError("asked")), "same").value

    assert value == "same!"


# ---- limits


def test_places_in_flight_are_the_engines() -> None:
    """Calls in a run and outside it share what their engine can carry: of four, three are out at once."""
    engine = echo(clock=VirtualClock(), max_in_flight=3)
    outside = [ask(engine, f"q{number}") for number in range(2)]
    with wg.Run():
        inside = [ask(engine, f"q{number}") for number in range(2)]
        values = [each.value for each in outside + inside]

    assert engine.clock is not None
    assert (values, engine.clock.rounds) == (["q0!", "q1!"] * 2, 2)


def test_an_engine_is_let_go() -> None:
    """A program that makes engines as it goes keeps none of them once nobody does."""
    engine = echo()
    kept = weakref.ref(engine)
    _ = ask(engine, "one").value

    del engine, _
    gc.collect()

    assert kept() is None


def test_a_budget_of_calls_is_never_overshot() -> None:
    """With 50 calls in flight and a budget of 20, exactly 20 go out, and the rest say why not."""
    engine = echo()
    with wg.Run(budget=wg.Budget(calls=20)) as run:
        calls = [ask(engine, f"q{number}") for number in range(50)]
        causes = []
        for each in calls:
            try:
                _ = each.value
            except wg.NodeError as error:
                causes.append(error.__cause__)
        used = run.usage.calls

    assert (len(engine.history), used, {type(each) for each in causes}) == (20, 20, {wg.BudgetExceeded})
    assert [(each.kind, each.limit) for each in causes if isinstance(each, wg.BudgetExceeded)] == [("calls", 20)] * 30


def test_retries_count_against_the_budget() -> None:
    """Each attempt is a call: a budget of one leaves no room for a second attempt."""
    engine = RuleEngine(lambda _: wg.EngineError("busy", retryable=True, status=503, retry_after_s=0.001))

    with wg.Run(budget=wg.Budget(calls=1)), pytest.raises(wg.NodeError) as caught:
        _ = ask(engine, "one").value

    assert isinstance(caught.value.__cause__, wg.BudgetExceeded)
    assert len(engine.history) == 1


def test_tokens_are_reserved_before_a_call() -> None:
    """A call whose upper estimate does not fit is not sent, though what was spent is below the limit."""
    engine = echo()
    with wg.Run(budget=wg.Budget(tokens=60)):
        _ = ask(engine, "q1").value
        with pytest.raises(wg.NodeError) as caught:
            _ = ask(engine, "a question that is longer than all that is left of the budget" * 4).value
    cause = caught.value.__cause__

    assert isinstance(cause, wg.BudgetExceeded)
    assert (cause.kind, cause.limit, len(engine.history)) == ("tokens", 60, 1)


def test_money_is_never_overshot_by_calls_in_flight() -> None:
    """Concurrent calls reserve their most: together they cannot spend more than the budget."""
    price = Price(input_usd=1_000_000, output_usd=1_000_000)
    usage = Usage(input_tokens=1, output_tokens=10)
    engine = RuleEngine(lambda _: Completion(text="x", usage=usage), price=price)
    with wg.Run(budget=wg.Budget(usd=100)) as run:
        calls = [ask(engine, f"q{number}") for number in range(50)]
        failed = sum(_fails(each) for each in calls)
        spent = run.usage.cost_usd

    assert spent is not None
    assert 0 < spent <= 100
    assert len(engine.history) + failed == 50


def test_a_resumed_run_counts_what_was_spent(store: Path) -> None:
    """Replayed attempts count against the budget as spent."""
    engine = echo()
    with wg.Run(store, budget=wg.Budget(calls=2)) as run:
        _ = [ask(engine, each).value for each in "ab"]

    with wg.Run(store, resume=run.id, budget=wg.Budget(calls=3)):
        values = [ask(engine, each) for each in "abcd"]
        failed = [_fails(each) for each in values]

    assert (sum(failed), len(engine.history)) == (1, 3)


def test_an_unknown_price_refuses_a_money_budget() -> None:
    """A limit on dollars cannot hold where a price is not known: the first call is refused, nothing is sent."""
    engine = echo(price=None)

    with wg.Run(budget=wg.Budget(usd=1)), pytest.raises(wg.WordgradError, match="price of 'rule' is not known"):
        _ = ask(engine, "one").value

    assert engine.history == ()


def test_usage_says_what_was_used() -> None:
    """Calls, tokens and money of a run are there while it is open."""
    usage = Usage(input_tokens=10, output_tokens=5, cached_input_tokens=4)
    engine = RuleEngine(lambda _: Completion(text="x", usage=usage), price=Price(input_usd=1, output_usd=2))
    with wg.Run() as run:
        _ = [each.value for each in [ask(engine, "a"), ask(engine, "b")]]
        used = run.usage

    assert (used.calls, used.input_tokens, used.output_tokens, used.cached_input_tokens) == (2, 20, 10, 8)
    assert used.cost_usd == pytest.approx(40 / 1_000_000)


# ---- the file


def test_only_its_owner_reads_the_store(store: Path) -> None:
    """Prompts and replies are private: the file and its folder are the owner's alone."""
    with wg.Run(store):
        pass

    assert [stat.S_IMODE(each.stat().st_mode) for each in (store, store.parent)] == [0o600, 0o700]


def test_nothing_is_written_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without a store keeps its ledger in memory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with wg.Run():
        _ = ask(echo(), "one").value

    assert list(tmp_path.iterdir()) == []


def test_what_sqlite_keeps_beside_the_store_is_private_too(tmp_path: Path) -> None:
    """The log of changes and its index have the file's mode; every folder that is made has the folder's."""
    store = tmp_path / "a" / "b" / "runs.db"
    with wg.Run(store):
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "a").rglob("*")}

    assert modes == {"b": 0o700, "runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_usage_can_be_read_after_the_run() -> None:
    """What a run has used stays readable when it has ended."""
    with wg.Run() as run:
        _ = ask(echo(), "one").value

    assert run.usage.calls == 1


def test_what_outlives_its_run_fails() -> None:
    """A call that is still out when its run ends cannot be recorded: reading it is an error, and does not hang."""
    engine = _Slow()
    with wg.Run():
        late = ask(engine, "one")
        assert engine.wait()
    engine.release()

    with pytest.raises(wg.NodeError, match="has ended"):
        _ = late.value


def test_one_bad_change_does_not_undo_the_others(store: Path) -> None:
    """Of changes that are committed together one that cannot be made fails alone."""
    with Database(store) as database:

        def insert(name: str) -> object:
            return database.write(lambda connection: connection.execute("INSERT INTO texts VALUES (?, '')", (name,)))

        made = [insert(name) for name in ("a", "b", "a", "c")]
        outcomes = [type(each.exception(LIMIT_S)) for each in made]  # type: ignore[attr-defined]

    assert outcomes == [type(None), type(None), wg.StoreError, type(None)]
    assert rows(store, "SELECT hash FROM texts ORDER BY hash") == [("a",), ("b",), ("c",)]


class _Absurd(RuleEngine):
    """Counts more tokens than a row can hold, once."""

    async def complete(self, request: Request) -> Completion:
        completion = await super().complete(request)
        absurd = len(self.history) == 1
        return replace(completion, usage=Usage(input_tokens=10**30)) if absurd else completion


def test_after_a_row_that_cannot_be_kept_none_follows(store: Path) -> None:
    """A record with a hole in it could not be replayed: the run ends there, and when resumed asks that call again."""
    engine = _Absurd(lambda request: f"{request.messages[-1].text}!")
    with wg.Run(store) as run:
        for question in ("one", "two"):
            with pytest.raises(wg.NodeError, match="too large"):
                _ = ask(engine, question).value
    assert rows(store, "SELECT count(*) FROM places") == [(0,)]

    with wg.Run(store, resume=run.id):
        values = [ask(engine, question).value for question in ("one", "two")]

    assert (values, len(engine.history)) == (["one!", "two!"], 3)


def test_a_run_that_is_resumed_twice_at_once_is_told_so(store: Path) -> None:
    """Two processes that go on with one run would disagree: the second to come to a place fails."""
    with wg.Run(store) as run:
        pass
    with wg.Run(store, resume=run.id):
        with wg.Run(store, resume=run.id):
            _ = ask(echo(), "one").value

        with pytest.raises(wg.NodeError, match="another process goes on with the same run"):
            _ = ask(echo(), "one").value


_FILLS_THE_DISK = """
import resource, sys
import wordgrad as wg
from wordgrad.testing import RuleEngine, VirtualClock

engine = RuleEngine(lambda request: request.messages[-1].text[:4])
with wg.Run(sys.argv[1]) as run:
    print(run.id, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    try:
        for number in range(1_000):
            print(wg.llm_call(None, f"{number:04}" + 30_000 * "x", engine=engine).value, flush=True)
    except wg.NodeError as error:
        print(f"{type(error.__cause__).__name__}: {error.__cause__}", flush=True)
"""


def test_a_full_disk_loses_nothing(store: Path) -> None:
    """When no more can be written the call fails with what to do, and all that was delivered is replayed later."""
    made = subprocess.run(
        [sys.executable, "-c", _FILLS_THE_DISK, str(store)], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    run, *delivered, error = made.stdout.splitlines()
    silent = RuleEngine(lambda _: AssertionError("asked again"))
    with wg.Run(store, resume=run):
        replayed = [
            wg.llm_call(None, f"{number:04}" + 30_000 * "x", engine=silent).value for number in range(len(delivered))
        ]

    assert replayed == delivered != []
    assert error.startswith(f"StoreError: the store {store}: ")
    assert "free some space and resume the run" in error


def test_a_read_only_store_is_refused(store: Path) -> None:
    """A file that cannot be written is named, with what to do."""
    with wg.Run(store):
        pass
    with store.open("r+b") as file:
        file.seek(18)
        file.write(b"\x03")  # a later format than this SQLite writes: it may only read, whoever the user is

    with pytest.raises(wg.StoreError, match=r"runs\.db.*cannot be written; change its permissions"):
        wg.Run(store)


def test_a_run_that_has_ended_is_called_so(store: Path) -> None:
    """Its usage stays; what would need the file says that the run is over."""
    with wg.Run(store) as run:
        pass

    assert run.usage.calls == 0
    with pytest.raises(wg.StoreError, match="has ended"):
        run.noted("step")


def test_a_store_damaged_inside_is_refused(store: Path) -> None:
    """Damage behind a good header is found when the run is read, and named."""
    with wg.Run(store) as run:
        for number in range(50):
            _ = ask(echo(), f"{number}" * 50).value
    with store.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (store.stat().st_size - 4096))

    with pytest.raises(wg.StoreError, match=r"runs\.db.*damaged"):
        wg.Run(store, resume=run.id)


def test_a_store_of_before_is_read_and_gone_on_with(store: Path) -> None:
    """What had no name for who asked has none; its replies are found, and new calls have one."""
    with wg.Run(store) as run:
        _ = ask(echo(), "hello").value
    with closing(sqlite3.connect(store)) as connection:
        connection.executescript(
            "ALTER TABLE attempts DROP COLUMN node; DROP INDEX results_by_content; PRAGMA user_version = 1;"
        )

    with wg.Run(store, resume=run.id) as again:
        assert ask(echo(), "hello").value == "hello!"
        assert ask(echo(), "more").value == "more!"
        spent = again.found().spent

    assert [(each.node, each.calls) for each in spent] == [("", 1), ("reply of the model", 1)]


def test_a_role_that_no_encoding_can_carry_is_kept_as_its_escape(store: Path) -> None:
    """It may be made of a row's text; the call and those after it are made."""
    with wg.Run(store) as run:
        assert [ask(echo(), text, role_description="to \ud800").value for text in ("a", "b")] == ["a!", "b!"]

        assert [(each.node, each.calls) for each in run.found().spent] == [("to \\ud800", 2)]


def test_a_newer_schema_is_refused(store: Path) -> None:
    """A store that a newer wordgrad wrote is not touched; the message says to upgrade."""
    with wg.Run(store):
        pass
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(wg.StoreError, match="newer wordgrad"):
        wg.Run(store)


def test_a_file_that_is_no_store_is_refused(store: Path) -> None:
    """A damaged file is named, with what to do; it is left as it was."""
    store.parent.mkdir()
    store.write_bytes(b"not a database at all" * 100)

    with pytest.raises(wg.StoreError, match=r"runs\.db.*damaged or no store"):
        wg.Run(store)

    assert store.read_bytes() == b"not a database at all" * 100


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    """A path that cannot be opened is named in the error, with what may stand there."""
    with pytest.raises(wg.StoreError, match=f"{tmp_path.name}.*a folder stands there"):
        wg.Run(tmp_path)


def test_an_unknown_run_is_refused(store: Path) -> None:
    """Resuming a run that the store does not hold says where to look."""
    with wg.Run(store):
        pass

    with pytest.raises(wg.UsageError, match="runs list"):
        wg.Run(store, resume="nope")


def test_resume_without_a_store_is_refused() -> None:
    """A run in memory cannot be resumed."""
    with pytest.raises(wg.UsageError, match="store="):
        wg.Run(resume="x")


def test_runs_of_a_store_share_their_secret(store: Path) -> None:
    """The same text gets the same fence in every run of a store, so that caches hit."""
    secrets = []
    for _ in range(2):
        with wg.Run(store) as run:
            secrets.append(run.secret)

    assert secrets[0] == secrets[1]


_CHILD = """
import asyncio, os, sys, time
from pathlib import Path
import wordgrad as wg
from wordgrad.testing import RuleEngine, VirtualClock
from wordgrad.types import Sampling

store, counter, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def rule(request):
    with counter.open("a") as file:
        file.write(request.messages[-1].text + "\\n")
    if request.messages[-1].text == f"q{last}":
        print("stuck", flush=True)
        while True:
            time.sleep(3600)
    return request.messages[-1].text + "!"

with wg.Run(store, name=f"child {last}") as run:
    print(run.id, flush=True)
    for number in range(20):
        value = wg.llm_call(None, f"q{number}", engine=RuleEngine(rule), options=Sampling(max_tokens=10)).value
print("done", flush=True)
"""


def _child(store: Path, counter: Path, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(_CHILD), str(store), str(counter), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def test_a_killed_run_goes_on_where_it_was(store: Path, tmp_path: Path) -> None:
    """After SIGKILL in the middle of a call only that call is sent again, and the lost attempt is marked."""
    counter = tmp_path / "asked"
    child = _child(store, counter, last=5)
    assert child.stdout is not None
    lines = [child.stdout.readline().strip() for _ in range(2)]
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=LIMIT_S)
    child.stdout.close()
    engine = echo()

    with wg.Run(store, resume=lines[0]):
        values = [ask(engine, f"q{number}").value for number in range(20)]

    asked = counter.read_text(encoding="utf-8").split() + [each.prompt for each in engine.history]
    states = dict(rows(store, "SELECT state, count(*) FROM attempts GROUP BY state"))  # type: ignore[arg-type]
    assert lines[1] == "stuck"
    assert values == [f"q{number}!" for number in range(20)]
    assert asked == [f"q{number}" for number in (*range(6), *range(5, 20))]
    assert states == {"done": 20, "lost": 1}


def test_two_processes_write_one_store(store: Path, tmp_path: Path) -> None:
    """Two runs in two processes share a file from its very beginning, and each keeps all of its own."""
    children = [_child(store, tmp_path / f"asked{number}", last=99) for number in range(2)]
    outputs = [child.communicate(timeout=LIMIT_S)[0].split() for child in children]

    found = rows(store, "SELECT run, count(*) FROM attempts WHERE state = 'done' GROUP BY run")

    assert [each[-1] for each in outputs] == ["done", "done"]
    assert sorted(found) == sorted((each[0], 20) for each in outputs)


@pytest.mark.anyio
async def test_a_flight_outlives_a_caller_that_left() -> None:
    """Cancelling one of two callers of a request leaves the other its reply."""
    engine = _Slow()
    with wg.Run():
        first, second = ask(engine, "same"), ask(engine, "same")
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:

                async def leave() -> None:
                    with anyio.CancelScope() as scope:
                        engine.cancel = scope.cancel
                        await first

                group.start_soon(leave)
                await engine.started()
                engine.cancel()
                engine.release()
            value = (await second).value

    assert (value, engine.asked) == ("late", 1)


@pytest.mark.anyio
async def test_a_flight_ends_with_its_last_caller() -> None:
    """When all callers of a request have left, it is cancelled; who asks then has a flight of its own."""
    engine = _Deaf()
    with wg.Run():
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as group:
                for each in [ask(engine, "same"), ask(engine, "same")]:
                    group.start_soon(_waited, each)
                await anyio.to_thread.run_sync(engine.out.wait, LIMIT_S)
                group.cancel_scope.cancel()
            cancelled = await anyio.to_thread.run_sync(engine.cancelled.wait, LIMIT_S)
            value = (await ask(engine, "same")).value

    assert (value, cancelled, len(engine.history)) == ("well", True, 1)


async def _waited(variable: wg.Variable) -> None:
    await variable


class _Deaf(RuleEngine):
    """Never answers its first call."""

    def __init__(self) -> None:
        super().__init__(lambda _: "well")
        self.out = threading.Event()
        self.cancelled = threading.Event()

    async def complete(self, request: Request) -> Completion:
        if not self.out.is_set():
            self.out.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.cancelled.set()
        return await super().complete(request)


class _Slow(RuleEngine):
    """Answers when it is released, from whatever loop."""

    def __init__(self) -> None:
        super().__init__(lambda _: "late")
        self.asked = 0
        self._go = threading.Event()
        self._started = threading.Event()

    def cancel(self) -> None:
        """Set by the test."""

    def wait(self) -> bool:
        """Whether it was asked in time."""
        return self._started.wait(LIMIT_S)

    async def started(self) -> None:
        await anyio.to_thread.run_sync(self.wait)

    def release(self) -> None:
        self._go.set()

    async def complete(self, request: Request) -> Completion:
        self.asked += 1
        self._started.set()
        await anyio.to_thread.run_sync(lambda: self._go.wait(LIMIT_S))
        return await super().complete(request)


def _fails(variable: wg.Variable) -> bool:
    try:
        _ = variable.value
    except wg.NodeError:
        return True
    return False


def test_a_changed_node_pays_for_what_depends_on_it(store: Path) -> None:
    """Of a chain run again with the cache and another second prompt, only the second and the third model are asked."""
    engine = RuleEngine(lambda request: f"{request.messages[0].text} <{request.messages[-1].text}>")

    def chain(second: str) -> str:
        with wg.Run(store, cache=True):
            text: wg.Variable | str = "start"
            for system in ("first", second, "third"):
                text = wg.llm_call(system, text, engine=engine, options=SMALL)
            return str(text)

    outputs = [chain("second"), chain("second"), chain("other")]

    assert outputs == ["third <second <first <start>>>"] * 2 + ["third <other <first <start>>>"]
    asked = sorted(call.request.messages[0].text for call in engine.history)
    assert asked == ["first", "other", "second", "third", "third"]


def test_a_forked_child_is_told_to_open_a_run_of_its_own(tmp_path: Path) -> None:
    """A call in a child of a process that is inside a run fails, and leaving the run with that; child and run end."""
    program = """
import os, sys
import wordgrad as wg
from wordgrad.testing import RuleEngine

engine = RuleEngine(lambda _: "yes")
try:
    with wg.Run(sys.argv[1]):
        child = os.fork()
        if not child:
            try:
                wg.llm_call(None, "here?", engine=engine).value
            except wg.NodeError as error:
                print(error, flush=True)
                raise
        assert os.waitpid(child, 0)[1] == 0
        print(wg.llm_call(None, "here?", engine=engine).value)
except wg.StoreError as error:
    print(error, flush=True)
    os._exit(0)
"""
    done = subprocess.run(
        # From Python 3.12 on the interpreter warns of any fork beside a thread.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, str(tmp_path / "runs.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("open a Run of its own here") == 2
    assert done.stdout.endswith("yes\n")


def test_a_run_that_is_let_go_of_closes_its_store(store: Path) -> None:
    """Ctrl-C may come before its `with`, also after it has written: the thread that writes ends with it."""
    run = wg.Run(store)
    run.note("step", {})
    (thread,) = [each for each in threading.enumerate() if each.name == "wordgrad-store"]

    del run
    gc.collect()
    thread.join(LIMIT_S)

    assert not thread.is_alive()


def test_nothing_follows_the_change_that_ends_a_run(store: Path) -> None:
    """What other threads still write is committed before the last change, or refused."""
    database, refused = Database(store), threading.Event()
    with wg.Run(store) as run:
        pass

    def hammer() -> None:
        while not refused.is_set():
            try:
                database.write(lambda connection: add_event(connection, run.id, "late", {}))
            except wg.StoreError:
                refused.set()

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for each in threads:
        each.start()
    seen: list[int] = []
    count = "SELECT count(*) FROM events WHERE kind = 'late'"
    database.close(last=lambda connection: seen.append(connection.execute(count).fetchone()[0]))
    for each in threads:
        each.join(LIMIT_S)

    assert seen == [rows(store, count)[0][0]]


def test_many_may_make_one_store_at_once(tmp_path: Path) -> None:
    """Whoever opens a store while others make it waits for them, and none is refused."""
    problems: list[wg.StoreError] = []

    def opened(path: Path, together: threading.Barrier) -> None:
        together.wait(LIMIT_S)
        try:
            Database(path).close()
        except wg.StoreError as error:
            problems.append(error)

    for number in range(80):
        together = threading.Barrier(8)
        threads = [threading.Thread(target=opened, args=(tmp_path / f"{number}.db", together)) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(LIMIT_S)

    assert problems == []
