"""Engines without a model: replies from a function, or from a script."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import anyio.lowlevel

from wordgrad import context, dispatch
from wordgrad.dispatch import Label
from wordgrad.errors import UsageError
from wordgrad.testing.clock import VirtualClock
from wordgrad.types import JSON, Capabilities, Completion, Index, Price, Purpose, Request, Usage

Reply: TypeAlias = "str | Mapping[str, JSON] | Completion | Exception"
"""A text, the JSON of a structured reply, a whole completion, or an error to raise."""

_DEFAULT = Capabilities(schema=True)
_UNWINDING = 4
"""Turns of the loop in which a call that was cancelled a moment ago lets go of a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that an engine of this kit got."""

    index: Index
    """The creation index of the node, backward pass or proposal that made the call."""
    number: int
    """Which of the calls with this index it is, from 0."""
    label: Label | None
    """The node's function, role and example; None for a call that no node made, such as an optimizer's."""
    request: Request

    @property
    def prompt(self) -> str:
        """The text of the last message."""
        return self.request.messages[-1].text

    @property
    def system(self) -> str:
        """The text of the system prompt; "" without one."""
        return next((each.text for each in self.request.messages if each.role == "system"), "")


class _Fake(ABC):
    """An Engine that keeps what it was asked."""

    endpoint = "test"

    def __init__(
        self,
        *,
        name: str,
        clock: VirtualClock | None,
        latency_s: float,
        capabilities: Capabilities,
        price: Price | None,
        max_in_flight: int,
    ) -> None:
        self.name = name
        self.model = name
        self.clock = clock
        self.latency_s = latency_s
        self.capabilities = capabilities
        self.price = price
        self.max_in_flight = max_in_flight
        self._calls: list[Call] = []
        self._numbers: Counter[Index] = Counter()

    @property
    def history(self) -> tuple[Call, ...]:
        """Every call so far, ordered by the index of what made it and not by arrival."""
        return tuple(sorted(self._calls, key=lambda call: (call.index, call.number)))

    def count_tokens(self, text: str) -> int:
        """Four characters a token, rounded up."""
        return -(-len(text) // 4)

    async def complete(self, request: Request) -> Completion:
        """The reply of the rule or script, after `latency_s` on the clock."""
        return await dispatch.arun(lambda: self._complete(request))

    async def _complete(self, request: Request) -> Completion:
        index = context.body.get().index
        call = Call(index=index, number=self._numbers[index], label=dispatch.calling(), request=request)
        self._numbers[index] += 1
        self._calls.append(call)
        reply = await self._reply(call)
        if isinstance(reply, Exception):
            # The same object may be raised again by the next call: that must not lengthen its traceback.
            raise reply.with_traceback(None)
        if isinstance(reply, Completion):
            return reply
        text = reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
        usage = Usage(
            input_tokens=sum(self.count_tokens(message.text) for message in request.messages),
            output_tokens=self.count_tokens(text),
        )
        return Completion(text=text, usage=usage, model=self.model, latency_s=self.latency_s if self.clock else 0.0)

    async def _wait(self) -> None:
        if self.clock is None:
            await anyio.lowlevel.checkpoint()
        else:
            await self.clock.sleep(self.latency_s)

    @abstractmethod
    async def _reply(self, call: Call) -> Reply:
        """What the call gets, and when."""


class RuleEngine(_Fake):
    """Answers by a function of the request.

    Args:
        rule: Gets the request; returns a reply, or an exception to raise. It runs on the library's loop.
        name: What users call the engine, and its model.
        clock: Where calls take `latency_s`; without one they take no time.
        latency_s: Simulated seconds of one call.
        capabilities: By default it can write to a schema, and sees no images.
        price: Dollars for a million tokens.
        max_in_flight: Calls at once.
    """

    def __init__(
        self,
        rule: Callable[[Request], Reply],
        *,
        name: str = "rule",
        clock: VirtualClock | None = None,
        latency_s: float = 1.0,
        capabilities: Capabilities = _DEFAULT,
        price: Price | None = None,
        max_in_flight: int = 1024,
    ) -> None:
        super().__init__(
            name=name,
            clock=clock,
            latency_s=latency_s,
            capabilities=capabilities,
            price=price,
            max_in_flight=max_in_flight,
        )
        self._rule = rule

    async def _reply(self, call: Call) -> Reply:
        await self._wait()
        return self._rule(call.request)


@dataclass(frozen=True, slots=True)
class _Line:
    """Replies of a script, and whose they are."""

    replies: tuple[Reply, ...]
    matches: Callable[[Call], bool]


class ScriptedEngine(_Fake):
    """Gives written replies: to calls that a script line names, else in turn from a queue.

    Args:
        replies: The start of the queue, as given to `enqueue`.
        name: What users call the engine, and its model.
        clock: Where calls take `latency_s`; one of its own where None.
        latency_s: Simulated seconds of one call.
        capabilities: By default it can write to a schema, and sees no images.
        price: Dollars for a million tokens.
        max_in_flight: Calls at once.

    Example:
        ```
        engine = ScriptedEngine()
        engine.script("It is too long.", purpose="judge")
        engine.script("Paris", "Rome", role="answer")  # each answer's first call, then its second
        ```
    """

    def __init__(
        self,
        *replies: Reply,
        name: str = "scripted",
        clock: VirtualClock | None = None,
        latency_s: float = 1.0,
        capabilities: Capabilities = _DEFAULT,
        price: Price | None = None,
        max_in_flight: int = 1024,
    ) -> None:
        super().__init__(
            name=name,
            clock=clock or VirtualClock(),
            latency_s=latency_s,
            capabilities=capabilities,
            price=price,
            max_in_flight=max_in_flight,
        )
        self._lines: list[_Line] = []
        self._queue = deque(replies)
        self._turn: Call | None = None

    def enqueue(self, *replies: Reply) -> None:
        """Add replies for calls that no script line matches, given one by one.

        Two such calls at once are refused: which of them comes first is not defined.
        """
        self._queue.extend(replies)

    def script(
        self,
        *replies: Reply,
        index: Index | None = None,
        function: str | None = None,
        role: str | None = None,
        example: str | None = None,
        purpose: Purpose | None = None,
        when: Callable[[Call], bool] | None = None,
    ) -> None:
        """Write the replies of every call that fits all that is given; the first line that fits a call holds.

        Args:
            replies: What each index gets, one after the other; its later calls get the last one. Several are of use
                where one node asks again: a retry, a repair.
            index: The creation index of what makes the call: () for the first numbering, then `(0,)`, `(1,)`, …
            function: The name of the node's function.
            role: The node's role description.
            example: The node's example.
            purpose: What the request is for.
            when: Any other condition.
        """
        if not replies:
            raise UsageError("script() needs at least one reply")

        def matches(call: Call) -> bool:
            label = call.label or Label("")
            wanted = ((index, call.index), (function, label.function), (role, label.role), (example, label.example))
            return (
                all(want is None or want == have for want, have in wanted)
                and purpose in (None, call.request.purpose)
                and (when is None or when(call))
            )

        self._lines.append(_Line(replies, matches))

    async def _reply(self, call: Call) -> Reply:
        line = next((each for each in self._lines if each.matches(call)), None)
        if line is not None:
            await self._wait()
            return line.replies[min(call.number, len(line.replies) - 1)]
        for _ in range(_UNWINDING):
            if self._turn is not None:
                await anyio.lowlevel.checkpoint()
        if self._turn is not None:
            raise UsageError(
                f"{_named(self._turn)} and {_named(call)} wait for the queue of {self.name!r} at once, and their order "
                "is not defined: name them with script(reply, role=…) or another condition"
            )
        if not self._queue:
            raise UsageError(
                f"{self.name!r} has no reply for {_named(call)}: add one with enqueue(…) or script(…). "
                f"Its prompt ends: {call.prompt[-200:]!r}"
            )
        self._turn = call
        try:
            await self._wait()
        finally:
            self._turn = None
        return self._queue.popleft()


def _named(call: Call) -> str:
    who = str(call.label) if call.label is not None else "a call that no node made"
    return f"{who} at {call.index} ({call.request.purpose})"
