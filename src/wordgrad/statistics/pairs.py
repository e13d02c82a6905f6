"""Two texts' scores on the same rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean

from wordgrad.errors import UsageError

_DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The rows that both texts could be judged on; made by `paired()`."""

    start: tuple[float, ...]
    candidate: tuple[float, ...]
    """Its scores on the same rows, in the same order."""
    excluded: int
    """Rows that one of the two, or both, could not be judged on."""
    only_start: int
    """Units with a row that could be judged under the start, and not under the candidate."""
    only_candidate: int
    """Units with a row of the other kind."""
    bounds: tuple[float, float]
    """The worst and the best score."""

    @property
    def n(self) -> int:
        """Rows that were judged."""
        return len(self.start)

    @property
    def width(self) -> float:
        """From the worst to the best score."""
        return self.bounds[1] - self.bounds[0]

    @property
    def differences(self) -> tuple[float, ...]:
        """What the candidate gains on each row, as a share of the width: from -1 to 1.

        Nine decimals: 0.3 - 0.2 and 0.2 - 0.1 are the same gain.
        """
        both = zip(self.start, self.candidate, strict=True)
        return tuple(round((new - old) / self.width, _DECIMALS) for old, new in both)

    @property
    def binary(self) -> bool:
        """Whether every score is the worst or the best one."""
        return all(each in self.bounds for each in (*self.start, *self.candidate))


def paired(
    start: Sequence[float | None],
    candidate: Sequence[float | None],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    units: Sequence[Hashable] | None = None,
) -> Pairs:
    """Two texts' scores, row by row, without the rows that either could not be judged on.

    Args:
        start: Scores of the text that is in use, oriented so that more is better; None for an error, which is no zero.
        candidate: Scores on the same rows, in the same order.
        bounds: The worst and the best score.
        units: What each row belongs to (a customer, a conversation): rows of one unit count once, by their mean. None
            where each row stands alone.

    Raises:
        UsageError: The two are not of one length, a score is no number or outside the bounds, or these do not rise.
    """
    check_bounds(bounds)
    if len(start) != len(candidate):
        raise UsageError(
            f"{len(start)} scores of the start and {len(candidate)} of the candidate: score both on the same rows"
        )
    kept: dict[Hashable, list[tuple[float, float]]] = {}
    only_start, only_candidate = set[Hashable](), set[Hashable]()
    for place, (old, new) in enumerate(zip(start, candidate, strict=True)):
        for of, score in (("start", old), ("candidate", new)):
            check_score(f"row {place}: the {of}'s", score, bounds)
        unit = place if units is None else units[place]
        if old is not None and new is not None:
            kept.setdefault(unit, []).append((float(old), float(new)))
        elif old is not None:
            only_start.add(unit)
        elif new is not None:
            only_candidate.add(unit)
    return Pairs(
        start=tuple(fmean(old for old, _ in unit) for unit in kept.values()),
        candidate=tuple(fmean(new for _, new in unit) for unit in kept.values()),
        excluded=len(start) - sum(map(len, kept.values())),
        only_start=len(only_start),
        only_candidate=len(only_candidate),
        bounds=(float(bounds[0]), float(bounds[1])),
    )


def check_bounds(bounds: tuple[float, float]) -> None:
    """Raise UsageError where these do not rise, or are not finite."""
    low, high = bounds
    if not (low < high and math.isfinite(high - low)):
        raise UsageError(f"bounds={bounds!r} must rise, and be finite, as in (0, 1)")


def check_score(whose: str, score: float | None, bounds: tuple[float, float]) -> None:
    """Raise UsageError where a score lies outside the bounds; the message says whose it is."""
    low, high = bounds
    if score is not None and not low <= score <= high:  # NaN lies nowhere
        raise UsageError(
            f"{whose} score of {score!r} lies outside bounds={bounds!r}: fix the metric, or its bounds; give None for "
            "what could not be judged"
        )


def checked_share(name: str, value: float) -> float:
    """`value`, where it is more than 0 and less than 1.

    Raises:
        UsageError: It is not, or is no number; the message has its name.
    """
    if not isinstance(value, int | float):
        raise UsageError(f"{name}={value!r} is no number: give one that is more than 0 and less than 1, as in 0.05")
    if not 0 < value < 1:
        raise UsageError(f"{name}={value!r} must be more than 0 and less than 1, as in 0.05")
    return value
