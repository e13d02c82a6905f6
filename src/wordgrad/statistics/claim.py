"""The claim of a run: its one candidate is better than the start, on rows that nothing else has seen."""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

from wordgrad.statistics.binomial import chance_of, heads_needed, upper_tail
from wordgrad.statistics.pairs import Pairs, checked_share

_DRAWS = 9_999
_HALVINGS = 40
_NEVER = 1e-300
_TINY = 1e-9
"""The least difference of two scores, as a share of their width."""
_MOST_ENUMERATED = 13  # rows that differ: 8,192 ways to flip their signs


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the sealed rows say. Scores and differences are in the metric's own unit."""

    p: float
    """The chance of such a difference, or a larger one, were the candidate no better."""
    alpha: float
    """The chance of a false claim that the whole run may take."""
    start: float | None
    """The start's mean; None where no row could be judged."""
    candidate: float | None
    difference: float
    """The candidate's mean less the start's; 0 where no row could be judged."""
    low: float
    """The difference is larger than this with confidence 1 - alpha; above 0 only where it is `proved`, and whenever it
    is for alpha >= 0.01."""
    high: float
    """The difference is smaller than this with confidence 1 - alpha."""
    n: int
    """Rows that both were judged on."""
    better: int
    """Rows that the candidate scored higher on."""
    worse: int
    excluded: int
    """Rows that one of the two, or both, could not be judged on. They count for neither."""

    @property
    def differ(self) -> int:
        """Rows that the two scored differently."""
        return self.better + self.worse

    @property
    def proved(self) -> bool:
        """Whether the candidate may replace the start."""
        return self.p <= self.alpha


def claim(pairs: Pairs, *, rng: random.Random, alpha: float = 0.05) -> Claim:
    """Test, once, whether the candidate is better than the start.

    One candidate meets the sealed rows, so alpha holds for the whole run, whatever the search did before. Calling this
    for a second candidate, or again after more rows were added, breaks that promise.

    Binary scores: the exact sign test on the rows that differ (McNemar's, one-sided). It never exceeds alpha. The mid-p
    version, which proves a little more, does: up to 6 % at an alpha of 5 %, where nearly all rows differ.

    Other scores: the signs of the differences are flipped in every way, or in 9,999 random ways where more than 13 rows
    differ. It never exceeds alpha where candidate and start are interchangeable. Where they are only equal on average,
    and few large losses stand against many small gains, it holds for many rows only, as a t test does.

    Rows are taken as independent: give the mean of each group where they come in groups.

    Args:
        pairs: Scores on sealed rows.
        rng: Draws the signs; binary scores need none.
        alpha: The chance of a false claim.

    Source:
        McNemar, "Note on the sampling error of the difference between correlated proportions", 1947; its interval:
        Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", 2005. Fisher, "The
        Design of Experiments", 1935, and Phipson and Smyth, "Permutation p-values should never be zero", 2010; its
        interval: Hartigan, "Using subsample values as typical values", 1969. Many rows: Romano, 1990.
    """
    checked_share("alpha", alpha)
    gains = pairs.differences
    better, worse = sum(each > 0 for each in gains), sum(each < 0 for each in gains)
    if pairs.binary:
        p, opposite = upper_tail(better + worse, better), upper_tail(better + worse, worse)
        low, high = _wald(gains, alpha)
        # The interval must not deny what the test, which is exact, does not.
        found = _Found(p, low if p <= alpha else min(low, 0.0), high if opposite <= alpha else max(high, 0.0))
    else:
        found = _flipped(gains, alpha, rng)
    n = pairs.n
    mean = math.fsum(gains) / n if n else 0.0
    return Claim(
        p=found.p,
        alpha=alpha,
        start=math.fsum(pairs.start) / n if n else None,
        candidate=math.fsum(pairs.candidate) / n if n else None,
        difference=mean * pairs.width,
        low=max(min(found.low, mean), -1.0) * pairs.width,
        high=min(max(found.high, mean), 1.0) * pairs.width,
        n=n,
        better=better,
        worse=worse,
        excluded=pairs.excluded,
    )


def likely_gain(pairs: Pairs, found: Claim) -> float:
    """What the difference of a proved claim likely is, in the metric's unit; as it is where nothing was proved.

    Only a large difference is a proof, so one that was proved is more often one of the lucky ones. This is the true
    difference that would lead to the one that was found on average, were only proofs looked at; at least `found.low`.
    Binary scores: by the binomial distribution of the rows that the candidate wins, of those that differ, or of all
    where it loses none. Others: by normal approximations. Where the true gain is so small that a proof is rare, it is
    still too large.

    Args:
        pairs: What was claimed on.
        found: The claim.

    Source:
        Zollner and Pritchard, "Overcoming the winner's curse", 2007; Zhong and Prentice, "Bias-reduced estimators and
        confidence intervals for odds ratios in genome-wide association studies", 2008.
    """
    gains = pairs.differences
    if not found.proved or not any(gains):
        return found.difference
    proved = _proved_wins(found) if pairs.binary else _proved_means(gains, found.alpha)
    mean = math.fsum(gains) / len(gains)
    low, high = min(max(found.low / pairs.width, 0.0), mean), mean
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        more = round(proved(middle) - mean, 9)  # nothing, where it takes all rows that differ to prove anything
        low, high = (low, middle) if more > 0 else (middle, high)
    return high * pairs.width


def _proved_wins(found: Claim) -> Callable[[float], float]:
    """The mean difference of proofs by the number of wins, by the true difference."""
    n = found.n
    if found.worse:  # of the rows that differ, as many as did: one that is not won is lost
        rows, least, loss = found.differ, heads_needed(found.differ, found.alpha), 1
    else:  # of all rows, where none is lost
        rows, least, loss = n, math.ceil(-math.log2(found.alpha)), 0
    wins = range(least, rows + 1)

    def proved(true: float) -> float:
        share = min((true * n / rows + loss) / (1 + loss), 1.0)  # rounding
        chances = [chance_of(rows, each, share) for each in wins]
        total = math.fsum(chances)
        won = math.fsum(map(operator.mul, wins, chances)) / total if total else least
        return (won - loss * (rows - won)) / n

    return proved


def _proved_means(gains: Sequence[float], alpha: float) -> Callable[[float], float]:
    """The mean difference of proofs by these gains' size, by the true difference."""
    n, squares, mean = len(gains), math.fsum(each * each for each in gains), math.fsum(gains) / len(gains)
    normal = NormalDist()
    least = -normal.inv_cdf(alpha) * math.sqrt(squares) / n  # from here on it is a proof
    error = math.sqrt(max(squares / n - mean * mean, 0.0) / n)

    def proved(true: float) -> float:
        if not error:
            return true
        beyond = (true - least) / error
        share = normal.cdf(beyond)
        return true + error * normal.pdf(beyond) / share if share > _NEVER else least

    return proved


def chance_better(pairs: Pairs, *, rng: random.Random, draws: int = 4_000) -> float:
    """How likely the candidate is the better one, given these scores alone: 0.5 before any row differs.

    It is the posterior chance that the candidate wins on more than half of the rows that differ (binary scores), or
    that its mean is higher (others), from a uniform prior: one made-up win and one made-up loss of usual size. It helps
    people to decide on more data. It is not the claim: looked at often, or at the best of many, it says too much.

    Source:
        Altham, "The analysis of matched proportions", 1971: a Beta(better + 1, worse + 1) posterior. Rubin, "The
        Bayesian bootstrap", 1981, which gives the same for binary scores.
    """
    moved = [each for each in pairs.differences if each]
    if not moved:
        return 0.5
    if pairs.binary:
        return 1 - upper_tail(len(moved) + 1, sum(each > 0 for each in moved) + 1)
    size = math.sqrt(math.fsum(each * each for each in moved) / len(moved))
    moved += [size, -size]
    weighed = (sum(rng.expovariate(1.0) * each for each in moved) for _ in range(draws))
    return (sum(each > 0 for each in weighed) + 1) / (draws + 2)  # draws alone cannot show certainty


class _Found(NamedTuple):
    p: float
    low: float
    high: float


def _flipped(gains: Sequence[float], alpha: float, rng: random.Random) -> _Found:
    """The test by flipped signs, and its interval: p <= alpha exactly where low > 0.

    Flipping a subset's signs gives a sum as large as the one that was found where the subset's own sum is at most 0.
    The means of the same subsets, in order, bound the difference. Few rows may all be alike, and these means with them:
    so the normal interval is kept as well, as far as it does not deny what the test does not.
    """
    units = [round(each * 10**9) for each in gains]  # whole: sums that are equal must compare as equal
    moved = [each for each in units if each]
    same = len(units) - len(moved)
    sums: list[tuple[int, int]]  # of each subset but the empty one, with its size
    if len(moved) <= _MOST_ENUMERATED:
        sums = [
            (sum(chosen), size) for size in range(1, len(moved) + 1) for chosen in itertools.combinations(moved, size)
        ]
    else:
        sums = []
        for _ in range(_DRAWS):
            chosen = [each for each in moved if rng.random() < 0.5]  # noqa: PLR2004 - a fair coin
            sums.append((sum(chosen), len(chosen)))
    count = 1 + len(sums)  # the empty one is what was found
    p = (1 + sum(each <= 0 for each, _ in sums)) / count
    place = math.floor(alpha * count)
    low, high = _wald(gains, alpha)
    if place < 1:  # so few rows differ that nothing could be proved: neither end may deny 0
        return _Found(p, min(low, 0.0), max(high, 0.0))
    # Rows without a difference belong to a subset or not, as the others do: they change its mean, never its sign.
    means = sorted(each / max(size + rng.getrandbits(same).bit_count(), 1) / 10**9 for each, size in sums)
    return _Found(p, min(means[place - 1], max(low, _TINY)), max(means[-place], min(high, -_TINY)))


def _wald(gains: Sequence[float], alpha: float) -> tuple[float, float]:
    """The normal interval with two made-up rows: half a gain and half a loss, of usual size, and one row alike."""
    if not gains:
        return -1.0, 1.0
    n, squares = len(gains) + 2, math.fsum(each * each for each in gains)
    usual = squares / sum(map(bool, gains)) if squares else 1.0
    mean = math.fsum(gains) / n
    variance = (squares + usual) / n - mean * mean
    half = -NormalDist().inv_cdf(alpha) * math.sqrt(variance / n)
    return mean - half, mean + half
