"""A gateway between a run and its model that does everything wrong: the run ends as it would have without it."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import stamina

import wordgrad as wg
from project import BETTER, Project, answered, found, project
from stored import rows
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.testing.server import Answer, Body, FakeServer
from wordgrad.types import Price, Sampling

__all__ = ["project"]

ATTEMPTS = 5
SMALL = Sampling(max_tokens=10, timeout_s=20)
FAULTS = [
    Answer(status=429, headers={"retry-after": "1"}, text="slow down"),
    Answer(status=500, text="it broke"),
    Answer(status=502, raw=b"<html>Bad Gateway</html>"),
    Answer(status=200, raw=b'{"choices": [{"message": {"content": "cut in the mid'),
    Answer(model="somebody-else", text="42"),
    Answer(fault="reset"),
    Answer(fault="truncate"),
    Answer(fault="stall"),
]
QUICK = FAULTS[:-1]
"""Those that do not wait for a time limit."""
PRICE = Price(input_usd=1e4, output_usd=1e4)
"""A cent a token."""


class Gateway:
    """Each request meets up to four faults, drawn by its own text, and then its answer.

    Args:
        seed: Of the faults.
        answers: The model behind.
        kinds: What can go wrong.
    """

    def __init__(self, seed: int, answers: Callable[[Body], str] = answered, kinds: Sequence[Answer] = FAULTS) -> None:
        self.seed = seed
        self.kinds = kinds
        self.asked: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._answers = answers
        self._lock = threading.Lock()

    def __call__(self, body: Body) -> Answer:
        """One request's fault, or answer."""
        text = json.dumps(body, sort_keys=True)
        rng = random.Random(f"{self.seed} {text}")
        faults = rng.sample(self.kinds, k=rng.randrange(ATTEMPTS))
        with self._lock:
            number = self.asked[text]
            self.asked[text] += 1
            if number < len(faults):
                fault = faults[number]
                self.faults[fault.fault or fault.model or f"{fault.status}"] += 1
                return fault
        return Answer(text=self._answers(body))


@pytest.fixture(autouse=True)
def _without_pauses() -> Iterator[None]:
    """Attempts follow one another at once; how long the pauses are is tested elsewhere."""
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield


def answers(engine: OpenAIEngine, questions: list[str]) -> list[str]:
    """The answers to questions that are asked at once, or why there is none."""
    calls = [wg.llm_call(None, each, engine=engine, options=SMALL) for each in questions]
    return [_outcome(each) for each in calls]


def _outcome(answer: wg.Variable) -> str:
    try:
        return str(answer.value)
    except wg.NodeError as error:
        return type(error.__cause__).__name__


@contextmanager
def connected(server: FakeServer) -> Iterator[OpenAIEngine]:
    """A model behind the server, with 50 calls in flight."""
    engine = OpenAIEngine("m", "m", base_url=f"{server.address}/v1", max_in_flight=50, price=PRICE)
    yield engine
    anyio.run(engine.aclose)


def test_a_search_ends_as_without_the_gateway(project: Project, tmp_path: Path) -> None:
    """Whatever it does, texts and scores are those of the calm run, and each request that it saw is in the ledger."""
    source, ended = project.config.read_text("utf-8"), []
    for answers, timeout_s in ((answered, 60), (gateway := Gateway(seed=3), 1.5)):
        project.config.write_text(source, "utf-8")
        with FakeServer(answers) as server:
            project.served(server.address, timeout_s=timeout_s)
            said = project.run("optimize", project.config, "--json", "--store", tmp_path / f"{len(ended)}.db")[1]
            ended.append(found(said))

    assert ended[0] == ended[1]
    assert ended[0]["variables"][0]["end"] == BETTER
    assert len(server.requests) == rows(tmp_path / "1.db", "SELECT count(*) FROM attempts")[0][0]
    assert len(gateway.faults) == len(FAULTS)


@pytest.mark.parametrize("seed", range(3))
def test_a_limit_on_calls_holds(seed: int) -> None:
    """With 50 in flight and every other attempt failing, so many requests go out as the limit says, not one more."""
    gateway = Gateway(seed, answers=lambda _: "yes", kinds=QUICK)
    with FakeServer(gateway) as server, connected(server) as engine, wg.Run(budget=wg.Budget(calls=120)) as run:
        outcomes = Counter(answers(engine, [f"question {number}" for number in range(200)]))

    assert len(server.requests) == run.usage.calls == 120
    assert outcomes["yes"] + outcomes["BudgetExceeded"] == 200


@pytest.mark.parametrize("kind", ["tokens", "usd"])
def test_limits_on_tokens_and_money_hold(kind: str) -> None:
    """Replies of a server that counts within the upper estimates use no more than the limit, in flight or not."""
    limit = {"tokens": 1_000, "usd": 10.0}[kind]
    gateway = Gateway(1, answers=lambda _: "yes", kinds=QUICK)
    with FakeServer(gateway) as server, connected(server) as engine, wg.Run(budget=wg.Budget(**{kind: limit})) as run:
        outcomes = Counter(answers(engine, [f"question {number}" for number in range(200)]))
        used = {"tokens": run.usage.input_tokens + run.usage.output_tokens, "usd": run.usage.cost_usd}[kind]

    assert outcomes["BudgetExceeded"] > 0
    assert used is not None
    assert 0.9 * limit < used <= limit


def test_a_server_that_counts_more_overshoots_by_so_much_on_the_calls_in_flight() -> None:
    """The stated bound: what its count exceeds the estimate by, times the calls in flight."""
    counted, estimated, limit = 7 + 500, len("question 100") + 2 * 8 + 10, 2_000
    with (
        FakeServer(lambda _: Answer(text="yes", output_tokens=500, finish="length")) as server,
        connected(server) as engine,
        wg.Run(budget=wg.Budget(tokens=limit)) as run,
    ):
        answers(engine, [f"question {number}" for number in range(200)])
        used = run.usage.input_tokens + run.usage.output_tokens

    assert limit < used <= limit + 50 * (counted - estimated)


def test_a_server_that_counts_a_little_more_ends_nothing_early() -> None:
    """Where it is only what others reserved that stands in the way, a call waits: estimates are far above what is used."""
    with (
        FakeServer(lambda _: Answer(text="yes", output_tokens=94)) as server,
        connected(server) as engine,
        wg.Run(budget=wg.Budget(tokens=1_300)) as run,
    ):
        options = Sampling(max_tokens=95 - len("question 0") - 16 + 10, timeout_s=20)
        calls = [wg.llm_call(None, f"question {number}", engine=engine, options=options) for number in range(12)]
        outcomes = Counter(_outcome(each) for each in calls)

    assert outcomes == {"yes": 12}
    assert run.usage.output_tokens + run.usage.input_tokens == 12 * 101


def test_equal_calls_pay_once() -> None:
    """64 equal calls at once, through four faults: five attempts, one answer for all."""
    faults = iter(QUICK[:4])
    with FakeServer(lambda _: next(faults, Answer(text="yes"))) as server, connected(server) as engine, wg.Run():
        found = answers(engine, ["the same"] * 64)

    assert (set(found), len(server.requests)) == ({"yes"}, ATTEMPTS)


def test_a_refused_parameter_is_told_at_once() -> None:
    """The server's own words name it; no attempt follows, and nothing is left out of the request in silence."""
    refusal = Answer(status=400, text="Unsupported parameter: 'temperature' is not supported with this model.")

    def rule(body: Body) -> Answer | str:
        return refusal if "temperature" in body else "yes"

    with FakeServer(rule) as server, connected(server) as engine:
        refused = wg.llm_call(None, "hello", engine=engine, options=Sampling(max_tokens=10, temperature=0.5))
        with pytest.raises(wg.NodeError, match="'temperature' is not supported"):
            _ = refused.value

        assert len(server.requests) == 1
        assert answers(engine, ["hello"]) == ["yes"]
