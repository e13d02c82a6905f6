"""A change that is not yet made, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wordgrad.core.variable import Variable
from wordgrad.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """A new text for one parameter; `after` is "" where `reasons` say why there is none."""

    name: str
    variable: Variable = field(repr=False)
    version: int
    """Of the value that it was made from."""
    before: str
    after: str = ""
    reasons: tuple[str, ...] = ()
    refusal: EngineError | None = field(default=None, repr=False, compare=False)
    """Where a server would not answer the request for what it says."""
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """New texts for all parameters with feedback, not yet applied."""

    candidate: int
    rewrites: tuple[Rewrite, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it cannot be applied; empty where it can."""
        return tuple(f"{each.name}: {reason}" for each in self.rewrites for reason in each.reasons)

    @property
    def values(self) -> Mapping[str, str]:
        """The new texts by parameter name, of the parameters that have one."""
        return {each.name: each.after for each in self.rewrites if not each.reasons}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step did. `calls` are the engine's calls that the proposals took, repairs included."""

    applied: bool
    reasons: tuple[str, ...] = ()
    """Why nothing was applied."""
    calls: int = 0
    proposals: tuple[Proposal, ...] = field(default=(), repr=False, compare=False)
