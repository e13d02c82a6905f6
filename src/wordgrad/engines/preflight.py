"""One call to each engine before a run: a wrong key or name is found out for the price of one reply."""

from __future__ import annotations

from collections.abc import Sequence

from wordgrad import context, dispatch
from wordgrad.engines.stack import wrapped
from wordgrad.types import Engine, Message, Request, Sampling

_HELLO = Request(
    messages=(Message("user", ("Reply with the word: ready",)),), sampling=Sampling(max_tokens=64), purpose="preflight"
)


def preflight(engines: Sequence[Engine]) -> None:
    """Ask each engine one small thing, each once, in order. What it says does not matter.

    Raises:
        EngineError: One does not answer.
        BudgetExceeded: The budget has no room even for this.
    """
    index = dispatch.next_index()

    async def ask() -> None:
        context.body.set(context.Body(index=index))
        for engine in {id(each): each for each in engines}.values():
            await wrapped(engine).complete(_HELLO)

    dispatch.run(ask, what="preflight")
