"""What every new value must keep to: told to the model, and checked in code.

A constraint that cannot be checked is plain text; these are the ones that can.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from wordgrad.errors import UsageError
from wordgrad.prompts import parse_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A new text, and what it would replace."""

    before: str
    after: str
    count_tokens: Callable[[str], int]
    """The optimizer's engine's count."""


@runtime_checkable
class Constraint(Protocol):
    """Implement this to bring your own; `Predicate` is enough for most."""

    @property
    def description(self) -> str:
        """What the model is told: a sentence that says what the text must be."""

    def broken(self, change: Change) -> str | None:
        """What is wrong with the new text, for the model's one repair and for reports; None where nothing is."""


@dataclass(frozen=True, slots=True)
class MaxTokens:
    """At most `limit` tokens, as the optimizer's engine counts them (an upper bound where it has no tokenizer)."""

    limit: int

    @property
    def description(self) -> str:
        """In words too: models cannot count tokens."""
        return f"It has at most {self.limit} tokens (about {self.limit * 3 // 4} English words)."

    def broken(self, change: Change) -> str | None:
        """Count the tokens."""
        count = change.count_tokens(change.after)
        return f"it has {count} tokens; at most {self.limit} are allowed" if count > self.limit else None


@dataclass(frozen=True, slots=True)
class MaxCharacters:
    """At most `limit` characters (code points)."""

    limit: int

    @property
    def description(self) -> str:
        """The limit."""
        return f"It has at most {self.limit} characters."

    def broken(self, change: Change) -> str | None:
        """Count the characters."""
        count = len(change.after)
        return f"it has {count} characters; at most {self.limit} are allowed" if count > self.limit else None


class KeepSlots:
    """The placeholders `{name}` stay, each as often as it stands in the present text. Other braces are literal."""

    def __init__(self, *names: str) -> None:
        if not names:
            raise UsageError('KeepSlots() of no names: declare the slots, as in KeepSlots("question", "sources")')
        self.slots = tuple(f"{{{name}}}" for name in names)

    @property
    def description(self) -> str:
        """The placeholders, spelled out."""
        return f"It keeps these placeholders exactly as they are: {', '.join(self.slots)}."

    def broken(self, change: Change) -> str | None:
        """Count each placeholder before and after."""
        for slot in self.slots:
            had, has = change.before.count(slot), change.after.count(slot)
            if had != has:
                return f"the placeholder {slot} stands in it {has} times instead of {had}"
        return None


@dataclass(frozen=True, slots=True)
class ParsesAs:
    """The text is a Python program, or one JSON value. It is parsed, never run."""

    language: Literal["python", "json"]

    def __post_init__(self) -> None:
        if self.language not in ("python", "json"):
            raise UsageError(f'ParsesAs({self.language!r}): choose "python" or "json", or use Predicate')

    @property
    def description(self) -> str:
        """The language."""
        return f"It is valid {'Python code' if self.language == 'python' else 'JSON'} and nothing else."

    def broken(self, change: Change) -> str | None:
        """Parse the text."""
        try:
            if self.language == "json":
                parse_json(change.after)
            else:
                with warnings.catch_warnings():
                    # The parser warns about odd escapes; they are valid.
                    warnings.simplefilter("ignore")
                    ast.parse(change.after)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"it is not valid {self.language}: {error}"
        return None


class MatchesSchema:
    """The text is JSON that fits a pydantic model, or any type that pydantic knows (`list[int]`)."""

    def __init__(self, form: Any) -> None:  # noqa: ANN401 - a type, in pydantic's wide sense
        self._adapter: TypeAdapter[Any] = TypeAdapter(form)

    @property
    def description(self) -> str:
        """The JSON schema."""
        schema = json.dumps(self._adapter.json_schema(), ensure_ascii=False)
        return f"It is JSON that fits this schema, and nothing else: {schema}"

    def broken(self, change: Change) -> str | None:
        """Validate the text."""
        try:
            self._adapter.validate_json(change.after)
        except (ValidationError, ValueError) as error:
            return f"it does not fit the schema: {error}"
        return None


@dataclass(frozen=True, slots=True)
class Predicate:
    """A check of your own.

    Args:
        holds: Gets the new text; says True, or False, or what is wrong. An exception in it counts as broken.
        description: What the model is told ("It is a valid SMILES string.").
    """

    holds: Callable[[str], bool | str]
    description: str

    def broken(self, change: Change) -> str | None:
        """Ask."""
        try:
            said = self.holds(change.after)
        except Exception as error:  # noqa: BLE001 - parsers of the text's language raise whatever they like
            return f"{self.description} (checking it failed: {type(error).__name__}: {error})"
        if isinstance(said, str):
            return said or None
        return None if said else f"this does not hold: {self.description}"


def checked(constraints: Sequence[object], *, of: str) -> tuple[str | Constraint, ...]:
    """The constraints, known to be usable.

    Raises:
        UsageError: They are one text, or one of them is neither text nor a Constraint.
    """
    if isinstance(constraints, str):
        raise UsageError(f"the constraints of {of} are one text: pass [{constraints!r}]")
    for each in constraints:
        if not isinstance(each, str | Constraint):
            raise UsageError(f"{each!r} among the constraints of {of} is neither text nor a Constraint: use Predicate")
    return tuple(constraints)  # type: ignore[arg-type]


def descriptions(constraints: Sequence[str | Constraint]) -> tuple[str, ...]:
    """What the model is told."""
    return tuple(each if isinstance(each, str) else each.description for each in constraints)


def broken(constraints: Sequence[str | Constraint], change: Change) -> tuple[str, ...]:
    """What is wrong with a new text, by the constraints that can be checked."""
    found = [each.broken(change) for each in constraints if not isinstance(each, str)]
    return tuple(each for each in found if each is not None)
