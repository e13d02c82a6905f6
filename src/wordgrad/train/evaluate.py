"""Scores of a program on rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wordgrad.core.variable import Variable, abandon
from wordgrad.data.rows import Row
from wordgrad.data.split import connected, identity, unit
from wordgrad.errors import UsageError
from wordgrad.losses.base import Loss, Scale, judgement
from wordgrad.losses.judge import PairwiseLoss
from wordgrad.losses.metric import Metric, MetricLoss
from wordgrad.statistics.pairs import Pairs, paired
from wordgrad.train.accept import Guarded
from wordgrad.train.answers import Begun, begun, said, settled, unwrapped
from wordgrad.train.events import Observer, unwatched
from wordgrad.train.program import Program
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

    def answered(self, rows: Sequence[Row], start: Measured, candidate: Measured) -> Pairs:
        """Which rows the server let both texts answer, as pairs of equal scores."""
        start_, candidate_ = ([None if each is None else 1.0 for each in found.outputs] for found in (start, candidate))
        return paired(start_, candidate_, units=self.cases(rows))

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
        started: list[Begun] = []
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
            outputs = tuple(said(each.output) for each in answers)
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
        with self.program.bound(values) as answer, unwrapped():
            return [each.output for each in begun(answer, rows, lambda *_: [])]

    def _started(
        self,
        rows: Sequence[Row],
        values: Mapping[str, str] | None,
        guards: Mapping[str, Loss],
        rivals: Sequence[Variable | None],
    ) -> list[Begun]:
        """For each row the output and its judgements: by the target, or against its rival, then by the guardrails."""
        with self.program.bound(values) as answer, unwrapped():

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

            return begun(answer, rows, judged)


def _scale(loss: Loss) -> Scale:
    assert loss.scale is not None, "the loss has a score"
    return loss.scale


def _bounds(scale: Scale) -> tuple[float, float]:
    low, high = scale.bounds
    return (low, high) if scale.higher_is_better else (-high, -low)


def _paired(start: Scores, candidate: Scores, scale: Scale, cases: Sequence[int]) -> Pairs:
    return paired(start.oriented(scale), candidate.oriented(scale), bounds=_bounds(scale), units=cases)
