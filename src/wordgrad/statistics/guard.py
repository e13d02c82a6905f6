"""Guardrails: what a better candidate must not have made worse."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from wordgrad.errors import UsageError
from wordgrad.statistics.betting import lower_bound
from wordgrad.statistics.pairs import Pairs, checked_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Whether a guarded metric was kept. Differences are in the metric's own unit, more is better."""

    difference: float
    """The candidate's mean less the start's; 0 where no row could be judged."""
    low: float
    """The difference is larger than this with confidence 1 - alpha, whatever the scores' distribution."""
    margin: float
    """The loss that would be borne."""
    n: int
    excluded: int
    """Rows that one of the two, or both, could not be judged on."""

    @property
    def kept(self) -> bool:
        """Whether a loss of `margin` or more is ruled out. Too few rows rule out nothing."""
        return self.low > -self.margin


def not_worse(pairs: Pairs, *, margin: float, rng: random.Random, alpha: float = 0.05) -> Guard:
    """Test whether the candidate is at most `margin` worse than the start (paired non-inferiority).

    Where several guardrails must all hold, each may use alpha: a bad candidate has to pass the one that it breaks.

    The bound is by betting: a gambler who stakes on the candidate multiplies the stake by 1 / alpha with a chance of at
    most alpha, if the mean is no higher than what is tested. No distribution and no number of rows is assumed.

    Args:
        pairs: Scores of the guarded metric on rows that the search has not used.
        margin: The largest loss that would be borne, in the metric's unit; more than 0.
        rng: Draws the order in which the rows are bet on: an order in the file must not decide.
        alpha: The chance to pass a candidate that loses `margin` or more.

    Source:
        Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024: their predictable bets
        for a fixed number of rows, one-sided. Several guardrails: Berger, 1982.
    """
    checked_share("alpha", alpha)
    if not 0 < margin < pairs.width:
        raise UsageError(f"margin={margin!r} must be more than 0 and less than {pairs.width}, the width of the scores")
    gains = list(pairs.differences)
    rng.shuffle(gains)
    low = 2 * lower_bound([(1 + each) / 2 for each in gains], alpha) - 1
    return Guard(
        difference=math.fsum(gains) / len(gains) * pairs.width if gains else 0.0,
        low=low * pairs.width,
        margin=margin,
        n=pairs.n,
        excluded=pairs.excluded,
    )
