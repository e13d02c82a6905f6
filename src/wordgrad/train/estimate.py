"""What a run will take, before it is paid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wordgrad.core.value import text_form
from wordgrad.data.rows import Row
from wordgrad.losses.judge import JudgeLoss
from wordgrad.train.config import Config, EngineTable
from wordgrad.train.job import EngineOf, Job

_CRITIC_OVERHEAD = 500
_RECORD_TOKENS = 250
_PREFLIGHT_TOKENS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kind of call: bounds on its number, and upper bounds on the rest."""

    name: str
    least: int
    most: int
    tokens: int
    usd: float | None
    """None where a price is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All kinds, and their sum."""

    parts: tuple[Part, ...]

    @property
    def total(self) -> Part:
        """The sum of the parts."""
        prices = [part.usd for part in self.parts]
        return Part(
            name="all",
            least=sum(part.least for part in self.parts),
            most=sum(part.most for part in self.parts),
            tokens=sum(part.tokens for part in self.parts),
            usd=None if None in prices else sum(each for each in prices if each is not None),
        )

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            part.name: {"calls": {"least": part.least, "most": part.most}, "tokens": part.tokens, "usd": part.usd}
            for part in (*self.parts, self.total)
        }


def estimated(job: Job, config: Config, engine_of: EngineOf) -> Estimate:
    """Bounds for the built-in program, which makes one call a row; a program of your own may make more.

    The start's score is exact. A search that finds every row right pays no critic; one that keeps the start scores
    the test rows once.
    """
    plan, test = job.plan, len(job.splits.test)
    rows = _distinct(job.splits.test, job.task.input) + _learned(job)
    most = 2 * test + plan.steps * job.step_rows
    asked = _tokens(job, config.engines.forward, engine_of, (*job.splits.test, *job.splits.validation))
    critics = plan.steps * plan.batch
    rewrites = plan.steps * job.optimizer.candidates
    hello = len(dict.fromkeys(job.engines))
    parts = [
        _part("preflight", hello, hello, 32, EngineTable(max_tokens=64), lambda _: job.engines[0]),
        _part("answers", rows, most, asked, config.engines.forward, engine_of),
        _part("critics", 0, 2 * critics, _CRITIC_OVERHEAD + 2 * asked, config.engines.backward, engine_of),
        _part("rewrites", 0, 2 * rewrites, plan.batch * _RECORD_TOKENS, config.engines.optimizer, engine_of),
    ]
    if isinstance(job.task.loss, JudgeLoss):
        parts.append(_part("judgements", rows, 2 * most, 2 * asked, config.engines.backward, engine_of))
    return Estimate(parts=tuple(parts))


def _distinct(rows: Sequence[Row], column: str) -> int:
    """Rows that ask something else: in a run the same request is paid once."""
    return len({json.dumps(row[column], sort_keys=True) for row in rows})


def _learned(job: Job) -> int:
    """Training rows that the batches ask about at least: later passes may ask the same again."""
    train = job.splits.train
    drawn = min(job.plan.steps, len(train) // job.plan.batch) * job.plan.batch
    repeated = len(train) - _distinct(train, job.task.input)
    return max(0, drawn - repeated)


def _tokens(job: Job, table: EngineTable, engine_of: EngineOf, rows: Sequence[Row]) -> int:
    """An upper estimate of one answer's input: the longest row and all prompts."""
    engine = engine_of(table)
    longest = max(engine.count_tokens(text_form(row[job.task.input])) for row in rows)
    return longest + sum(engine.count_tokens(each.text) for each in job.task.program.parameters.values())


def _part(name: str, least: int, most: int, read: int, table: EngineTable, engine_of: EngineOf) -> Part:
    price = engine_of(table).price
    wrote = table.max_tokens
    usd = None if price is None else most * (read * price.input_usd + wrote * price.output_usd) / 1_000_000
    return Part(name=name, least=least, most=most, tokens=most * (read + wrote), usd=usd)
