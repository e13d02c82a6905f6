"""Anthropic's models."""

from __future__ import annotations

import base64
import time
from typing import Any

import anthropic
from pydantic import SecretStr

from wordgrad import dispatch
from wordgrad.engines.clients import Clients, trusted
from wordgrad.engines.failures import check_model, failure, unreadable
from wordgrad.engines.requests import check, schema_of
from wordgrad.types import Capabilities, Completion, Finish, Message, Part, Price, Request, Usage

OFFICIAL = "https://api.anthropic.com"

_ENDINGS: dict[str, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class AnthropicEngine:
    """A model behind the Messages API, version 2026-10-21 and later, which refuses `temperature` and `top_p`.

    Args:
        name: What users call it.
        model: The model's name, as it is sent.
        api_key: The account's.
        base_url: The server's address.
        capabilities: What the model can do; what the current API offers where None.
        price: None where it is not known.
        max_in_flight: Calls at once.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        api_key: SecretStr | str,
        base_url: str = OFFICIAL,
        capabilities: Capabilities | None = None,
        price: Price | None = None,
        max_in_flight: int = 64,
    ) -> None:
        self.name = name
        self.model = model
        self.endpoint = base_url
        self.capabilities = capabilities or Capabilities(schema=True, images=True, temperature=False, top_p=False)
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

    def _connected(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            base_url=self.endpoint,
            api_key=self._key.get_secret_value(),
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(verify=trusted()),
        )

    async def _complete(self, request: Request) -> Completion:
        started = time.monotonic()
        try:
            with self._clients.lent() as client:
                reply = await client.messages.create(**_body(self.model, request), timeout=request.sampling.timeout_s)
            text = "".join(block.text for block in reply.content if block.type == "text")
            usage = reply.usage
            cached = usage.cache_read_input_tokens or 0
            used = Usage(
                input_tokens=usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
                output_tokens=usage.output_tokens,
                cached_input_tokens=cached,
            )
            finish = _ENDINGS.get(reply.stop_reason or "", "stop")
        except anthropic.AnthropicError as error:
            raise failure(self.name, anthropic, error, secret=self._key.get_secret_value()) from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise unreadable(self.name, f"{type(error).__name__}: {error}") from error
        check_model(self.name, asked=self.model, reported=reply.model)
        if used.output_tokens >= request.sampling.max_tokens and finish == "stop":
            finish = "length"
        return Completion(text=text, finish=finish, usage=used, model=reply.model, latency_s=time.monotonic() - started)


def _body(model: str, request: Request) -> dict[str, Any]:
    system = "\n\n".join(each.text for each in request.messages if each.role == "system")
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.sampling.max_tokens,
        "messages": [_message(each) for each in request.messages if each.role != "system"],
    }
    if system:
        body["system"] = system
    if request.sampling.stop:
        body["stop_sequences"] = list(request.sampling.stop)
    if request.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema_of(request)}}
    return body


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    data = base64.b64encode(part.data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": part.media_type, "data": data}}
