"""Two streams, compared at any time."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from scipy import integrate, stats

from wordgrad.errors import UsageError
from wordgrad.statistics.sequence import Arm, Span, arm, difference, variance


def counted(n: int, right: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Arm:
    """An arm of n units with scores of 0 or 1, from their sum."""
    mean = (right + 1) / (n + 2)
    return Arm(n=n, mean=right / n if n else 0.0, variance=mean * (1 - mean), excluded=0)


def alarms(runs: int, base: float, gain: float, split: float, look: int, units: int = 2_000) -> float:
    """The share of rollouts in which the upper end ever falls below 0."""
    found = 0
    for run in range(runs):
        of = random.Random(run)
        n, right = [0, 0], [0.0, 0.0]
        for unit in range(1, units + 1):
            new = of.random() < split
            n[new] += 1
            right[new] += of.random() < base + gain * new
            if unit % look == 0 and min(n) >= 100:
                arms = [counted(*each) for each in zip(n, right, strict=True)]
                if difference(arms[0], arms[1], planned=1_000).high < 0:
                    found += 1
                    break
    return found / runs


def test_an_arm_has_one_mean_a_unit() -> None:
    """A user with a hundred bad sessions counts once; errors are counted, and are no zeros."""
    scores = [("ann", 0.0)] * 100 + [("bob", 1.0), ("cid", 1.0), ("cid", None), ("dan", None)]

    assert arm(scores) == Arm(n=3, mean=2 / 3, variance=variance([0.0, 1.0, 1.0], (0.0, 1.0)), excluded=2)
    assert arm([]) == Arm(n=0, mean=0.0, variance=0.25, excluded=0)
    assert arm([("ann", 1), ("bob", 0), ("cid", 1)]).variance == pytest.approx(counted(3, 2).variance)


def test_too_few_units_say_nothing() -> None:
    """Below the least number of units in either arm, any difference is possible."""
    few = difference(counted(500, 250), counted(99, 0), planned=1_000)

    assert few == Span(difference=-0.5, low=-math.inf, high=math.inf, n=599)
    assert difference(counted(500, 250), counted(99, 0), planned=1_000, least=99).high < 0


def test_the_ends_are_of_the_mixture() -> None:
    """At the ends the half-normal mixture of likelihood ratios is about, and at least, 1 / alpha."""
    for n, alpha, planned in itertools.product((200, 1_000, 5_000), (0.01, 0.05, 0.2), (300, 3_000)):
        half = counted(n // 2, n // 4)
        found = difference(half, half, planned=planned, alpha=alpha)
        shift = -found.low * n / math.sqrt(n * 2 * half.variance / (n // 2))
        tight = -2 * math.log(2 * alpha)
        rho = math.sqrt((tight + math.log(tight + 1)) / planned)

        def ratio(bet: float, n: int = n, rho: float = rho, shift: float = shift) -> float:
            return 2 * stats.norm.pdf(bet, scale=rho) * math.exp(bet * shift - bet * bet * n / 2)

        wealth, _ = integrate.quad(ratio, 0, shift / n + 12 * rho, points=[shift / n], limit=200)
        assert 1 <= wealth * alpha <= 1.5


def test_the_ends_move_with_the_data() -> None:
    """More units narrow the span, it is the same from both sides, and never excludes what was found."""
    spans = [difference(counted(n, 0.8 * n), counted(n, 0.7 * n), planned=1_000) for n in (100, 400, 1_600)]

    assert all(each.low < each.difference < each.high for each in spans)
    assert spans[0].high - spans[0].low > spans[1].high - spans[1].low > spans[2].high - spans[2].low
    assert (spans[0].high < 0, spans[2].high < 0) == (False, True)
    back = difference(counted(100, 70), counted(100, 80), planned=1_000)
    assert (back.low, back.high) == pytest.approx((-spans[0].high, -spans[0].low))


@pytest.mark.parametrize("base", [0.5, 0.85, 0.98])
@pytest.mark.parametrize(("split", "look"), [(0.5, 10), (0.1, 50), (0.5, 200)])
def test_equal_arms_rarely_raise_an_alarm(base: float, split: float, look: int) -> None:
    """At several base rates, splits and looks: in at most alpha of rollouts, ever."""
    assert alarms(150, base, 0.0, split, look) <= 0.05 + 1.7 * math.sqrt(0.05 * 0.95 / 150)


def test_a_worse_arm_raises_an_alarm() -> None:
    """Ten points less at half the traffic are found in 2,000 units."""
    assert alarms(60, 0.85, -0.1, 0.5, 50) >= 0.95


def test_sessions_are_not_units() -> None:
    """Users with many like sessions: by user few false alarms, by session they would be many."""
    of, by_user, by_session = random.Random(0), 0, 0
    for _ in range(60):
        scores: list[list[tuple[int, float]]] = [[], []]
        for user in range(300):
            level = of.choice([0.2, 1.0])
            scores[user % 2] += [(user, float(of.random() < level)) for _ in range(of.choice([1, 20]))]
        spans = [
            difference(*(arm(each) for each in arms), planned=300)
            for arms in (scores, [list(enumerate(score for _, score in each)) for each in scores])
        ]
        by_user += spans[0].high < 0
        by_session += spans[1].high < 0

    assert by_user <= 4
    assert by_session > by_user


def test_misuse_of_a_sequence() -> None:
    """Scores and settings that are none are named."""
    one = counted(200, 100)
    with pytest.raises(UsageError, match=r"unit 'ann': the score of nan lies outside bounds=\(0.0, 1.0\)"):
        arm([("ann", math.nan)])
    with pytest.raises(UsageError, match="must rise"):
        arm([], bounds=(1, 0))
    with pytest.raises(UsageError, match=r"less than 0\.5"):
        difference(one, one, planned=10, alpha=0.5)
    with pytest.raises(UsageError, match="planned=0"):
        difference(one, one, planned=0)
