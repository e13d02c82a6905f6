"""The claim of a run, against scipy, on hard cases, and under simulation."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from wordgrad.errors import UsageError
from wordgrad.statistics.binomial import chance_of, heads_needed, upper_tail
from wordgrad.statistics.claim import Claim, chance_better, claim, likely_gain
from wordgrad.statistics.guard import Guard, not_worse
from wordgrad.statistics.pairs import Pairs, paired

SCORE = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))


def rng(seed: int = 0) -> random.Random:
    """Randomness of the test's own."""
    return random.Random(seed)


def counted(better: int, worse: int, alike: int = 0) -> Pairs:
    """Binary scores with so many rows better and worse."""
    return paired([0] * better + [1] * worse + [1] * alike, [1] * better + [0] * worse + [1] * alike)


def drawn(of: random.Random, n: int, gain: float, differ: float) -> Pairs:
    """Binary scores of n rows with a true gain."""
    better, worse = (differ + gain) / 2, (differ - gain) / 2
    kinds = of.choices([(0, 1), (1, 0), (1, 1)], [better, worse, 1 - differ], k=n)
    return paired([old for old, _ in kinds], [new for _, new in kinds])


def test_binomial_is_scipys() -> None:
    """Tail, limit and single chances agree with scipy for all small n."""
    for n in range(40):
        for k in range(n + 2):
            assert upper_tail(n, k) == pytest.approx(stats.binom.sf(k - 1, n, 0.5), rel=1e-12, abs=1e-15)
        for share in (0.0, 0.2, 0.75, 1.0):
            found = [chance_of(n, k, share) for k in range(n + 1)]
            assert found == pytest.approx(stats.binom.pmf(range(n + 1), n, share), rel=1e-9, abs=1e-15)
        for alpha in (0.01, 0.05, 0.2):
            needed = heads_needed(n, alpha)
            assert needed > n or upper_tail(n, needed) <= alpha
            assert upper_tail(n, needed - 1) > alpha


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 0), (15, 5), (5, 15), (40, 40), (700, 600)])
def test_binary_scores_get_the_exact_test(better: int, worse: int) -> None:
    """The p value is the binomial test's, on the rows that differ; rows alike change nothing."""
    expected = stats.binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0

    assert claim(counted(better, worse, 30), rng=rng()).p == pytest.approx(expected, rel=1e-9)
    assert claim(counted(better, worse, 31), rng=rng()).p == claim(counted(better, worse), rng=rng()).p


@pytest.mark.parametrize("seed", range(5))
def test_graded_scores_get_every_flip_of_signs(seed: int) -> None:
    """Up to 13 rows that differ, the p value is scipy's exact permutation test."""
    of = rng(seed)
    start = [round(of.random(), 1) for _ in range(9)]
    candidate = [round(min(1.0, each + of.choice([-0.1, 0.0, 0.1, 0.3])), 1) for each in start]

    def statistic(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return np.round(np.mean(second - first, axis=axis), 9)

    expected = stats.permutation_test(
        (start, candidate),
        statistic,
        permutation_type="samples",
        alternative="greater",
        n_resamples=math.inf,
        vectorized=True,
    )

    assert claim(paired(start, candidate), rng=of).p == pytest.approx(expected.pvalue, abs=1e-12)


def test_many_graded_scores_are_drawn() -> None:
    """With more rows the drawn p value is close to the exact one: here the binomial's, of steps of equal size."""
    start, candidate = [0.5] * 40, [0.75] * 26 + [0.25] * 14

    found = claim(paired(start, candidate), rng=rng())

    assert found.p == pytest.approx(upper_tail(40, 26), abs=0.006)  # three standard errors of 9,999 draws
    assert found == claim(paired(start, candidate), rng=rng())


@pytest.mark.parametrize(
    ("n", "differ", "gain", "lucky"),
    [
        (50, 0.2, 0.15, 0.015),
        (100, 0.2, 0.1, 0.02),
        (100, 0.2, 0.2, -0.01),
        (200, 0.2, 0.05, 0.02),
        (200, 0.2, 0.1, -0.01),
        (30, 0.3, 0.15, 0.08),
        (40, 0.12, 0.12, 0.03),
    ],
)
def test_a_likely_gain_is_true_on_average(n: int, differ: float, gain: float, lucky: float) -> None:
    """Of what was proved: the difference is up to ten points too large there, the likely gain two at most."""
    draws = rng(n)
    found: list[tuple[float, float]] = []
    while len(found) < 400:
        kinds = draws.choices([(0, 1), (1, 0), (1, 1)], [(differ + gain) / 2, (differ - gain) / 2, 1 - differ], k=n)
        pairs = paired([old for old, _ in kinds], [new for _, new in kinds])
        proof = claim(pairs, rng=draws)
        if proof.proved:
            found.append((proof.difference, likely_gain(pairs, proof)))

    assert fmean(difference for difference, _ in found) - gain > lucky
    assert abs(fmean(likely for _, likely in found) - gain) < 0.02
    assert all(likely <= difference for difference, likely in found)


def test_a_likely_gain_of_graded_scores_is_true_on_average() -> None:
    """Half a point is won or lost on a row: the difference is more than one point too large, the likely gain is not."""
    draws = rng()
    found: list[tuple[float, float]] = []
    while len(found) < 60:
        kinds = draws.choices([(0.25, 0.75), (0.75, 0.25), (0.75, 0.75)], [0.15, 0.05, 0.8], k=60)
        pairs = paired([old for old, _ in kinds], [new for _, new in kinds])
        proof = claim(pairs, rng=draws)
        if proof.proved:
            found.append((proof.difference, likely_gain(pairs, proof)))

    assert fmean(difference for difference, _ in found) - 0.05 > 0.01
    assert abs(fmean(likely for _, likely in found) - 0.05) < 0.01


def test_a_likely_gain_is_at_least_what_is_sure() -> None:
    """In the metric's unit; without a proof, or where all rows are won, it is the difference."""
    barely, unproved, sure, few = (
        paired(start, candidate, bounds=(0, 10))
        for start, candidate in (
            ([0] * 15 + [10] * 45, [10] * 15 + [0] * 5 + [10] * 40),
            ([0] * 4 + [10] * 8, [10] * 4 + [0] * 4 + [10] * 4),
            ([0] * 30, [10] * 30),
            ([0] * 7, [10] * 7),
        )
    )
    found = [claim(each, rng=rng()) for each in (barely, unproved, sure, few)]
    likely = [likely_gain(pairs, each) for pairs, each in zip((barely, unproved, sure, few), found, strict=True)]

    assert [each.proved for each in found] == [True, False, True, True]
    assert found[0].low <= likely[0] < found[0].difference == pytest.approx(10 / 6)
    assert likely[1:] == [0.0, 10.0, 10.0]


def test_a_claim_says_all() -> None:
    """Means, difference, interval and counts, in the metric's unit; errors count for neither."""
    start = [0, 0, 0, 0, 0, 0, 10, 10, None, 10]
    candidate = [10, 10, 10, 10, 10, 0, 10, 10, 10, None]

    found = claim(paired(start, candidate, bounds=(0, 10)), rng=rng())

    assert found == Claim(
        p=1 / 32,
        alpha=0.05,
        start=2.5,
        candidate=8.75,
        difference=6.25,
        low=found.low,
        high=found.high,
        n=8,
        better=5,
        worse=0,
        excluded=2,
    )
    assert (found.differ, found.proved) == (5, True)
    assert 0 < found.low < 6.25 < found.high < 10


def test_without_a_row_nothing_is_claimed() -> None:
    """No row, or errors only: p is 1, no mean is made up, and any difference is possible."""
    for pairs in (paired([], []), paired([None, 1.0], [1.0, None])):
        found = claim(pairs, rng=rng())

        assert (found.p, found.proved, found.n) == (1.0, False, 0)
        assert (found.start, found.candidate, found.difference) == (None, None, 0.0)
        assert (found.low, found.high) == (-1.0, 1.0)
        assert chance_better(pairs, rng=rng()) == 0.5


@pytest.mark.parametrize("score", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("n", [1, 2, 100])
def test_scores_all_alike_prove_nothing(score: float, n: int) -> None:
    """Ties on every row: p is 1, the interval lies around 0 and narrows with the rows."""
    found = claim(paired([score] * n, [score] * n), rng=rng())

    assert (found.p, found.difference, found.differ) == (1.0, 0.0, 0)
    assert found.low == -found.high < 0
    assert (found.high < 0.02) == (n == 100)


def test_one_row_proves_nothing() -> None:
    """Not at any usual alpha: a coin shows heads once in two tosses."""
    for candidate in (1.0, 0.5):
        found = claim(paired([0.0], [candidate]), rng=rng())

        assert (found.p, found.proved) == (0.5, False)


def test_the_interval_never_denies_what_is_proved() -> None:
    """For binary scores: wherever the exact test proves, the interval lies above 0."""
    for better, worse, alike in itertools.product(range(31), range(31), (0, 5, 1_000)):
        for alpha in (0.01, 0.05, 0.1):
            if upper_tail(better + worse, better) <= alpha:
                assert claim(counted(better, worse, alike), rng=rng(), alpha=alpha).low > 0


@given(st.lists(st.tuples(SCORE, SCORE), max_size=20), st.sampled_from([0.02, 0.05, 0.2]))
@example([(0.0, 0.5), (0.0, 0.5)], 0.2)
@settings(max_examples=60, deadline=None)
def test_any_scores_have_a_claim(rows: list[tuple[float | None, float | None]], alpha: float) -> None:
    """The interval holds the difference, and graded scores prove exactly where it lies above 0."""
    pairs = paired([old for old, _ in rows], [new for _, new in rows])

    found = claim(pairs, rng=rng(), alpha=alpha)

    assert 0 < found.p <= 1
    assert -1 <= found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high <= 1
    assert found.low > 0 or not found.proved
    assert found.proved or found.low <= 0
    assert 0 <= chance_better(pairs, rng=rng(), draws=50) <= 1


def test_the_interval_holds_the_truth() -> None:
    """Binary and graded scores: the true gain lies above the lower end in about 95 % of claims, and below the upper."""
    of, runs, above, below = rng(), 600, 0, 0
    for _ in range(runs):
        found = claim(drawn(of, 100, 0.1, 0.2), rng=of)
        above += found.low <= 0.1
        below += found.high >= 0.1

    assert 0.93 <= above / runs <= 0.985
    assert 0.93 <= below / runs <= 0.985


def test_the_graded_interval_holds_the_truth() -> None:
    """As for binary scores, with 40 rows of graded ones."""
    of, runs, above, below = rng(), 120, 0, 0
    for _ in range(runs):
        start = [of.choice([0.25, 0.5, 0.75]) for _ in range(40)]
        found = claim(paired(start, [each + of.choice([-0.25, 0.0, 0.25, 0.25]) for each in start]), rng=of)
        above += found.low <= 0.0625
        below += found.high >= 0.0625

    assert 0.9 <= above / runs <= 0.99
    assert 0.9 <= below / runs <= 0.99


@pytest.mark.parametrize(("n", "most"), [(6, 0.05), (10, 0.05), (40, 0.1)])
def test_few_rows_that_are_alike_are_not_all_rows(n: int, most: float) -> None:
    """Nine of ten rows gain 0.3, the tenth loses 0.6: where no loss was met, more is not sure than is true."""
    of, runs = rng(n), 120
    gains = [of.choices([0.3, -0.6], [0.9, 0.1], k=n) for _ in range(runs)]
    lows = [claim(paired([0.6] * n, [0.6 + each for each in row]), rng=of).low for row in gains]

    assert sum(low > 0.21 for low in lows) / runs <= most


def test_equal_texts_are_rarely_called_better() -> None:
    """A graded null, 30 rows: in at most alpha of claims."""
    of, false = rng(), 0
    for _ in range(150):
        start = [of.random() for _ in range(30)]
        candidate = [of.random() if of.random() < 0.5 else each for each in start]
        false += claim(paired(start, candidate), rng=of).proved

    assert false / 150 <= 0.05 + 1.65 * math.sqrt(0.05 * 0.95 / 150)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 2), (12, 30), (80, 60)])
def test_the_chance_is_a_beta_posteriors(better: int, worse: int) -> None:
    """P(better) is that of Beta(better + 1, worse + 1) lying above a half; the bootstrap of graded scores agrees."""
    expected = stats.beta.sf(0.5, better + 1, worse + 1)
    halved = paired([0.5] * (better + worse), [1.0] * better + [0.0] * worse)

    assert chance_better(counted(better, worse, 9), rng=rng()) == pytest.approx(expected, rel=1e-9)
    assert chance_better(halved, rng=rng()) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("start", "candidate", "bounds", "message"),
    [
        ([0.0], [0.0, 1.0], (0, 1), "1 scores of the start and 2 of the candidate: score both on the same rows"),
        ([0.0, 1.5], [0.0, 1.0], (0, 1), r"row 1: the start's score of 1.5 lies outside bounds=\(0, 1\): fix the met"),
        ([0.0], [math.nan], (0, 1), "row 0: the candidate's score of nan lies outside"),
        ([None], [-1], (0, 1), "row 0: the candidate's score of -1 lies outside"),
        ([0.0], [0.0], (1, 1), r"bounds=\(1, 1\) must rise"),
        ([0.0], [0.0], (0, math.inf), "must rise, and be finite"),
        ([0.0], [0.0], (math.nan, 1), "must rise, and be finite"),
    ],
)
def test_scores_that_are_none(start: list, candidate: list, bounds: tuple, message: str) -> None:
    """What is wrong, where, and what to do."""
    with pytest.raises(UsageError, match=message):
        paired(start, candidate, bounds=bounds)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_alpha_is_a_share(alpha: float) -> None:
    """An alpha of 0 could prove nothing, one of 1 everything."""
    with pytest.raises(UsageError, match=r"alpha=.* must be more than 0 and less than 1"):
        claim(counted(5, 0), rng=rng(), alpha=alpha)


def test_a_guardrail_is_kept_where_a_loss_is_ruled_out() -> None:
    """A hundred rows alike rule out a loss of 5 points, ten do not; what was seen is said."""
    found = not_worse(counted(0, 0, 100), margin=0.05, rng=rng())

    assert found == Guard(difference=0.0, low=found.low, margin=0.05, n=100, excluded=0)
    assert found.kept
    assert not not_worse(counted(0, 0, 10), margin=0.05, rng=rng()).kept
    assert not not_worse(counted(2, 12, 86), margin=0.05, rng=rng()).kept
    assert not_worse(counted(60, 0, 40), margin=0.05, rng=rng()).low > 0.3


def test_a_guardrail_without_a_row_is_not_kept() -> None:
    """An outage rules out no loss."""
    found = not_worse(paired([None, 1], [1, None], bounds=(0, 2)), margin=0.1, rng=rng())

    assert found == Guard(difference=0.0, low=-2.0, margin=0.1, n=0, excluded=2)
    assert not found.kept


@pytest.mark.parametrize(("n", "differ"), [(20, 0.3), (100, 0.15), (100, 0.6)])
def test_a_loss_of_the_margin_rarely_passes(n: int, differ: float) -> None:
    """A candidate that loses exactly the margin passes in at most alpha of runs."""
    of = rng()
    passed = sum(not_worse(drawn(of, n, -0.1, differ), margin=0.1, rng=of).kept for _ in range(400))

    assert passed / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_an_equal_candidate_passes_a_guardrail() -> None:
    """With 10 % of rows differing, 100 rows rule out a loss of 10 points in two runs of three, 200 in nine of ten."""
    of = rng()
    passed = {n: sum(not_worse(drawn(of, n, 0, 0.1), margin=0.1, rng=of).kept for _ in range(200)) for n in (100, 200)}

    assert passed[100] / 200 >= 0.66
    assert passed[200] / 200 >= 0.9


@pytest.mark.parametrize("margin", [0, -0.1, 1.0, math.nan])
def test_a_margin_is_a_loss(margin: float) -> None:
    """A margin of none can never be shown, one of all always is."""
    with pytest.raises(UsageError, match=r"margin=.* must be more than 0 and less than 1.0, the width"):
        not_worse(counted(5, 0), margin=margin, rng=rng())
