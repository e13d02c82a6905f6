"""What a run will take, before it is paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wordgrad.core.value import text_form
from wordgrad.data.rows import Row
from wordgrad.data.split import identity
from wordgrad.train.build import EngineOf
from wordgrad.train.config import Config, EngineTable
from wordgrad.train.job import Job
from wordgrad.types import Engine

_FIXED_TOKENS = 700
"""The fixed text of a critic's, judge's or optimizer's prompt, and its form, at most."""
_PREFLIGHT = EngineTable(max_tokens=64)
_PREFLIGHT_TOKENS = 32
_FEEDBACK_TOKENS = 250
"""The words of a metric on one row, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kind of call: bounds on its number, and upper bounds on the rest."""

    name: str
    least: int
    most: int
    tokens: int
    usd: float | None
    """None where a price is not known."""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"calls": {"least": self.least, "most": self.most}, "tokens": self.tokens, "usd": self.usd}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All kinds, and their sum."""

    parts: tuple[Part, ...]
    limit: str = ""
    """What the estimate does not know."""

    @property
    def total(self) -> Part:
        """The sum of the parts."""
        return _sum("all", self.parts)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**{part.name: part.as_json() for part in (*self.parts, self.total)}, "limit": self.limit}


def estimated(job: Job, config: Config, engine_of: EngineOf) -> Estimate:
    """What a run takes, if every attempt succeeds.

    The start's score is exact. A search that finds every row right pays no critic; one that keeps the start scores
    the test rows once. A critic, judge or optimizer may be asked twice, where its first reply cannot be read.

    A program of the user's own makes as many calls as it likes, of engines that nobody but it knows: its part counts
    one call a row, without tokens and money, and `limit` says so.
    """
    plan, test = job.plan, len(job.splits.test)
    engines, own = config.engines, config.program is not None
    rows = distinct(job.splits.test or job.division.confirmation, job.task.input) + _learned(job)
    most = (test or len(job.division.confirmation)) + job.search_rows + job.final_rows
    answer = 0 if own else engines.forward.max_tokens
    asked = _asked(job, engine_of(engines.backward if own else engines.forward))
    judged = _FIXED_TOKENS + asked + answer + _FEEDBACK_TOKENS
    # A repair sends the prompt, the first reply and what was wrong with it.
    critic = judged + engines.backward.max_tokens
    records = _FIXED_TOKENS + asked + plan.batch * (critic + answer) + engines.optimizer.max_tokens
    once = {id(each): each for each in job.engines}.values()
    parts = [
        _sum("preflight", [_part("", 1, 1, _PREFLIGHT_TOKENS, _PREFLIGHT, each) for each in once]),
        Part(name="answers", least=rows, most=most, tokens=0, usd=None)
        if own
        else _part("answers", rows, most, asked, engines.forward, engine_of(engines.forward)),
        _part("critics", 0, 2 * plan.steps * plan.batch, critic, engines.backward, engine_of(engines.backward)),
        _part(
            "rewrites",
            0,
            2 * (plan.steps * plan.candidates + plan.compressions) * len(job.task.program.parameters),
            records,
            engines.optimizer,
            engine_of(engines.optimizer),
        ),
    ]
    judgements = [
        _part("", rows if where[0] == "metric" else 0, 2 * most, judged + table.max_tokens, table, engine_of(table))
        for where, table in config.judges.items()
    ]
    if judgements:
        parts.append(_sum("judgements", judgements))
    limit = (
        "answers count one call a row, without tokens and money: what the program of your own asks is not known; "
        "critics count one for each failing row"
    )
    return Estimate(parts=tuple(parts), limit=limit if own else "")


def distinct(rows: Sequence[Row], column: str) -> int:
    """Rows that ask something else: in a run the same request is paid once."""
    return len({identity(row[column]) for row in rows})


def _learned(job: Job) -> int:
    """Training rows that the batches ask about at least: later passes may ask the same again."""
    train = job.splits.train
    drawn = min(job.plan.steps, len(train) // job.plan.batch) * job.plan.batch
    repeated = len(train) - distinct(train, job.task.input)
    return max(0, drawn - repeated)


def _asked(job: Job, engine: Engine) -> int:
    """An upper estimate of one answer's input: the longest row and all prompts."""
    rows = (*job.splits.train, *job.splits.validation, *job.splits.test)
    longest = max(engine.count_tokens("\n".join(map(text_form, row.columns.values()))) for row in rows)
    return longest + sum(engine.count_tokens(each.text) for each in job.task.program.parameters.values())


def _sum(name: str, parts: Sequence[Part]) -> Part:
    prices = [part.usd for part in parts]
    return Part(
        name=name,
        least=sum(part.least for part in parts),
        most=sum(part.most for part in parts),
        tokens=sum(part.tokens for part in parts),
        usd=None if None in prices else sum(each for each in prices if each is not None),
    )


def _part(name: str, least: int, most: int, read: int, table: EngineTable, engine: Engine) -> Part:
    wrote, price = table.max_tokens, engine.price
    usd = None if price is None else most * (read * price.input_usd + wrote * price.output_usd) / 1_000_000
    return Part(name=name, least=least, most=most, tokens=most * (read + wrote), usd=usd)
