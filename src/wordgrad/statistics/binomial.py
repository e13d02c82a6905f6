"""The binomial distribution: what exact tests on pairs are made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator


def upper_tail(n: int, least: int) -> float:
    """The chance of at least `least` heads in `n` tosses of a fair coin; whole numbers until the last division."""
    return sum(itertools.islice(_ways(n), max(n + 1 - max(least, 0), 0))) / (1 << n)


def heads_needed(n: int, alpha: float) -> int:
    """The fewest heads in `n` tosses that a fair coin reaches with a chance of at most `alpha`; n + 1 where none do."""
    total, enough = 1 << n, itertools.accumulate(_ways(n))
    return n + 1 - sum(1 for _ in itertools.takewhile(lambda ways: ways / total <= alpha, enough))


def _ways(n: int) -> Iterator[int]:
    """In how many ways `n` tosses show n heads, n - 1, and so on to none."""
    ways = 1
    for tails in range(n + 1):
        yield ways
        ways = ways * (n - tails) // (tails + 1)


def chance_of(n: int, heads: int, share: float) -> float:
    """The chance of exactly `heads` in `n` tosses of a coin that shows heads with chance `share`."""
    if share in {0.0, 1.0}:
        return float(heads == n * share)
    ways = math.lgamma(n + 1) - math.lgamma(heads + 1) - math.lgamma(n - heads + 1)
    return math.exp(ways + heads * math.log(share) + (n - heads) * math.log1p(-share))
