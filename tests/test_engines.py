"""Every engine against a server that answers well, badly, or not at all."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import openai
import pytest

import wordgrad as wg
from wordgrad.engines import get_engine
from wordgrad.engines.anthropic import AnthropicEngine
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.testing import Answer, EngineContract, FakeServer, RuleEngine
from wordgrad.types import Completion, Engine, ImageData, Message, Request, Sampling, Usage

KEY = "sk-planted-secret-0123456789"
REQUEST = Request(messages=(Message("system", ("Be brief.",)), Message("user", ("Hello?",))))

Make = Callable[[str], Engine]


def chat(address: str) -> OpenAIEngine:
    """Chat completions."""
    return OpenAIEngine("openai:m", "m", base_url=f"{address}/v1", api_key=KEY)


def responses(address: str) -> Engine:
    """OpenAI's own API, at another address."""
    engine = OpenAIEngine("gpt-4o", "m", base_url=f"{address}/v1", api_key=KEY)
    engine.official = True
    return engine


def claude(address: str) -> Engine:
    """The Messages API."""
    return AnthropicEngine("anthropic:m", "m", base_url=address, api_key=KEY)


ENGINES = pytest.mark.parametrize("make", [chat, responses, claude])


def completed(engine: Engine, request: Request) -> Completion:
    """The completion, within a time limit; connections are closed."""

    async def main() -> Completion:
        try:
            with anyio.fail_after(10):
                return await engine.complete(request)
        finally:
            await engine.aclose()

    return anyio.run(main)


def ask(make: Make, answer: Answer, request: Request = REQUEST) -> object:
    """The completion, or the error."""
    with FakeServer(lambda _: answer) as server:
        try:
            return completed(make(server.address), request)
        except wg.EngineError as error:
            shown = str(error)
            if KEY in shown:
                raise AssertionError("the key is in the message") from error
            return error


@ENGINES
def test_a_good_reply_is_a_completion(make: Make) -> None:
    """Text, usage and the model's name come back."""
    made = ask(make, Answer(text="Hi."))

    assert (made.text, made.finish, made.usage.input_tokens, made.usage.output_tokens, made.model) == (
        "Hi.",
        "stop",
        7,
        3,
        "m",
    )


@ENGINES
@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (403, False), (404, False), (429, True), (500, True), (503, True)],
)
def test_a_status_says_whether_another_attempt_can_help(make: Make, status: int, retryable: bool) -> None:
    """The error carries the status, the server's words, and whether to try again."""
    error = ask(make, Answer(status=status, text=f"words of the server about {KEY}"))

    assert isinstance(error, wg.EngineError)
    assert (error.status, error.retryable) == (status, retryable)
    assert "words of the server" in str(error)


@ENGINES
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_a_servers_wish_for_a_pause_is_kept(make: Make, status: int, header: str | None, seconds: float | None) -> None:
    """Retry-After reaches the retries in seconds or as a date; one that cannot be read, or is not there, is none."""
    error = ask(make, Answer(status=status, text="slow", headers={} if header is None else {"retry-after": header}))

    assert isinstance(error, wg.EngineError)
    assert (error.retryable, error.retry_after_s) == (True, seconds)


@ENGINES
def test_a_date_to_come_is_a_pause(make: Make) -> None:
    """Retry-After as a date is the time until then, by this machine's clock."""
    date = format_datetime(datetime.now(tz=UTC) + timedelta(seconds=100), usegmt=True)
    error = ask(make, Answer(status=429, text="slow", headers={"retry-after": date}))

    assert isinstance(error, wg.EngineError)
    assert 50 < (error.retry_after_s or 0) <= 100


@pytest.mark.parametrize("make", [chat, responses])
def test_an_account_without_funds_is_not_asked_again(make: Make) -> None:
    """OpenAI's 429 for a spent quota is no pause: the same call cannot succeed later."""
    body = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    error = ask(make, Answer(status=429, raw=body))

    assert isinstance(error, wg.EngineError)
    assert (error.status, error.retryable) == (429, False)


@ENGINES
def test_the_servers_id_of_a_failed_request_is_kept(make: Make) -> None:
    """What a provider's support asks for is on the error."""
    error = ask(make, Answer(status=500, headers={"x-request-id": "r-1", "request-id": "r-1"}))

    assert isinstance(error, wg.EngineError)
    assert error.request_id == "r-1"


@ENGINES
def test_nobody_at_the_address_is_retryable(make: Make) -> None:
    """A refused connection says who could not be reached."""
    with pytest.raises(wg.EngineError, match="could not be reached") as caught:
        completed(make("http://127.0.0.1:9"), REQUEST)

    assert caught.value.retryable


@ENGINES
def test_a_slow_answer_is_waited_for(make: Make) -> None:
    """Latency is no fault, and is measured."""
    made = ask(make, Answer(text="Hi.", latency_s=0.05))

    assert (made.text, made.latency_s >= 0.05) == ("Hi.", True)  # type: ignore[attr-defined]


@ENGINES
@pytest.mark.parametrize("fault", ["reset", "truncate"])
@pytest.mark.parametrize("latency_s", [0.0, 0.02])
def test_a_broken_connection_is_retryable(make: Make, fault: str, latency_s: float) -> None:
    """A reset or a body that stops in the middle is no reply, at once or later."""
    error = ask(make, Answer(fault=fault, latency_s=latency_s))

    assert isinstance(error, wg.EngineError)
    assert error.retryable


@ENGINES
def test_a_stalled_server_times_out(make: Make) -> None:
    """The attempt's own time limit ends it."""
    error = ask(make, Answer(fault="stall"), replace(REQUEST, sampling=Sampling(timeout_s=0.3)))

    assert isinstance(error, wg.EngineError)
    assert error.retryable


@ENGINES
@pytest.mark.parametrize("raw", [b"not json", b"{}", b'{"choices": []}', b"[]"])
def test_nonsense_is_a_retryable_error(make: Make, raw: bytes) -> None:
    """A body that is no reply never becomes a value."""
    error = ask(make, Answer(raw=raw))

    assert isinstance(error, wg.EngineError)
    assert error.retryable


@ENGINES
def test_an_empty_reply_is_an_empty_text(make: Make) -> None:
    """A model may say nothing; judges and readers decide what that is worth."""
    made = ask(make, Answer(text=""))

    assert (made.text, made.finish) == ("", "stop")


@ENGINES
@pytest.mark.parametrize("finish", ["length", "refusal"])
def test_how_a_reply_ended_is_told(make: Make, finish: str) -> None:
    """Cut and refused replies say so."""
    made = ask(make, Answer(text="I can", finish=finish))

    assert (made.text, made.finish) == ("I can", finish)


@ENGINES
def test_a_reply_of_the_whole_limit_was_cut(make: Make) -> None:
    """A server that calls such a reply complete is not believed."""
    made = ask(make, Answer(output_tokens=20), replace(REQUEST, sampling=Sampling(max_tokens=20)))

    assert made.finish == "length"


CUT = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 5}}
WIRES = [
    (
        chat,
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [
                {"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant", "content": "I"}}
            ],
            "usage": CUT,
        },
    ),
    (
        responses,
        {
            "id": "r",
            "object": "response",
            "created_at": 0,
            "model": "m",
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": [
                {"type": "reasoning", "id": "x", "summary": []},
                {
                    "type": "message",
                    "id": "m",
                    "role": "assistant",
                    "status": "incomplete",
                    "content": [{"type": "output_text", "text": "I", "annotations": []}],
                },
            ],
            "usage": {
                "input_tokens": 7,
                "input_tokens_details": {"cached_tokens": 5},
                "output_tokens": 3,
                "output_tokens_details": {"reasoning_tokens": 2},
                "total_tokens": 10,
            },
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
        },
    ),
    (
        claude,
        {
            "id": "a",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "thinking", "thinking": "…", "signature": ""}, {"type": "text", "text": "I"}],
            "stop_reason": "refusal",
            "usage": {"input_tokens": 2, "cache_read_input_tokens": 5, "output_tokens": 3},
        },
    ),
]


@pytest.mark.parametrize(("make", "body"), WIRES)
def test_a_filtered_reply_is_a_refusal(make: Make, body: dict[str, Any]) -> None:
    """A filter of the server is told as a refusal; thoughts are no text, and what was read from a cache is counted."""
    made = ask(make, Answer(raw=json.dumps(body).encode()))

    assert isinstance(made, Completion)
    assert (made.text, made.finish) == ("I", "refusal")
    assert made.usage == Usage(input_tokens=7, output_tokens=3, cached_input_tokens=5)


def test_a_failed_response_is_an_error() -> None:
    """The Responses API may answer 200 with a failure inside."""
    body = {**WIRES[1][1], "status": "failed", "error": {"code": "server_error", "message": "out of luck"}}
    error = ask(responses, Answer(raw=json.dumps(body).encode()))

    assert isinstance(error, wg.EngineError)
    assert (error.retryable, "out of luck" in str(error)) == (True, True)


@pytest.mark.parametrize(("make", "body"), WIRES[:2])
def test_usage_may_be_missing(make: Make, body: dict[str, Any]) -> None:
    """Some servers count nothing: the reply is taken, and its tokens are not known."""
    made = ask(make, Answer(raw=json.dumps({**body, "usage": None}).encode()))

    assert isinstance(made, Completion)
    assert made.usage == Usage()


def sent(make: Make, request: Request, **capabilities: bool) -> dict[str, Any]:
    """The body that goes over the wire."""
    with FakeServer() as server:
        engine = make(server.address)
        engine.capabilities = replace(engine.capabilities, **capabilities)  # type: ignore[misc]
        completed(engine, request)
        return server.requests[0]


def test_conversations_and_sampling_go_over_the_wire() -> None:
    """Each protocol has its own names for the same turns and limits."""
    turns = (
        Message("system", ("Be brief.",)),
        Message("user", ("One?",)),
        Message("assistant", ("1",)),
        Message("user", ("Two?",)),
    )
    plain = replace(REQUEST, messages=turns, sampling=Sampling(max_tokens=9, stop=("END",)))
    warm = replace(REQUEST, messages=turns, sampling=Sampling(max_tokens=9, temperature=0.5, top_p=0.9))

    assert sent(chat, plain) == {
        "model": "m",
        "messages": [{"role": each.role, "content": each.text} for each in turns],
        "max_tokens": 9,
        "stop": ["END"],
    }
    assert sent(responses, warm) == {
        "model": "m",
        "input": [
            {
                "role": each.role,
                "content": [{"type": "output_text" if each.role == "assistant" else "input_text", "text": each.text}],
            }
            for each in turns
        ],
        "max_output_tokens": 9,
        "store": False,
        "temperature": 0.5,
        "top_p": 0.9,
    }
    assert sent(claude, plain) == {
        "model": "m",
        "system": "Be brief.",
        "messages": [
            {"role": each.role, "content": [{"type": "text", "text": each.text}]}
            for each in turns
            if each.role != "system"
        ],
        "max_tokens": 9,
        "stop_sequences": ["END"],
    }


@ENGINES
def test_another_model_is_an_error(make: Make) -> None:
    """A reply of a model that was not asked is not taken; a longer name of the same one is."""
    error = ask(make, Answer(model="other"))

    assert isinstance(error, wg.EngineError)
    assert error.retryable
    assert ask(make, Answer(model="m-2026-01-01")).text == "ok"


def test_the_latest_of_a_model_is_that_model() -> None:
    """Servers answer to "NAME-latest" with the name of the version that this is today."""
    with FakeServer(lambda body: Answer(model="claude-sonnet-20261001")) as server:
        engine = AnthropicEngine("a", "claude-sonnet-latest", api_key="k", base_url=server.address)

        assert completed(engine, REQUEST).text == "ok"


@ENGINES
def test_images_and_schemas_go_over_the_wire(make: Make) -> None:
    """An engine that sees gets the image; the reply's schema is closed for strict servers."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = Request(messages=(Message("user", ("What?", ImageData("image/png", b"\x89PNG"))),), schema=schema)
    with FakeServer() as server:
        engine = make(server.address)
        engine.capabilities = replace(engine.capabilities, images=True)
        completed(engine, request)
        sent = str(server.requests[0])

    assert "iVBORw==" in sent
    assert "'additionalProperties': False" in sent


@ENGINES
def test_what_is_not_declared_is_refused_before_it_is_sent(make: Make) -> None:
    """A parameter that the model does not take is an error, not a silent omission."""
    with FakeServer() as server:
        engine = make(server.address)
        engine.capabilities = replace(engine.capabilities, temperature=False)
        with pytest.raises(wg.UsageError, match="temperature"):
            completed(engine, replace(REQUEST, sampling=Sampling(temperature=0.5)))

    assert server.requests == []


def test_claude_is_never_sent_a_temperature() -> None:
    """Anthropic's current API refuses it."""
    assert not claude("http://127.0.0.1:1").capabilities.temperature


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt-4o", "OPENAI_API_KEY"),
        ("anthropic:claude-x", "ANTHROPIC_API_KEY"),
        ("claude-x", "ANTHROPIC_API_KEY"),
        ("nobody:m", "not known"),
        ("openai:m@127.0.0.1", "no address"),
        ("openai:", "names no model: write openai:NAME"),
        ("anthropic:", "names no model: write anthropic:NAME"),
        ("local:", "names no model: write local:PATH"),
    ],
)
def test_a_spec_that_names_no_engine_says_what_to_write(monkeypatch: pytest.MonkeyPatch, spec: str, words: str) -> None:
    """Keys come from the environment only, and their absence is told at once."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    with pytest.raises(wg.UsageError, match=words):
        get_engine(spec)


def test_an_address_with_credentials_is_refused_without_showing_them() -> None:
    """A password in a spec would stand in the engine's name, and so in messages and in the store."""
    with pytest.raises(wg.UsageError, match=r"openai:m@… has credentials.*WORDGRAD_API_KEY") as caught:
        get_engine("openai:m@http://user:secret@127.0.0.1:1/v1")

    assert "secret" not in str(caught.value)


def test_only_the_listed_server_has_the_listed_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server's price is not known from the name of its model."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert get_engine("openai:gpt-4o").price is not None
    assert get_engine("openai:gpt-4o@http://127.0.0.1:1/v1").price is None


def test_a_spec_names_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers, models and addresses are what their specs say; one object for each spec."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    specs = [
        "gpt-4o-named",
        "openai:o3-named",
        "anthropic:claude-named",
        "claude-y",
        "openai:a:b@http://127.0.0.1:1/v1/",
        "local",
    ]
    made = [get_engine(spec) for spec in specs]

    assert [(each.name, each.model, each.endpoint) for each in made] == [
        ("gpt-4o-named", "gpt-4o-named", "https://api.openai.com/v1"),
        ("openai:o3-named", "o3-named", "https://api.openai.com/v1"),
        ("anthropic:claude-named", "claude-named", "https://api.anthropic.com"),
        ("claude-y", "claude-y", "https://api.anthropic.com"),
        ("openai:a:b@http://127.0.0.1:1/v1/", "a:b", "http://127.0.0.1:1/v1"),
        ("local", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf", "local"),
    ]
    assert [get_engine(spec) for spec in specs] == made
    assert get_engine(made[0]) is made[0]
    assert KEY not in f"{[vars(each) for each in made]}"


def test_reasoning_models_take_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenAI's models refuse is not declared."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert [get_engine(spec).capabilities.temperature for spec in ("gpt-4.1-named", "gpt-5-named", "o4-named")] == [
        True,
        False,
        False,
    ]


def test_a_plugin_brings_its_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix that an installed package has an entry point for is handed to it."""
    engine = RuleEngine(lambda _: "hi", name="theirs")
    monkeypatch.setattr("wordgrad.plugins.find", lambda group, kind: {"theirs": lambda name: engine}.get(kind))

    assert get_engine("theirs:any") is engine


def test_anthropic_without_its_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK is optional: what to install is in the message."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "wordgrad.engines.anthropic", None)

    with pytest.raises(wg.UsageError, match=r"pip install \"wordgrad\[anthropic\]\""):
        get_engine("anthropic:claude-without-extra")


@ENGINES
def test_tokens_are_never_undercounted(make: Make) -> None:
    """Without a tokenizer at hand a text has at most as many tokens as bytes."""
    assert [make("http://127.0.0.1:1").count_tokens(text) for text in ("", "abc", "日本", "\ud800")] == [0, 3, 6, 3]


def answered(body: dict[str, Any]) -> str:
    """What a model would say: JSON where that is asked for."""
    return '{"answer": "hello"}' if {"response_format", "text", "output_config"} & set(body) else "hello"


@pytest.mark.anyio
class TestContract(EngineContract):
    """What every engine must do, for each of ours."""

    @pytest.fixture(params=[chat, responses, claude])
    async def engine(self, request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
        """An engine and its server."""
        with FakeServer(answered) as server:
            made = request.param(server.address)
            yield made
            await made.aclose()


def test_an_address_is_an_engine() -> None:
    """A loopback server needs no key."""
    with FakeServer(lambda body: f"{body['messages'][0]['content']}!") as server:
        engine = get_engine(f"openai:tiny@{server.address}/v1")
        reply = wg.llm_call(None, "Hi", engine=engine).value
        anyio.run(engine.aclose)

    assert reply == "Hi!"


@pytest.mark.anyio
async def test_many_calls_at_once_share_a_few_pools_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client has four calls out at the most; calls one after the other have one client between them."""
    made: list[openai.AsyncOpenAI] = []

    class Counted(openai.AsyncOpenAI):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(openai, "AsyncOpenAI", Counted)
    together, clients = threading.Barrier(10), []
    with FakeServer(lambda body: "ok" if body["max_tokens"] == 1 else f"{together.wait(20)}") as server:
        engine = chat(server.address)
        for _ in range(3):
            await engine.complete(replace(REQUEST, sampling=Sampling(max_tokens=1)))
        clients.append(len(made))
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(engine.complete, REQUEST)
        clients.append(len(made))
        await engine.aclose()

    assert clients == [1, 3]
    assert all(each.is_closed() for each in made)
