"""One number for what may come out in many ways."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordgrad.statistics.forecast import near_most

WITHIN = 0.2


def near(number: float, values: list[float]) -> int:
    """How many of the values the number is within a fifth of, and of a billionth more."""
    return sum(abs(number - each) <= (WITHIN + 1e-9) * each for each in values)


@given(st.lists(st.floats(1, 1_000), min_size=1, max_size=30))
def test_no_number_is_near_more_values(values: list[float]) -> None:
    """Those where the count can change are a fifth above and below each value."""
    found = near(near_most(values, within=WITHIN), values)

    assert all(
        found >= sum(abs(other - each) <= (WITHIN - 1e-9) * each for each in values)
        for value in values
        for other in (value, value * (1 + WITHIN), value * (1 - WITHIN))
    )


@given(st.lists(st.floats(100, 120), min_size=1, max_size=30))
def test_the_median_is_taken_where_it_is_near_all(values: list[float]) -> None:
    """However the values lie."""
    assert near_most(values, within=WITHIN) == statistics.median_low(values)


def test_two_crowds_are_met_in_between() -> None:
    """100 of three runs and 140 of two: 112 is a fifth below 140, and near all; their median is near three."""
    assert near_most([100, 140, 100, 140, 100], within=WITHIN) == pytest.approx(112)


def test_the_largest_crowd_is_taken_where_none_is_between() -> None:
    """Three of seven, of which the median is none: 120 is a fifth above the least of them, and the nearest to 200."""
    assert near_most([100, 101, 102, 200, 320, 500, 800], within=WITHIN) == 120


def test_without_tolerance_the_commonest_value_is_taken() -> None:
    """Which may be nothing."""
    assert near_most([0, 3, 1, 3, 2], within=0) == 3
    assert near_most([0, 0, 1, 2, 3], within=0) == 0


@pytest.mark.parametrize("value", [0.0, 7.0, math.nan])
def test_equal_values_are_what_they_are(value: float) -> None:
    """Nothing, too, and what is not a number."""
    assert near_most([value] * 3, within=WITHIN) == pytest.approx(value, nan_ok=True)
