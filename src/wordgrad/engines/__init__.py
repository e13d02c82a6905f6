"""Engines: models behind one method."""

from __future__ import annotations

import functools

from wordgrad.errors import UsageError
from wordgrad.types import Engine


def get_engine(spec: str | Engine) -> Engine:
    return _made(spec) if isinstance(spec, str) else spec


@functools.cache
def _made(spec: str) -> Engine:
    if spec == "local" or spec.startswith("local:"):
        from wordgrad.engines.local import LocalEngine

        return LocalEngine(spec.partition(":")[2] or None)
    raise UsageError(f"unknown engine {spec!r}")
