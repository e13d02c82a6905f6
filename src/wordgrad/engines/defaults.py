"""The default backward engine: the one process-wide setting of the API."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from wordgrad.engines import get_engine
from wordgrad.errors import UsageError
from wordgrad.types import Engine

_scoped: ContextVar[Engine | None] = ContextVar("wordgrad.backward_engine", default=None)
_process: list[Engine] = []  # at most one: what `set_backward_engine` was given


def set_backward_engine(engine: str | Engine, *, override: bool = False) -> None:
    """Set the engine of critics, judges and optimizers that were given none, for the whole process.

    Args:
        engine: A spec such as "local" or "gpt-4o", or an Engine.
        override: Replace one that is set already.

    Raises:
        UsageError: One is set and `override` is False, or the spec names no engine.
    """
    if _process and not override:
        raise UsageError(
            f"the backward engine is set to {_process[0].name!r} already; pass override=True to replace it, or use "
            "`with wordgrad.backward_engine(…):` for a part of the program"
        )
    _process[:] = [get_engine(engine)]


@contextmanager
def backward_engine(engine: str | Engine) -> Generator[None]:
    """Use `engine` for what is called, and for each `backward()` started, inside the `with`."""
    token = _scoped.set(get_engine(engine))
    try:
        yield
    finally:
        _scoped.reset(token)


def resolve(engine: str | Engine | None) -> Engine:
    """`engine`, or the default that holds here.

    Raises:
        UsageError: None was given and none is set.
    """
    if engine is not None:
        return get_engine(engine)
    scoped = _scoped.get()
    if scoped is not None:
        return scoped
    if _process:
        return _process[0]
    raise UsageError(
        'no engine was given and no default is set: call wordgrad.set_backward_engine("local") '
        '(or "gpt-4o", "anthropic:…", an Engine) once, or pass engine='
    )
