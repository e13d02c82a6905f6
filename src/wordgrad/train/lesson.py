"""What it costs to learn: as a rehearsal did, or by rule where that had nothing to learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wordgrad.train.cost import Cost, Looks, paid, spent, tokens, total
from wordgrad.train.estimate import distinct
from wordgrad.train.job import Job
from wordgrad.train.plan import Plan
from wordgrad.train.rehearsal import Rehearsal
from wordgrad.types import Engine

PROMPT_TOKENS = 500
"""The fixed text of a critic's, judge's or rewriter's prompt, and its form."""
REPLY_TOKENS = 60
"""What a critic or a judge writes, as the examples in their prompts do."""
_GROWN_TOKENS = 100
_ROW = ("forward", "judge")
"""What is asked to score a row."""


class Seen(NamedTuple):
    """What one costs on average, and of how many that is the average: by rule it counts as of one."""

    cost: Cost
    of: int


class Lesson(NamedTuple):
    """What learning costs."""

    critics: Seen
    """Of one failing row."""
    rewrite: Seen
    """All texts of one candidate."""
    answer: Seen
    """One row under a rewrite, its judge included."""


def lesson(job: Job, rehearsal: Rehearsal, looks: Looks, *, program: Cost, judge: Cost) -> Lesson:
    """What was seen; by rule what was not.

    By rule, whatever the strategy, a critic is asked for each of the row's calls: it reads these and 500 tokens more,
    and writes 60. A rewriter reads the present text and 500 tokens, and writes the text and 100 tokens more, which a
    row then reads too.

    Args:
        job: What would be run.
        rehearsal: What was learned, rewritten and tried.
        looks: What that took.
        program: What the start's answer takes on a row.
        judge: What judging it takes.
    """
    critic, rewriter = job.plan.engines
    texts = [tokens(each.text) for each in job.task.program.parameters.values()]
    return Lesson(
        critics=_critics(rehearsal, looks, program, critic),
        rewrite=_rewrite(rehearsal, looks, texts, rewriter, past=_past(job.plan)),
        answer=_answer(job, rehearsal, looks, total([program, judge])),
    )


def _critics(rehearsal: Rehearsal, looks: Looks, program: Cost, critic: Engine) -> Seen:
    if rehearsal.failing:
        return Seen(spent(looks.learning, "backward").per(rehearsal.failing), rehearsal.failing)
    read = program.tokens + program.calls * PROMPT_TOKENS
    return Seen(paid(program.calls, read, program.calls * REPLY_TOKENS, critic), 1)


def _past(plan: Plan) -> float:
    """Earlier steps that a rewriter is shown, on average; the rehearsal had none."""
    return sum(min(plan.momentum, step) for step in range(plan.steps)) / plan.steps


def _rewrite(rehearsal: Rehearsal, looks: Looks, texts: Sequence[int], rewriter: Engine, *, past: float) -> Seen:
    # A past step is shown as a text and its feedback.
    said = sum(tokens(each.text) for gradients in rehearsal.feedback.values() for each in gradients)
    shown = paid(0, past * (sum(texts) + said), 0, rewriter)
    if count := len(rehearsal.proposals):
        return Seen(total([spent(looks.learning, "optimize").per(count), shown]), count)
    read, wrote = (sum(texts) + len(texts) * each for each in (PROMPT_TOKENS, _GROWN_TOKENS))
    return Seen(total([paid(len(texts), read, wrote, rewriter), shown]), 1)


def _answer(job: Job, rehearsal: Rehearsal, looks: Looks, answer: Cost) -> Seen:
    if tried := len(rehearsal.effects) * distinct(rehearsal.batches[-1].rows, job.task.input):
        # The start's answers on training rows are what the rewrites' are held against.
        found = zip(answer, spent(looks.learning, *_ROW), spent(looks.rehearsal, *_ROW), strict=True)
        costs = (max(usual + (new - old) / tried - old / looks.learned, 0.0) for usual, old, new in found)
        return Seen(Cost(*costs), tried)
    grown = _GROWN_TOKENS * len(job.task.program.parameters)
    usd = answer.usd * (1 + grown / max(1.0, answer.tokens))
    return Seen(Cost(answer.calls, answer.tokens + grown, usd), 1)
