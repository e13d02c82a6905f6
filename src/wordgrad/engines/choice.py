"""Which engine a command uses when none is named."""

from __future__ import annotations

import http.client
import json
import urllib.request
from urllib.parse import urlsplit

from wordgrad.errors import UsageError
from wordgrad.settings import Settings

_PORT = 11434
_USUAL = {"http": 80, "https": 443}
_TIMEOUT_S = 0.5
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what a server listens on, and nobody can connect to
_NO_CHAT = ("bert", "embed")
"""Words in the names and families of models that cannot answer."""


def choose() -> tuple[str, str]:
    """A spec, and why: an explicit setting, else a key in the environment, else a running Ollama, else "local"."""
    settings = Settings()
    if settings.engine is not None:
        return settings.engine, "WORDGRAD_ENGINE is set"
    if settings.openai_api_key is not None:
        return "gpt-4o-mini", "OPENAI_API_KEY is set"
    if settings.anthropic_api_key is not None:
        return "anthropic:claude-haiku-4-5", "ANTHROPIC_API_KEY is set"
    address = _address(settings.ollama_host)
    models = _models(address)
    if models is None:
        return "local", "no key is set and no Ollama runs"
    if not models:
        return "local", f"no key is set, and the Ollama at {address} has no model"
    return f"openai:{models[0]}@{address}/v1", f"Ollama runs at {address}"


def _address(host: str) -> str:
    """The address that `OLLAMA_HOST` means: a host, a host and a port, a port alone, or a URL."""
    whole = "://" in host
    try:
        parts = urlsplit(host if whole else f"http://{host}")
        port = parts.port or (_USUAL.get(parts.scheme, _PORT) if whole else _PORT)
    except ValueError as error:
        raise UsageError(f"OLLAMA_HOST={host!r} is no address: {error}") from error
    name = parts.hostname or "127.0.0.1"
    if name in _EVERYWHERE:
        name = "127.0.0.1"
    return f"{parts.scheme}://{f'[{name}]' if ':' in name else name}:{port}"


def _models(address: str) -> list[str] | None:
    """What an Ollama has to answer with, last changed first; None where none runs."""
    # A proxy is for other machines: asked for one that this user named, it could only delay or misroute the question.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{address}/api/tags", timeout=_TIMEOUT_S) as reply:
            listed = [(each["name"], each["details"]["family"]) for each in json.load(reply)["models"]]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    return [name for name, family in listed if not any(word in f"{name} {family}" for word in _NO_CHAT)]
