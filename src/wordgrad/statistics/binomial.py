"""The binomial distribution: what exact tests on pairs are made of."""

from __future__ import annotations

import math


def upper_tail(n: int, least: int) -> float:
    """The chance of at least `least` heads in `n` tosses of a fair coin; whole numbers until the last division."""
    return sum(math.comb(n, heads) for heads in range(max(least, 0), n + 1)) / (1 << n)


def heads_needed(n: int, alpha: float) -> int:
    """The fewest heads in `n` tosses that a fair coin reaches with a chance of at most `alpha`; n + 1 where none do."""
    total = 1 << n
    ways, heads = 0, n + 1
    while heads > 0:
        ways += math.comb(n, heads - 1)
        if ways / total > alpha:
            break
        heads -= 1
    return heads


def chance_of(n: int, heads: int, share: float) -> float:
    """The chance of exactly `heads` in `n` tosses of a coin that shows heads with chance `share`."""
    if share in {0.0, 1.0}:
        return float(heads == n * share)
    ways = math.lgamma(n + 1) - math.lgamma(heads + 1) - math.lgamma(n - heads + 1)
    return math.exp(ways + heads * math.log(share) + (n - heads) * math.log1p(-share))
