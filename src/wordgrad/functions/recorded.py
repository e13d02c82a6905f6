"""Results of user code that a resumed run must not compute again."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from wordgrad import context, dispatch
from wordgrad.core.value import Result, plain
from wordgrad.errors import UsageError
from wordgrad.types import JSON, Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which call of which code on which inputs a recorded result belongs to."""

    index: Index
    name: str
    source: str
    """sha256 of the code."""
    inputs: str
    """sha256 of the inputs' text forms."""


def recorded(identify: Callable[[], Identity], compute: Callable[[], Result]) -> Result:
    """The run's record of this call, else what `compute` gives, kept. For worker threads; outside a run, plain.

    `identify` is asked inside a run only: outside one, inputs need no text form.

    Raises:
        StoreError: The record at this place is of another function, source or input: the program changed.
        UsageError: The result has no JSON form.
    """
    run = context.run.get()
    if run is None:
        return compute()
    identity = identify()
    keys = _keys(identity)
    found = dispatch.run(lambda: run.recall(**keys), what="reading the ledger")
    if found is not None:
        return _restored(found[0])
    result = compute()
    dispatch.run(lambda: run.record(**keys, value=_stored(identity, result)), what="writing the ledger")
    return result


async def arecorded(identify: Callable[[], Identity], compute: Callable[[], Awaitable[Result]]) -> Result:
    """`recorded()` for code that runs on the library's loop."""
    run = context.run.get()
    if run is None:
        return await compute()
    identity = identify()
    keys = _keys(identity)
    found = await run.recall(**keys)
    if found is not None:
        return _restored(found[0])
    result = await compute()
    await run.record(**keys, value=_stored(identity, result))
    return result


def unbound(fn: Callable[..., object]) -> Callable[..., object]:
    """The function that a `functools.partial` calls: the name and the words of the partial itself say nothing."""
    while isinstance(fn, partial):
        fn = fn.func
    return fn


def source_of(fn: Callable[..., object]) -> str:
    """The function's source; where there is none, what identifies its code."""
    fn = unbound(fn)
    try:
        return inspect.getsource(fn)
    except (OSError, TypeError):
        code = getattr(fn, "__code__", None)
        return type(fn).__qualname__ if code is None else f"{code.co_qualname} {code.co_code.hex()} {code.co_names}"


def digest(text: str) -> str:
    """sha256 of any text, lone surrogates included."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _keys(identity: Identity) -> dict[str, Any]:
    return {
        "index": identity.index,
        "name": identity.name,
        "source": identity.source,
        "inputs": identity.inputs,
    }


def _stored(identity: Identity, result: Result) -> JSON:
    try:
        value = plain(result.value)
    except UsageError as error:
        raise UsageError(
            f"{identity.name} returned a {type(result.value).__name__}, which a run cannot record: return JSON, a "
            "dataclass or a pydantic model, or declare it pure=True if its result depends on its inputs only"
        ) from error
    return {
        "value": value,
        "failure": result.failure,
        "score": result.score,
        "passed": result.passed,
        "notes": dict(result.notes),
        "tags": dict(result.tags),
    }


def _restored(stored: Any) -> Result:  # noqa: ANN401 - the JSON that _stored made
    return Result(**stored)
