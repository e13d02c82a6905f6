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
from wordgrad.train.events import Observer, Phase
from wordgrad.train.job import Job
from wordgrad.train.known import hold_against
from wordgrad.train.predict import Prediction, predicted
from wordgrad.train.program import values_of
from wordgrad.train.scores import Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What two looks at the start said, and what a run will take."""

    checkup: Checkup
    prediction: Prediction
    """Calls, tokens and money of a whole run."""
    calls: int
    """What the looks took."""

    @property
    def verdict(self) -> str:
        """What to do, in words."""
        return self.checkup.verdict


def preflighted(
    job: Job,
    opened: Callable[[], AbstractContextManager[tuple[Run, Observer]]],
    *,
    seed: int,
    rows: int | None = None,
) -> Preflight:
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
        observer(Phase("asking each engine once", 1))
        preflight(job.engines)
        hold_against(job.task, job.known, where=job.known_at)
        first = _scored(job, looked_at, run, observer, "the start")
        looks = [run.found().spent]
    with opened() as (run, observer):
        again = _scored(job, looked_at, run, observer, "the start once more")
        looks.append(run.found().spent)
    found = checkup(job, first, again, seed=seed)
    return Preflight(
        checkup=found,
        prediction=predicted(job, found, looks),
        calls=sum(each.calls for look in looks for each in look),
    )


def _scored(job: Job, rows: Sequence[Row], run: Run, observer: Observer, what: str) -> Scores:
    """The start's scores, kept as the end of `run`."""
    start = values_of(job.task.program)
    observer(Phase(f"scoring {what} on selection rows", len(rows)))
    scores = job.task.scores(rows, start, observer=observer)
    run.note("end", {"status": "done", "score": scores.mean, "calls": run.usage.calls})
    return scores
