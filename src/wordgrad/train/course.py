"""The course of a run: what it pays for, and how often; the likely one, and the longest."""

from __future__ import annotations

import math
from typing import NamedTuple

from wordgrad.statistics.racing import block_of
from wordgrad.train.estimate import distinct
from wordgrad.train.job import Job

_SURE = 0.95


class Course(NamedTuple):
    """How often a run does what it pays for."""

    scored: float
    """Rows on which the start, or the present text, is scored alone."""
    met: float
    """Rows on which it is compared with rewrites."""
    longer: float
    """Rows that meet a rewrite."""
    reported: float
    """Of them, those that meet it for the report."""
    raced: float
    """Rows scored in races."""
    sealed: float
    """Rows scored at the end, by the target and all guardrails."""
    failing: float
    """Rows that critics are asked about."""
    steps: float
    """Steps that learn."""
    rewrites: float
    """Candidates that they, and a compression, write."""


def likely(job: Job, share: float) -> Course:
    """The expected course, where such a share of rows fails at the start."""
    plan, candidates = job.plan, job.optimizer.candidates
    learns = 1 - (1 - share) ** (plan.steps * plan.batch)
    busy = [1 - (1 - each) ** plan.batch for each in (share, *[share / 2] * (plan.steps - 1))]
    race, rewriting = _race(len(job.division.selection)), sum(busy)
    rewrites = rewriting * candidates + learns * plan.compressions
    opening, confirmation = _opening(job), len(job.division.confirmation)
    # A text that changed meets even those training rows anew that an earlier pass has shown.
    batches = learns * plan.steps * plan.batch + (1 - learns) * _batches(job)
    kept = confirmation if job.splits.test else 0  # without test rows the start has met the sealed ones
    return Course(
        scored=opening + batches,
        met=busy[0] * race + learns * kept,
        longer=rewrites * race + learns * (confirmation + len(job.splits.test) / 2),
        reported=learns * len(job.splits.test) / 2,
        raced=(rewrites + busy[0]) * race,
        sealed=learns * 2 * confirmation,
        failing=plan.batch * share * (1 + (plan.steps - 1) / 2),
        steps=rewriting,
        rewrites=rewrites,
    )


def longest(job: Job, failing: int) -> Course:
    """The longest course, where so many of the training rows that are drawn fail."""
    plan, selection, confirmation = job.plan, len(job.division.selection), len(job.division.confirmation)
    steps = min(plan.steps, failing)
    learns = min(1, steps)
    rewrites = steps * job.optimizer.candidates + learns * plan.compressions
    raced = rewrites * selection
    kept = confirmation if job.splits.test else 0
    return Course(
        scored=_opening(job) + plan.steps * plan.batch,
        met=learns * (selection + kept),
        longer=raced + learns * (confirmation + len(job.splits.test)),
        reported=learns * len(job.splits.test),
        raced=raced + learns * selection,
        sealed=learns * 2 * confirmation,
        failing=failing,
        steps=steps,
        rewrites=rewrites,
    )


def _opening(job: Job) -> int:
    return distinct(job.splits.test or job.division.confirmation, job.task.input)


def _batches(job: Job) -> float:
    """Different training rows that the batches draw, on average: each pass shuffles anew, and leaves some out."""
    rows, size = len(job.splits.train), job.plan.batch
    passes, rest = divmod(job.plan.steps, rows // size)
    unseen = (1 - rows // size * size / rows) ** passes * (1 - rest * size / rows)
    return distinct(job.splits.train, job.task.input) * (1 - unseen)


def _race(rows: int) -> float:
    """Rows on which each entrant of a race is scored, on average."""
    block = block_of(rows)
    return block + (rows - block) * min(0.5, 4 / math.sqrt(rows))


def most_failing(failing: float, rows: int, drawn: int) -> int:
    """So many of `drawn` rows fail in 95 % of draws at most, where `failing` of `rows` did: beta-binomial, Jeffreys."""
    chance = 0.0
    for count in range(drawn):
        ways = math.lgamma(drawn + 1) - math.lgamma(count + 1) - math.lgamma(drawn - count + 1)
        after = _log_beta(failing + count + 0.5, rows - failing + drawn - count + 0.5)
        chance += math.exp(ways + after - _log_beta(failing + 0.5, rows - failing + 0.5))
        if chance >= _SURE:
            return count
    return drawn


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
