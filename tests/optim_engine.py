"""An engine for the optimizers' tests: it answers each request by a rule, and keeps what it was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain, repeat

from wordgrad.types import Capabilities, Completion, Request

Rule = Callable[[Request], "str | Completion"]


class Engine:
    """Answers by `rule`; a token is four characters."""

    name = "rule"
    endpoint = ""
    model = "rule"
    price = None
    max_in_flight = 64

    def __init__(self, rule: Rule, *, schema: bool = True, context_tokens: int | None = None) -> None:
        self.capabilities = Capabilities(schema=schema, context_tokens=context_tokens)
        self.rule = rule
        self.seen: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        self.seen.append(request)
        made = self.rule(request)
        return made if isinstance(made, Completion) else Completion(text=made)

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4)

    @property
    def prompts(self) -> list[str]:
        """The last message of each request, in order."""
        return [request.messages[-1].text for request in self.seen]


def json_reply(value: str) -> str:
    """A reply that an engine with schemas would give."""
    return json.dumps({"value": value})


def marked_reply(request: Request, value: str) -> str:
    """A reply between the marks that the request names."""
    delimiter = re.findall(r"<(new-[0-9a-f]+)>", request.messages[-1].text)[-1]
    return f"<{delimiter}>\n{value}\n</{delimiter}>"


def in_turn(*replies: str | Completion) -> Rule:
    """The replies one after the other, then the last one for ever."""
    left: Iterator[str | Completion] = chain(replies, repeat(replies[-1]))
    return lambda _: next(left)
