"""What a run will likely take, after two looks at its start and a rehearsal of its first step."""

from __future__ import annotations

import functools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wordgrad.engines.defaults import resolve
from wordgrad.losses.judge import JudgeLoss
from wordgrad.statistics.forecast import near_most
from wordgrad.train.checkup import Checkup
from wordgrad.train.cost import Cost, Looks, paid, spent, tokens, total
from wordgrad.train.course import Course, made_up
from wordgrad.train.job import Job
from wordgrad.train.lesson import PROMPT_TOKENS, REPLY_TOKENS, Lesson, Seen, lesson
from wordgrad.train.rehearsal import Rehearsal

_RUNS = 200
_MOST = 0.95
_NEAR = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a run will likely take, and what 95 % of runs should stay below."""

    calls: int
    tokens: int
    usd: float | None
    """None where a price is not known."""
    most_calls: int
    most_tokens: int
    most_usd: float | None

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "expected": {"calls": self.calls, "tokens": self.tokens, "usd": self.usd},
            "bound": {"calls": self.most_calls, "tokens": self.most_tokens, "usd": self.most_usd},
        }


def predicted(job: Job, found: Checkup, rehearsal: Rehearsal, looks: Looks, *, seed: int) -> Prediction:
    """What the run takes, if its rows are like those that were looked at, and its rewrites like those rehearsed.

    Two hundred runs are made up (`course.made_up`), and priced by what was seen: what a row and its judge take, before
    and after a rewrite, the critics of a failing row, and a rewrite. Expected are the calls, tokens and money, each by
    itself, that more than half of these runs take, if they take the same; else what as many as can be are within a
    fifth of. For the bound, which 95 % of them stay below, tokens and money of each of these are more or less in each
    run, with a standard deviation of 1 / sqrt of how many were seen. What nothing was seen of is priced by rule
    (`lesson`), as a guardrail's judge always is. For the report, a pair is judged for as much as one answer.

    No theorem: benchmarks/COSTS.md counts how often the bound holds. Where all training rows pass each time, the calls
    are exact.

    Args:
        job: What would be run.
        found: What the looks said.
        rehearsal: What the rehearsal said, and what its rewrites scored.
        looks: What all of these took.
        seed: Of the made-up runs.
    """
    once = spent(looks.once, "judge", "preflight")
    start, rows = [*looks.again, *looks.learning], looks.rows + looks.learned
    answer, judge = (Seen(spent(start, each).per(rows), rows) for each in ("forward", "judge"))
    learn = lesson(job, rehearsal, looks, program=answer.cost, judge=judge.cost)
    rng = random.Random(f"made-up runs {seed}")  # noqa: S311 - no secret
    priced = functools.partial(_priced, job, answer=answer, judge=judge, learn=learn)
    courses = [made_up(job, found, rehearsal, rng) for _ in range(_RUNS)]
    usual = [total([once, priced(each, luck=lambda _: 1.0)]) for each in courses]
    taken = [total([once, priced(each, luck=functools.partial(_luck, rng))]) for each in courses]
    most_calls, most_used, most_usd = bounds = [_below(_MOST, each) for each in zip(*taken, strict=True)]
    calls, used, usd = (
        min(_expected(each), bound) for each, bound in zip(zip(*usual, strict=True), bounds, strict=True)
    )
    return Prediction(
        calls=round(calls),
        tokens=round(used),
        usd=_known(usd),
        most_calls=math.ceil(most_calls),
        most_tokens=math.ceil(most_used),
        most_usd=_known(most_usd),
    )


def _below(share: float, values: Sequence[float]) -> float:
    """What such a share of values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _expected(values: Sequence[float]) -> float:
    """A few runs that take more do not move what is the same for most."""
    median = statistics.median_low(values)
    return median if values.count(median) > len(values) / 2 else near_most(values, within=_NEAR)


def _luck(rng: random.Random, seen: int) -> float:
    return max(0.0, rng.gauss(1, 1 / math.sqrt(seen)))


def _priced(
    job: Job, course: Course, *, answer: Seen, judge: Seen, learn: Lesson, luck: Callable[[int], float]
) -> Cost:
    """What one course costs, where prices are so many times what was seen."""

    def some(seen: Seen, count: float) -> Cost:
        times = luck(seen.of)
        return Cost(count * seen.cost.calls, times * count * seen.cost.tokens, times * count * seen.cost.usd)

    # In pairs, the present text is not judged against itself, and rows for the report are judged twice.
    judged = course.scored + (course.met if job.task.pairwise is None else course.reported)
    return total(
        [
            some(answer, course.scored + course.met),
            some(judge, judged),
            some(learn.answer, course.rewritten),
            some(learn.critics, course.failing),
            some(learn.rewrite, course.rewrites),
            *(some(guard, rows) for guard, rows in _guardrails(job, answer.cost, course)),
        ]
    )


def _guardrails(job: Job, answer: Cost, course: Course) -> Iterable[tuple[Seen, float]]:
    """The judges of guardrails by rule, and the rows that they judge: hard ones in races too."""
    for each in job.task.guardrails.values():
        if isinstance(each.loss, JudgeLoss):
            judge = job.plan.engines[0] if each.loss.engine is None else resolve(each.loss.engine)
            read = PROMPT_TOKENS + tokens(each.loss.objective) + answer.tokens
            yield Seen(paid(1, read, REPLY_TOKENS, judge), 1), course.guarded + (course.raced if each.hard else 0)


def _known(usd: float) -> float | None:
    return None if math.isnan(usd) else usd
