"""Dividing rows into selection and confirmation."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wordgrad.errors import UsageError
from wordgrad.statistics.division import divide


@settings(deadline=None)
@given(st.integers(2, 300), st.integers(), st.sampled_from([0.4, 0.5, 0.6]))
def test_every_row_stands_on_one_side(n: int, seed: int, share: float) -> None:
    """Both parts keep the rows' order, and confirmation has its share, rounded up, of at least 40 %."""
    assume(n * (1 - share) >= 1)
    found = divide(range(n), seed=seed, share=share)

    assert sorted(found.selection + found.confirmation) == list(range(n))
    assert list(found.confirmation) == sorted(found.confirmation)
    assert 0 <= len(found.confirmation) - share * n < 1 + 1e-9
    assert len(found.confirmation) >= 0.4 * n


def test_a_seed_divides_alike() -> None:
    """In every process: the rows of one seed are written here."""
    assert divide("abcdefgh", seed=1) == divide("abcdefgh", seed=1)
    assert "".join(divide("abcdefgh", seed=1).confirmation) == "acdf"
    assert divide(range(50), seed=1) != divide(range(50), seed=2)


def test_each_row_is_confirmation_half_the_time() -> None:
    """No place in the file decides."""
    counts = [0] * 10
    for seed in range(400):
        for row in divide(range(10), seed=seed).confirmation:
            counts[row] += 1

    assert all(150 <= each <= 250 for each in counts)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=80), st.integers(0, 9))
def test_a_group_stays_together(groups: list[str], seed: int) -> None:
    """No group on both sides; at least 40 % of the rows confirm, however large a group is."""
    rows = list(enumerate(groups))
    if len(set(groups)) < 2:
        with pytest.raises(UsageError, match="in 1 groups cannot be divided"):
            divide(rows, seed=seed, group=lambda row: row[1])
        return
    found = divide(rows, seed=seed, group=lambda row: row[1])

    assert sorted(found.selection + found.confirmation) == rows
    assert found.selection
    assert {group for _, group in found.selection}.isdisjoint(group for _, group in found.confirmation)
    assert len(found.confirmation) >= 0.4 * len(rows)


@pytest.mark.parametrize("share", [0.1, 0.39, 0.9, 1.0])
def test_a_share_seals_enough(share: float) -> None:
    """Too few sealed rows prove nothing, too many leave none to search with."""
    with pytest.raises(UsageError, match=r"choose 0.4 to 0.8"):
        divide(range(10), seed=0, share=share)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows(n: int) -> None:
    """One row cannot stand on two sides."""
    with pytest.raises(UsageError, match=f"{n} rows in {n} groups cannot be divided"):
        divide(range(n), seed=0)
