"""Whether a candidate replaces the incumbent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison says, in numbers and in words."""

    better: bool
    start: float
    candidate: float
    n: int
    """Rows that both were scored on."""


def compare(incumbent: Sequence[float | None], candidate: Sequence[float | None]) -> Verdict:
    """Compare two texts on the same rows: the candidate must have the larger mean.

    Args:
        incumbent: The scores of what is kept so far, oriented so that more is better; None where a metric could not
            judge.
        candidate: The candidate's scores on the same rows, in the same order.

    Returns:
        The means over the rows that both could be judged on. With no such row nothing is better.
    """
    pairs = [(old, new) for old, new in zip(incumbent, candidate, strict=True) if old is not None and new is not None]
    if not pairs:
        return Verdict(better=False, start=0.0, candidate=0.0, n=0)
    old = sum(each for each, _ in pairs) / len(pairs)
    new = sum(each for _, each in pairs) / len(pairs)
    return Verdict(better=new > old, start=old, candidate=new, n=len(pairs))
