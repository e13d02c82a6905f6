"""An Engine around an Engine."""

from __future__ import annotations

from wordgrad.types import Capabilities, Completion, Engine, Price, Request


class Wrapper:
    """Answers as the engine inside does; subclasses change `complete`."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def endpoint(self) -> str:
        return self.inner.endpoint

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @property
    def price(self) -> Price | None:
        return self.inner.price

    @property
    def max_in_flight(self) -> int:
        return self.inner.max_in_flight

    async def complete(self, request: Request) -> Completion:
        return await self.inner.complete(request)

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)
