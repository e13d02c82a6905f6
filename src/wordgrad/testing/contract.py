"""What every engine must do, as tests for an engine of your own."""

from __future__ import annotations

import json

import anyio

from wordgrad.types import JSON, Capabilities, Completion, Engine, Message, Price, Request, Sampling

_TIMEOUT_S = 60.0
_FINISHES = ("stop", "length", "refusal")


class EngineContract:
    """Subclass it in a test file, with a pytest fixture `engine` that makes the engine.

    The engine has to answer any short question; what it says does not matter.

    Example:
        ```
        @pytest.mark.anyio
        class TestMyEngine(EngineContract):
            @pytest.fixture
            def engine(self):
                return MyEngine()
        ```
    """

    async def test_declares_what_it_is(self, engine: Engine) -> None:
        """Its name, endpoint, model and limits are there before any call, and hold no credentials."""
        assert engine.name, "a name that users can read"
        assert "@" not in engine.endpoint, f"no credentials in the endpoint {engine.endpoint!r}: it is recorded"
        assert isinstance(engine.model, str)
        assert isinstance(engine.capabilities, Capabilities)
        assert engine.price is None or isinstance(engine.price, Price)
        assert engine.max_in_flight >= 1

    async def test_answers(self, engine: Engine) -> None:
        """A request gets a completion with a text, a known ending, and tokens that were counted."""
        completion = await _asked(engine, _request("Say hello."))

        assert completion.text or completion.finish != "stop", "a question has an answer, or a reason why not"
        assert completion.finish in _FINISHES
        assert completion.usage.input_tokens >= 0
        assert completion.usage.output_tokens >= 0

    async def test_answers_conversations_in_any_script(self, engine: Engine) -> None:
        """A system prompt and several turns arrive, whatever they are written in."""
        messages = (
            Message("system", ("簡潔に。",)),
            Message("user", ("שלום 👋",)),
            Message("assistant", ("Hello!",)),
            Message("user", ("…and again?",)),
        )

        assert isinstance(await _asked(engine, Request(messages=messages)), Completion)

    async def test_answers_several_at_once(self, engine: Engine) -> None:
        """Calls may overlap, up to `max_in_flight`."""
        completions: list[Completion] = []

        async def one(number: int) -> None:
            completions.append(await _asked(engine, _request(f"Say {number}.")))

        wanted = min(4, engine.max_in_flight)
        async with anyio.create_task_group() as group:
            for number in range(wanted):
                group.start_soon(one, number)

        assert len(completions) == wanted

    async def test_writes_to_a_schema_that_it_declares(self, engine: Engine) -> None:
        """An engine that declares `schema` sends JSON when a request has one, unless the reply was cut off."""
        if not engine.capabilities.schema:
            return
        schema: dict[str, JSON] = {
            "type": "object",
            "properties": {"answer": {"type": "string"}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        messages = (Message("user", ("Say hello, as JSON.",)),)
        completion = await _asked(engine, Request(messages=messages, schema=schema))

        assert completion.finish != "stop" or isinstance(json.loads(completion.text), dict)

    async def test_can_be_cancelled(self, engine: Engine) -> None:
        """A cancelled call ends, and the next one is answered."""
        with anyio.move_on_after(0):
            await engine.complete(_request("Say hello."))

        assert isinstance(await _asked(engine, _request("Say hello again.")), Completion)

    async def test_counts_tokens(self, engine: Engine) -> None:
        """A longer text has no fewer tokens, and a text has some."""
        counts = [engine.count_tokens("word " * length) for length in (0, 1, 10, 1_000)]

        assert counts == sorted(counts)
        assert counts[0] >= 0
        assert counts[-1] > 1


def _request(text: str) -> Request:
    return Request(messages=(Message("user", (text,)),), sampling=Sampling(max_tokens=64))


async def _asked(engine: Engine, request: Request) -> Completion:
    with anyio.fail_after(_TIMEOUT_S):
        return await engine.complete(request)
