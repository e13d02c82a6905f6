"""What a claim can prove, against simulation and by hand."""

from __future__ import annotations

import math
import random
import time

import pytest

from wordgrad.errors import UsageError
from wordgrad.statistics.binomial import upper_tail
from wordgrad.statistics.claim import claim
from wordgrad.statistics.pairs import paired
from wordgrad.statistics.power import differences_needed, disagreements_needed, power, smallest_gain


def test_ten_points_are_proved() -> None:
    """A true +10 points, 15 % of rows better and 5 % worse: two runs in three at 100 rows, nine in ten at 200."""
    assert round(power(0.1, differ=0.2, n=100), 4) == 0.6754
    assert round(power(0.1, differ=0.2, n=200), 4) == 0.9320


def test_power_is_what_simulation_says() -> None:
    """The share of simulated claims that prove is the computed power."""
    of, runs = random.Random(0), 3_000
    proved = 0
    for _ in range(runs):
        kinds = of.choices("+-0", [0.2, 0.1, 0.7], k=60)
        better, worse = kinds.count("+"), kinds.count("-")
        proved += upper_tail(better + worse, better) <= 0.05

    assert proved / runs == pytest.approx(power(0.1, differ=0.3, n=60), abs=0.027)  # three standard errors


@pytest.mark.parametrize("n", [0, 4, 30, 100, 150])
@pytest.mark.parametrize("differ", [0.02, 0.1, 0.3, 1.0])
def test_the_size_is_at_most_alpha(n: int, differ: float) -> None:
    """Without a gain the power is the chance of a false claim, and never above alpha; with a loss it is less."""
    null = power(0, differ=differ, n=n)

    assert null <= 0.05
    assert power(-differ / 2, differ=differ, n=n) <= null


def test_the_smallest_gain_is_the_one_of_that_power() -> None:
    """It is proved with the wanted power, less is not; few rows can prove none."""
    found = smallest_gain(100, worse=0.05)

    assert found is not None
    assert power(found, differ=found + 0.1, n=100) == pytest.approx(0.8, abs=1e-6)
    assert smallest_gain(400, worse=0.05) < found < smallest_gain(60, worse=0.05)  # type: ignore[operator]
    assert smallest_gain(100, worse=0.0) < found < smallest_gain(100, worse=0.2)  # type: ignore[operator]
    assert smallest_gain(5, worse=0.0) == pytest.approx(0.8 ** (1 / 5), abs=1e-6)  # all five must be better
    assert smallest_gain(5, worse=0.05) is None
    assert smallest_gain(0, worse=0.0) is None


def test_many_rows_take_no_longer() -> None:
    """More than a thousand prove at least what a thousand do."""
    started = time.monotonic()

    assert smallest_gain(1_000_000, worse=0.05) == smallest_gain(1_000, worse=0.05)
    assert time.monotonic() - started < 60


def test_how_many_disagreements_decide() -> None:
    """The clearer the wins so far, the fewer new ones are needed; none help where it does not win more often."""
    assert disagreements_needed(15, 5) == 33
    assert disagreements_needed(10, 5) == 71
    assert disagreements_needed(3, 1) == 58
    assert disagreements_needed(10, 5, wanted=0.9) > 71  # type: ignore[operator]
    assert disagreements_needed(5, 5) is None
    assert disagreements_needed(0, 0) is None
    assert disagreements_needed(500, 490) is None


@pytest.mark.parametrize(
    ("gain", "differ", "n"), [(0.3, 0.2, 10), (-0.3, 0.2, 10), (0.1, 1.2, 10), (0.0, 0.0, 10), (0.1, 0.2, -1)]
)
def test_what_no_rows_can_show(gain: float, differ: float, n: int) -> None:
    """A gain larger than the rows that differ, shares above 1, and fewer rows than none are refused."""
    with pytest.raises(UsageError):
        power(gain, differ=differ, n=n)


def test_misuse_of_the_plans() -> None:
    """A power that is no share is named."""
    with pytest.raises(UsageError, match=r"wanted=1\.0 must be"):
        smallest_gain(10, worse=0.0, wanted=1.0)
    with pytest.raises(UsageError, match=r"worse=0\.5"):
        smallest_gain(10, worse=0.5)
    with pytest.raises(UsageError, match="wanted=80 must be"):
        disagreements_needed(3, 1, wanted=80)


# ---- differences of any size


def test_rows_that_are_needed_prove() -> None:
    """Claims on so many new rows, which differ as the old ones did, prove about four times in five."""
    of = random.Random(0)
    seen = [of.gauss(0.6, 1.0) for _ in range(40)]
    size = math.sqrt(math.fsum(each * each for each in seen) / len(seen))
    needed = differences_needed(seen)
    assert needed is not None
    drawn = [of.choices([*seen, size, -size], k=needed) for _ in range(100)]
    proved = [claim(paired([0.0] * needed, each, bounds=(-9, 9)), rng=of).proved for each in drawn]

    assert sum(proved) / 100 == pytest.approx(0.8, abs=0.12)  # three standard errors


def test_as_many_are_needed_as_of_equal_differences() -> None:
    """Where all differ by as much, the approximation says about what the exact rule says."""
    approximate = differences_needed([0.5] * 14 + [-0.5] * 7)
    exact = disagreements_needed(14, 7)
    assert approximate is not None
    assert exact is not None

    assert abs(approximate - exact) <= 6


@pytest.mark.parametrize("gains", [[], [-0.1, 0.05], [0.1, -0.1], [0.01, *([0.5, -0.5] * 50)]])
def test_what_no_rows_would_decide_needs_none(gains: list[float]) -> None:
    """Nothing was seen, the new text is no better so far, or a thousand rows would not do."""
    assert differences_needed(gains) is None
