"""Momentum: what earlier steps saw and asked for, so that a step does not undo or repeat them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from wordgrad.errors import UsageError
from wordgrad.prompts import indented
from wordgrad.types import JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One parameter at one earlier step."""

    step: int
    value: str
    """What it held then."""
    changes: tuple[str, ...]
    """What the gradients asked for."""


class History:
    """The last `window` steps of each parameter, by name. Text has no average, so they are kept apart.

    Source:
        Yuksekgonul et al., "TextGrad", 2024 (its momentum option).
        Differs: past gradients are repeated beside past values.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._past: dict[str, deque[Past]] = {}

    def add(self, name: str, past: Past) -> None:
        """Remember a step; the oldest one beyond the window is forgotten."""
        self._past.setdefault(name, deque(maxlen=self.window)).append(past)

    def text(self, name: str, present: str) -> str:
        """What earlier steps saw, oldest first; a value that is still the present one is not repeated."""
        entries = []
        for past in self._past.get(name, ()):
            value = "(the current text: it was not replaced)" if past.value == present else past.value
            asked = [f"asked: {indented(change)}" for change in past.changes]
            entries.append("\n".join((f"step {past.step}", f"text: {indented(value)}", *asked)))
        return "\n".join(entries)

    def of(self, window: int) -> History:
        """The same, with another window."""
        other = History(window)
        other._past = {name: deque(entries, maxlen=window) for name, entries in self._past.items()}
        return other

    def state_dict(self) -> dict[str, JSON]:
        """Plain JSON."""
        return {
            name: [{"step": each.step, "value": each.value, "changes": list(each.changes)} for each in entries]
            for name, entries in self._past.items()
        }

    def load_state_dict(self, state: JSON, names: Sequence[str]) -> None:
        """Take over the state of another history.

        Raises:
            UsageError: It is no such state, or has parameters that are not in `names`.
        """
        try:
            found: Mapping[str, list[Past]] = TypeAdapter(dict[str, list[Past]]).validate_python(state)
        except ValidationError as error:
            raise UsageError(f"this is no state of an optimizer's history: {error}") from error
        unknown = [name for name in found if name not in names]
        if unknown:
            raise UsageError(f"the state is of other parameters: {unknown}; this optimizer has {list(names)}")
        self._past = {name: deque(entries, maxlen=self.window) for name, entries in found.items()}
