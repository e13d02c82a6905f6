"""Losses that ask a model: a critique in words, or a score against a rubric."""

from __future__ import annotations

from pydantic import BaseModel, Field

from wordgrad import prompts
from wordgrad.core.function import Node
from wordgrad.core.value import EngineCall, Result, text_form
from wordgrad.engines.defaults import resolve
from wordgrad.engines.stack import wrapped
from wordgrad.errors import EngineError
from wordgrad.functions.structured import ask
from wordgrad.losses.base import Case, Loss, Scale
from wordgrad.types import Engine, Request, Sampling

_OPTIONS = Sampling(max_tokens=1024)


class TextLoss(Loss):
    """A model's critique of an output, by an instruction. It has no score and never passes.

    Args:
        instruction: What to judge by, and to say what to improve. Critics see it too.
        engine: The judge; the default backward engine where None, taken when the loss is called.
        options: Limits and sampling of the judge.
    """

    name = "TextLoss"

    def __init__(self, instruction: str, engine: str | Engine | None = None, *, options: Sampling = _OPTIONS) -> None:
        self.objective = instruction
        self.engine = engine
        self.options = options

    async def judge(self, case: Case, node: Node) -> Result:
        """The critique.

        Raises:
            EngineError: The judge refused, or its critique was cut off at its length limit.
        """
        engine = resolve(self.engine)
        prompt = prompts.judge_text(
            instruction=self.objective,
            output=text_form(case.output),
            target=_shown(case.target),
            context=_shown(case.context),
            finish=case.finish,
        )
        request = Request(messages=prompt.messages, template=prompt.template, sampling=self.options, purpose="judge")
        completion = await wrapped(engine).complete(request)
        if completion.finish != "stop" or not completion.text.strip():
            raise EngineError(
                f"the judge {engine.name!r} gave no whole critique (finish={completion.finish!r}): raise "
                "max_tokens, or choose another judge",
                retryable=False,
            )
        return Result(value=completion.text.strip(), calls=(EngineCall(engine.name, request, completion),))


class _Verdict(BaseModel):
    critique: str = Field(min_length=1)
    score: float = Field(ge=0, le=1)


class JudgeLoss(Loss):
    """A model's score in [0, 1] by a rubric, with its critique.

    Args:
        rubric: What a good output is, and how much each fault costs. Critics see it too.
        engine: The judge; the default backward engine where None, taken when the loss is called.
        passing: The score from which an example gives no feedback.
        options: Limits and sampling of the judge.
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
        self.objective = rubric
        self.engine = engine
        self.options = options
        self.scale: Scale = Scale(passing=passing)

    async def judge(self, case: Case, node: Node) -> Result:
        """The score and the critique.

        Raises:
            UnreadableReply: The judge's reply was no verdict, and neither was its repair.
        """
        engine = resolve(self.engine)
        prompt = prompts.judge_score(
            rubric=self.objective,
            output=text_form(case.output),
            target=_shown(case.target),
            context=_shown(case.context),
            finish=case.finish,
        )
        request = Request(messages=prompt.messages, template=prompt.template, sampling=self.options, purpose="judge")
        verdict, completions = await ask(wrapped(engine), request, _Verdict)
        judged = self.judged(verdict.critique, verdict.score)
        calls = tuple(EngineCall(engine.name, request, each) for each in completions)
        return Result(value=judged.value, score=judged.score, passed=judged.passed, calls=calls)


def _shown(value: object) -> str:
    return "" if value is None else text_form(value)
