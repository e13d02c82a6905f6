"""What a claim can prove, before and after it is tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from wordgrad.errors import UsageError
from wordgrad.statistics.binomial import chance_of, heads_needed
from wordgrad.statistics.pairs import checked_share

_NEGLIGIBLE = 1e-12
_HALVINGS = 30
_MOST_ROWS = 1_024
_SUMMED = 1_000


def power(gain: float, *, differ: float, n: int, alpha: float = 0.05) -> float:
    """The chance that `claim()` proves a true gain, for binary scores.

    For graded scores give gain / d, where d is the usual size of a difference on a row: an approximation.

    Args:
        gain: The candidate's true mean less the start's, as a share: 0.1 is ten points.
        differ: The share of rows that the two score differently; at least the gain. 0.2 with a gain of 0.1 means 15 %
            of rows better and 5 % worse.
        n: Rows of the claim.
        alpha: Of the claim.

    Source:
        Connor, "Sample size for testing differences in proportions for the paired-sample design", 1987; exact here.
    """
    if not 0 < differ <= 1 or abs(gain) > differ:
        raise UsageError(f"{gain=}, {differ=}: rows that differ are a share up to 1, and no gain is larger than they")
    return _power(gain, differ, _limits(n, checked_share("alpha", alpha)))


def smallest_gain(n: int, *, worse: float, wanted: float = 0.8, alpha: float = 0.05) -> float | None:
    """The smallest true gain that `n` rows prove with power `wanted`; None where they can prove none.

    Args:
        n: Rows of the claim; more than 1,000 are taken as 1,000, which prove less.
        worse: The share of rows that the candidate scores lower; it scores that share and the gain higher.
        wanted: The power.
        alpha: Of the claim.
    """
    checked_share("wanted", wanted)
    if not 0 <= worse < 0.5:  # noqa: PLR2004 - a gain needs more rows that get better
        raise UsageError(f"{worse=}: the share of rows that get worse is at least 0 and less than 0.5")
    limits = _limits(min(n, _SUMMED), checked_share("alpha", alpha))
    low, high = 0.0, 1 - 2 * worse
    if _power(high, 1.0, limits) < wanted:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _power(middle, middle + 2 * worse, limits) < wanted:
            low = middle
        else:
            high = middle
    return high


def disagreements_needed(better: int, worse: int, *, wanted: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many new rows on which the two texts disagree a new claim needs, to prove with power `wanted`.

    These are rows to label: a row that both score alike decides nothing. The claim is then on the new rows alone, as
    rows that were looked at once are spent. The candidate's share of wins is taken to be (better + 1) / (all + 2).

    Args:
        better: Rows seen so far that the candidate scored higher on.
        worse: Rows seen so far that it scored lower on.
        wanted: The power.
        alpha: Of the new claim.

    Returns:
        None where the candidate did not win more often than it lost, or more than 1,024 would be needed.
    """
    checked_share("wanted", wanted)
    checked_share("alpha", alpha)
    share = (better + 1) / (better + worse + 2)
    if better <= worse:
        return None
    step = 1
    while not _suffices(step, share, wanted, alpha):
        step *= 2
        if step > _MOST_ROWS:
            return None
    # Power rises in a saw's teeth, so the halves of an interval say nothing: each number in it is tried.
    return next(m for m in range(step // 2, step + 1) if _suffices(m, share, wanted, alpha))


def differences_needed(gains: Sequence[float], *, wanted: float = 0.8, alpha: float = 0.05) -> int | None:
    """As `disagreements_needed()`, for graded scores: by a normal approximation, with one more gain and loss.

    Args:
        gains: The differences on the rows seen so far on which the two texts differ.
        wanted: The power.
        alpha: Of the new claim.

    Returns:
        Rows on which the two differ; None where the candidate is no better so far, or more than 1,024 would be needed.
    """
    checked_share("wanted", wanted)
    checked_share("alpha", alpha)
    mean = math.fsum(gains) / (len(gains) + 2)
    if mean <= 0:
        return None
    square = math.fsum(each * each for each in gains) / len(gains)
    normal = NormalDist()
    # Were it no better, signs would be flipped: differences then have the mean 0, and all of their square is variance.
    standard = normal.inv_cdf(1 - alpha) * math.sqrt(square) + normal.inv_cdf(wanted) * math.sqrt(square - mean * mean)
    rows = math.ceil((max(standard, 0.0) / mean) ** 2)
    return rows if rows <= _MOST_ROWS else None


def _suffices(m: int, share: float, wanted: float, alpha: float) -> bool:
    return math.fsum(chance_of(m, heads, share) for heads in range(heads_needed(m, alpha), m + 1)) >= wanted


def _limits(n: int, alpha: float) -> list[int]:
    """For each number of rows that differ, the wins that prove."""
    if n < 0:
        raise UsageError(f"{n=}: rows cannot be fewer than none")
    return [heads_needed(m, alpha) for m in range(n + 1)]


def _power(gain: float, differ: float, limits: Sequence[int]) -> float:
    n = len(limits) - 1
    share = (differ + gain) / (2 * differ)
    chances = []
    for m, limit in enumerate(limits):
        weight = chance_of(n, m, differ)
        if weight > _NEGLIGIBLE:
            chances.append(weight * math.fsum(chance_of(m, heads, share) for heads in range(limit, m + 1)))
    return math.fsum(chances)
