"""Two streams of scores, compared at any time: what a rollout may be stopped or promoted by."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from wordgrad.errors import UsageError
from wordgrad.statistics.pairs import check_bounds, check_score, checked_share

_LEAST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What is known of one of the two texts; made by `arm()`."""

    n: int
    """Units with at least one score."""
    mean: float
    """Of the units' means; 0 where there is none."""
    variance: float
    """Of the units' means, with one made-up unit at each end of the bounds."""
    excluded: int
    """Scores that were errors."""


def arm(scores: Iterable[tuple[Hashable, float | None]], *, bounds: tuple[float, float] = (0.0, 1.0)) -> Arm:
    """One arm from its scores so far: one mean for each unit, as the sessions of one user are no independent users.

    Args:
        scores: Unit (a user, a conversation) and score, oriented so that more is better; None for an error, which is no
            zero. A unit must stay in its arm.
        bounds: The worst and the best score.

    Raises:
        UsageError: A score is no number or outside the bounds, or these do not rise.
    """
    check_bounds(bounds)
    units: dict[Hashable, list[float]] = {}
    excluded = 0
    for unit, score in scores:
        check_score(f"unit {unit!r}: the", score, bounds)
        if score is None:
            excluded += 1
        else:
            units.setdefault(unit, []).append(score)
    means = [math.fsum(each) / len(each) for each in units.values()]
    return Arm(
        n=len(means),
        mean=math.fsum(means) / len(means) if means else 0.0,
        variance=variance(means, bounds),
        excluded=excluded,
    )


def variance(means: Iterable[float], bounds: tuple[float, float]) -> float:
    """The variance of the units' means and of one made-up unit at each end of the bounds.

    Without these a hundred units alike would have none, and the next one would raise an alarm.
    """
    values = [*means, *bounds]
    mean = math.fsum(values) / len(values)
    return math.fsum((each - mean) ** 2 for each in values) / len(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where the difference of two means lies, candidate less production; each end holds at every look so far."""

    difference: float
    low: float
    """The difference is larger than this, at all looks at once, with confidence 1 - alpha; -inf with too few units."""
    high: float
    """The difference is smaller than this, likewise; inf with too few units."""
    n: int
    """Units in both arms."""


def difference(production: Arm, candidate: Arm, *, planned: int, alpha: float = 0.05, least: int = _LEAST) -> Span:
    """Compare two arms, as often as anybody looks.

    A rollback is due where `high` is below 0, a promotion where `low` is above minus the margin. Each is one-sided at
    alpha: with several guard metrics divide alpha by their number.

    Only what ran at the same time is compared. Weights that change make new arms: units of different stages, pooled,
    would compare Mondays with Sundays.

    Args:
        production: The arm in use.
        candidate: The arm that may replace it.
        planned: Units in both arms at about which a decision is expected. The bounds are tightest there, and hold
            everywhere.
        alpha: The chance that an end is ever wrong.
        least: Units that each arm needs before anything is said: the bounds are of the normal approximation, made to
            hold at all times.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
        sequences", 2024: the one-sided sequence, with the variance of two means.
    """
    if not checked_share("alpha", alpha) < 0.5:  # noqa: PLR2004 - a bound that holds more often than not
        raise UsageError(f"alpha={alpha!r} must be less than 0.5, as in 0.05")
    if planned < 1 or least < 1:
        raise UsageError(f"{planned=}, {least=}: give 1 unit or more")
    n = production.n + candidate.n
    found = candidate.mean - production.mean
    if min(production.n, candidate.n) < least:
        return Span(difference=found, low=-math.inf, high=math.inf, n=n)
    spread = math.sqrt(n * (production.variance / production.n + candidate.variance / candidate.n))
    half = spread * _half_width(n, planned, alpha)
    return Span(difference=found, low=found - half, high=found + half, n=n)


def _half_width(n: int, planned: int, alpha: float) -> float:
    """The half width for a standard deviation of 1, by a half-normal mixture that is narrowest at `planned`."""
    tight = -2 * math.log(2 * alpha)
    rho2 = (tight + math.log(tight + 1)) / planned
    grown = n * rho2 + 1
    return math.sqrt(2 * grown / (n * n * rho2) * math.log1p(math.sqrt(grown) / (2 * alpha)))
