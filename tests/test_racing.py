"""A race: what it asks for, who leaves, who is left."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from wordgrad.errors import UsageError
from wordgrad.statistics.races import Effect, Rewriting, Spread
from wordgrad.statistics.racing import Heat, Race, Standing, most_scores

MADE_UP = {"rewrites": 4, "rows": 40, "wrong": 0.5, "margin": 0.02}

Score = Callable[[int, int], float | None]


def rng(seed: int = 0) -> random.Random:
    """Randomness of the test's own."""
    return random.Random(seed)


def run(race: Race, score: Score) -> list[Heat]:
    """All heats of a race, scored."""
    heats = []
    while (heat := race.heat()) is not None:
        heats.append(heat)
        race.tell([[score(entrant, row) for row in heat.rows] for entrant in heat.entrants])
    return heats


def test_a_race_asks_each_row_once_for_all_that_are_left() -> None:
    """Blocks are disjoint, entrants only become fewer, and the count of calls is what was asked."""
    race = Race(entrants=4, rows=37, rng=rng())

    heats = run(race, lambda entrant, row: float((row * 7 + entrant * row) % 10 < 5 + entrant))

    rows = [row for heat in heats for row in heat.rows]
    assert len(set(rows)) == len(rows) <= 37
    assert all(set(after.entrants) <= set(before.entrants) for before, after in itertools.pairwise(heats))
    assert race.calls == sum(len(heat.rows) * len(heat.entrants) for heat in heats)


def test_a_race_is_its_seed() -> None:
    """The same seed and scores: the same heats."""
    first, second = (
        run(Race(entrants=5, rows=50, rng=rng(1)), lambda entrant, row: float((row + entrant) % 3 == 0))
        for _ in range(2)
    )

    assert first == second


def test_a_clear_winner_ends_the_race_early() -> None:
    """One is right everywhere, the others nowhere: one block decides."""
    race = Race(entrants=6, rows=100, rng=rng())

    heats = run(race, lambda entrant, row: float(entrant == 4))

    assert (race.winner, len(heats), race.calls) == (4, 1, 60)
    assert race.standings[4] == Standing(mean=1.0, rows=10, excluded=0)


def test_the_first_stays_where_nothing_is_better() -> None:
    """With ties the earlier entrant leads, and who equals it is not scored to the end."""
    race = Race(entrants=8, rows=200, rng=rng())

    run(race, lambda entrant, row: float(row % 2))

    assert race.winner == 0
    assert race.calls < 8 * 200


@pytest.mark.parametrize("block", [None, 1, 5, 100])
def test_a_race_finds_the_best_in_blocks_of_any_size(block: int | None) -> None:
    """One of twelve is 30 points better: how often a caller looks does not make the race drop it."""
    won = 0
    for seed in range(40):
        chance = rng(seed)
        scores = [[float(chance.random() < (0.8 if each == 7 else 0.5)) for _ in range(100)] for each in range(12)]
        race = Race(entrants=12, rows=100, rng=rng(seed), block=block)
        run(race, lambda entrant, row, scores=scores: scores[entrant][row])  # type: ignore[misc]
        won += race.winner == 7

    assert won >= 36


@given(st.integers(2, 60), st.integers(80, 300), st.integers(0))
@settings(max_examples=30, deadline=None)
def test_what_a_race_takes_is_bounded(entrants: int, rows: int, seed: int) -> None:
    """Though all are alike by chance: in the k-th block at most 1.5 / k of the entrants run, and two at least."""
    chance = rng(seed)
    race = Race(entrants=entrants, rows=rows, rng=rng(), doubt=1e9)

    heats = run(race, lambda entrant, row: float(chance.random() < 0.5))

    for number, heat in enumerate(heats[1:], start=2):
        assert len(heat.entrants) == max(math.ceil(1.5 * entrants / number), 2)
    assert race.calls == most_scores(entrants, rows)
    # Two fifths; each block may round up, and two stay to the end.
    assert race.calls <= (0.4 * entrants + 2) * rows


def test_an_outage_is_no_loss() -> None:
    """Who could not be judged on the first rows counts as average there, so the bound does not drop it for that."""
    race = Race(entrants=12, rows=100, rng=rng())
    first = race.heat()
    assert first is not None

    heats = run(
        race, lambda entrant, row: None if entrant == 3 and row in first.rows else float(entrant == 3 or row % 2)
    )

    assert len(heats[1].entrants) < 12
    assert all(3 in heat.entrants for heat in heats)
    assert race.winner == 3


@given(st.data(), st.integers(1, 6), st.integers(1, 40))
def test_the_winner_is_the_best_of_those_that_are_left(data: st.DataObject, entrants: int, rows: int) -> None:
    """By its mean on all rows, the first of equals; where nobody leaves early, of all entrants."""
    scores = data.draw(
        st.lists(
            st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=rows, max_size=rows),
            min_size=entrants,
            max_size=entrants,
        )
    )
    everyone = Race(entrants=entrants, rows=rows, rng=random.Random(0), block=rows)
    usual = Race(entrants=entrants, rows=rows, rng=random.Random(0))
    for race in (everyone, usual):
        run(race, lambda entrant, row: scores[entrant][row])
    sums = [sum(each) for each in scores]

    assert everyone.winner == sums.index(max(sums))
    whole = [place for place, each in enumerate(usual.standings) if each.rows == rows]
    assert not whole or usual.winner == max(whole, key=lambda place: (sums[place], -place))


def test_a_loser_that_catches_up_was_not_dropped() -> None:
    """A few bad rows do not drop an entrant that is better on the rest of them."""
    race = Race(entrants=2, rows=40, rng=rng())
    first = set(race.heat().rows[:2])  # type: ignore[union-attr]

    run(race, lambda entrant, row: float(row not in first) if entrant else float(row in first or row % 2))

    assert race.winner == 1


def test_errors_are_no_zeros() -> None:
    """An entrant with errors on half of its rows wins by the others, and the errors are counted."""
    race = Race(entrants=2, rows=60, rng=rng())

    run(race, lambda entrant, row: float(row % 3 == 0) if not entrant else (None if row % 2 else 1.0))

    found = race.standings[1]
    assert race.winner == 1
    assert found.mean == 1.0
    assert 0 < found.excluded < found.rows


def test_an_error_on_hard_rows_gains_nothing() -> None:
    """Who could be judged on easy rows only, and is no better there, does not lead."""
    race = Race(entrants=2, rows=60, rng=rng())

    run(race, lambda entrant, row: float(row % 2) if not entrant else (1.0 if row % 2 else None))

    assert race.standings[1].mean == 1.0
    assert race.winner == 0


def test_few_judged_rows_do_not_win() -> None:
    """One good score of forty is not more than 36."""
    race = Race(entrants=2, rows=40, rng=random.Random(0), block=40)
    heat = race.heat()
    assert heat is not None
    race.tell([[1.0] * 36 + [0.0] * 4, [None] * 39 + [0.5]])

    assert race.winner == 0


def test_the_start_stays_though_it_was_judged_on_few_rows() -> None:
    """It is not overtaken by what is worse wherever both were judged."""
    race = Race(entrants=2, rows=40, rng=random.Random(0), block=40)
    race.heat()
    race.tell([[1.0] * 19 + [None] * 21, [0.0] * 40])

    assert race.winner == 0


def test_an_incumbent_may_stand_anywhere() -> None:
    """With ties the first leads; but being first excuses nobody from rows that it could not be judged on."""
    race = Race(entrants=3, rows=40, rng=random.Random(0), block=40, incumbent=2)
    race.tell([[1.0] * 19 + [None] * 21, [0.5] * 40, [0.5] * 40])
    alone = Race(entrants=2, rows=40, rng=random.Random(0), block=40, incumbent=1)
    alone.tell([[0.0] * 40, [1.0] * 19 + [None] * 21])

    assert (race.winner, alone.winner) == (1, 1)


@pytest.mark.parametrize("incumbent", [-1, 3])
def test_an_incumbent_that_is_no_entrant_is_an_error(incumbent: int) -> None:
    """Of three."""
    with pytest.raises(UsageError, match=f"incumbent={incumbent}"):
        Race(entrants=3, rows=40, rng=random.Random(0), incumbent=incumbent)


def test_who_cannot_be_judged_does_not_win() -> None:
    """Errors everywhere: it is asked to the end, as an outage may pass; with all of them so, the first is left."""
    race, none = Race(entrants=3, rows=30, rng=rng()), Race(entrants=3, rows=30, rng=rng())

    run(race, lambda entrant, row: None if entrant == 0 else 0.5)
    run(none, lambda entrant, row: None)

    assert race.winner == 1
    assert race.standings[0] == Standing(mean=None, rows=30, excluded=30)
    assert none.winner == 0


def test_scores_of_any_bounds() -> None:
    """Graded scores from -5 to 0 race as they would from 0 to 1."""
    race, moved = Race(entrants=3, rows=50, rng=rng()), Race(entrants=3, rows=50, rng=rng(), bounds=(-5, 0))

    heats = run(race, lambda entrant, row: (row * 3 + entrant * entrant) % 6 / 5)

    assert run(moved, lambda entrant, row: (row * 3 + entrant * entrant) % 6 - 5) == heats
    assert moved.winner == race.winner


def test_one_entrant_needs_no_race() -> None:
    """It has won, without a call."""
    race = Race(entrants=1, rows=10, rng=rng())

    assert race.heat() is None
    assert (race.winner, race.calls) == (0, 0)


def test_scores_that_are_not_the_heats() -> None:
    """Wrong shapes and bad scores are refused, and the heat stays open."""
    race = Race(entrants=2, rows=8, rng=rng())
    heat = race.heat()

    with pytest.raises(UsageError, match=r"scores for \[8\] rows: the heat has 2 entrants on 8 rows each"):
        race.tell([[0.0] * 8])
    with pytest.raises(UsageError, match=r"entrant 1: the score of nan lies outside"):
        race.tell([[0.0] * 8, [float("nan")] * 8])
    assert race.heat() == heat
    assert race.calls == 0
    race.tell([[0.0] * 8, [1.0] * 8])
    with pytest.raises(UsageError, match="the race is over"):
        race.tell([])


@pytest.mark.parametrize("wrong", [{"entrants": 0}, {"rows": 0}, {"block": 0}, {"bounds": (1, 1)}])
def test_a_race_needs_runners_and_rows(wrong: dict) -> None:
    """None of them may be missing."""
    with pytest.raises(UsageError):
        Race(**{"entrants": 2, "rows": 2, "rng": rng(), **wrong})


# ---- made-up races


SOME, ALL, NONE = Spread(0.5, 5), Spread(1.0, 5), Spread(0.0, 5)


@pytest.mark.parametrize("tried", [[], [(0, 40)], [(4, 40)], [(40, 40)], [(400, 400)], [(8, 8), (0, 8), (3, 8)]])
def test_rewrites_are_made_up_by_what_was_seen(tried: list[tuple[int, int]]) -> None:
    """The average of wrong rows is that of the posterior, by scipy's; nothing was seen of right ones: a fifth."""
    draws, effects = rng(), [Effect(mended, failing, 0, 0) for mended, failing in tried]
    drawn = [Rewriting.drawn(draws, effects) for _ in range(10_000)]

    means, alike = np.meshgrid(np.linspace(0.0125, 0.9875, 40), [1, 2, 4, 8, 16])
    weights = (1 - means) ** 3
    for mended, failing in tried:
        weights = weights * betabinom.pmf(mended, failing, alike * means, alike * (1 - means))
    assert sum(each.mends.mean for each in drawn) / 10_000 == pytest.approx(
        np.average(means, weights=weights), abs=0.01
    )
    assert sum(each.breaks.mean for each in drawn) / 10_000 == pytest.approx(0.2, abs=0.01)


def test_a_rewrite_is_its_own_where_rewrites_differ() -> None:
    """One that mends six of eight is drawn towards the average where all tried are near it, and hardly where none is."""
    near, far = [Effect(4, 8, 0, 0)] * 8, [Effect(8, 8, 0, 0), Effect(0, 8, 0, 0)] * 4

    def made_up(tried: list[Effect]) -> float:
        draws = rng()
        return sum(Rewriting.drawn(draws, tried).mends.draw(draws, 6, 8) for _ in range(10_000)) / 10_000

    assert made_up(near) == pytest.approx(0.6, abs=0.03)
    assert made_up(far) == pytest.approx(0.7, abs=0.03)


def test_a_made_up_rewrite_is_like_one_that_was_tried() -> None:
    """Where one of two mends all rows and the other none, races are won by one that does."""
    raced = Rewriting([Effect(400, 400, 0, 400), Effect(0, 400, 0, 400)], SOME, NONE).raced(rng(), **MADE_UP)

    assert raced.won
    assert raced.wrong < 0.01


def test_rewrites_that_change_nothing_do_not_win() -> None:
    """All texts are alike then, which forty rows do not tell: two of the five, the present one first, are scored on all."""
    assert Rewriting([], NONE, NONE).raced(rng(), **MADE_UP) == (128, 40, 40, False, 0.5)


def test_of_equals_a_rewrite_leads_where_the_present_text_is_last() -> None:
    """As in a compression, where the shortest text stands first; the present one leaves early."""
    assert Rewriting([], NONE, NONE).raced(rng(), **MADE_UP, present_last=True) == (128, 8, 40, True, 0.5)


def test_rewrites_that_mend_all_win() -> None:
    """Nothing is wrong afterwards."""
    raced = Rewriting([], ALL, NONE).raced(rng(), **MADE_UP)

    assert (raced.won, raced.wrong) == (True, 0.0)


def test_rewrites_that_break_rows_do_not_win() -> None:
    """The present text stays as it was, and the race ends early."""
    raced = Rewriting([], NONE, ALL).raced(rng(), **MADE_UP)

    assert (raced.won, raced.wrong) == (False, 0.5)
    assert raced.scores < 5 * 40
    assert raced.present == raced.leader < 40


def test_without_rewrites_there_is_no_race() -> None:
    """The present text stays, and no row is scored."""
    assert Rewriting([], SOME, NONE).raced(rng(), **{**MADE_UP, "rewrites": 0}) == (0, 0, 0, False, 0.5)


@given(mends=st.floats(0, 1), breaks=st.floats(0, 1), wrong=st.floats(0, 1), seed=st.integers(0))
def test_any_made_up_race_ends(mends: float, breaks: float, wrong: float, seed: int) -> None:
    """Shares stay shares, whatever rewrites do."""
    raced = Rewriting([], Spread(mends, 5), Spread(breaks, 5)).raced(
        rng(seed), rewrites=3, rows=10, wrong=wrong, margin=0.02
    )

    assert 0 < raced.present <= raced.leader <= 10
    assert raced.leader < raced.scores <= 4 * 10
    assert 0 <= raced.wrong <= 1
