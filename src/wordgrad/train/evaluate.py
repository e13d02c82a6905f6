"""Scores of a program on rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from wordgrad import dispatch
from wordgrad.core.value import Result
from wordgrad.core.variable import Variable, abandon
from wordgrad.data.rows import Row
from wordgrad.data.split import connected, identity, unit
from wordgrad.errors import EngineError, NodeError, UsageError, WordgradError
from wordgrad.losses.base import Loss, Scale, judgement
from wordgrad.losses.judge import PairwiseLoss
from wordgrad.losses.metric import Metric, MetricLoss
from wordgrad.statistics.pairs import Pairs, paired
from wordgrad.train.accept import Guarded
from wordgrad.train.events import Advance, Observer, Refused, unwatched
from wordgrad.train.program import Answer, Program
from wordgrad.train.scores import Measured, Scores, broken


def scored(metric: Metric | Loss, what: str) -> Loss:
    """The metric as a loss.

    Raises:
        UsageError: It has no score; the message says of what.
    """
    if isinstance(metric, PairwiseLoss):
        raise UsageError(
            f"{what} is a PairwiseLoss, which compares two answers: give a JudgeLoss, and target=None, and answers are "
            "compared in pairs"
        )
    loss = metric if isinstance(metric, Loss) else MetricLoss(metric)
    if loss.scale is None:
        raise UsageError(f"{what} is a {type(loss).__name__}, which has no score: use JudgeLoss, or a function")
    return loss


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A further metric, which a better text must not make worse."""

    metric: Metric | Loss
    """As the target's."""
    margin: float
    """The loss that would be borne, in the metric's unit; 0 for a hard constraint: every row must pass."""
    loss: Loss = field(init=False)
    """The metric, with its scale."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", scored(self.metric, "a guardrail"))
        low, high = _scale(self.loss).bounds
        if not isinstance(self.margin, int | float) or not 0 <= self.margin < high - low:
            raise UsageError(
                f"margin={self.margin!r} of a guardrail must be a number, at least 0 and less than {high - low:g}"
            )

    @property
    def hard(self) -> bool:
        """Whether no row may break it."""
        return self.margin == 0

    @property
    def asks(self) -> bool:
        """Whether a model judges, which the search should not learn to please."""
        return not isinstance(self.loss, MetricLoss)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What answers, what judges, and the columns they read."""

    program: Program
    loss: Loss
    """The target. Must have a score."""
    pairwise: Loss | None = None
    """Compares two answers in place of the target where texts are compared: a judge's scores of one at a time are too
    coarse. Called loss(output, other, context=…); its scores are from 0 to 1."""
    guardrails: Mapping[str, Guardrail] = field(default_factory=dict)
    input: str
    """The column of what is asked: the judge's context."""
    target: str | None
    """The column of what is wanted; None where the judge needs none."""
    by: str | None = None
    """A column whose equal values are one case (a customer, a conversation), as rows that ask the same are.

    The rows of one case stay together, and count once, by their mean.
    """

    def oriented(self, scores: Scores) -> list[float | None]:
        """The scores, with more as better."""
        return scores.oriented(self.scale)

    @property
    def bounds(self) -> tuple[float, float]:
        """The worst and the best score, as `oriented` gives them."""
        return _bounds(self.scale)

    def paired(self, rows: Sequence[Row], start: Scores, candidate: Scores) -> Pairs:
        """Two texts' scores on the same rows, with more as better."""
        return _paired(start, candidate, self.scale, self.cases(rows))

    def guarded(self, rows: Sequence[Row], start: Measured, candidate: Measured) -> dict[str, Guarded]:
        """Both texts by each guardrail."""
        cases = self.cases(rows)
        return {
            name: Guarded(
                pairs=_paired(start.guardrails[name], candidate.guardrails[name], _scale(each.loss), cases),
                margin=each.margin,
                broken=broken(start.guardrails[name], candidate.guardrails[name]) if each.hard else 0,
            )
            for name, each in self.guardrails.items()
        }

    def cases(self, rows: Sequence[Row]) -> list[int]:
        """The number of each row's case: rows that ask the same, or belong together, or both in a chain, are one."""

        def keys(row: Row) -> list[tuple[str, str]]:
            together = None if self.by is None else unit(row, self.by)
            asked = ("asked", identity(row[self.input]))
            return [asked] if together is None else [asked, ("together", together)]

        return connected([keys(row) for row in rows])

    @property
    def scale(self) -> Scale:
        """What the scores mean."""
        return _scale(self.loss)

    def judged(self, rows: Sequence[Row], values: Mapping[str, str] | None) -> list[Variable]:
        """Start the program and its judge on each row, each in a thread of its own; the judgements are pending.

        Args:
            rows: In the order of the results.
            values: As in `Program.bound`.

        Raises:
            Exception: As `settled`, or what the program itself raised.
        """
        return [each.judgements[0] for each in self._started(rows, values, {}, [None] * len(rows))]

    def scores(self, rows: Sequence[Row], values: Mapping[str, str], *, observer: Observer = unwatched) -> Scores:
        """Score the program on `rows` by the target, each answer by itself.

        Args:
            rows: At least one.
            values: The variables' values by name.
            observer: Told after each row, in order.

        Raises:
            EngineError: A call failed: an outage is never a score.
            BudgetExceeded: The run's budget is spent.
            NodeError: The program or the metric failed.
        """
        return Scores.from_results(settled(self.judged(rows, values), [each.place for each in rows], observer))

    def measured(
        self,
        rows: Sequence[Row],
        texts: Sequence[Mapping[str, str]],
        *,
        against: Mapping[str, str] | None,
        guards: Collection[str] | None = None,
        observer: Observer = unwatched,
    ) -> list[Measured]:
        """Score several texts on the same rows at once, by the target and the guardrails.

        Args:
            rows: At least one.
            texts: Each as in `scores`.
            against: The text that a pairwise judge compares each of them with; each answer by itself where None.
            guards: The guardrails to measure, by name; all where None.
            observer: Told after each row of each text.

        Raises:
            Exception: As `scores`.
        """
        losses = {name: each.loss for name, each in self.guardrails.items() if guards is None or name in guards}
        rivals: Sequence[Variable | None] = [None] * len(rows)
        started: list[_Started] = []
        try:
            if self.pairwise is not None and against is not None:
                rivals = self._answers(rows, against)
            for values in texts:
                started += self._started(rows, values, losses, rivals)
        except BaseException:
            for each in started:
                each.abandon()
            abandon([each for each in rivals if each is not None])
            raise
        found, wide = [], 1 + len(losses)
        judgements = [each for answer in started for each in answer.judgements]
        flat = settled(judgements, [each.place for each in rows], observer, wide=wide)
        for first in range(0, len(started), len(rows)):
            answers = started[first : first + len(rows)]
            results = flat[first * wide : (first + len(rows)) * wide]
            target, *others = (Scores.from_results(results[number::wide]) for number in range(wide))
            guarded = dict(zip(losses, others, strict=True))
            outputs = tuple(_said(each.output) for each in answers)
            found.append(Measured(outputs=outputs, target=target, guardrails=guarded))
        return found

    def constrained(self, found: Measured) -> Scores:
        """The target's scores, the worst one where a hard constraint is broken."""
        hard = [each for name, each in found.guardrails.items() if self.guardrails[name].hard]
        values = [
            self.scale.worst if any(each.broke(row) for each in hard) else score
            for row, score in enumerate(found.target.values)
        ]
        return replace(found.target, values=tuple(values))

    def worse(self, candidate: Measured, present: Measured) -> list[str]:
        """By what a text does worse than another on the same rows: a lower mean, or fewer rows that could be judged."""
        pairs = {"the target": (candidate.target, present.target, self.scale)} | {
            repr(name): (scores, present.guardrails[name], _scale(self.guardrails[name].loss))
            for name, scores in candidate.guardrails.items()
        }
        return [name for name, (new, old, scale) in pairs.items() if not new.as_well_as(old, scale)]

    def _answers(self, rows: Sequence[Row], values: Mapping[str, str]) -> list[Variable]:
        """The program's outputs, pending."""
        with self.program.bound(values) as answer, _unwrapped():
            return [each.output for each in _each(answer, rows, lambda *_: [])]

    def _started(
        self,
        rows: Sequence[Row],
        values: Mapping[str, str] | None,
        guards: Mapping[str, Loss],
        rivals: Sequence[Variable | None],
    ) -> list[_Started]:
        """For each row the output and its judgements: by the target, or against its rival, then by the guardrails."""
        with self.program.bound(values) as answer, _unwrapped():

            def judged(place: int, output: Variable) -> list[Variable]:
                row, rival = rows[place], rivals[place]
                known: dict[str, Any] = {"context": row[self.input], "example": row.place}
                wanted = None if self.target is None else row[self.target]
                if rival is None or self.pairwise is None:
                    target = self.loss(output, wanted, **known)
                else:
                    target = self.pairwise(output, rival, **known)
                others = [judgement(loss, output, wanted, name=name, **known) for name, loss in guards.items()]
                return [target, *others]

            return _each(answer, rows, judged)


def _each(answer: Answer, rows: Sequence[Row], judged: Callable[[int, Variable], list[Variable]]) -> list[_Started]:
    """Each row's output, and what judges it, made beside it: in its thread, or where it is awaited.

    Where the program fails on one row, what the others wait for is stopped.
    """
    started: list[_Started] = []
    failed = False

    def begun(place: int, output: Variable) -> _Started:
        new = _Started(output, judged(place, output))
        started.append(new)
        if failed:  # on another row, and nobody will read this
            new.abandon()
        return new

    async def awaited(place: int) -> _Started:
        with _on(rows[place]):
            output = await answer(rows[place])
        return begun(place, output)

    def one(place: int) -> _Started:
        with _on(rows[place]):
            output = answer(rows[place])
        assert isinstance(output, Variable), "only an async program gives a coroutine"
        return begun(place, output)

    try:
        if inspect.iscoroutinefunction(answer):
            return dispatch.map(awaited, range(len(rows)))
        return dispatch.map(one, range(len(rows)))
    except BaseException:
        failed = True
        for each in started:
            each.abandon()
        raise


@contextmanager
def _on(row: Row) -> Generator[None]:
    """Have an error of the program's own code name the row."""
    try:
        yield
    except WordgradError:
        raise
    except Exception as error:  # a user's code may raise anything
        words = f"the program failed on {row.place}: {type(error).__name__}: {error}"
        raise NodeError(words, function="the program", role="the output", example=row.place) from error


class _Started(NamedTuple):
    output: Variable
    judgements: list[Variable]

    def abandon(self) -> None:
        abandon([self.output, *self.judgements])


def _scale(loss: Loss) -> Scale:
    assert loss.scale is not None, "the loss has a score"
    return loss.scale


def _bounds(scale: Scale) -> tuple[float, float]:
    low, high = scale.bounds
    return (low, high) if scale.higher_is_better else (-high, -low)


def _paired(start: Scores, candidate: Scores, scale: Scale, cases: Sequence[int]) -> Pairs:
    return paired(start.oriented(scale), candidate.oriented(scale), bounds=_bounds(scale), units=cases)


def settled(
    judgements: Sequence[Variable], places: Sequence[str], observer: Observer = unwatched, *, wide: int = 1
) -> list[Result]:
    """The judgements in order, once they are there. Where one fails, the others are stopped.

    A request that the server refuses for what it says fails its own judgements alone: their results have a `failure`,
    and no score. Where all are refused, it is not the rows' fault, and the first error is raised.

    Args:
        judgements: As `Task.judged` gives them; of one text, or of several on the same rows.
        places: The rows', for messages.
        observer: Told after each row, and of each refusal.
        wide: Judgements of one row.

    Raises:
        WordgradError: As an engine or a budget raised it; a caller's mistake, with the call that it was found in.
        NodeError: Code of the user's failed.
    """
    results: list[Result] = []
    refusals: list[EngineError] = []
    try:
        for done, each in enumerate(judgements, start=1):
            found = _result(each)
            if isinstance(found, EngineError):
                refusals.append(found)
                observer(Refused(places[(done - 1) // wide % len(places)], str(found)))
                found = Result(value=str(found), failure=str(found))
            results.append(found)
            if done % wide == 0:
                observer(Advance(done // wide))
    except BaseException:
        abandon(judgements)
        raise
    if refusals and len(refusals) == len(judgements):
        raise refusals[0]
    return results


def _said(output: Variable) -> str:
    """What a program answered; where it failed, how."""
    found = _result(output)
    if isinstance(found, EngineError):
        return str(found)
    return found.failure or output.text


def _result(variable: Variable) -> Result | EngineError:
    """The result, or the error of a server that refused its request."""
    try:
        with _unwrapped():
            return variable.result
    except EngineError as error:
        if not error.refused:
            raise
        return error


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
