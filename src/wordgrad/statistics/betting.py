"""Bounds for a mean by betting: no distribution and no number of rows is assumed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from wordgrad.statistics.pairs import check_bounds, check_score, checked_share

_LARGEST_BET = 0.75  # of what a row could lose at most
_HALVINGS = 40


class Interval(NamedTuple):
    """Where a mean lies."""

    low: float
    high: float


def mean_interval(
    scores: Sequence[float], *, rng: random.Random, bounds: tuple[float, float] = (0.0, 1.0), alpha: float = 0.05
) -> Interval:
    """Where the mean lies from which these scores were drawn, with confidence 1 - alpha; all of `bounds` without any.

    Args:
        scores: Of independent rows, within `bounds`.
        rng: Draws the order in which the rows are bet on: an order in the file must not decide.
        bounds: The lowest and the highest score.
        alpha: The chance that the mean lies elsewhere, at most.

    Source:
        Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024: their predictable bets
        for a fixed number of rows, half of alpha for each side.
    """
    checked_share("alpha", alpha)
    check_bounds(bounds)
    for place, score in enumerate(scores):
        check_score(f"row {place}: the", score, bounds)
    low, high = bounds
    shares = [(each - low) / (high - low) for each in scores]
    rng.shuffle(shares)
    least = lower_bound(shares, alpha / 2)
    most = 1 - lower_bound([1 - each for each in shares], alpha / 2)
    return Interval(low + least * (high - low), low + most * (high - low))


def lower_bound(values: Sequence[float], alpha: float) -> float:
    """The largest mean that the bets of all rows, in order, rule out at `alpha`; `values` are from 0 to 1."""
    bets = _bets(values, alpha)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _ruled_out(middle, values, bets, alpha):
            low = middle
        else:
            high = middle
    return low


def _bets(values: Sequence[float], alpha: float) -> list[float]:
    """The stake on each row, from the rows before it only."""
    bets: list[float] = []
    total, squares = 0.5, 0.25  # as if one row of 1/2 had come before
    for seen, value in enumerate(values, start=1):
        bets.append(math.sqrt(2 * math.log(1 / alpha) / (len(values) * squares / seen)))
        total += value
        squares += (value - total / (seen + 1)) ** 2
    return bets


def _ruled_out(mean: float, values: Sequence[float], bets: Sequence[float], alpha: float) -> bool:
    """Whether the bets against `mean` ever win 1 / alpha. True for every smaller mean as well."""
    wealth = 1.0
    for value, bet in zip(values, bets, strict=True):
        wealth *= 1 + min(bet, _LARGEST_BET / mean) * (value - mean)
        if wealth >= 1 / alpha:
            return True
    return False
