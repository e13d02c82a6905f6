"""Whether a candidate replaces the incumbent."""

from __future__ import annotations

from dataclasses import dataclass

from wordgrad.statistics.pairs import Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison says, in numbers and in words."""

    better: bool
    start: float
    candidate: float
    n: int
    """Rows that both were scored on."""


def compare(pairs: Pairs) -> Verdict:
    """Compare two texts on the rows that both could be judged on: the candidate must have the larger mean.

    With no such row nothing is better.
    """
    if not pairs.n:
        return Verdict(better=False, start=0.0, candidate=0.0, n=0)
    old, new = sum(pairs.start) / pairs.n, sum(pairs.candidate) / pairs.n
    return Verdict(better=new > old, start=old, candidate=new, n=pairs.n)
