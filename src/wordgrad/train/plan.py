"""How long a search is, how wide, and who is asked."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from wordgrad.core.walk import Strategy
from wordgrad.engines.defaults import resolve
from wordgrad.errors import UsageError
from wordgrad.functions.strategies import per_node
from wordgrad.types import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long a search is, how wide, and who is asked."""

    steps: int = 3
    batch: int = 8
    """Training rows that one step learns from."""
    candidates: int = 8
    """Rewrites that race against the present text."""
    momentum: int = 0
    """Past steps that the rewriter is shown."""
    strategy: Strategy = per_node
    """How feedback passes a model call."""
    critic: str | Engine | None = None
    """Who writes the gradients; the default backward engine where None."""
    rewriter: str | Engine | None = None
    """Who rewrites; the critic where None."""
    compressions: int = 0
    """Rewrites at the end that say in fewer words what grew in the search; one that does as well takes its place."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("candidates", 1), ("momentum", 0), ("compressions", 0)):
            value = getattr(self, name)
            # numpy's whole numbers too, of a sweep; True would pass for 1.
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise UsageError(f"{name}={value!r}: a plan needs a whole number, {least} or more")
        if isinstance(self.strategy, type) or not callable(getattr(self.strategy, "propagate", None)):
            raise UsageError(
                f"strategy={self.strategy!r} is no strategy: give wg.per_node, wg.per_edge or wg.fused, or an object "
                "with propagate(trace)"
            )

    @property
    def most_steps(self) -> int:
        """Steps of a search that has something to compress in the end."""
        return self.steps + (self.compressions > 0)

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """Who writes the gradients, and who rewrites."""
        critic = resolve(self.critic)
        return critic, critic if self.rewriter is None else resolve(self.rewriter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Another plan from some step on: what if?"""

    step: int
    """The first step under it; from 2."""
    plan: Plan
    margin: float
