"""OpenAI's models, and any server that speaks its protocol."""

from __future__ import annotations

import base64
import re
import time
from typing import Any, TypeVar

import httpx2
import openai
from openai.types.responses import Response
from pydantic import BaseModel, SecretStr, ValidationError

from wordgrad import dispatch
from wordgrad.engines.clients import Clients, trusted
from wordgrad.engines.failures import check_model, failure, unreadable
from wordgrad.engines.requests import check, schema_of
from wordgrad.errors import EngineError
from wordgrad.types import Capabilities, Completion, Finish, Message, Part, Price, Request, Usage

R = TypeVar("R", httpx2.Response, Response)

OFFICIAL = "https://api.openai.com/v1"

_REASONING = re.compile(r"(o\d|gpt-5)")
"""These models refuse sampling parameters."""


class OpenAIEngine:
    """A model behind the Responses API of OpenAI itself, or behind the chat completions of any other address.

    Args:
        name: What users call it.
        model: The model's name, as it is sent.
        base_url: The server's address, ending in /v1.
        api_key: "" where the server wants none.
        capabilities: What the model can do; by what is known of it where None.
        price: None where it is not known.
        max_in_flight: Calls at once.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str = OFFICIAL,
        api_key: SecretStr | str = "",
        capabilities: Capabilities | None = None,
        price: Price | None = None,
        max_in_flight: int = 64,
    ) -> None:
        self.name = name
        self.model = model
        self.endpoint = base_url
        self.official = base_url == OFFICIAL
        self.capabilities = capabilities or _known(model, official=self.official)
        self.price = price
        self.max_in_flight = max_in_flight
        self._key = api_key if isinstance(api_key, SecretStr) else SecretStr(api_key)
        self._clients = Clients(self._connected)

    async def complete(self, request: Request) -> Completion:
        """Answer one request on the library's loop, whatever loop is running."""
        check(self, request)
        return await dispatch.arun(lambda: self._complete(request))

    async def aclose(self) -> None:
        """Close its connections; the next call opens new ones."""
        await dispatch.arun(self._clients.aclose)

    def count_tokens(self, text: str) -> int:
        """An upper bound: one token a byte."""
        return len(text.encode("utf-8", "surrogatepass"))

    def _connected(self) -> openai.AsyncOpenAI:
        # Retries are ours: the SDK's own would be attempts that no ledger knows.
        return openai.AsyncOpenAI(
            base_url=self.endpoint,
            api_key=self._key.get_secret_value() or "none",
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(verify=trusted()),
        )

    async def _complete(self, request: Request) -> Completion:
        started = time.monotonic()
        try:
            made = await (self._respond(request) if self.official else self._chat(request))
        except openai.OpenAIError as error:
            raise failure(self.name, openai, error, secret=self._key.get_secret_value()) from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise unreadable(self.name, f"{type(error).__name__}: {error}") from error
        text, finish, usage, model = made
        check_model(self.name, asked=self.model, reported=model)
        if usage.output_tokens >= request.sampling.max_tokens and finish == "stop":
            finish = "length"  # some servers call a reply complete that used its whole limit
        return Completion(text=text, finish=finish, usage=usage, model=model, latency_s=time.monotonic() - started)

    async def _posted(self, path: str, body: dict[str, Any], form: type[R], request: Request) -> R:
        with self._clients.lent() as client:
            # Not `create`: its walk through the body by types takes a seventh of a call's CPU time.
            return await client.post(path, cast_to=form, body=body, options={"timeout": request.sampling.timeout_s})

    async def _chat(self, request: Request) -> tuple[str, Finish, Usage, str]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [_message(each) for each in request.messages],
            "max_tokens": request.sampling.max_tokens,
            **_sampling(request),
        }
        if request.sampling.stop:
            body["stop"] = list(request.sampling.stop)
        if request.schema is not None:
            schema = {"name": "reply", "schema": schema_of(request), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        sent = await self._posted("/chat/completions", body, httpx2.Response, request)
        reply = self._read(sent.content)
        if not reply.choices:
            raise EngineError(f"{self.name} sent no choices: {sent.text[:200]}", retryable=True)
        choice = reply.choices[0]
        usage = reply.usage
        details = None if usage is None else usage.prompt_tokens_details
        used = Usage(
            input_tokens=0 if usage is None else usage.prompt_tokens,
            output_tokens=0 if usage is None else usage.completion_tokens,
            cached_input_tokens=0 if details is None else details.cached_tokens or 0,
        )
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return choice.message.refusal or choice.message.content or "", "refusal", used, reply.model
        finish: Finish = "length" if choice.finish_reason == "length" else "stop"
        return choice.message.content or "", finish, used, reply.model

    def _read(self, content: bytes) -> _Chat:
        try:
            return _Chat.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            what = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
        # Outside of the handler: the error shows what was sent, which may echo the key.
        raise unreadable(self.name, what)

    async def _respond(self, request: Request) -> tuple[str, Finish, Usage, str]:
        body: dict[str, Any] = {
            "model": self.model,
            "input": [_item(each) for each in request.messages],
            "max_output_tokens": request.sampling.max_tokens,
            "store": False,
            **_sampling(request),
        }
        if request.schema is not None:
            form = {"type": "json_schema", "name": "reply", "schema": schema_of(request), "strict": True}
            body["text"] = {"format": form}
        reply = await self._posted("/responses", body, Response, request)
        if reply.status == "failed":
            raise EngineError(f"{self.name} failed: {reply.error}", retryable=True)
        usage = reply.usage
        used = Usage(
            input_tokens=0 if usage is None else usage.input_tokens,
            output_tokens=0 if usage is None else usage.output_tokens,
            cached_input_tokens=0 if usage is None else usage.input_tokens_details.cached_tokens,
        )
        parts = [part for item in reply.output if item.type == "message" for part in item.content]
        refused = [part.refusal for part in parts if part.type == "refusal"]
        reason = None if reply.incomplete_details is None else reply.incomplete_details.reason
        if refused or reason == "content_filter":
            return "".join(refused) or reply.output_text, "refusal", used, reply.model
        finish: Finish = "length" if reason == "max_output_tokens" else "stop"
        return reply.output_text, finish, used, reply.model


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Cached(BaseModel):
    cached_tokens: int | None = None


class _Used(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Cached | None = None


class _Chat(BaseModel):
    """What is read of a chat completion. The SDK's own type checks nothing, and takes ten times as long to make."""

    choices: list[_Choice]
    model: str = ""
    usage: _Used | None = None


def _known(model: str, *, official: bool) -> Capabilities:
    """OpenAI's own models see images; other servers are asked for JSON schemas, which nearly all of them have."""
    if not official:
        return Capabilities(schema=True)
    sampled = _REASONING.match(model) is None
    return Capabilities(schema=True, images=True, temperature=sampled, top_p=sampled, stop=False)


def _sampling(request: Request) -> dict[str, float]:
    wanted = {"temperature": request.sampling.temperature, "top_p": request.sampling.top_p}
    return {name: value for name, value in wanted.items() if value is not None}


def _message(message: Message) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_chat_part(part) for part in message.parts]}


def _chat_part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": _data_url(part.media_type, part.data)}}


def _item(message: Message) -> dict[str, Any]:
    kind = "output_text" if message.role == "assistant" else "input_text"
    content = [
        {"type": kind, "text": part}
        if isinstance(part, str)
        else {"type": "input_image", "detail": "auto", "image_url": _data_url(part.media_type, part.data)}
        for part in message.parts
    ]
    return {"role": message.role, "content": content}


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
