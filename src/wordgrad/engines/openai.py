"""Chat completions of any server that speaks OpenAI's protocol."""

from __future__ import annotations

import time
from typing import Any

import openai

from wordgrad.errors import EngineError
from wordgrad.types import Capabilities, Completion, Price, Request, Usage


class OpenAIEngine:
    def __init__(
        self,
        name: str,
        model: str,
        *,
        base_url: str,
        api_key: str,
        capabilities: Capabilities,
        price: Price | None = None,
        max_in_flight: int = 64,
    ) -> None:
        self.name = name
        self.model = model
        self.endpoint = base_url
        self.capabilities = capabilities
        self.price = price
        self.max_in_flight = max_in_flight
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0)

    def count_tokens(self, text: str) -> int:
        return len(text.encode("utf-8", "replace"))

    async def complete(self, request: Request) -> Completion:
        s = request.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.text} for m in request.messages],
            "max_tokens": s.max_tokens,
        }
        if s.temperature is not None:
            body["temperature"] = s.temperature
        if s.top_p is not None:
            body["top_p"] = s.top_p
        if s.stop:
            body["stop"] = list(s.stop)
        if request.schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": dict(request.schema)},
            }
        started = time.monotonic()
        try:
            reply = await self._client.chat.completions.create(**body, timeout=s.timeout_s)
        except openai.APIStatusError as error:
            raise EngineError(
                f"{self.name} answered {error.status_code}: {error.message}",
                retryable=error.status_code in (408, 409, 429) or error.status_code >= 500,
                status=error.status_code,
            ) from error
        except openai.APIError as error:
            raise EngineError(f"{self.name} could not be reached: {error}", retryable=True) from error
        choice = reply.choices[0]
        usage = reply.usage
        cached = (
            getattr(usage.prompt_tokens_details, "cached_tokens", 0) or 0
            if usage and usage.prompt_tokens_details
            else 0
        )
        out = usage.completion_tokens if usage else 0
        return Completion(
            text=choice.message.content or "",
            finish="length" if choice.finish_reason == "length" or out >= s.max_tokens else "stop",
            usage=Usage(
                input_tokens=usage.prompt_tokens if usage else 0, output_tokens=out, cached_input_tokens=cached
            ),
            model=reply.model,
            latency_s=time.monotonic() - started,
        )
