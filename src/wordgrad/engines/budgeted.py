"""Limits that a run sets: calls, tokens, money, seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import anyio

from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import BudgetExceeded, UsageError
from wordgrad.types import Completion, Engine, Request

_IMAGE_TOKENS = 5_000
"""What servers count for one image of any size, nearly all of them less."""
_FRAME_TOKENS = 8
"""What marks a message, or a part of one, in the text that a model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may use; None is no limit."""

    calls: int | None = None
    """Attempts; never overshot."""
    tokens: int | None = None
    """Input and output. An upper estimate is reserved before each call, so it is overshot only by as much as a
    server's count exceeds that estimate, on the calls in flight. Attempts that failed count nothing: what a server
    bills for them is not known."""
    usd: float | None = None
    """As `tokens`. A model whose price is unknown is refused."""
    seconds: float | None = None
    """Of the run, asked before each call is sent; what is in flight may end later. A resumed run has used what it had
    used at its last attempt before: the time until it was resumed does not count."""

    def __post_init__(self) -> None:
        for name, whole in (("calls", True), ("tokens", True), ("usd", False), ("seconds", False)):
            limit: object = getattr(self, name)
            if limit is not None:
                # A sweep's limits are numpy's, and a store keeps plain numbers.
                object.__setattr__(self, name, _count(name, limit) if whole else _amount(name, limit))


def _count(name: str, limit: object) -> int:
    if isinstance(limit, Integral) and not isinstance(limit, bool) and int(limit) >= 0:
        return int(limit)
    raise UsageError(
        f"{name}={limit!r}: a budget needs a whole number, as in {name}=500, 0 or more, or None for no limit"
    )


def _amount(name: str, limit: object) -> float:
    if isinstance(limit, Real) and not isinstance(limit, bool) and 0 <= float(limit) < math.inf:
        return float(limit)
    raise UsageError(f"{name}={limit!r}: a budget needs a number, as in {name}=2.5, 0 or more, or None for no limit")


class Meter:
    """What a run has spent and reserved.

    Args:
        budget: The limits.
        calls: Spent before, by a run that is resumed.
        tokens: The same.
        usd: The same.
        clock: The seconds of the run so far.
    """

    def __init__(
        self, budget: Budget, *, clock: Callable[[], float], calls: int = 0, tokens: int = 0, usd: float = 0.0
    ) -> None:
        self.budget = budget
        self._clock = clock
        self.calls = calls
        self.spent: dict[str, float] = {"tokens": tokens, "usd": usd}
        self.reserved: dict[str, float] = {"tokens": 0.0, "usd": 0.0}
        self.out: dict[str, float] = {"tokens": 0.0, "usd": 0.0}
        """The part of what is reserved whose calls do not wait for a place in flight any more."""
        self.largest: dict[str, float] = {"tokens": 0.0, "usd": 0.0}
        """The most that one call has reserved."""
        self._changed: anyio.Event | None = None
        """There while somebody waits."""

    def affords(self, calls: int) -> bool:
        """Whether so many more calls are left, and stay below the other limits if they take what calls took so far."""
        if self.budget.calls is not None and self.calls + calls > self.budget.calls:
            return False
        seconds, pace = self._clock(), calls / self.calls if self.calls else 0.0
        in_time = self.budget.seconds is None or seconds * (1 + pace) < self.budget.seconds
        return in_time and all(self._room(kind, pace * amount) for kind, amount in self.spent.items())

    async def reserve(self, needs: dict[str, float]) -> None:
        """Take one call and its upper estimates; waits while only others' reservations stand in the way.

        Raises:
            BudgetExceeded: What is spent leaves no room.
        """
        await self._take(needs, self.reserved, calls=1)
        self.calls += 1
        self.largest.update({kind: max(need, self.largest[kind]) for kind, need in needs.items()})

    async def send(self, needs: dict[str, float]) -> None:
        """Count a reservation as out; waits where a server counted more than was estimated, until there is room again.

        Raises:
            BudgetExceeded: Time is over, or what is spent leaves no room any more.
        """
        await self._take(needs, self.out, calls=0)

    def returned(self, needs: dict[str, float]) -> None:
        """A reservation is no longer out: what it really used is settled next."""
        for kind, need in needs.items():
            self.out[kind] -= need

    def settle(self, needs: dict[str, float], used: dict[str, float]) -> None:
        """Replace a reservation by what was really used."""
        for kind, need in needs.items():
            self.reserved[kind] -= need
        for kind, amount in used.items():
            self.spent[kind] += amount
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _room(self, kind: str, more: float) -> bool:
        limit = getattr(self.budget, kind)
        return limit is None or self.spent[kind] + more <= limit

    async def _take(self, needs: dict[str, float], held: dict[str, float], *, calls: int) -> None:
        while True:
            self._refuse(needs, calls)
            if all(self._room(kind, need + held[kind]) for kind, need in needs.items()):
                break
            self._changed = self._changed or anyio.Event()
            await self._changed.wait()
        for kind, need in needs.items():
            held[kind] += need

    def _refuse(self, needs: dict[str, float], calls: int) -> None:
        if self.budget.calls is not None and self.calls + calls > self.budget.calls:
            raise _exceeded("calls", self.calls, self.budget.calls)
        seconds = self._clock()
        if self.budget.seconds is not None and seconds >= self.budget.seconds:
            raise _exceeded("seconds", round(seconds, 1), self.budget.seconds)
        for kind, need in needs.items():
            if not self._room(kind, need):
                raise _exceeded(kind, self.spent[kind], getattr(self.budget, kind), need)


class Budgeted(Wrapper):
    """Refuses a call that the budget has no room for.

    Args:
        inner: Who is asked.
        meter: The run's, shared by its engines.

    Raises:
        UsageError: A limit on money, and a model whose price is not known.
    """

    def __init__(self, inner: Engine, meter: Meter) -> None:
        super().__init__(inner)
        if meter.budget.usd is not None and inner.price is None:
            raise UsageError(
                f"the price of {inner.name!r} is not known, so a budget in US dollars cannot hold: state it in the "
                "engine's table (price = {input_usd = …, output_usd = …}, for a million tokens), or limit calls"
            )
        self._meter = meter

    async def complete(self, request: Request) -> Completion:
        """Reserve, ask, settle."""
        needs = _needs(self.inner, request, self._meter.budget)
        await self._meter.reserve(needs)
        used: dict[str, float] = {}
        try:
            completion = await self.inner.complete(request)
        except BudgetExceeded:
            self._meter.calls -= 1  # it was not sent: see InTurn
            raise
        else:
            usage = completion.usage
            used["tokens"] = usage.input_tokens + usage.output_tokens
            used["usd"] = 0.0 if self.inner.price is None else self.inner.price.cost_usd(usage)
            return completion
        finally:
            self._meter.settle(needs, used)


class InTurn(Wrapper):
    """Refuses a call for which there is no time, or no room, left when it has waited for a place in flight.

    An engine that carries two calls at once gets a hundred at the same moment: a budget of seconds that was asked only
    then would let them all through, and so would one of tokens where the server counts more than was estimated.

    Args:
        inner: Who is asked.
        meter: The run's.
    """

    def __init__(self, inner: Engine, meter: Meter) -> None:
        super().__init__(inner)
        self._meter = meter

    async def complete(self, request: Request) -> Completion:
        """Ask, if the budget still has room."""
        needs = _needs(self.inner, request, self._meter.budget)
        await self._meter.send(needs)
        try:
            return await self.inner.complete(request)
        finally:
            self._meter.returned(needs)


def _needs(engine: Engine, request: Request, budget: Budget) -> dict[str, float]:
    """Upper estimates where there are limits: of messages and schema by the engine, of images, of the whole output."""
    if budget.tokens is None and budget.usd is None:
        return {}
    parts = [part for message in request.messages for part in message.parts]
    texts = [part for part in parts if isinstance(part, str)]
    schema = "" if request.schema is None else json.dumps(dict(request.schema))
    read = (
        sum(map(engine.count_tokens, [*texts, schema]))
        + (len(parts) - len(texts)) * _IMAGE_TOKENS
        + (len(parts) + len(request.messages)) * _FRAME_TOKENS
    )
    wrote = request.sampling.max_tokens
    price = engine.price
    money = 0.0 if price is None else (read * price.input_usd + wrote * price.output_usd) / 1_000_000
    return {"tokens": float(read + wrote), "usd": money}


def _exceeded(kind: str, spent: float, limit: float, need: float = 0.0) -> BudgetExceeded:
    more = f", and the next call may need {need:.10g} more" if need else ""
    return BudgetExceeded(
        f"the budget of {limit:.10g} {kind} is spent: {spent:.10g} used{more}", kind=kind, spent=spent, limit=limit
    )
