"""What makes two requests the same one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any

from wordgrad.types import Engine, ImageData, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed(Request):
    """A request on its way through a run's stack, which asks for its key again and again."""

    key: str


def keyed(engine: Engine, request: Request) -> Keyed:
    """The request with its key."""
    return Keyed(**{each.name: getattr(request, each.name) for each in fields(Request)}, key=_key(engine, request))


def request_key(engine: Engine, request: Request) -> str:
    """sha256 of the canonical request: engine, endpoint, model, messages, sampling, schema and sample index.

    The time limit, the purpose, the template's hash and the node are not part of it: they change no reply.
    """
    return request.key if isinstance(request, Keyed) else _key(engine, request)


def _key(engine: Engine, request: Request) -> str:
    wanted = {
        "engine": engine.name,
        "endpoint": engine.endpoint,
        "model": engine.model,
        "sample": list(request.sample),
        **body(request),
    }
    return hashlib.sha256(_canonical(wanted)).hexdigest()


def body(request: Request) -> dict[str, Any]:
    """The request as JSON; images by their sha256."""
    sampling = request.sampling
    return {
        "messages": [
            {"role": message.role, "parts": [_part(part) for part in message.parts]} for message in request.messages
        ],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop),
        "schema": None if request.schema is None else dict(request.schema),
    }


def _part(part: str | ImageData) -> dict[str, str]:
    if isinstance(part, str):
        return {"text": part}
    return {"image": hashlib.sha256(part.data).hexdigest(), "media_type": part.media_type}


def _canonical(value: object) -> bytes:
    # ASCII with escapes: lone surrogates have a form, and no two values share one.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()
