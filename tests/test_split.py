"""Dividing examples into splits, and validation rows into selection and confirmation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import wordgrad as wg
from wordgrad.data.rows import Row
from wordgrad.data.split import Splits, divide
from wordgrad.errors import UsageError


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


# ---- train, validation and test


def numbered(n: int, groups: int = 1) -> list[dict[str, object]]:
    """Examples that are all different, each of a group."""
    return [{"question": f"{place}?", "customer": place % groups} for place in range(n)]


def questions(rows: Sequence[Row]) -> list[object]:
    """What each asks."""
    return [each["question"] for each in rows]


@settings(deadline=None)
@given(st.integers(10, 200), st.integers(0, 9))
def test_every_example_stands_in_one_split(n: int, seed: int) -> None:
    """Each split has its share, to within an example, in the order of the examples."""
    found = wg.split(numbered(n), train=0.2, validation=0.5, test=0.3, seed=seed)
    parts = [questions(part) for part in (found.train, found.validation, found.test)]

    assert sorted(each for part in parts for each in part) == sorted(f"{place}?" for place in range(n))
    assert all(part == sorted(part, key=lambda each: int(str(each)[:-1])) for part in parts)
    assert all(abs(len(part) - share * n) <= 1 for part, share in zip(parts, (0.2, 0.5, 0.3), strict=True))


def test_a_seed_splits_alike() -> None:
    """In every process: the examples of one seed are written here."""
    assert questions(wg.split(numbered(10), seed=1).test) == ["1?", "5?", "7?"]
    assert questions(wg.split(numbered(10), seed=2).test) != questions(wg.split(numbered(10), seed=1).test)


@settings(deadline=None)
@given(st.integers(30, 90), st.integers(3, 12), st.integers(0, 9))
def test_a_customer_stands_in_one_split(n: int, customers: int, seed: int) -> None:
    """`by=` keeps together what belongs together: nothing that was learned of a customer is asked in the test."""
    found = wg.split(numbered(n, customers), by="customer", seed=seed)
    sides = [{each["customer"] for each in part} for part in (found.train, found.validation, found.test)]

    assert all(sides)
    assert sum(map(len, sides)) == len(set.union(*sides)) == customers


def test_repetitions_in_two_splits_are_shown() -> None:
    """A repeated example would test what was learned: the error shows the places; `by=` keeps the copies together."""
    twice = numbered(12) + numbered(12)
    with pytest.raises(wg.UsageError) as caught:
        wg.split(twice, seed=3)
    found = wg.split(twice, by="question", seed=3)

    message = str(caught.value)
    assert message.count(" repeats ") == 5
    assert re.search(
        r"example \d+ \(\w+\) repeats example \d+ \(\w+\); .*; and \d+ more: the same example may", message
    )
    assert message.endswith("remove one of them, or keep them together with split(…, by=COLUMN)")
    assert len(found.train) + len(found.validation) + len(found.test) == 24


def test_a_number_hides_no_repetition() -> None:
    """With `input=`, what is asked may stand in one split only, whatever else the examples hold."""
    tickets = [{"id": place, "ticket": f"{place % 10}?"} for place in range(20)]
    with pytest.raises(wg.UsageError, match="the same 'ticket' may not stand in two splits"):
        wg.split(tickets, input="ticket")

    wg.split(tickets, by="ticket", input="ticket").require_disjoint("ticket")


def test_examples_of_nobody_stand_alone() -> None:
    """Those without a customer are no group."""
    nobodys = [{"question": f"{place}?", "customer": None if place % 2 else ""} for place in range(30)]
    found = wg.split(nobodys, by="customer")

    assert [len(found.train), len(found.validation), len(found.test)] == [9, 12, 9]


def test_splits_are_saved_as_files_that_a_run_reads(tmp_path: Path) -> None:
    """Three files in a folder that is made; none that is there is overwritten."""
    found = wg.split([{"question": f"Größe {place}?\ud800", "n": [place]} for place in range(12)])
    found.save(tmp_path / "data")
    read = [wg.examples(tmp_path / "data" / f"{name}.jsonl") for name in ("train", "validation", "test")]
    (tmp_path / "data" / "train.jsonl").unlink()
    with pytest.raises(wg.UsageError, match=r"validation\.jsonl and .*test\.jsonl stands there already"):
        found.save(tmp_path / "data")

    with pytest.raises(wg.UsageError, match=r"test\.jsonl.* cannot be written: "):
        found.save(tmp_path / "data" / "test.jsonl")

    assert [questions(part) for part in read] == [questions(p) for p in (found.train, found.validation, found.test)]
    assert not (tmp_path / "data" / "train.jsonl").exists()


def test_splits_are_saved_all_or_none(tmp_path: Path) -> None:
    """Where the second file cannot be made, the first is taken back."""
    (tmp_path / "validation.jsonl").symlink_to(tmp_path / "nowhere" / "validation.jsonl")
    with pytest.raises(wg.UsageError, match=r"validation\.jsonl cannot be written: "):
        wg.split(numbered(12)).save(tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["validation.jsonl"]


def test_splits_that_share_an_input_name_both_places() -> None:
    """The same input in two splits is an error, whatever the other columns hold; twice in one split is none."""
    train = [Row({"q": "x", "a": 1}, "t.csv:2"), Row({"q": "x", "a": 1}, "t.csv:3")]
    test = [Row({"q": "y"}, "s.csv:2"), Row({"q": "x", "a": 2}, "s.csv:3")]
    Splits(train=train, validation=[], test=test[:1]).require_disjoint("q")

    with pytest.raises(UsageError, match=r"^s\.csv:3 \(test\) repeats t\.csv:2 \(train\): the same 'q' may"):
        Splits(train=train, validation=[], test=test).require_disjoint("q")


@pytest.mark.parametrize("column", ["q", None])
def test_a_number_and_its_text_are_one(column: str | None) -> None:
    """A csv file has "7" where a jsonl file has 7: the same question, and the same customer."""
    read, written = Row({"q": 7, "by": 1}, "a.jsonl:1"), Row({"q": "7", "by": "1"}, "b.csv:2")

    with pytest.raises(UsageError, match=r"b\.csv:2 \(test\) repeats a\.jsonl:1 \(train\)"):
        Splits(train=[read], validation=[], test=[written]).require_disjoint(column)
    other = Row({"q": "8", "by": "1"}, "b.csv:2")
    with pytest.raises(UsageError, match="the same 'by'"):
        Splits(train=[read], validation=[], test=[other]).require_disjoint("q", by="by")


@pytest.mark.parametrize(
    ("examples", "options", "words"),
    [
        (numbered(9), {"train": 0.5, "validation": 0.5, "test": 0.5}, "give shares above 0 that add up to 1"),
        (numbered(9), {"train": "0.3"}, "train='0.3', .*: give shares above 0 that add up to 1"),
        (numbered(9), {"test": None}, "test=None: give shares above 0 that add up to 1"),
        (numbered(9), {"train": float("nan")}, "train=nan, .*: give shares above 0 that add up to 1"),
        (numbered(9), {"train": 0.0, "validation": 0.5, "test": 0.5}, "give shares above 0 that add up to 1"),
        (numbered(2), {}, "^2 examples leave nothing for (train|test): add examples$"),
        (numbered(90, 2), {"by": "customer"}, "90 examples in 2 groups leave nothing for .*, or choose smaller groups"),
        (numbered(9), {"by": "client"}, "example 1: no column 'client'; the row has 'question', 'customer'"),
    ],
)
def test_what_cannot_be_split_is_told(examples: object, options: dict[str, Any], words: str) -> None:
    """No part is ever empty, and no share a guess."""
    with pytest.raises(wg.UsageError, match=words):
        wg.split(examples, **options)
