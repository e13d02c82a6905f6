"""A request against what an engine declares."""

from __future__ import annotations

import copy
from typing import Any

from wordgrad.errors import UsageError
from wordgrad.types import Engine, ImageData, Request


def check(engine: Engine, request: Request) -> None:
    """Raise UsageError where a request asks for what the engine does not declare: nothing is left out in silence."""
    can, wanted = engine.capabilities, request.sampling
    for name, asked, has in (
        ("temperature", wanted.temperature is not None, can.temperature),
        ("top_p", wanted.top_p is not None, can.top_p),
        ("stop", bool(wanted.stop), can.stop),
        ("a reply schema", request.schema is not None, can.schema),
        ("images", any(isinstance(part, ImageData) for each in request.messages for part in each.parts), can.images),
    ):
        if asked and not has:
            raise UsageError(f"the engine {engine.name!r} takes no {name}: leave it out, or choose another engine")


def schema_of(request: Request) -> dict[str, Any]:
    """The request's schema in the strict form that servers want: every object closed, every field required."""
    schema = copy.deepcopy(dict(request.schema or {}))
    _close(schema)
    return schema


def _close(node: Any) -> None:  # noqa: ANN401 - JSON
    if isinstance(node, list):
        for each in node:
            _close(each)
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" and "properties" in node:
        node["additionalProperties"] = False
        node["required"] = list(node["properties"])
    node.pop("default", None)
    for each in node.values():
        _close(each)
