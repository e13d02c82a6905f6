"""What a Variable can hold, and how it reads as text."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass

from pydantic import BaseModel

from wordgrad.errors import UsageError
from wordgrad.types import JSON, Completion, Engine, Finish, Request


class Opaque(ABC):
    """A value that no rewrite can improve, such as an image: it is sent, and never trained."""

    @abstractmethod
    def text_form(self) -> str:
        """A short description, shown where the value itself cannot be."""


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request of a node and its reply, exactly as they went over the wire."""

    engine: str
    request: Request
    completion: Completion
    cost_usd: float | None
    """By the engine's price; None where that is not known. A reply that was there already was not paid again."""

    @classmethod
    def of(cls, engine: Engine, request: Request, completion: Completion) -> EngineCall:
        """A call of `engine`, with what its reply costs."""
        cost = None if engine.price is None else engine.price.cost_usd(completion.usage)
        return cls(engine.name, request, completion, cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a call yields: its value, and what is known beside it."""

    value: object
    finish: Finish = "stop"
    score: float | None = None
    passed: bool | None = None
    """For a loss: whether the example passes; None where the loss has no score."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """For a loss: what its metric said of what came before the output, by name or role."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """For a loss: the kind of the example, as its metric said."""
    failure: str | None = None
    """The annotated message of a failed Python function; `value` is then what an agent would observe."""
    calls: tuple[EngineCall, ...] = ()


def plain(value: object) -> JSON:
    """The JSON form of `value`: itself, or that of a dataclass or pydantic model.

    Raises:
        UsageError: It has none.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    try:
        return json.loads(json.dumps(value, allow_nan=False))  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a {type(value).__name__} has no JSON form ({error}); use text, JSON, a dataclass or a pydantic model"
        ) from error


def copied(value: object) -> object:
    """The value for a reader of its own: what it does to a list or an object must not reach the graph."""
    return copy.deepcopy(value) if isinstance(value, list | dict) else value


def text_form(value: object) -> str:
    """How `value` reads in a prompt: text as it is, an image as its description, all else as indented JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Opaque):
        return value.text_form()
    return json.dumps(plain(value), ensure_ascii=False, indent=2)
