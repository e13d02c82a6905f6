"""Losses that ask a model: a critique in words, or a score against a rubric."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, Field

from wordgrad import prompts
from wordgrad.core.function import Node
from wordgrad.core.value import EngineCall, Result, text_form
from wordgrad.engines.defaults import resolve
from wordgrad.engines.stack import wrapped
from wordgrad.errors import EngineError, UnreadableReply, UsageError
from wordgrad.functions.structured import ask
from wordgrad.losses.base import Case, Loss, Scale
from wordgrad.prompts import Limits, Prompt
from wordgrad.types import Engine, Request, Sampling

_OPTIONS = Sampling(max_tokens=1024)
_CHARS_SHOWN = 1_000_000


class _Judge(Loss):
    """What both judges share: what they judge by, who judges, and what they are shown."""

    def __init__(self, objective: str, engine: str | Engine | None, options: Sampling) -> None:
        if not objective.strip():
            raise UsageError(f"{self.name} needs words to judge by: critics are shown them with every judgement")
        self.objective = objective
        self.engine = engine
        self.options = options

    def bound(self) -> Loss:
        """The loss with the judge that holds here."""
        bound = copy.copy(self)
        bound.engine = resolve(self.engine)
        return bound

    def request(self, make: Callable[[Limits], Prompt], node: Node, *, form: type[BaseModel] | None = None) -> Request:
        """What the judge is asked, with as much of the texts as its context holds."""
        engine = resolve(self.engine)
        made = prompts.fitted(make, chars=_CHARS_SHOWN, engine=engine, sampling=self.options, form=form)
        return Request(
            messages=made.messages, template=made.template, sampling=self.options, purpose="judge", node=node.role
        )

    def prompt_of(self, case: Case, template: Callable[..., Prompt]) -> Callable[[Limits], Prompt]:
        """One output, and what is known of it; of texts that are too long the judge sees the start and the end."""

        def prompt(limits: Limits) -> Prompt:
            return template(
                limits.text(self.objective),
                output=limits.text(text_form(case.output)),
                target=limits.text(_shown(case.target)),
                context=limits.text(_shown(case.context)),
                finish=case.finish,
            )

        return prompt


class TextLoss(_Judge):
    """A model's critique of an output, by an instruction. It has no score and never passes.

    Of texts that together are more than its context holds, the judge sees the start and the end, and how much is left
    out between them.

    Args:
        instruction: What to judge by, and to say what to improve. Critics see it too.
        engine: The judge; the default backward engine where None, taken when the loss is called.
        options: Limits and sampling of the judge.

    Raises:
        UsageError: The instruction is blank.
    """

    name = "TextLoss"

    def __init__(self, instruction: str, engine: str | Engine | None = None, *, options: Sampling = _OPTIONS) -> None:
        super().__init__(instruction, engine, options)

    async def judge(self, case: Case, node: Node) -> Result:
        """The critique.

        Raises:
            EngineError: The judge refused, or its critique was cut off at its length limit.
        """
        engine, request = resolve(self.engine), self.request(self.prompt_of(case, prompts.judge_text), node)
        completion = await wrapped(engine).complete(request)
        if completion.finish != "stop" or not completion.text.strip():
            raise EngineError(
                f"the judge {engine.name!r} gave no whole critique (finish={completion.finish!r}): raise "
                "max_tokens, or choose another judge",
                retryable=False,
            )
        return Result(value=completion.text.strip(), calls=(EngineCall.of(engine, request, completion),))


class _Verdict(BaseModel):
    critique: str = Field(min_length=1)
    score: float = Field(ge=0, le=1)


class JudgeLoss(_Judge):
    """A model's score in [0, 1] by a rubric, with its critique.

    Of texts that together are more than its context holds, the judge sees the start and the end, as for `TextLoss`.

    Args:
        rubric: What a good output is, and how much each fault costs. Critics see it too.
        engine: The judge; the default backward engine where None, taken when the loss is called.
        passing: The score from which an example gives no feedback.
        options: Limits and sampling of the judge.

    Raises:
        UsageError: The rubric is blank.
    """

    name = "JudgeLoss"

    def __init__(
        self,
        rubric: str,
        engine: str | Engine | None = None,
        *,
        passing: float | None = None,
        options: Sampling = _OPTIONS,
    ) -> None:
        super().__init__(rubric, engine, options)
        self.scale: Scale = Scale(passing=passing)

    async def judge(self, case: Case, node: Node) -> Result:
        """The score and the critique; no score where neither the judge's reply nor its repair is a verdict."""
        engine = resolve(self.engine)
        request = self.request(self.prompt_of(case, prompts.judge_score), node, form=_Verdict)
        try:
            verdict, calls = await ask(wrapped(engine), request, _Verdict)
        except UnreadableReply as error:
            # Who cannot be read has not judged, and that is not a zero: the example gives no feedback.
            return self.judged(f"{error}", None)
        return replace(self.judged(verdict.critique, verdict.score), calls=calls)


class _Preference(BaseModel):
    reason: str = Field(min_length=1)
    better: Literal["first", "second", "neither"]


class PairwiseLoss(_Judge):
    """A model's preference between two outputs by a rubric; it is not told which is which.

    Called `loss(output, other, context=…)`: the score is 1 where the output is better than the other one, 0 where it is
    worse, and 0.5 where the judge prefers neither, or both are the same text, which asks nobody. Which of the two comes
    first follows from a hash of both, so that no order is favoured, and the same pair is asked about once.

    Of texts that together are more than its context holds, the judge sees the start and the end, as for `TextLoss`.

    Args:
        rubric: What a good output is. Critics see it too.
        engine: The judge; the default backward engine where None, taken when the loss is called.
        options: Limits and sampling of the judge.

    Raises:
        UsageError: The rubric is blank.
    """

    name = "PairwiseLoss"
    scale: Scale = Scale()

    def __init__(self, rubric: str, engine: str | Engine | None = None, *, options: Sampling = _OPTIONS) -> None:
        super().__init__(rubric, engine, options)

    def of_failed(self, *, output: bool, other: bool) -> float | None:
        """An answer is better than a failure."""
        return 0.5 if output == other else float(other)

    async def judge(self, case: Case, node: Node) -> Result:
        """The preference; no score where neither the judge's reply nor its repair can be read."""
        output, other = text_form(case.output), _shown(case.target)
        if output == other:
            return self.judged("The two answers are the same.", 0.5)
        pair = (output, other)
        swapped = hashlib.sha256(repr(sorted(pair)).encode("utf-8", "surrogatepass")).digest()[0] % 2 == 1
        first, second = sorted(pair, reverse=swapped)

        def prompt(limits: Limits) -> Prompt:
            return prompts.judge_pair(
                limits.text(self.objective),
                first=limits.text(first),
                second=limits.text(second),
                context=limits.text(_shown(case.context)),
            )

        try:
            request = self.request(prompt, node, form=_Preference)
            said, calls = await ask(wrapped(resolve(self.engine)), request, _Preference)
        except UnreadableReply as error:
            return self.judged(f"{error}", None)
        scores = {"neither": 0.5, "first": float(first == output), "second": float(second == output)}
        return replace(self.judged(said.reason, scores[said.better]), calls=calls)


def _shown(value: object) -> str:
    return "" if value is None else text_form(value)
