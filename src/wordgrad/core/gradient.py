"""One piece of feedback on one Variable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from wordgrad.types import Index

Key: TypeAlias = tuple[str, str, Index, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradient:
    """What should change about a Variable, and the evidence for it.

    `example`, `objective`, `consumer` and `slot` are its key: a second gradient with the same key replaces the
    first, so retries and duplicates cannot matter. One without an objective is keyed by its words in its place: a
    person may have several things to say.
    """

    text: str
    """The requested change."""
    example: str = ""
    objective: str = ""
    """What the output is judged by; never blank in a gradient that a backward pass made."""
    consumer: Index = ()
    """The call that read the Variable."""
    slot: int = 0
    """Which of the call's inputs the Variable was."""

    severity: int = 2
    """0 (cosmetic) to 3 (the output is useless)."""
    quote: str = ""
    """The words of the trace that show the fault."""
    keep: str = ""
    """What must not be lost in the change."""
    segment: str = ""
    """Which part of a larger text the Variable was, where it was joined into one."""

    input: str = ""
    """What the call was asked, beside the Variable itself."""
    output: str = ""
    """What the call answered."""
    expected: str = ""
    score: float | None = None
    feedback: str = field(default="", repr=False)
    """The loss's own words: what a chain of critics could have paraphrased away."""
    context: str = field(default="", repr=False)
    """What the loss was told beside the output (a question, sources)."""

    @property
    def key(self) -> Key:
        """What makes two gradients the same one."""
        return (self.example, self.objective or self.text, self.consumer, self.slot)
