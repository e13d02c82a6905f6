"""Two looks at the start, before a run is paid."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from wordgrad.compose.run import Run
from wordgrad.data.rows import Row
from wordgrad.engines.preflight import preflight
from wordgrad.train.checkup import Checkup, checkup
from wordgrad.train.evaluate import Scores
from wordgrad.train.job import Job, Observer
from wordgrad.train.known import hold_against
from wordgrad.train.program import values_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflighted:
    """What the looks said, and what they took."""

    checkup: Checkup
    calls: int


def preflighted(
    job: Job,
    opened: Callable[[], AbstractContextManager[tuple[Run, Observer]]],
    *,
    seed: int,
    rows: int | None = None,
) -> Preflighted:
    """Ask each engine, check the metric, and score the start twice on selection rows: what is sealed stays so.

    Args:
        job: What would be run.
        opened: Opens a run; called once for each look, since inside one run the same request has one reply.
        seed: Of the rows that are looked at.
        rows: How many; all where None.
    """
    looked_at = list(job.division.selection)
    random.Random(f"doctor {seed}").shuffle(looked_at)  # noqa: S311 - no secret
    looked_at = looked_at[:rows]
    with opened() as (run, observer):
        observer.phase("asking each engine once", 1)
        preflight(job.engines)
        hold_against(job.task, job.known, where=job.known_at)
        first, calls = _scored(job, looked_at, run, observer, "the start"), run.usage.calls
    with opened() as (run, observer):
        again, calls = _scored(job, looked_at, run, observer, "the start once more"), calls + run.usage.calls
    return Preflighted(checkup=checkup(job, first, again, seed=seed), calls=calls)


def _scored(job: Job, rows: Sequence[Row], run: Run, observer: Observer, what: str) -> Scores:
    """The start's scores, kept as the end of `run`."""
    start = values_of(job.task.program)
    observer.phase(f"scoring {what} on selection rows", len(rows))
    scores = job.task.scores(rows, start, progress=lambda done, _: observer.advance(done))
    run.note("end", {"status": "done", "score": scores.mean, "calls": run.usage.calls})
    return scores
