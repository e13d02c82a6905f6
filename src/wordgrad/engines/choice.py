"""Which engine a command uses when none is named."""

from __future__ import annotations

import os
import socket

_KEYS = {"OPENAI_API_KEY": "gpt-4o-mini", "ANTHROPIC_API_KEY": "anthropic:claude-haiku-4-5"}
_OLLAMA = ("127.0.0.1", 11434)
_PROBE_S = 0.2


def choose() -> tuple[str, str]:
    """A spec, and why: an explicit setting, else a key in the environment, else a running Ollama, else "local"."""
    setting = os.environ.get("WORDGRAD_ENGINE")
    if setting:
        return setting, "WORDGRAD_ENGINE is set"
    for variable, spec in _KEYS.items():
        if os.environ.get(variable):
            return spec, f"{variable} is set"
    model = os.environ.get("OLLAMA_MODEL", "llama3.2")
    try:
        with socket.create_connection(_OLLAMA, timeout=_PROBE_S):
            return f"openai:{model}@http://{_OLLAMA[0]}:{_OLLAMA[1]}/v1", "Ollama is running"
    except OSError:
        return "local", "no key is set and no Ollama runs"
