"""One parameter's new texts: the calls, the strict reading, and the one repair."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import BaseModel

from wordgrad import context, dispatch, prompts
from wordgrad.core.gradient import Gradient
from wordgrad.core.variable import Variable
from wordgrad.engines.stack import wrapped
from wordgrad.errors import EngineError, UnreadableReply, UsageError
from wordgrad.optim.constraints import Change, Constraint, broken, descriptions
from wordgrad.optim.grouping import Fitted, grouped
from wordgrad.optim.proposal import Proposal, Rewrite
from wordgrad.prompts import Asked, EditReply, Limits, Prompt, Record, ReduceReply, RewriteReply, Work
from wordgrad.types import Completion, Engine, Index, Request, Sampling

_ATTEMPTS = 2
_MIN_REPLY_TOKENS = 2_048
_FIXED_TOKENS = 600
"""What the fixed text of a prompt takes at most."""
_CHARS_SHOWN = 100_000
"""Of the reply in a request for its repair."""


class Ask(Protocol):
    """Makes the prompt for one candidate; `rng` is that candidate's own."""

    def __call__(self, work: Work, *, candidate: int, rng: random.Random, as_json: bool) -> Asked: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One parameter as it was when proposals were asked for, and how they are made."""

    name: str
    variable: Variable
    version: int
    text: str
    is_text: bool
    """Whether the value is text, else JSON."""
    gradients: tuple[Gradient, ...]
    constraints: tuple[str | Constraint, ...]
    examples: tuple[str, ...]
    history: str
    feedback_tokens: int
    edit_above: int
    """Characters of the value beyond which places in it are changed."""
    engine: Engine
    options: Sampling | None
    ask: Ask
    candidates: int
    place: Index
    """Under which its calls are numbered."""
    draw: tuple[int, int]
    """Seed and step."""

    @property
    def changes(self) -> tuple[str, ...]:
        """What the gradients ask for, each once."""
        return tuple(dict.fromkeys(each.text for each in self.gradients))

    @property
    def sampling(self) -> Sampling:
        """Limits of the reply: by default twice the value's length, which JSON's escapes can need."""
        if self.options is not None:
            return self.options
        return Sampling(max_tokens=max(_MIN_REPLY_TOKENS, 2 * self.engine.count_tokens(self.text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A text for each candidate, and all calls that they took."""

    rewrites: tuple[Rewrite, ...]
    calls: int

    @property
    def refused(self) -> bool:
        """Whether a server would not answer a single request."""
        return all(each.refusal is not None for each in self.rewrites)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one `propose()` made, and all calls that it took."""

    proposals: tuple[Proposal, ...]
    calls: int


async def write(job: Job) -> Written:
    """Every candidate's text for one parameter, written concurrently.

    Raises:
        EngineError: The engine could not be reached.
    """
    reduced = _Reducer(job)
    records = await grouped(
        _records(job), tokens=_room(job), room=_beside(job), count=job.engine.count_tokens, ask=reduced
    )
    work = _work(job, records)
    rewrites = await dispatch.together(
        [functools.partial(_candidate, job, work, number) for number in range(job.candidates)]
    )
    return Written(rewrites=tuple(rewrites), calls=reduced.calls + sum(each.calls for each in rewrites))


def _records(job: Job) -> list[Record]:
    aims = list(dict.fromkeys(each.objective for each in job.gradients))
    # Records that wanted the same output stand together: what they share is then plain to see, to a small model too.
    outputs = list(dict.fromkeys(each.expected for each in job.gradients))
    ordered = sorted(job.gradients, key=lambda each: outputs.index(each.expected))
    return [
        Record(
            change=each.text,
            input=each.input,
            # A solution that was judged is its own output: the prompt shows it once.
            output="" if each.output == job.text else each.output,
            expected=each.expected,
            judged=each.feedback,
            part=each.segment,
            aim=str(aims.index(each.objective) + 1) if len(aims) > 1 else "",
            quote=each.quote,
            keep=each.keep,
            severity=each.severity,
        )
        for each in ordered
    ]


def _work(job: Job, records: Fitted) -> Work:
    return Work(
        value=job.text,
        role=job.variable.role_description,
        records=records.records,
        left_out=records.left_out,
        objectives=tuple(dict.fromkeys(each.objective for each in job.gradients if each.objective)),
        constraints=descriptions(job.constraints),
        examples=job.examples,
        history=job.history,
        by_edits=len(job.text) > job.edit_above,
    )


def _room(job: Job) -> int:
    """How many tokens of feedback fit beside the value, the history and the reply."""
    others = "\n".join((job.text, job.history, *job.examples, *descriptions(job.constraints)))
    return max(1, math.floor(min(job.feedback_tokens, _beside(job) - job.engine.count_tokens(others))))


def _beside(job: Job) -> float:
    """How many tokens the engine's context holds beside the fixed text and the reply."""
    context_tokens = job.engine.capabilities.context_tokens
    return math.inf if context_tokens is None else context_tokens - job.sampling.max_tokens - _FIXED_TOKENS


class _Reducer:
    """Asks for groups of records; counts its calls."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.calls = 0

    async def __call__(self, prompt: Prompt, place: Index) -> ReduceReply | None:
        context.body.set(context.Body(index=(*self.job.place, 0, *place)))
        request = _request(self.job, prompt, ReduceReply, sample=(*self.job.draw, 0))
        self.calls += 1
        # Feedback is never lost: without a reply, ungrouped records stand for themselves.
        try:
            completion = await wrapped(self.job.engine).complete(request)
            return prompts.read_json(prompts.whole(completion), ReduceReply)
        except UnreadableReply:
            return None
        except EngineError as error:
            if not error.refused:
                raise
            return None


async def _candidate(job: Job, work: Work, number: int) -> Rewrite:
    """One candidate's text, or the reasons why there is none after one repair."""
    draw = (*job.draw, number)
    context.body.set(context.Body(index=(*job.place, 1, number)))
    rng = random.Random(repr(draw))  # noqa: S311 - reproducible, not secret
    asked = job.ask(work, candidate=number, rng=rng, as_json=job.engine.capabilities.schema)
    made = Rewrite(name=job.name, variable=job.variable, version=job.version, before=job.text)
    for calls in range(1, _ATTEMPTS + 1):
        request = _request(job, asked.prompt, _form(asked), sample=draw)
        try:
            completion = await wrapped(job.engine).complete(request)
        except EngineError as error:
            if not error.refused:
                raise
            return replace(made, calls=calls, reasons=(*made.reasons, str(error)), refusal=error)
        reply, reasons = _read(job, completion, asked)
        if not reasons:
            return replace(made, after=reply.value, calls=calls, reasons=())
        made = replace(made, calls=calls, reasons=reasons)
        try:
            asked = _again(job, asked, completion.text, reasons)
        except UsageError:
            break  # the context has no room for a repair
    return made


def _again(job: Job, asked: Asked, reply: str, reasons: Sequence[str]) -> Asked:
    """A request for the repair, with as much of the reply as the context holds beside it."""

    def prompt(limits: Limits) -> Prompt:
        return prompts.repair(asked, limits.text(reply), reasons).prompt

    made = prompts.fitted(prompt, chars=_CHARS_SHOWN, engine=job.engine, sampling=job.sampling)
    return replace(asked, prompt=made)


def _request(job: Job, prompt: Prompt, form: type[BaseModel] | None, *, sample: tuple[int, ...]) -> Request:
    return Request(
        messages=prompt.messages,
        template=prompt.template,
        sampling=job.sampling,
        schema=prompts.schema_of(form) if form and job.engine.capabilities.schema else None,
        sample=sample,
        purpose="optimize",
        node=job.name,
    )


def _read(job: Job, completion: Completion, asked: Asked) -> tuple[RewriteReply, tuple[str, ...]]:
    """The reply, and what is wrong with it."""
    try:
        reply = _parsed(completion, asked, job.text)
    except UnreadableReply as error:
        return RewriteReply(value=""), (str(error),)
    return reply, _faults(job, reply.value, asked)


def _form(asked: Asked) -> type[BaseModel] | None:
    if not asked.as_json:
        return None
    return EditReply if asked.by_edits else RewriteReply


def _parsed(completion: Completion, asked: Asked, before: str) -> RewriteReply:
    text = prompts.whole(completion)
    if asked.by_edits and asked.as_json:
        return RewriteReply(value=prompts.edited(before, prompts.read_json(text, EditReply).edits))
    if asked.by_edits:
        return RewriteReply(value=prompts.edited(before, prompts.read_edits(text, asked.delimiter)))
    if asked.as_json:
        return prompts.read_json(text, RewriteReply)
    return RewriteReply(value=prompts.read_marked(text, asked.delimiter))


def _faults(job: Job, text: str, asked: Asked) -> tuple[str, ...]:
    """Why a text cannot become the value; the first look is at what no constraint has to say."""
    if not text.strip():
        return ("the new text is empty",)
    if text == job.text:
        return ("the new text is the current text, unchanged",)
    if any(mark in text and mark not in job.text for mark in asked.marks):
        return ("the new text holds the marks that stand around texts in the prompt",)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (f"the new text holds a lone surrogate at {error.start}, which no encoding can carry",)
    if not job.is_text:
        try:
            prompts.parse_json(text)
        except (ValueError, RecursionError) as error:
            return (f"the value is JSON, and the new text is not: {error}",)
    return broken(job.constraints, Change(before=job.text, after=text, count_tokens=job.engine.count_tokens))
