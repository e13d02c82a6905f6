"""What texts scored on rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wordgrad.core.value import Result
from wordgrad.errors import EngineError
from wordgrad.losses.base import Scale

_UNJUDGED = Result(value="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One text's scores, in the order of the rows; None where the metric could not judge."""

    values: tuple[float | None, ...]
    passed: tuple[bool, ...]
    tags: tuple[Mapping[str, str], ...] = ()
    """The kind of each row, where the metric says it."""

    @property
    def known(self) -> list[float]:
        """The scores there are."""
        return [each for each in self.values if each is not None]

    @property
    def mean(self) -> float | None:
        """Of the scores there are; None where there is none."""
        known = self.known
        return sum(known) / len(known) if known else None

    @classmethod
    def from_results(cls, results: Sequence[Result | EngineError]) -> Scores:
        """Those of judgements, one a row; a refused one could not judge."""
        judged = [_UNJUDGED if isinstance(each, EngineError) else each for each in results]
        return cls(
            values=tuple(each.score for each in judged),
            passed=tuple(bool(each.passed) for each in judged),
            tags=tuple(each.tags for each in judged),
        )

    def oriented(self, scale: Scale) -> list[float | None]:
        """The scores, with more as better."""
        sign = 1 if scale.higher_is_better else -1
        return [None if each is None else sign * each for each in self.values]

    def of(self, rows: Sequence[int]) -> Scores:
        """The scores of these rows alone."""
        return Scores(values=tuple(self.values[row] for row in rows), passed=tuple(self.passed[row] for row in rows))

    def broke(self, row: int) -> bool:
        """Whether a row was judged and does not pass."""
        return self.values[row] is not None and not self.passed[row]

    def as_well_as(self, other: Scores, scale: Scale) -> bool:
        """Whether as many rows were judged as under another text, and the mean is no worse."""
        if self.mean is None or other.mean is None:
            return other.mean is None
        gain = self.mean - other.mean if scale.higher_is_better else other.mean - self.mean
        return gain >= 0 and len(self.known) >= len(other.known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Rows of one kind, under two texts."""

    name: str
    """"language: fr"."""
    n: int
    start: float | None
    """The mean; None where no row could be judged."""
    end: float | None


def slices(start: Scores, end: Scores) -> list[Slice]:
    """The scores of each kind of row, by the tags that the metric gave under the start; in the order of first rows."""
    rows: dict[str, list[int]] = {}
    for row, tags in enumerate(start.tags):
        for name, value in tags.items():
            rows.setdefault(f"{name}: {value}", []).append(row)
    return [
        Slice(name=name, n=len(places), start=start.of(places).mean, end=end.of(places).mean)
        for name, places in rows.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One text's answers, and their scores by all metrics, in the order of the rows."""

    outputs: tuple[str | None, ...]
    """None where a request was refused."""
    target: Scores
    guardrails: Mapping[str, Scores]


def nothing_learned(what: str, *, rows: int, failing: int, unjudged: int, refusal: str) -> str:
    """Why so many rows led to no feedback, in words; they are called `what`, and a refusal is a critic's."""
    if failing:
        refused = f" (a critic was refused: {refusal})" if refusal else ""
        return f"{failing} of {rows} {what} fail, and nothing asks for a change{refused}"
    beside = f", and {unjudged} could not be judged" if unjudged else ""
    return f"{rows - unjudged} of {rows} {what} pass{beside}: nothing to learn from"


def broken(start: Scores, candidate: Scores) -> int:
    """Rows on which a hard constraint is broken, or can be judged under the start only."""
    rows = range(len(candidate.values))
    unjudged = [start.values[row] is not None and candidate.values[row] is None for row in rows]
    return sum(candidate.broke(row) or unjudged[row] for row in rows)
