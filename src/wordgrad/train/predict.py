"""What a run will likely take, after two looks at its start."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from wordgrad import prompts
from wordgrad.core.value import text_form
from wordgrad.engines.defaults import resolve
from wordgrad.functions.strategies import Fused, PerEdge
from wordgrad.losses.judge import JudgeLoss
from wordgrad.prompts import Judged, NodeReply, Part, Prompt, Step, Verdict, Work
from wordgrad.train.checkup import Checkup
from wordgrad.train.course import Course, likely, longest, most_failing
from wordgrad.train.job import Job
from wordgrad.train.program import OnePrompt
from wordgrad.types import Engine, Sampling

_TOKEN_CHARS = 4
_WORDS_TOKENS = 20
"""The words of a metric on one row, beside its objective and the target."""
_VERDICT_TOKENS = 60
_RECORD_TOKENS = 30
_REWRITE_TOKENS = 100
_LONGER = 2.0
_AGAIN = 1.1


class Spending(Protocol):
    """What the calls of one node for one purpose took."""

    @property
    def purpose(self) -> str:
        """As in a `Request`."""

    @property
    def calls(self) -> int:
        """Attempts."""

    @property
    def input_tokens(self) -> int:
        """Read."""

    @property
    def output_tokens(self) -> int:
        """Written."""

    @property
    def cost_usd(self) -> float | None:
        """None where a price is not known."""


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


def predicted(job: Job, found: Checkup, looks: Sequence[Sequence[Spending]]) -> Prediction:
    """What the run takes, if its rows are like those that were looked at.

    Measured: model calls, tokens and money of a row, those of its judge, and the share of rows that fail. Where none
    does, nothing more is expected: the calls are exact if the training rows pass too. A pair is judged for as much as
    one answer.

    Expected: later steps find half as many failing rows as the first. A race scores its first block, and of the other
    rows a half, or 4 / sqrt(rows) where that is less; docs/statistics.md has simulations. Then some new text meets the
    sealed rows, and in every second run the test rows.

    A compression, where the plan has one, is a last race of its rewrites; expected as often as anything is learned.

    Not seen, so by rule, at four characters a token: a critic reads its prompt's fixed text, what the row's calls read
    and wrote, and the judge's words; it writes 60 tokens on a part, as the examples in its prompt do. `fused` asks one
    for a failing row, `per_node` one for each of the row's calls, `per_edge` one for each input that these have in a
    chain. A rewriter reads its prompt's fixed text, the present text and 30 tokens for each failing row; it writes the
    text and 100 tokens more, which a row then reads too. Nobody writes more than max_tokens.

    Bound: the longest course, and three surprises on it. So many training rows fail as in 95 % of draws, by what the
    looks allow, as many steps rewrite as they can keep busy, races are scored to their end, and the new text is
    accepted. Then critics and rewriters write twice as much as the rule says; every tenth is asked again; and a row
    takes 1 / sqrt(rows looked at) more than was measured. What these four add to the expected has little in common, so
    it adds by its squares. A rule, not a theorem: benchmarks/COSTS.md counts how often it holds.

    Args:
        job: What would be run.
        found: What the looks said.
        looks: What both took, by purpose and node; the first asked each engine once.
    """
    first, again = looks
    # What the run asks once as well: each engine, and a judge on known outputs.
    once = _sum([*map(_measured, _beside(first)), *(_measured(each).times(-1) for each in _beside(again))])
    looked_at, failing = found.rows + found.unjudged, found.failing + found.flipped / 2
    share = failing / found.rows if found.rows else 1.0
    drawn = most_failing(failing, found.rows, job.plan.steps * job.plan.batch)

    def taken(course: Course, **surprise: float) -> _Cost:
        return _sum([once, _taken(job, again, looked_at, course, **surprise)])

    expected, long = taken(likely(job, share)), longest(job, drawn)
    surprises = [
        taken(long, longer=_LONGER),
        taken(long, again=_AGAIN),
        taken(long, doubt=1 / math.sqrt(looked_at)),
    ]
    bound = _bound(expected, taken(long), surprises)
    return Prediction(
        calls=round(expected.calls),
        tokens=round(expected.tokens),
        usd=_known(expected.usd),
        most_calls=math.ceil(bound.calls),
        most_tokens=math.ceil(bound.tokens),
        most_usd=_known(bound.usd),
    )


def _bound(expected: _Cost, long: _Cost, surprises: Sequence[_Cost]) -> _Cost:
    """What is expected, and by their squares what the longest course and each surprise on it take more."""
    parts = zip(expected, long, *surprises, strict=True)
    # The longest course is shorter than the expected one where the looks rule failures out.
    return _Cost(
        *(mean + math.hypot(max(end - mean, 0.0), *(each - end for each in more)) for mean, end, *more in parts)
    )


def _beside(look: Sequence[Spending]) -> list[Spending]:
    """What is not asked by the program."""
    return [each for each in look if each.purpose != "forward"]


class _Cost(NamedTuple):
    calls: float
    tokens: float
    usd: float
    """Not a number where a price is not known."""

    def times(self, count: float) -> _Cost:
        return _Cost(count * self.calls, count * self.tokens, count * self.usd)


def _taken(
    job: Job,
    look: Sequence[Spending],
    rows: int,
    course: Course,
    *,
    longer: float = 1.0,
    again: float = 1.0,
    doubt: float = 0.0,
) -> _Cost:
    """What a course costs.

    Args:
        job: What would be run.
        look: What a look at so many `rows` took.
        rows: At least 1.
        course: What is done.
        longer: Times the tokens that the rules have a reply write.
        again: Calls for one reply of a critic or rewriter.
        doubt: How much more a row takes than it took, as a share.
    """
    answers = _sum(_measured(each) for each in look if each.purpose == "forward").times(1 / rows)
    judge = _sum(map(_measured, _beside(look))).times(1 / rows)
    asked, judged = course.scored + course.met + course.longer, course.scored + course.longer
    # In pairs, a text is not judged against itself, and rows for the report are judged twice.
    judged += course.met if job.task.pairwise is None else course.reported
    scoring = _sum([answers.times(asked), judge.times(judged)])
    grown, rewrite = _rewrites(job, course.failing / course.steps if course.steps else 0.0, longer)
    return _sum(
        [
            _Cost(scoring.calls, (1 + doubt) * scoring.tokens, (1 + doubt) * scoring.usd),
            _Cost(0, grown, grown * _reading_usd(job, answers)).times(course.longer),
            _critics(job, look, answers, longer).times(again * course.failing),
            rewrite.times(again * course.rewrites),
            *_guardrails(job, answers, course, longer),
        ]
    )


def _critics(job: Job, look: Sequence[Spending], answers: _Cost, longer: float) -> _Cost:
    """All critics of one failing row."""
    strategy, loss, (critic, _) = job.plan.strategy, job.task.loss, job.plan.engines
    calls = max(1.0, answers.calls)
    edges = 2 * calls - 1
    judges = [each for each in look if each.purpose == "judge"]
    words, verdicts = sum(each.output_tokens for each in judges), sum(each.calls for each in judges)
    said = words / verdicts if words else _tokens(loss.objective) + _WORDS_TOKENS
    judged = Judged(objective=loss.objective, feedback="")
    step = Step(description="", parts=(Part(label="P1", role="system prompt", text=""),), output="")
    form: type[BaseModel] = NodeReply
    if isinstance(strategy, Fused):
        asked, parts, seen = 1.0, float(len(job.task.program.parameters)), 1.0
        prompt = prompts.critic_trace([step], judged)
    elif isinstance(strategy, PerEdge):
        asked, parts, seen = edges, edges, edges / calls
        prompt, form = prompts.critic_edge(step, judged, asked="P1"), Verdict
    else:
        asked, parts, seen = calls, edges, 1.0
        prompt = prompts.critic_node(step, judged)
    fixed = _told(prompt)
    if not critic.capabilities.schema:
        fixed += _tokens(prompts.in_words(prompts.schema_of(form)))
    read = asked * (fixed + said + _target_tokens(job)) + seen * answers.tokens
    limit = getattr(strategy, "options", Sampling()).max_tokens
    return _paid(asked, read, min(parts * _VERDICT_TOKENS * longer, asked * limit), critic)


def _rewrites(job: Job, failing: float, longer: float) -> tuple[float, _Cost]:
    """By how many tokens one candidate's texts are longer than the present ones, and what writing them takes."""
    optimizer, (_, rewriter) = job.optimizer, job.plan.engines
    limit = math.inf if optimizer.options is None else optimizer.options.max_tokens
    grown, costs = 0.0, []
    for each in job.task.program.parameters.values():
        work = Work(value=each.text, role=each.role_description, records=())
        text = _tokens(each.text)
        records = min(failing * _RECORD_TOKENS * longer, optimizer.feedback_tokens)
        # Past steps are shown as they were: a text, and what was asked for.
        past = job.plan.momentum * (text + records)
        wrote = min(text + _REWRITE_TOKENS * longer, limit)
        read = _told(prompts.rewrite(work, as_json=rewriter.capabilities.schema).prompt) + records + past
        grown += max(0.0, wrote - text)
        costs.append(_paid(1, read, wrote, rewriter))
    return grown, _sum(costs)


def _guardrails(job: Job, answers: _Cost, course: Course, longer: float) -> Iterable[_Cost]:
    """The judges of guardrails, which the looks did not ask: hard ones in races too, all at the end."""
    for each in job.task.guardrails.values():
        if isinstance(each.loss, JudgeLoss):
            judge = job.plan.engines[0] if each.loss.engine is None else resolve(each.loss.engine)
            read = _told(prompts.judge_score(each.loss.objective, output="")) + answers.tokens + _target_tokens(job)
            wrote = min(_VERDICT_TOKENS * longer, each.loss.options.max_tokens)
            yield _paid(1, read, wrote, judge).times(course.sealed + (course.raced if each.hard else 0))


def _reading_usd(job: Job, answers: _Cost) -> float:
    """Dollars for a token more in a prompt; of a program of the user's own what its tokens cost on average."""
    program = job.task.program
    if isinstance(program, OnePrompt):
        return math.nan if program.engine.price is None else program.engine.price.input_usd / 1_000_000
    return answers.usd / answers.tokens if answers.tokens else 0.0


def _target_tokens(job: Job) -> float:
    """Of a row's target, on average."""
    column, rows = job.task.target, job.splits.train
    return 0.0 if column is None else sum(_tokens(text_form(row[column])) for row in rows) / len(rows)


def _paid(calls: float, read: float, wrote: float, engine: Engine) -> _Cost:
    """Calls that together read and write so much."""
    price = engine.price
    usd = math.nan if price is None else (read * price.input_usd + wrote * price.output_usd) / 1_000_000
    return _Cost(calls, read + wrote, usd)


def _measured(each: Spending) -> _Cost:
    usd = math.nan if each.cost_usd is None else each.cost_usd
    return _Cost(each.calls, each.input_tokens + each.output_tokens, usd)


def _sum(costs: Iterable[_Cost]) -> _Cost:
    return _Cost(*(sum(each) for each in zip(_Cost(0, 0, 0.0), *costs, strict=True)))


def _told(prompt: Prompt) -> int:
    return sum(_tokens(each.text) for each in prompt.messages)


def _tokens(text: str) -> int:
    return -(-len(text) // _TOKEN_CHARS)


def _known(usd: float) -> float | None:
    return None if math.isnan(usd) else usd
