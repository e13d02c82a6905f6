"""What holds for every test: no network beyond this machine, and no key that could pay for a call."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from wordgrad.testing import ScriptedEngine, VirtualClock

_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST")


def _is_here(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a path: a Unix socket
    host = str(address[0])
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: object) -> Any:
        if not _is_here(address):
            raise AssertionError(f"a test tried to reach {address!r}: tests talk to this machine only")
        return connect(self, address)

    return guarded


@pytest.fixture(autouse=True)
def this_machine_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to other machines, and hide the keys that would pay for calls and the user's settings."""
    monkeypatch.setattr(socket.socket, "connect", _guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", _guarded(socket.socket.connect_ex))
    for name in [*_KEYS, *(each for each in os.environ if each.startswith("WORDGRAD_") and each != "WORDGRAD_GOLDEN")]:
        if request.node.get_closest_marker("local_model") is None or name in _KEYS:
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio; those for trio say so."""
    return "asyncio"


@pytest.fixture
def clock() -> VirtualClock:
    """A clock of the test's own."""
    return VirtualClock()


@pytest.fixture
def engine(clock: VirtualClock) -> ScriptedEngine:
    """A scripted engine on the test's clock."""
    return ScriptedEngine(clock=clock)
