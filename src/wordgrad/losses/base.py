"""What every loss shares: one signature, one rule for passing, one way to hand its words back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wordgrad.core.function import Context, Feedback, Function, Node
from wordgrad.core.gradient import Gradient
from wordgrad.core.value import Result, copied, text_form
from wordgrad.core.variable import Variable
from wordgrad.errors import UsageError
from wordgrad.functions.strategies import per_node
from wordgrad.types import Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a loss's numbers mean.

    Args:
        bounds: The lowest and the highest score; one outside is an error.
        higher_is_better: Which end is the good one.
        passing: An example passes when its score reaches this; the good end where None.
    """

    bounds: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True
    passing: float | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not low < high:
            raise UsageError(f"bounds={self.bounds!r} must rise, as in (0, 1)")
        if self.passing is not None and not low <= self.passing <= high:
            raise UsageError(f"passing={self.passing!r} lies outside bounds={self.bounds!r}")

    @property
    def worst(self) -> float:
        """The bad end of the bounds."""
        return self.bounds[0] if self.higher_is_better else self.bounds[1]

    @property
    def best(self) -> float:
        """The good end of the bounds."""
        return self.bounds[1] if self.higher_is_better else self.bounds[0]

    @property
    def needed(self) -> float:
        """The score at which an example passes."""
        return self.best if self.passing is None else self.passing

    def shown(self, score: float | None) -> str:
        """A score for people: a percentage where scores are from 0 to 1; "-" where there is none."""
        if score is None:
            return "-"
        return f"{score:.0%}" if self.bounds == (0.0, 1.0) else f"{score:.3g}"

    def passes(self, score: float) -> bool:
        """Whether an example with this score needs no feedback.

        Raises:
            UsageError: The score is outside the bounds, or no number.
        """
        low, high = self.bounds
        if math.isnan(score) or not low <= score <= high:
            raise UsageError(f"a score of {score!r} lies outside bounds={self.bounds!r}: fix the metric, or its bounds")
        return score >= self.needed if self.higher_is_better else score <= self.needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One output to be judged, as plain values."""

    output: object
    finish: str
    """How the output ended: "stop", "length" or "refusal"; judges are told."""
    target: object = None
    context: object = None


class Loss(ABC):
    """Judges outputs; called `loss(output, target=None, *, context=None, example=None)`."""

    name: str
    objective: str
    """What it judges by; never blank."""
    scale: Scale | None = None
    """None for a loss without a score, which never passes."""
    thread: bool = False
    """Whether `judge` is plain code for a worker thread."""

    def __call__(
        self, output: object, target: object = None, *, context: object = None, example: Hashable | None = None
    ) -> Variable:
        """Judge; returns at once.

        Args:
            output: A Variable, or a value.
            target: What was wanted, where it is known.
            context: What the judge and critics need to know (a question, sources). It gets no feedback.
            example: The example that the call belongs to; the loss itself where None.
        """
        return judgement(self, output, target, context=context, example=example)

    def bound(self) -> Loss:
        """The loss with what defaults hold where it is called: a later default never reaches a call that is out."""
        return self

    @abstractmethod
    def judge(self, case: Case, node: Node) -> Result | Awaitable[Result]:
        """The judgement of one case: its words as the value, and its score."""

    def of_failed(self, *, output: bool, other: bool) -> float | None:
        """The score where the output failed, or another input did: the worst one, or none where the output is fine."""
        return self.scale.worst if output and self.scale is not None else None

    def judged(self, words: str, score: float | None, *, given: Score | None = None) -> Result:
        """A judgement, with whether it passes; `given` has the notes and tags of it.

        Raises:
            UsageError: The score is outside the bounds.
        """
        passed = None if score is None or self.scale is None else self.scale.passes(score)
        notes, tags = ({}, {}) if given is None else (dict(given.notes), dict(given.tags))
        return Result(value=words, score=score, passed=passed, notes=notes, tags=tags)


def judgement(
    loss: Loss, output: object, target: object, *, context: object, example: Hashable | None, name: str | None = None
) -> Variable:
    """The call of a loss; under a `name` it and its objective are kept apart, even from one in the same words."""
    known = {role: each for role, each in (("target", target), ("context", context)) if each is not None}
    # Targets and contexts are read, never blamed.
    read = [each.detach() if isinstance(each, Variable) else each for each in known.values()]
    objective = loss.objective if name is None else f"{name}: {loss.objective}"
    judged = Judgement(loss.bound(), list(known), objective).apply(
        output, *read, roles=["output", *known], role_description=f"judgement by {name or loss.name}", example=example
    )
    judged.name = name
    return judged


class Judgement(Function):
    """One call of a loss. Its inputs are the output, then what is known of target and context."""

    judges = True

    def __init__(self, loss: Loss, known: Sequence[str], objective: str) -> None:
        self.loss = loss
        self.known = tuple(known)
        self.name = loss.name
        self.description = objective
        self.thread = loss.thread

    def forward(self, node: Node, inputs: tuple[Result, ...]) -> Result | Awaitable[Result]:
        """Judge the output. A failed one needs no judge: it has the worst score, and its message is the critique.

        Where target or context failed there is nothing to judge by: no score, and nobody to blame.
        """
        failed = next((each for each in inputs if each.failure is not None), None)
        if failed is None:
            output, *others = (copied(each.value) for each in inputs)
            extras: dict[str, Any] = dict(zip(self.known, others, strict=True))
            return self.loss.judge(Case(output=output, finish=inputs[0].finish, **extras), node)
        other = any(each.failure is not None for each in inputs[1:])
        score = self.loss.of_failed(output=inputs[0].failure is not None, other=other)
        return replace(failed, score=score, passed=False)

    def backward(self, ctx: Context, grads: Sequence[Gradient]) -> Sequence[Feedback] | Awaitable[Sequence[Feedback]]:
        """The judge's words are the gradient of what was judged: no further call, and none where it passed."""
        if grads:
            return (ctx.critique or per_node.critique)(ctx, grads)
        nothing: list[Feedback] = [None] * len(self.known)
        words = text_form(ctx.output.value)
        unjudged = self.loss.scale is not None and ctx.output.score is None
        if ctx.output.passed or unjudged or not words:
            return [None, *nothing]
        target = ctx.inputs[1 + self.known.index("target")].value if "target" in self.known else ""
        asked = ctx.inputs[1 + self.known.index("context")].value if "context" in self.known else ""
        return [
            Gradient(
                text=words,
                severity=3,
                input=text_form(asked),
                output=text_form(ctx.inputs[0].value) or "(nothing)",
                expected=text_form(target),
                score=ctx.output.score,
                feedback=words,
                context=text_form(asked),
            ),
            *nothing,
        ]
