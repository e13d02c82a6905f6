"""Scores of a program on rows."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

import wordgrad as wg
from wordgrad.losses.base import Loss
from wordgrad.statistics.claim import claim
from wordgrad.train.evaluate import Task
from wordgrad.train.program import Plain
from wordgrad.train.scores import Scores


def task(loss: Loss) -> Task:
    """A task of a program that says what it is given."""
    prompt = wg.Variable("Say it.", "system prompt", requires_grad=True)
    echo = Plain(fn=lambda variables, row: wg.format("{word}", word=row["word"]), parameters={"prompt": prompt})
    return Task(program=echo, loss=loss, input="word", target="wanted")


def scores(*values: float | None) -> Scores:
    """Scores of which none passes."""
    return Scores(values=values, passed=(False,) * len(values))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_gain_is_towards_the_good_end(higher_is_better: bool) -> None:
    """Where less is better, a fall is a gain; a row that one text could not be judged on counts for neither."""
    low, high = scores(2.0, 3.0, 1.0, None), scores(4.0, 5.0, 3.0, 5.0)
    better, worse = (high, low) if higher_is_better else (low, high)
    loss = wg.MetricLoss(lambda output, target: 1.0, bounds=(1.0, 5.0), higher_is_better=higher_is_better)
    rows = wg.examples([{"word": str(number)} for number in range(4)])
    found = claim(task(loss).paired(rows, worse, better), rng=random.Random(0))

    assert (found.difference, found.better, found.worse, found.n, found.excluded) == (2.0, 3, 0, 3, 1)


def test_rows_are_scored_in_order() -> None:
    """A metric that could not judge a row gives None."""
    loss = wg.MetricLoss(lambda output, target: wg.Score(None if output == "odd" else float(output == target)))
    rows = wg.examples([{"word": word, "wanted": "a"} for word in ("a", "odd", "b")])

    assert task(loss).scores(rows, {"prompt": "Say it."}).values == (1.0, None, 0.0)


def test_rows_of_one_case_count_once() -> None:
    """By their mean, over the rows that both texts were judged on; a row that names no case stands alone."""
    loss = wg.MetricLoss(lambda output, target: 1.0)
    rows = wg.examples([{"word": str(number), "customer": each} for number, each in enumerate("aab") for _ in "xx"])
    alone = wg.examples([{"word": "x", "customer": None}, {"word": "y", "customer": ""}])
    found = replace(task(loss), by="customer").paired(
        [*rows, *alone], scores(0, 0, 0, None, 1, 0, 0, 0), scores(1, 0, 1, 1, 1, 1, 1, 0)
    )

    assert (found.start, found.candidate) == ((0.0, 0.5, 0.0, 0.0), (2 / 3, 1.0, 1.0, 0.0))
    assert (found.n, found.excluded) == (4, 1)
