"""Two looks at the start and a rehearsal of the first step, before a run is paid."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

from wordgrad.compose.run import Run
from wordgrad.data.rows import Row
from wordgrad.engines.preflight import preflight
from wordgrad.errors import UsageError
from wordgrad.train.checkup import Checkup, checkup
from wordgrad.train.cost import Looks
from wordgrad.train.estimate import distinct
from wordgrad.train.events import Observer, Phase
from wordgrad.train.job import Job
from wordgrad.train.known import hold_against
from wordgrad.train.predict import Prediction, predicted
from wordgrad.train.program import values_of
from wordgrad.train.rehearsal import Rehearsal, effects, rehearsed
from wordgrad.train.scores import Scores

Opened: TypeAlias = Callable[[], AbstractContextManager[tuple[Run, Observer]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What two looks at the start and a rehearsal of the first step said, and what a run will take."""

    checkup: Checkup
    rehearsal: Rehearsal
    prediction: Prediction
    """Calls, tokens and money of a whole run."""
    calls: int
    """What looks and rehearsal took."""

    @property
    def worthwhile(self) -> bool:
        """Whether there is something to learn, the first step would, and the sealed rows could show it."""
        return self.checkup.worthwhile and not self.rehearsal.fault

    @property
    def verdict(self) -> str:
        """What to do, in words."""
        said, rehearsal = self.checkup.verdict, self.rehearsal
        if self.checkup.failing and rehearsal.fault:
            return f"{said}. In a rehearsal of the first step, {rehearsal.fault}"
        if self.checkup.all_pass and rehearsal.failing:
            return f"{said}: {rehearsal.failing} of {rehearsal.rows} training rows fail"
        return said


def preflighted(job: Job, opened: Opened, *, seed: int, rows: int | None = None) -> Preflight:
    """Ask each engine, check the metric, score the start twice on selection rows, and rehearse the first step.

    Sealed rows stay sealed, and the variables keep their values.

    Args:
        job: What would be run.
        opened: Opens a run; called for each look, and for the rehearsal: in one run the same request has one reply.
        seed: Of the run that is to be.
        rows: Selection rows to look at, by the seed; all where None.

    Raises:
        UsageError: No row is to be looked at.
    """
    if rows is not None and rows < 1:
        raise UsageError(f"rows={rows!r}: a look needs one row or more")
    looked_at = list(job.division.selection)
    random.Random(f"doctor {seed}").shuffle(looked_at)  # noqa: S311 - no secret
    looked_at = looked_at[:rows]
    with opened() as (run, observer):
        observer(Phase("asking each engine once", 1))
        preflight(job.engines)
        hold_against(job.task, job.known, where=job.known_at)
        once = run.found().spent
        first = _look(job, looked_at, run, observer, "the start")
        calls = run.usage.calls
    with opened() as (run, observer):
        second = _look(job, looked_at, run, observer, "the start once more")
        again = run.found().spent
        calls += run.usage.calls
    with opened() as (run, observer):
        rehearsal = rehearsed(job, seed=seed, observer=observer)
        learning = run.found().spent
        if rehearsal.candidates:
            rehearsal = replace(rehearsal, effects=effects(job, rehearsal, observer=observer))
        _ended(run, rehearsal.batches[-1].scores)
        looks = Looks(
            once=once,
            again=again,
            rows=distinct(looked_at, job.task.input),
            learning=learning,
            learned=rehearsal.asked(job.task.input),
            rehearsal=run.found().spent,
        )
        calls += run.usage.calls
    found = checkup(job, first, second, seed=seed)
    return Preflight(
        checkup=found,
        rehearsal=rehearsal,
        prediction=predicted(job, found, rehearsal, looks, seed=seed),
        calls=calls,
    )


def _look(job: Job, rows: Sequence[Row], run: Run, observer: Observer, what: str) -> Scores:
    observer(Phase(f"scoring {what} on selection rows", len(rows)))
    scores = job.task.scores(rows, values_of(job.task.program), observer=observer)
    _ended(run, scores)
    return scores


def _ended(run: Run, scores: Scores) -> None:
    run.note("end", {"status": "done", "score": scores.mean, "calls": run.usage.calls})
