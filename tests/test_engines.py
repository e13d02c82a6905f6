"""Every engine against a server that answers well, badly, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest

import wordgrad as wg
from wordgrad.engines import get_engine
from wordgrad.engines.anthropic import AnthropicEngine
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.testing.server import Answer, FakeServer
from wordgrad.types import Completion, Engine, ImageData, Message, Request, Sampling

KEY = "sk-planted-secret-0123456789"
REQUEST = Request(messages=(Message("system", ("Be brief.",)), Message("user", ("Hello?",))))

Make = Callable[[str], Engine]


def chat(address: str) -> Engine:
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
def test_retry_after_is_kept(make: Make) -> None:
    """A server's wish for a pause reaches the retries."""
    error = ask(make, Answer(status=429, text="slow down", headers={"retry-after": "7"}))

    assert isinstance(error, wg.EngineError)
    assert error.retry_after_s == 7.0


@ENGINES
@pytest.mark.parametrize("fault", ["reset", "truncate"])
def test_a_broken_connection_is_retryable(make: Make, fault: str) -> None:
    """A reset or a body that stops in the middle is no reply."""
    error = ask(make, Answer(fault=fault))

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


@ENGINES
def test_another_model_is_an_error(make: Make) -> None:
    """A reply of a model that was not asked is not taken; a longer name of the same one is."""
    error = ask(make, Answer(model="other"))

    assert isinstance(error, wg.EngineError)
    assert error.retryable
    assert ask(make, Answer(model="m-2026-01-01")).text == "ok"


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
        ("openai:", "names no model"),
    ],
)
def test_a_spec_that_names_no_engine_says_what_to_write(monkeypatch: pytest.MonkeyPatch, spec: str, words: str) -> None:
    """Keys come from the environment only, and their absence is told at once."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    with pytest.raises(wg.UsageError, match=words):
        get_engine(spec)


def test_an_address_is_an_engine() -> None:
    """A loopback server needs no key."""
    with FakeServer(lambda body: f"{body['messages'][0]['content']}!") as server:
        engine = get_engine(f"openai:tiny@{server.address}/v1")
        reply = wg.llm_call(None, "Hi", engine=engine).value
        anyio.run(engine.aclose)

    assert reply == "Hi!"
