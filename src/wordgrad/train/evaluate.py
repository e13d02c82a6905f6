"""Scores of a program on rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from wordgrad import dispatch
from wordgrad.core.value import Result
from wordgrad.core.variable import Variable, abandon
from wordgrad.data.rows import Row
from wordgrad.errors import NodeError, UsageError, WordgradError
from wordgrad.losses.base import Loss, Scale
from wordgrad.statistics.pairs import Pairs, paired
from wordgrad.train.program import Program

Progress = Callable[[int, int], None]
"""Called with the rows that are done and the rows there are."""


def _unseen(_done: int, _total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One text's scores, in the order of the rows; None where the metric could not judge."""

    values: tuple[float | None, ...]
    passed: tuple[bool, ...]

    @property
    def mean(self) -> float | None:
        """The mean of the scores there are; None where there is none."""
        known = [each for each in self.values if each is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What answers, what judges, and the columns they read."""

    program: Program
    loss: Loss
    """Must have a score."""
    input: str
    """The column of what is asked: the judge's context."""
    target: str | None
    """The column of what is wanted; None where the judge needs none."""

    def oriented(self, scores: Scores) -> list[float | None]:
        """The scores, with more as better."""
        sign = 1 if self.scale.higher_is_better else -1
        return [None if each is None else sign * each for each in scores.values]

    def paired(self, start: Scores, candidate: Scores) -> Pairs:
        """Two texts' scores on the same rows, with more as better."""
        low, high = self.scale.bounds
        bounds = (low, high) if self.scale.higher_is_better else (-high, -low)
        return paired(self.oriented(start), self.oriented(candidate), bounds=bounds)

    @property
    def scale(self) -> Scale:
        """What the scores mean."""
        assert self.loss.scale is not None, "the loss has a score"
        return self.loss.scale

    def judged(self, rows: Sequence[Row], values: Mapping[str, str] | None) -> list[Variable]:
        """Start the program and its judge on each row, each in a thread of its own; the judgements are pending.

        Args:
            rows: In the order of the results.
            values: As in `Program.bound`.

        Raises:
            Exception: As `settled`, or what the program itself raised.
        """
        with self.program.bound(values) as answer, _unwrapped():

            def one(row: Row) -> Variable:
                wanted = None if self.target is None else row[self.target]
                return self.loss(answer(row), wanted, context=row[self.input], example=row.place)

            return dispatch.map(one, rows)

    def scores(self, rows: Sequence[Row], values: Mapping[str, str], *, progress: Progress = _unseen) -> Scores:
        """Score the program on `rows`.

        Args:
            rows: At least one.
            values: The variables' values by name.
            progress: Told after each row, in order.

        Raises:
            EngineError: A call failed: an outage is never a score.
            BudgetExceeded: The run's budget is spent.
            NodeError: The program or the metric failed.
        """
        results = settled(self.judged(rows, values), progress=progress)
        return Scores(
            values=tuple(each.score for each in results),
            passed=tuple(bool(each.passed) for each in results),
        )


def settled(judgements: Sequence[Variable], *, progress: Progress) -> list[Result]:
    """The judgements in order, once they are there. Where one fails, the others are stopped.

    Args:
        judgements: As `Task.judged` gives them.
        progress: Told after each.

    Raises:
        WordgradError: As an engine or a budget raised it; a caller's mistake, with the call that it was found in.
        NodeError: Code of the user's failed.
    """
    results = []
    try:
        for done, each in enumerate(judgements, start=1):
            with _unwrapped():
                results.append(each.result)
            progress(done, len(judgements))
    except BaseException:
        abandon(judgements)
        raise
    return results


@contextmanager
def _unwrapped() -> Generator[None]:
    try:
        yield
    except NodeError as error:
        cause: BaseException | None = error
        while isinstance(cause, NodeError):
            cause = cause.__cause__
        if isinstance(cause, UsageError):
            raise UsageError(str(error)) from error
        if isinstance(cause, WordgradError):
            raise cause from error
        raise
