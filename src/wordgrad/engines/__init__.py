"""Engines: models behind one method."""

from __future__ import annotations

import functools
import threading

from wordgrad import plugins
from wordgrad.errors import UsageError
from wordgrad.settings import Settings
from wordgrad.types import Engine, Price

_ANTHROPIC = "claude-"
_making = threading.Lock()  # functools.cache alone makes one for each thread that asks at the same time


def get_engine(spec: str | Engine) -> Engine:
    """The engine that a spec names; one for each spec in a process. An Engine is given back as it is.

    Args:
        spec: "local", "local:/path/to/model.gguf", "gpt-4o", "openai:NAME", "openai:NAME@http://host/v1",
            "anthropic:NAME", or "PLUGIN:NAME" for an entry point of the group `wordgrad.engines`.

    Raises:
        UsageError: The spec names none, its key is not set, its extra is not installed, or the object is no Engine.
    """
    if not isinstance(spec, str):
        return _checked(spec)
    with _making:
        return _made(spec)


def unasked_engine(spec: str) -> Engine:
    """The engine that a spec names, for what only needs to know it: made where no key is set, too."""
    with _making:
        return _made(spec, keyless=True)


def _checked(engine: Engine) -> Engine:
    if isinstance(engine, type):
        raise UsageError(f"{engine.__name__} is a class: pass an instance of it, {engine.__name__}(…)")
    missing = [member for member in dir(Engine) if not member.startswith("_") and not hasattr(engine, member)]
    if missing:
        raise UsageError(
            f'{engine!r} is no engine, it has no {", ".join(missing)}: pass a spec such as "local" or "gpt-4o", or an '
            "object with all that wordgrad.Engine names"
        )
    return engine


@functools.cache
def _made(spec: str, *, keyless: bool = False) -> Engine:
    kind, colon, name = spec.partition(":")
    if colon and not name:
        raise UsageError(f"the engine {spec!r} names no model: write {spec}{'PATH' if kind == 'local' else 'NAME'}")
    if kind == "local":
        return _local(name if colon else None)
    if kind == "anthropic" or (not colon and spec.startswith(_ANTHROPIC)):
        return _anthropic(spec, name if colon else spec, keyless=keyless)
    if kind == "openai" or not colon:
        return _openai(spec, name if colon else spec, keyless=keyless)
    plugin = plugins.find(plugins.ENGINES, kind)
    if plugin is None:
        raise UsageError(
            f'the engine {spec!r} is not known: write "local", "gpt-4o", "openai:NAME", '
            '"openai:NAME@http://127.0.0.1:8000/v1", "anthropic:NAME", or install the plugin that brings '
            f"{kind!r}"
        )
    made: Engine = plugin(name)
    return made


def _local(path: str | None) -> Engine:
    from wordgrad.engines.local import LocalEngine  # noqa: PLC0415 - loaded when it is named

    return LocalEngine(path)


def _openai(spec: str, name: str, *, keyless: bool) -> Engine:
    from wordgrad.engines.openai import OFFICIAL, OpenAIEngine  # noqa: PLC0415 - the SDK takes a second to import

    model, at, address = name.partition("@")
    settings = Settings()
    if not model:
        raise UsageError(f"the engine {spec!r} names no model: write openai:NAME, or openai:NAME@ADDRESS")
    if at:
        if not address.startswith(("http://", "https://")):
            raise UsageError(f"the engine {spec!r}: {address!r} is no address; write openai:NAME@http://host:port/v1")
        if "@" in address:
            # Not shown: the name of an engine stands in messages and in the store, and so would the password.
            raise UsageError(
                f"the engine openai:{model}@… has credentials in its address: leave them out, and set WORDGRAD_API_KEY"
            )
        # Its price is not known: another server's may share no more than the model's name with the one that is listed.
        return OpenAIEngine(spec, model, base_url=address.rstrip("/"), api_key=settings.api_key or "")
    if settings.openai_api_key is None and not keyless:
        raise UsageError(f"the engine {spec!r} needs a key: set OPENAI_API_KEY")
    return OpenAIEngine(spec, model, base_url=OFFICIAL, api_key=settings.openai_api_key or "", price=_price(model))


def _anthropic(spec: str, model: str, *, keyless: bool) -> Engine:
    key = Settings().anthropic_api_key
    if key is None and not keyless:
        raise UsageError(f"the engine {spec!r} needs a key: set ANTHROPIC_API_KEY")
    try:
        from wordgrad.engines.anthropic import AnthropicEngine  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise UsageError(f'the engine {spec!r} needs an extra: run `pip install "wordgrad[anthropic]"`') from error
    return AnthropicEngine(spec, model, api_key=key or "", price=_price(model))


def _price(model: str) -> Price | None:
    from wordgrad.engines.prices import price_of  # noqa: PLC0415 - reads a table of prices

    return price_of(model)
